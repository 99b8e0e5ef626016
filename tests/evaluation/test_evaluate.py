"""One evaluation of a small battery, looked at from all sides; greedy episodes; the score during training."""

import json
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from small_bess import bess_on, small_bess, wavy_prices

import vmax
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Spec
from vmax.config import compose, load
from vmax.data.days import typical_days
from vmax.envs import rollout
from vmax.envs.bess.action import power_mw
from vmax.envs.bess.baselines import DoNothing
from vmax.envs.bess.planners import MPC, PerfectForesight
from vmax.evaluation.evaluate import Evaluation, compare, evaluate, trace_table
from vmax.evaluation.plots import learning_curve, monthly_profit
from vmax.evaluation.policies import Learned
from vmax.evaluation.seasons import SeasonDays
from vmax.evaluation.table import comparison_rows, print_comparison, print_groups
from vmax.evaluation.validation import Validation
from vmax.evaluation.writing import write_evaluation
from vmax.spaces import Box, Discrete, Feature

BASELINES = [
    *("do_nothing", "two_cycle", "gated_two_cycle", "n_cheap_n_dear", "threshold"),
    *("lp_yesterday", "mpc", "mpc_calibrated", "perfect_foresight"),
]


def unknown_reward(observation, action, context):
    """Stands in for the environment's function; an actor does not depend on it."""
    return jnp.float32(0.0), observation


def random_policy(env, seed: int) -> Learned:
    """An untrained actor, its last layer enlarged: a fresh one stays within the dead band."""
    config = load(compose(["algorithm=td3", "network.hidden=[8]"]))
    algorithm = make_algorithm(config.algorithm, config.network)
    spec = Spec(env.observation_space, env.action_space, total_updates=1, post_decision=unknown_reward)
    weights = algorithm.policy(algorithm.init(jax.random.key(seed), spec))
    weights.actor["params"]["mean"]["kernel"] *= 100.0
    return Learned(weights, algorithm)


def programs() -> int:
    """How many rollouts have been compiled."""
    return rollout._rollout_states._cache_size()  # pyright: ignore[reportAttributeAccessIssue]


@lru_cache(maxsize=1)
def evaluation() -> Evaluation:
    env = small_bess()
    return evaluate(env, {"best": random_policy(env, 0)}, "test", error_draws=3, bootstrap=100, max_episode_steps=1)


def test_all_policies_are_there_and_none_breaks_a_law():
    policies = evaluation().result["policies"]
    assert list(policies) == ["best", *BASELINES]
    for name, figures in policies.items():
        assert figures["violations"] == 0, name
        assert figures["max_energy_residual_mwh"] < 1e-4, name
        assert figures["capture"] <= 1 + 1e-6, name
        low, high = figures["ci95"]["capture"]
        assert low - 1e-9 <= figures["capture"] <= high + 1e-9 or name == "best"
    assert (policies["do_nothing"]["capture"], policies["perfect_foresight"]["capture"]) == (0.0, 1.0)
    assert policies["mpc"]["capture"] > 0.97


def test_figures_follow_from_the_rows():
    result = evaluation().result
    table: Any = evaluation().timeseries
    assert result["draws"] == 1  # known prices have no errors to draw
    sums = table.groupby("policy")[["profit_eur", "terminal_value_eur"]].sum()
    value = sums["profit_eur"] + sums["terminal_value_eur"]
    for name, figures in result["policies"].items():
        assert figures["profit_eur"] == pytest.approx(sums["profit_eur"][name], rel=1e-5, abs=1e-3)
        assert figures["uplift_eur"] == pytest.approx(value[name] - value["do_nothing"], rel=1e-5, abs=1e-3)
    money = table["energy_revenue_eur"] - table["fee_eur"] - table["wear_cost_eur"]
    np.testing.assert_allclose(table["profit_eur"], money, atol=1e-4)


def test_money_is_that_of_a_mean_draw_and_the_draws_are_stated(monkeypatch):
    env = bess_on(wavy_prices(), "env.information=forecast")
    few = {"do_nothing": DoNothing(), "mpc": MPC(), "perfect_foresight": PerfectForesight()}
    monkeypatch.setattr(type(env.assessment), "baselines", lambda self: few)
    monkeypatch.setattr(type(env.assessment), "settings", lambda self: {})
    found = evaluate(env, {}, "test", error_draws=2, bootstrap=10, max_episode_steps=1)
    table: Any = found.timeseries
    assert found.result["draws"] == 2
    lanes = table[table["policy"] == "mpc"].groupby("lane")["profit_eur"].sum()
    assert len(lanes) == 2 and lanes[0] != lanes[1]
    assert found.result["policies"]["mpc"]["profit_eur"] == pytest.approx(lanes.mean(), rel=1e-5)
    assert str(found.result["rules"]["profit_eur"]).startswith("sum of the column / draws")


