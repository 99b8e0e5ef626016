"""The command `report`: which runs it takes, how it groups and compares them, and what it says of mistakes."""

import json
import shutil
from pathlib import Path

import plotly.graph_objects as go
import pytest
from invoking import invoker
from sample_run import DAY_EUR, battery_run, embedded, pendulum_run

from vmax.commands import report
from vmax.commands.report import groups_of
from vmax.files import write_json
from vmax.run_folder import RunFolder


@pytest.fixture
def invoke(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    return invoker(monkeypatch, capsys, report.main)


def sac(seed, eur, path=None, **config):
    """A run of SAC that earns so much a day; the optimum 20, the planner 12."""
    overrides = ["algorithm=sac", "env=bess", f"seed={seed}", *config.pop("more", [])]
    path = Path(path or f"outputs/sac{seed}")
    return battery_run(path, {**DAY_EUR, "best": eur}, seed=seed, overrides=overrides, **config)


def td3(seed, eur, path=None):
    overrides = ["algorithm=td3", "env=bess", f"seed={seed}"]
    path = Path(path or f"outputs/td3{seed}")
    td3, mlp = {"name": "td3"}, {"name": "mlp"}
    battery_run(path, {**DAY_EUR, "best": eur}, seed=seed, overrides=overrides, algorithm=td3, network=mlp)
    result = json.loads((path / "result.json").read_text())
    result["run"]["algorithm"] = "td3"
    write_json(path / "result.json", result)
    return path


def page(folder):
    return (Path(folder) / "report.html").read_text(encoding="utf-8")


def test_one_run_gets_its_page_beside_its_result(invoke):
    run = sac(1, 10.0)
    assert invoke(f"runs={run}")[:2] == (0, f"report: {run}/report.html\n")
    assert "mpc, a planner, is ahead of the learned policy" in page(run)
    assert invoke(f"runs={run}", "folder=elsewhere")[0] == 0 and page("elsewhere") == page(run)


def test_runs_are_compared_by_group_with_statistics_over_seeds(invoke):
    for seed, eur in enumerate((10.0, 10.2, 10.4)):
        sac(seed, eur)
    td3(0, 11.0)
    td3(1, 10.3)
    status, out, _ = invoke("runs=outputs/sac*,outputs/td30,outputs/td31", "folder=both")
    assert status == 0 and out == "report: both/report.html\n"
    found = page("both")
    # capture is EUR a day / 20; td3 0.55 and 0.515, sac 0.50, 0.51, 0.52; of the six pairs td3 wins five
    assert "mpc (0.6000) is ahead of every group; of these td3 is the best: IQM 0.5325" in found
    assert "A run of td3 beats one of sac lstm with probability 0.83." in found
    assert "2 runs in a group can say little of other seeds." in found
    data = embedded(found)
    assert data["figures"].keys() == {"scores", "profiles", "learning bess"}
    shown = [policy["label"] for policy in data["views"]["dispatch"]["policies"]]
    assert shown == ["td3 (td31)", "sac lstm (sac1)", "optimum"]  # the median runs, of two the lower
    for figure in data["figures"].values():
        go.Figure(json.loads(json.dumps(figure).replace("@ink", "#123456")))  # raises for an unknown key or value
    assert "python scripts/train.py algorithm=sac env=bess seed=2 threads=2" in found


def test_a_group_that_beats_every_planner_is_called_the_best(invoke):
    sac(0, 13.0)
    td3(0, 14.0)
    assert invoke("runs=outputs/*", "folder=both")[0] == 0
    assert "td3 has the highest capture of the groups: IQM 0.7000 (one run: no interval)." in page("both")


def test_runs_with_other_settings_are_other_groups_and_other_data_are_not_compared_with_baselines(invoke):
    sac(0, 10.0)
    battery_run(
        Path("outputs/forecast"),
        {**DAY_EUR, "best": 10.0, "mpc": 7.0},
        overrides=["env=bess", "env.information=forecast"],
    )
    assert invoke("runs=outputs/*", "folder=both")[0] == 0
    found = page("both")
    assert "sac lstm env.information=forecast" in found and "not judged beside the same baselines" in found
    assert all("mpc" not in trace["name"] for trace in embedded(found)["figures"]["scores"]["data"])


def test_groups_are_told_by_overrides_that_not_all_have():
    overrides = {
        "a": ["algorithm=sac", "env=bess", "mode=quick", "seed=0", "training.batch_size=64", "threads=1"],
        "b": ["algorithm=td3", "env=bess", "mode=quick", "seed=1", "hydra.run.dir=b"],
    }
    assert groups_of(overrides) == {"a": " training.batch_size=64", "b": ""}


def test_a_multirun_and_a_comparison_stand_for_their_runs(invoke):
    for seed in (0, 1):
        sac(seed, 10.0 + seed, f"multirun/{seed}")
    assert invoke("runs=multirun")[1] == "report: multirun/report.html\n"
    assert "Comparison of 2 runs" in page("multirun")
    shutil.copytree("multirun/0", "c/00_a")
    shutil.copytree("multirun/1", "c/01_b")
    jobs = [{"name": "00_a", "group": "small"}, {"name": "01_b", "group": "large"}]
    write_json(Path("c/comparison.json"), {"overrides": ["algorithm=sac", "network.units=8,64"], "jobs": jobs})
    assert invoke("runs=c")[0] == 0
    assert "A run of large beats one of small with probability 1.00." in page("c")
    assert "python scripts/compare.py algorithm=sac network.units=8,64" in page("c")


def test_runs_that_did_not_finish_are_named_and_left_out(invoke):
    sac(0, 10.0)
    sac(1, 11.0)
    RunFolder(sac(2, 12.0)).finish("failed", "step 9: not finite <b>")
    assert invoke("runs=outputs/sac*", "folder=both")[0] == 0
    found = page("both")
    assert "Comparison of 2 runs, 1 left out" in found and "Left out, for they did not finish: sac2 (failed)." in found
    assert "failed: step 9: not finite &lt;b&gt;" in found and "<b>" not in found.split("<script")[0]


def test_runs_of_one_name_in_two_places_are_kept_apart_and_linked_where_they_have_a_page(invoke):
    sac(0, 10.0, "one/run")
    sac(1, 11.0, "two/run")
    assert invoke("runs=one/run")[0] == 0
    assert invoke("runs=one/run,two/run,one/run", "folder=both")[0] == 0
    found = page("both")
    assert "Comparison of 2 runs" in found and 'href="./../one/run/report.html"' in found
    assert "one/run" in found and ">two/run<" in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "runs=null: name the folder of a run"),
        (["runs=nowhere"], "runs=nowhere: no such folder"),
        (["runs=outputs/x*"], "runs=outputs/x*: matches no folder of a run"),
        (["runs=empty"], "runs=empty: is no folder of a run, a multirun or a comparison"),
        (["runs=outputs/sac0,outputs/pendulum"], "are judged by different figures (capture, return_mean)"),
        (["runs=outputs/failed,outputs/failed2"], "none has finished, so there is nothing to compare (failed: failed;"),
        (["runs=outputs/sac0,outputs/cut"], "its result cannot be read"),
        (["run=outputs/sac0"], "run: unknown; did you mean runs?"),
        (["outputs/sac0"], "outputs/sac0: is no setting; write runs=outputs/sac0"),
        (["--runs=x"], "--runs=x: unknown flag"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(invoke, arguments, message):
    sac(0, 10.0)
    pendulum_run(Path("outputs/pendulum"))
    for name in ("failed", "failed2"):
        RunFolder(sac(1, 10.0, f"outputs/{name}")).finish("failed", "boom")
    write_json(sac(2, 10.0, "outputs/cut") / "result.json", {"run": {}})
    Path("empty").mkdir()
    status, out, err = invoke(*arguments)
    assert status == 2 and message in err and len(err.splitlines()) == 1 and out == ""
    assert not list(Path().rglob("report.html")) and not Path("outputs/report").exists()


def test_help_names_the_keys(invoke):
    status, out, _ = invoke("--help")
    assert status == 0 and "scripts/report.py runs=" in out and "folder: null" in out
