import csv
import subprocess
import sys
from pathlib import Path

import pytest
from exporting import pendulum, policy
from invoking import invoker

from vmax.commands import act as command
from vmax.export.folder import write_policy
from vmax.run_folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "scripts" / "act.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    env, path = pendulum(), RunFolder(tmp_path_factory.mktemp("run")).policy
    write_policy(path, env, policy(env), {}, "stablehlo")
    return path


@pytest.fixture
def invoke(monkeypatch, capsys, tmp_path, folder):
    monkeypatch.chdir(tmp_path)
    return invoker(monkeypatch, capsys, command.main, f"policy={folder}")


@pytest.mark.parametrize("asked", [("csv=rows.csv",), ("--csv", "rows.csv")])
def test_rows_become_actions_in_both_scales(invoke, tmp_path, asked):
    (tmp_path / "rows.csv").write_text("speed,cos_angle,sin_angle\n0,1,0\n1,0,1\n")
    status, out, err = invoke(*asked)
    header, *rows = csv.reader(out.splitlines())
    assert (status, err, header, len(rows)) == (0, "", ["action_torque", "torque_nm"], 2)
    assert all(float(nm) == pytest.approx(2.0 * float(share), rel=1e-6) for share, nm in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_actions_go_to_a_file(invoke, tmp_path, folder):
    status, out, _ = invoke(f"csv={folder}/example.csv", "out=there/actions.csv")
    with (tmp_path / "there" / "actions.csv").open() as file:
        written = list(csv.reader(file))
    assert (status, out) == (0, "96 rows of actions: there/actions.csv\n") and len(written) == 97


def test_a_reader_who_has_seen_enough_is_no_error(folder, tmp_path):
    command = [sys.executable, str(SCRIPT), f"policy={folder}", f"csv={folder}/example.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 1


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("", (), "csv=null: name one, as in csv=rows.csv"),
        ("", ("csv=rows.csv", "policy=null"), "policy=null: name one, as in policy=RUN/policy"),
        ("", ("csv=rows.csv", "policy=."), "policy=.: is no exported policy (card.json is missing)"),
        ("cos_angle,sin_angle\n1,0\n", ("csv=rows.csv",), "rows.csv: column 'speed' is missing"),
        (
            "cos_angle,sin_angle,speed\n1,0,1\n1.1,0,1\n",
            ("csv=rows.csv",),
            "rows.csv: row 3, column 'cos_angle': 1.1 is out of range; allowed: -1 to 1",
        ),
        ("", ("csvs=rows.csv",), "csvs: unknown; did you mean csv? (see --cfg job)"),
        ("", ("csv=rows.csv", "device=tpu"), "device=tpu: must be one of auto, cpu, gpu"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(invoke, tmp_path, text, arguments, message):
    (tmp_path / "rows.csv").write_text(text)
    status, out, err = invoke(*arguments, "out=actions.csv")
    assert (status, out, err) == (2, "", f"error: {message}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