def test_the_months_show_whoever_earned_anything():
    def figures(eur: float) -> dict[str, Any]:
        return {"uplift_eur": 0.0, "profit_eur_by_month": {"2024-01": eur, "2024-02": 0.0}}

    axes = monthly_profit({"do_nothing": figures(5.0), "best": figures(-1.0), "idle": figures(0.0)}, "EUR").axes[0]
    assert axes.get_legend_handles_labels()[1] == ["do_nothing", "best"]


@pytest.mark.parametrize("key", ["by_season", "by_price_spread"])
def test_groups_of_days_add_up_to_the_whole(key):
    result = evaluation().result
    days = result["day_groups"][key.removeprefix("by_")]["days"]
    assert sum(days.values()) == 9 and {"q1", "winter"} & days.keys()
    for name, figures in result["policies"].items():
        groups = figures[key]
        assert groups.keys() == days.keys()
        for total in ("profit_eur", "uplift_eur"):
            assert sum(group[total] for group in groups.values()) == pytest.approx(figures[total], abs=1e-6)
        cycles = sum(group["cycles_per_day"] * days[label] for label, group in groups.items())
        assert cycles == pytest.approx(9 * figures["cycles_per_day"], rel=1e-6), name
    best = result["policies"]["perfect_foresight"][key]
    assert {group["capture"] for group in best.values()} <= {1.0, None}


def test_quartiles_are_those_of_the_spread_of_the_evaluated_days():
    prices = np.asarray(small_bess().series.values["price"][-9 * 24 :]).reshape(9, 24)
    spread = prices.max(axis=1) - prices.min(axis=1)
    found = evaluation().result["day_groups"]["price_spread"]
    np.testing.assert_allclose(found["edges_eur_per_mwh"], np.quantile(spread, (0.25, 0.5, 0.75)), rtol=1e-5)
    assert found["days"] == {"q1": 3, "q2": 2, "q3": 2, "q4": 2}  # the edges are the 3rd, 5th and 7th of nine
    best = evaluation().result["policies"]["perfect_foresight"]["by_price_spread"]
    assert best["q4"]["profit_eur"] / 2 > best["q1"]["profit_eur"] / 3  # wild days pay


def test_the_days_of_the_seasons_are_compiled_once_and_told_hour_by_hour(tmp_path):
    env, policy = small_bess(), random_policy(small_bess(), 0)
    days = SeasonDays.of(env, policy.algorithm)
    assert days is not None and days.seasons == ("winter",)  # the prices begin in January; validation in February
    table: Any = days(policy.weights)
    compiled = programs()
    other = days(random_policy(env, 1).weights)
    assert programs() == compiled and (table["action_power"] != other["action_power"]).any()
    (first,), _ = typical_days(env.series, "validation")
    assert (table["utc"].to_numpy() == env.series.utc[first : first + 24]).all()
    np.testing.assert_allclose(table["price_eur_per_mwh"], env.series.values["price"][first : first + 24], rtol=1e-6)
    assert table["soc"].iloc[0] == 0.5 and table["soc_end"].to_numpy()[:-1].tolist() == table["soc"].tolist()[1:]
    site = env.params("validation").site
    power = [float(power_mw(env.config.action, jnp.float32(a), site, None)) for a in table["action_power"]]
    done = (table["discharge_mw"] - table["charge_mw"]).to_numpy()
    assert (np.abs(done) <= np.abs(power) + 1e-6).all() and np.isclose(done, power, atol=1e-6).any()
    price, power, charge = days.figure(table).axes
    assert [text.get_text()[:8] for text in price.texts] == ["winter, "]
    assert len(power.patches) == len(charge.lines) == 1


