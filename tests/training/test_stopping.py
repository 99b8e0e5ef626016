"""Runs that end before their planned steps, or begin with another one's networks; and what a resume makes of them."""

from pathlib import Path

import numpy as np
import pytest
import tiny

import vmax
from vmax.errors import UserError
from vmax.run_folder import RunFolder
from vmax.training.stopping import Deadline, Ending, Improvement, StoppingConfig, early_ending


@pytest.fixture(scope="module")
def untouched(tmp_path_factory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("untouched") / "run"
    vmax.train([*tiny.PENDULUM, "checkpoint.policy_every=400"], str(folder))
    return folder


def after(config: StoppingConfig, scores: list[float]) -> list[bool]:
    """Whether the run would end after each of these evaluations."""
    improvement, ends = Improvement(), []
    for step, score in enumerate(scores):
        improvement.note(score, config.min_improvement)
        ends.append(early_ending(config, improvement, score, step) is not None)
    return ends


def test_patience_counts_evaluations_without_enough_improvement():
    # 0.50 begins; 0.505 is no improvement by 0.01, 0.52 is one; then two without
    scores = [0.50, 0.505, 0.52, 0.525, 0.51]
    assert after(StoppingConfig(patience=2, min_improvement=0.01, target=None), scores) == [False] * 4 + [True]
    assert after(StoppingConfig(patience=2, min_improvement=0.0, target=None), [0.5, 0.4, 0.5]) == [False, False, True]
    assert not any(after(StoppingConfig(None, 0.0, None), scores))


def test_a_target_ends_a_run_when_it_is_reached_and_says_so():
    config = StoppingConfig(patience=None, min_improvement=0.0, target=0.9)
    assert after(config, [0.5, 0.89, 0.9]) == [False, False, True]
    ending = early_ending(config, Improvement(0.95, 0), 0.95, 700)
    assert ending == Ending("stopped_early", "step 700: validation score 0.95 reached 0.9")
    assert early_ending(config, Improvement(), None, 0) is None  # before the first evaluation


def test_a_deadline_leaves_time_for_another_chunk_as_long_as_the_longest(monkeypatch):
    now = iter([100.0, 110.0, 150.0, 152.0])  # made, then asked after chunks of 10, 40 and 2 seconds
    monkeypatch.setattr("vmax.training.stopping.time.monotonic", lambda: next(now))
    deadline = Deadline(200.0, began=50.0)  # ends at 250; last 152 + 2 · 40 + 15 = 247
    assert [deadline.near(), deadline.near(), deadline.near()] == [False, False, False]
    now = iter([100.0, 110.0, 156.0])  # 156 + 2 · 46 + 15 = 263
    deadline = Deadline(200.0, began=50.0)
    assert [deadline.near(), deadline.near()] == [False, True]
    now = iter([100.0, 1e9])
    assert not Deadline(None, began=50.0).near()


def test_a_run_that_reached_its_target_is_evaluated_and_may_go_on_as_if_it_had_not(untouched, tmp_path, capsys):
    folder = tmp_path / "early"
    overrides = [*tiny.PENDULUM, "checkpoint.policy_every=400", "stopping.target=-1e9"]
    result = vmax.train(overrides, str(folder))
    assert (result["run"]["status"], result["run"]["env_steps"]) == ("stopped_early", 600)
    assert result["evaluation"]["policies"].keys() == {"best", "last"}
    record = RunFolder(folder).record()
    assert record["status"] == "stopped_early" and record["reason"].startswith("step 600: validation score -")
    assert f"stopped early: {record['reason']}" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"stopped early \(step 600: .*\); change stopping to go on"):
        vmax.train([f"resume={folder}"])
    vmax.train([f"resume={folder}", "stopping.target=null"])
    assert RunFolder(folder).composed()["stopping"]["target"] is None
    tiny.assert_same_run(untouched, folder)


@pytest.mark.slow
def test_a_run_out_of_time_has_saved_and_goes_on_in_the_next_process(untouched, tmp_path):
    folder = tmp_path / "hurried"
    result = vmax.train([*tiny.PENDULUM, "checkpoint.policy_every=400", "time_budget_s=0.1"], str(folder))
    assert (result["run"]["status"], result["run"]["env_steps"]) == ("interrupted", 300)
    assert result["run"]["reason"] == "time_budget_s=0.1 at step 300; go on with resume="
    assert tiny.checkpoint_names(folder) == ["300"]
    vmax.train([f"resume={folder}", "time_budget_s=600"])
    tiny.assert_same_run(untouched, folder)


def test_a_run_begins_with_the_networks_of_another_and_with_its_own_optimiser(untouched, tmp_path):
    still = ["algorithm.learning_rate=1e-12", "algorithm.critic_learning_rate=1e-12", "total_steps=300", "seed=8"]
    vmax.train([*tiny.PENDULUM, *still, f"init_from={untouched}"], str(tmp_path / "warm"))
    before = tiny.arrays(untouched / "checkpoints" / "1000" / "state")
    after = tiny.arrays(tmp_path / "warm" / "checkpoints" / "300" / "state")
    for part in ("actor", "critic"):
        weights = [name for name in before if f"['{part}']['params']" in name]
        assert weights
        for name in weights:
            np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)
    assert after["['learner']['updates']"] == 50 and after["['learner']['hyper']['total_updates']"] == 50


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["algorithm=td3"], "was trained with algorithm=sac, this run has td3"),
        (["network.hidden=[8,8]"], r"state\..* is float32\[1,.*\], this configuration needs float32\[1,"),
        (["init_from=nowhere"], "nowhere: is no run folder"),
    ],
)
def test_networks_that_do_not_fit_are_refused_and_nothing_is_left(untouched, tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        vmax.train([*tiny.PENDULUM, f"init_from={untouched}", *overrides], str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_policies_that_are_kept_can_be_evaluated_by_their_step(untouched):
    assert "policy-600" in tiny.checkpoint_names(untouched)
    result = vmax.evaluate(str(untouched), checkpoint=600)
    assert result["run"]["checkpoint_step"] == 600 and result["evaluation"]["policies"].keys() == {"step_600"}
    with pytest.raises(UserError, match="holds no checkpoint of step 700 that can be read"):
        vmax.evaluate(str(untouched), checkpoint=700)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stopping.patience=0", "stopping.patience=0: must be at least 1, or null"),
        ("stopping.min_improvement=-1", "stopping.min_improvement=-1.0: must be at least 0"),
        ("time_budget_s=0", "time_budget_s=0.0: must be above 0, or null"),
        ("checkpoint.policy_every=300", "checkpoint.policy_every=300: must be a multiple of training.eval_every = 400"),
    ],
)
def test_a_setting_out_of_range_is_one_line(tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        vmax.train([*tiny.PENDULUM, override], str(tmp_path / "run"))
