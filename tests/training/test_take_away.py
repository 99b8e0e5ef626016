import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from unpickling import classes_unpickled

import vmax
from vmax.commands.export import export_run
from vmax.errors import UserError
from vmax.export.load import load_exported
from vmax.run_folder import RunFolder
from vmax.training.take_away import offer

RAW = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0], [-1.0, 0.0, -3.0]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    vmax.train([*tiny.PENDULUM, "total_steps=300", "training.eval_every=100", "export=true"], str(folder))
    return folder


def test_a_finished_run_has_its_best_policy_with_its_figures(run):
    card, result = (json.loads((run / name).read_text()) for name in ("policy/card.json", "result.json"))
    best = result["run"]["best_step"]
    assert (card["checkpoint"], card["step"], card["algorithm"], card["seed"]) == ("best", best, "sac", 3)
    assert card["kpis"] == result["evaluation"]["policies"]["best"] and card["kpis_split"] == "test"
    assert "policy: " in (run / "train.log").read_text()


def test_any_checkpoint_can_be_exported_later_and_nothing_is_unpickled_on_the_way(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    before = load_exported(copy / "policy").act(RAW)
    shutil.rmtree(copy / "policy")
    with classes_unpickled() as found:
        assert export_run(copy, "best", "stablehlo", "cpu") == copy / "policy"
        np.testing.assert_array_equal(load_exported(copy / "policy").act(RAW), before)
    assert found == []
    export_run(copy, 300, "stablehlo", "cpu")
    assert json.loads((copy / "policy" / "card.json").read_text())["checkpoint"] == 300
    for path in (copy / "checkpoints").glob("best-*"):
        shutil.rmtree(path)
    export_run(copy, "best", "stablehlo", "cpu")
    card = json.loads((copy / "policy" / "card.json").read_text())
    assert (card["checkpoint"], card["step"]) == ("last", 300) and "the last one is taken" in capsys.readouterr().out


def test_a_policy_that_cannot_be_exported_is_a_warning_at_the_end_of_a_run(monkeypatch):
    def refused(*arguments):
        raise UserError("export: env=cartpole has discrete actions")

    monkeypatch.setattr("vmax.training.take_away.write_policy", refused)
    monkeypatch.setattr("vmax.training.take_away.facts", lambda *arguments: {})
    said = []
    offer(said.append, RunFolder(Path("nowhere")), None, None, 1, None, "best", {})
    assert said == ["warning: export: env=cartpole has discrete actions; the run has no policy/"]
