"""Rolling-origin evaluation: days by year, years that fail or are done already, the table."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmax.commands import rolling_origin as command
from vmax.commands.rolling_origin import Plan
from vmax.config import compose
from vmax.errors import UserError
from vmax.files import write_json
from vmax.run_folder import RunFolder

POLICIES = ("best", "do_nothing", "gated_two_cycle", "mpc", "perfect_foresight")


def policies(uplift_eur: float) -> dict[str, Any]:
    """Figures in which each policy earns a quarter more of the uplift than the one before it."""
    return {
        name: {
            "profit_eur": 100.0 + share * uplift_eur,
            "terminal_value_eur": 0.0,
            "uplift_eur": share * uplift_eur,
            "capture": share,
            "cycles_per_day": 1.0,
            "ci95": {"capture": [share, share]},
        }
        for name, share in zip(POLICIES, (0.8, 0.0, 0.5, 0.7, 1.0), strict=True)
    }


@pytest.fixture
def trained(monkeypatch):
    """Training replaced by one that writes a result: uplift 1,000 EUR in 2020, 3,000 in 2021; 2022 fails."""
    calls: list[tuple[Path, list[str], str | None]] = []

    def train(composed, path, overrides):
        calls.append((path, list(overrides), composed.resume))
        folder, year = RunFolder(path), int(path.name)
        folder.save_config({}, overrides, new=composed.resume is None)
        folder.start(0, {})
        if year == 2022:
            folder.finish("failed", "no good")
            raise UserError("no good")
        earned = policies({2020: 1e3, 2021: 3e3}[year])
        result = {"run": {"status": "completed"}, "evaluation": {"currency": "GBP", "policies": earned}}
        write_json(folder.result, result)
        folder.finish("completed")
        return result

    monkeypatch.setattr(command, "train", train)
    return calls


def test_a_year_is_tested_after_the_year_it_is_validated_on_and_those_it_is_trained_on():
    assert Plan((2024,), 4, ()).splits(2024) == {
        "train": ["2019-01-01", "2022-12-31"],
        "validation": ["2023-01-01", "2023-12-31"],
        "test": ["2024-01-01", "2024-12-31"],
    }


def test_each_year_is_a_run_of_its_own_and_the_table_sums_them_up(trained, tmp_path, capsys):
    found = command.rolling_origin(Plan((2020, 2021), 2, ("algorithm=td3",)), tmp_path)
    assert [(path.name, overrides[0], overrides[1]) for path, overrides, _ in trained] == [
        ("2020", "algorithm=td3", "env.data.train=[2017-01-01,2018-12-31]"),
        ("2021", "algorithm=td3", "env.data.train=[2018-01-01,2019-12-31]"),
    ]
    assert [record["status"] for record in found] == ["completed", "completed"]
    written = json.loads((tmp_path / "rolling_origin.json").read_text())
    assert written["years"] == found
    assert written["all_years"]["best"] == {"profit_eur": 200.0 + 0.8 * 4000.0, "capture": 0.8}
    lines = (tmp_path / "rolling_origin.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(POLICIES) and lines[1].startswith("2020,best,900.0,0.0,800.0,0.8,1.0,0.8,0.8")
    said = capsys.readouterr().out
    assert "profit in GBP" in said and "900 (0.800)" in said and "2,500 (0.800)" in said and "3,400 (0.800)" in said


def test_a_year_that_fails_is_said_and_the_others_go_on(trained, tmp_path, capsys):
    with pytest.raises(UserError, match=r"1 of 2 years failed: 2022 \(no good\); go on with resume="):
        command.rolling_origin(Plan((2022, 2020), 2, ()), tmp_path)
    said = capsys.readouterr().out
    assert "2022: failed (no good); the other years go on" in said and "900 (0.800)" in said
    assert [r["status"] for r in json.loads((tmp_path / "rolling_origin.json").read_text())["years"]] == [
        "failed",
        "completed",
    ]


def test_what_is_done_is_kept_and_what_is_not_goes_on(trained, tmp_path):
    plan = Plan((2020, 2021), 2, ())
    command.rolling_origin(plan, tmp_path)
    RunFolder(tmp_path / "2021").start(0, {})
    command.rolling_origin(plan, tmp_path)
    assert [(path.name, resume) for path, _, resume in trained[2:]] == [("2021", str(tmp_path / "2021"))]


def test_years_on_unlike_content_of_a_file_are_named(trained, tmp_path, capsys):
    plan = Plan((2020, 2021), 2, ())
    command.rolling_origin(plan, tmp_path)
    assert "warning" not in capsys.readouterr().out
    for year, held in (("2020", "a"), ("2021", "b")):
        one = {"path": "/p.csv", "files": {"p.csv": {"bytes": 1, "sha256": held * 64}}, "copied": True}
        write_json(RunFolder(tmp_path / year).input_record, {"env.data.path": one})
    command.rolling_origin(plan, tmp_path)
    told = (
        "warning: runs were made with unlike content of env.data.path=/p.csv: sha256 aaaaaaaa in 2020; sha256 bbbbbbbb"
    )
    assert told in capsys.readouterr().out


def test_resume_follows_its_own_plan_and_refuses_another(trained, tmp_path):
    plan = Plan((2020,), 2, ("algorithm=td3",))
    command.rolling_origin(plan, tmp_path)
    assert command.saved_plan(tmp_path, [f"resume={tmp_path}"]) == plan
    with pytest.raises(UserError, match="resume: seed=1 cannot be changed"):
        command.saved_plan(tmp_path, ["seed=1"])
    with pytest.raises(UserError, match=r"resume=nowhere: is no folder of a rolling-origin evaluation"):
        command.saved_plan(Path("nowhere"), [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["years=[]"], r"years=\[\]: must be at least one year, each once"),
        (["years=[2020,2020]"], r"years=\[2020, 2020\]: must be at least one year, each once"),
        (["years=2020"], r"years=2020: must be years such as \[2023,2024\]"),
        (["env.data.train=2019"], r"env\.data\.train=2019: must be two days such as \[2024-01-01,2024-12-31\] or null"),
        (["train_years=0"], "train_years=0: must be at least 1"),
        (["env=pendulum"], "env=pendulum: has no years to test on"),
        (["algorithm.discount=2"], r"algorithm\.discount=2"),
    ],
)
def test_a_mistake_is_told_before_the_first_year(overrides, message):
    with pytest.raises(UserError, match=message):
        command.new_plan(compose(overrides, "rolling_origin"), overrides)


def test_a_plan_keeps_what_is_for_the_runs_and_drops_what_is_its_own():
    overrides = ["years=[2021]", "train_years=1", "hydra.run.dir=x", "algorithm=td3", "env.battery.power_mw=2"]
    composed = compose([override for override in overrides if not override.startswith("hydra")], "rolling_origin")
    plan = command.new_plan(composed, overrides)
    assert plan == Plan((2021,), 1, ("algorithm=td3", "env.battery.power_mw=2"))


def test_a_plan_can_be_gone_on_with_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = ["env.data.path='it is \\'mine\\'.csv'"]
    plan = command.new_plan(compose(overrides, "rolling_origin"), overrides)
    assert compose(plan.overrides).env.data.path == str(tmp_path / "it is 'mine'.csv")
