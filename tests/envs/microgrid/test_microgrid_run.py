"""A short training run on the microgrid from end to end: figures, files, the page and the policy to take away."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from sample_run import embedded
from sites import SMALL

import vmax
from vmax.commands import front
from vmax.commands.act import act
from vmax.config import compose
from vmax.errors import UserError
from vmax.files import write_json
from vmax.run_folder import RunFolder

TINY = (
    *SMALL,
    *("env=microgrid_scarce", "device=cpu", "checks=off", "seed=1", "network.hidden=[16,16]", "env.episode.days=2"),
    *("evaluation.days=8", "evaluation.bootstrap=20", "export=true", "evaluation.seasons=true"),
)
FIGURES = (
    *("objective", "co2_kg", "co2_avoided_kg", "cost", "grid_import_kwh", "grid_export_kwh", "peak_import_kw"),
    *("self_consumption", "self_sufficiency", "ev_service", "ev_unmet_kwh", "battery_cycles", "load_factor"),
    *("ramping_kw", "max_residual_kw", "terms", "saturated", "ci95"),
)
ACTIONS = ["import_target_kw", "charge_motos_share", "charge_mototaxis_share"]
OFF_POLICY = (
    *("total_steps=600", "training.num_envs=4", "training.updates_per_iteration=2", "training.batch_size=16"),
    *("training.replay_capacity=400", "training.warmup_steps=200", "training.log_every=100"),
    *("training.eval_every=200", "checkpoint.every=400"),
)
ON_POLICY = (
    *("total_steps=384", "training.num_envs=4", "training.unroll=16", "training.log_every=64"),
    *("training.eval_every=192", "checkpoint.every=192"),
)


@pytest.mark.parametrize(
    ("algorithm", "sizes"), [("td3", OFF_POLICY), pytest.param("ppo", ON_POLICY, marks=pytest.mark.slow)]
)
def test_a_run_ends_with_its_figures_and_a_policy_that_acts_on_kilowatts(tmp_path, algorithm, sizes):
    minibatches = ("algorithm.minibatches=2",) if algorithm == "ppo" else ()
    paged = f"report={str(algorithm == 'td3').lower()}"
    result = vmax.train([f"algorithm={algorithm}", *TINY, *sizes, *minibatches, paged], str(tmp_path / "run"))
    policies = result["evaluation"]["policies"]
    assert {"best", "last", "no_control", "mpc", "perfect_foresight"} <= set(policies)
    assert set(FIGURES) <= set(policies["best"])
    assert json.loads((tmp_path / "run" / "result.json").read_text())["evaluation"]["currency"] == "USD"
    folder = tmp_path / "run" / "evaluation" / "test"
    rows = pd.read_csv(folder / "timeseries.csv")
    assert set(rows["policy"].value_counts()) == {8 * 24} and (folder / "trace.csv").exists()
    for name in ("week", "import_duration", "co2_and_cost", "ev_service"):
        assert (folder / "plots" / f"{name}.png").exists(), name
    days = pd.read_csv(sorted((tmp_path / "run" / "evaluation" / "seasons").glob("*.csv"))[0])
    assert days["season"].value_counts().tolist() == [24] * 4
    if algorithm == "td3":
        page = (tmp_path / "run" / "report.html").read_text()
        assert "of capture" in page and "draws of forecast errors" not in page  # the objective is no money
        shown = embedded(page)["views"]
        assert shown["dispatch"]["policies"] and shown["seasons"]["options"]
    header, actions = act(tmp_path / "run" / "policy", tmp_path / "run" / "policy" / "example.csv")
    values = np.asarray([[float(x) for x in row[-3:]] for row in actions])
    assert header[-3:] == ACTIONS
    assert (values[:, 0] >= 0).all() and ((values[:, 1:] >= 0) & (values[:, 1:] <= 1)).all()


@pytest.mark.slow
def test_the_front_of_a_policy_for_all_weights_beside_policies_for_one(tmp_path, capsys):
    short = (*TINY, *ON_POLICY, "algorithm=a2c", "export=false", "report=false", "evaluation.days=2", "total_steps=192")
    quiet = ("evaluation.plots=false", "evaluation.seasons=false", "env.reward.conditioned=true")
    vmax.train([*short, *quiet], str(tmp_path / "all"))
    kinds = {"one": ("conditioned: true", "conditioned: false"), "other": ("\n    seed: 0", "\n    seed: 3")}
    for name, (told, instead) in kinds.items():
        shutil.copytree(tmp_path / "all", tmp_path / name)
        config = tmp_path / name / ".hydra" / "config.yaml"
        assert told in config.read_text()
        config.write_text(config.read_text().replace(told, instead))

    def invoke(run: str, *runs: str) -> dict:
        listed = ",".join(str(tmp_path / one) for one in runs)
        front.run(compose([f"run={tmp_path / run}", f"runs=[{listed}]", "points=3", "planning=true"], "front"))
        return json.loads((tmp_path / run / "front" / "front.json").read_text())

    found = invoke("all", "one")
    assert (tmp_path / "all" / "front" / "front.png").exists() and "hypervolume" in capsys.readouterr().out
    points = {kind: [p for p in found["points"] if p["kind"] == kind] for kind in found["hypervolume"]}
    assert [p["share"] for p in points["trained for all"]] == [0.0, 0.5, 1.0]
    assert [p["share"] for p in points["trained for one"]] == [pytest.approx(0.15 / 0.65)]
    own = json.loads((tmp_path / "one" / "result.json").read_text())["evaluation"]["policies"]["best"]
    assert points["trained for one"][0]["second"] == own["cost"]
    optimum, best, mpc = (
        [p["objective"] for p in points[kind]] for kind in ("perfect_foresight", "trained for all", "mpc")
    )
    assert all(least <= other for others in (best, mpc) for least, other in zip(optimum, others, strict=True))
    assert points["perfect_foresight"][0]["first"] <= points["perfect_foresight"][-1]["first"]
    for name in ("all", "one"):
        held = {"path": "/tariff.csv", "files": {"tariff.csv": {"bytes": 1, "sha256": name[0] * 64}}, "copied": True}
        write_json(RunFolder(tmp_path / name).input_record, {"env.data.files.tariff": held})
    for run, other, message in (
        ("one", "one", "was trained for one set of weights"),
        ("all", "other", "env.data is not"),
        ("all", "one", "runs=.*one: runs were made with unlike content of env.data.files.tariff=/tariff.csv: sha256 a"),
    ):
        with pytest.raises(UserError, match=message):
            invoke(run, other)