def test_files_are_whole_and_strict(tmp_path):
    write_evaluation(small_bess(), evaluation(), tmp_path, {"status": "completed"}, plots=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"result.json", "episodes.csv", "timeseries.csv", "trace.csv", "plots"}
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {"week.png", "charge_by_hour.png", "monthly_profit.png"}
    result = json.loads((tmp_path / "result.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert result["run"] == {"status": "completed"}
    rows: Any = pd.read_csv(tmp_path / "timeseries.csv")
    best = rows[rows["policy"] == "best"]
    assert best["profit_eur"].sum() == pytest.approx(result["evaluation"]["policies"]["best"]["profit_eur"], rel=1e-5)
    assert best["utc"].iloc[0] == result["evaluation"]["start"]
    assert (best["terminal_value_eur"].iloc[:-1] == 0).all()
    trace = pd.read_csv(tmp_path / "trace.csv")
    assert [c.split("_")[0] for c in trace.columns[3:]].count("observation") == small_bess().observation_space.size
    assert list(trace.columns[-2:]) == ["action_power", "reward"]
    assert len(trace) == len(best)


def test_table_puts_the_learned_policy_first(capsys):
    print_comparison(evaluation().result, "EUR")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    order = [line.split()[1] for line in lines]
    assert order[0] == "best"
    assert order.index("perfect_foresight") < order.index("gated_two_cycle") < order.index("do_nothing")
    assert sorted(order[1:]) == sorted(BASELINES)


def test_groups_are_printed_without_the_two_that_capture_lies_between(capsys):
    print_groups(evaluation().result)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert {line[1] for line in lines} == {"best", *BASELINES} - {"do_nothing", "perfect_foresight"}
    capture = evaluation().result["policies"]["best"]["by_price_spread"]["q4"]["capture"]
    assert lines[0][1] == "best" and lines[0][-2] == f"{capture:.3f}"
    print_groups({"policies": {}})
    assert capsys.readouterr().out == ""


def test_capture_is_null_where_nothing_can_be_earned():
    figures: dict = {name: {} for name in ("do_nothing", "perfect_foresight", "best")}
    daily = {name: {"profit_eur": np.zeros(9), "value_eur": np.zeros(9)} for name in figures}
    daily["best"]["value_eur"] = np.full(9, -1.0)
    compare(figures, daily, bootstrap=10, seed=0)
    assert figures["best"]["capture"] is None
    assert figures["best"]["uplift_eur"] == -9.0


def test_score_during_training_is_compiled_once_and_agrees_with_the_evaluation():
    env = small_bess()
    policy = random_policy(env, 0)
    score = Validation(env, policy.algorithm, "test", error_draws=3, max_episode_steps=1)
    assert score.references["perfect_foresight"] == 1.0
    assert score.references["do_nothing"] == 0.0
    found = score(policy.weights)
    compiled = programs()
    other = score(random_policy(env, 1).weights)
    assert programs() == compiled
    assert found["score"] == pytest.approx(evaluation().result["policies"]["best"]["capture"], rel=1e-4)
    assert found["score"] != other["score"]


def test_episodes_where_there_is_no_split_to_run_over():
    env = vmax.make_env("pendulum", ["env.max_steps=20"])
    found = evaluate(env, {"last": random_policy(env, 0)}, "test", error_draws=1, bootstrap=10, max_episode_steps=1000)
    figures = found.result["policies"]["last"]
    episodes: Any = found.episodes
    returns = episodes["return"]
    assert figures["episodes"] == len(returns) == 100
    assert figures["return_mean"] == pytest.approx(returns.mean())
    assert figures["return_std"] == pytest.approx(returns.std(ddof=0))
    assert (episodes["steps"] == 20).all()
    assert -17 * 20 < figures["return_mean"] < 0  # a step costs at most π² + 0.1·8² + 0.001·2²


def test_learning_curve_shows_curve_and_baselines(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,eval/score,train/loss\n100,,1\n200,0.5,1\n300,0.8,1\n")
    axes = learning_curve(path, {"perfect_foresight": 1.0, "mpc": 0.9}).axes[0]
    curve: Any = axes.lines[0]
    assert list(curve.get_xdata()) == [200, 300]
    assert list(curve.get_ydata()) == [0.5, 0.8]
    assert {text.get_text() for text in axes.texts} == {"perfect_foresight", "mpc"}


def test_a_trace_of_choices_has_their_numbers():
    world = SimpleNamespace(observation_space=Box((Feature("seen"),)), action_space=Discrete(3))
    seen = {
        "observation": np.zeros((2, 2, 1)),
        "action": np.array([[0, 2], [1, 0]], np.int32),
        "reward": np.ones((2, 2)),
    }
    record = rollout.Record({}, jnp.array([2, 1]), jax.tree.map(jnp.asarray, seen))
    table = pd.DataFrame({"utc": ["a", "b", "a"], "policy": "last", "lane": [0, 0, 1]})
    found = trace_table(world, "last", record, table)
    assert list(found) == ["utc", "policy", "lane", "observation_seen", "action_choice", "reward"]
    assert found["action_choice"].tolist() == [0, 1, 2]


def test_figures_of_a_home_show_their_digits():
    columns = [
        {"heading": "profit {currency}", "key": "profit_eur", "digits": 0},
        {"heading": "cycles", "key": "cycles", "digits": 2},
        {"heading": "switches", "key": "switches", "digits": 0},
    ]
    home = {
        "best": {"profit_eur": 1.234, "cycles": 1.2, "switches": 7},
        "do_nothing": {"profit_eur": 0.0, "cycles": 0.0},
    }
    _, rows = comparison_rows({"columns": columns, "policies": home}, "EUR")
    assert rows == {"best": ["1.23", "1.20", "7"], "do_nothing": ["0.00", "0.00", "-"]}
    plant = {"best": {"profit_eur": 74_999.4, "cycles": 1.2, "switches": 7}}
    _, rows = comparison_rows({"columns": columns, "policies": plant}, "EUR")
    assert rows == {"best": ["74,999", "1.20", "7"]}
