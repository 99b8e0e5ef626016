"""A small run of DQN at a junction of a file: figures, pictures, the policy as files, and a later evaluation."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageSequence

import vmax
from vmax.envs.rollout import rollout
from vmax.envs.traffic_signal.film import film
from vmax.envs.traffic_signal.network import SHIPPED
from vmax.envs.traffic_signal.rules import LongestQueue

POLICIES = {
    "best", "last", "fixed", "webster", "actuated", "max_pressure", "longest_queue", "sotl", "random", "constant",
}  # fmt: skip
FIGURES = {
    "delay_s_per_veh", "travel_time_s", "queue_mean_veh", "queue_max_veh", "stops_per_veh", "throughput_veh_per_h",
    "spillback_s", "switches_per_h", "max_approach_delay_s", "mass_error_veh", "demand_seeds", "ci95", "score",
}  # fmt: skip
SMALL = (
    "env.episode.minutes=5",
    "env.episode.seeds=3",
    "env.episode.other_levels=[0.5,1.0]",
    "env.rules.gap=0.2",
    "env.rules.actuated_max_s=50.0",
    "env.rules.sotl_theta=300.0",
)
RUN = (
    "env=traffic_signal", "algorithm=dqn", *SMALL, "device=cpu", "checks=off", "total_steps=1200",
    "network.hidden=[16,16]", "training.num_envs=4", "training.batch_size=16", "training.replay_capacity=800",
    "training.warmup_steps=200", "training.log_every=200", "training.eval_every=400", "checkpoint.every=400",
    "evaluation.bootstrap=50",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("traffic")
    shutil.copy(SHIPPED / "simple.yaml", place / "town.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return place / "run", vmax.train([*RUN, "env.network=town.yaml"], "run")


def test_a_later_evaluation_is_on_the_network_of_the_run_from_any_folder(run, monkeypatch, capsys):
    monkeypatch.setattr("vmax.evaluation.writing.save_pictures", lambda *_: None)  # those of the run are tested below
    folder, result = run
    network = folder.parent / "town.yaml"
    network.write_text(network.read_text().replace("per_h: 720", "per_h: 2160"))
    again = vmax.evaluate(str(folder))
    assert f"the run's copy {folder}/inputs/env.network/town.yaml is read" in capsys.readouterr().out
    assert len(again["run"]["changed_files"]) == 1
    for name in ("best", "fixed"):
        delays = [found["evaluation"]["policies"][name]["delay_s_per_veh"] for found in (result, again)]
        assert delays[1] == pytest.approx(delays[0], rel=1e-6)


def test_every_policy_has_every_figure_and_its_interval(run):
    folder, result = run
    evaluation = result["evaluation"]
    assert set(evaluation["policies"]) == POLICIES and evaluation["trials"] == 3
    for name, values in evaluation["policies"].items():
        assert set(values) >= FIGURES and values["demand_seeds"] == 3
        low, high = values["ci95"]["delay_s_per_veh"]
        assert low <= values["delay_s_per_veh"] <= high and values["score"] == -values["delay_s_per_veh"]
        if name != "best":
            more = values["more_than_learned"]["mean"]
            ours = evaluation["policies"]["best"]["delay_s_per_veh"]
            assert more == pytest.approx(values["delay_s_per_veh"] - ours, abs=1e-9)
    assert json.loads((folder / "result.json").read_text())["evaluation"]["policies"].keys() == POLICIES


def test_other_levels_are_other_worlds_and_the_level_of_training_is_named(run):
    """The level of training gives the figures of the test itself; fewer vehicles wait less."""
    evaluation = run[1]["evaluation"]
    worlds = evaluation["other_worlds"]
    assert list(worlds) == ["level 0.5", "level 1, as in training"]  # of 0.7 to 1.3
    for name, values in worlds["level 1, as in training"].items():
        assert values["delay_s_per_veh"] == pytest.approx(evaluation["policies"][name]["delay_s_per_veh"], rel=1e-6)
        assert worlds["level 0.5"][name]["arrived_veh"] < 0.7 * values["arrived_veh"]
    assert set(worlds["level 0.5"]) == {"best", "last", "actuated", "max_pressure", "longest_queue", "webster"}
    assert run[1]["run"]["evaluations"] == 3 and run[1]["run"]["collapsed"] <= 2


def test_the_proxy_of_emissions_is_made_of_delay_and_stops(run):
    for values in run[1]["evaluation"]["policies"].values():
        expected = 0.6 * values["delay_s_per_veh"] + 40.0 * values["stops_per_veh"]
        assert values["emission_proxy_g_per_veh"] == pytest.approx(expected, rel=1e-6)


def test_tables_add_up_to_the_figures(run):
    folder, result = run
    seeds = pd.read_csv(folder / "evaluation/test/episodes.csv")
    steps = pd.read_csv(folder / "evaluation/test/timeseries.csv")
    for name, values in result["evaluation"]["policies"].items():
        of_seeds = seeds.loc[seeds["policy"] == name, "delay_s_per_veh"].to_numpy()
        assert of_seeds.mean() == pytest.approx(values["delay_s_per_veh"], rel=1e-6)
        first = steps.loc[(steps["policy"] == name) & (steps["lane"] == 0), ["delay_veh_s", "arrived_veh"]].to_numpy()
        assert len(first) == 60
        delay, came = first.sum(axis=0)
        assert delay / came == pytest.approx(of_seeds[0], rel=1e-4)
    trace = pd.read_csv(folder / "evaluation/test/trace.csv")
    assert set(trace["policy"]) == {"best", "last"} and set(trace["action_0"]) <= {0, 1}


def test_pictures_the_page_and_the_policy_are_written(run):
    folder, _ = run
    plots = {path.name for path in (folder / "evaluation/test/plots").glob("*.png")}
    assert plots == {
        "time_space.png", "queues.png", "cumulative.png", "snapshot.png", "delay_by_seed.png", "delay_by_level.png",
    }  # fmt: skip
    with Image.open(folder / "evaluation/test/plots/network.gif") as moving:
        frames = [np.asarray(frame.convert("RGB"), int) for frame in ImageSequence.Iterator(moving)]
        assert len(frames) == 60 and abs(frames[30] - frames[0]).max() > 50
    assert (folder / "plots/training_curves.png").stat().st_size > 10_000
    assert (folder / "plots/learning_curve.png").stat().st_size > 10_000
    page = (folder / "report.html").read_text()
    assert "delay_s_per_veh" in page and "longest_queue" in page
    card = json.loads((folder / "policy/card.json").read_text())
    assert card["action"][0]["choices"] == ["east_west", "north_south"]


def test_a_film_shows_the_trial_that_was_judged(run):
    env = vmax.make_env("traffic_signal", list(SMALL))
    params, starts = env.params("test"), env.trials.starts("test")
    record = rollout(env, LongestQueue(), params, starts)
    shown = film(env, LongestQueue(), params, type(starts)(*(leaf[:1] for leaf in vars(starts).values())))
    np.testing.assert_allclose(shown.left_veh, np.asarray(record.info["left_veh"])[:, 0].cumsum(), rtol=1e-4)
    np.testing.assert_allclose(shown.queue_veh.sum(axis=1), np.asarray(record.info["queue_veh"])[:, 0], atol=1e-3)
    assert shown.occupied.shape == (60, 4, 20) and 0.0 <= shown.occupied.min() <= shown.occupied.max() <= 1.0
