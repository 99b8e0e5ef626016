"""The environment as a whole: known delays of known controllers, one account of vehicles, padding, what is observed."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vmax
from vmax.envs.rollout import rollout
from vmax.envs.traffic_signal import actions, trials
from vmax.envs.traffic_signal.observation import FEATURES
from vmax.envs.traffic_signal.plans import Plan
from vmax.envs.traffic_signal.rules import Actuated, FixedTime, LongestQueue, MaxPressure, Random
from vmax.errors import UserError

SEEDS = 32


def env_of(*overrides, name="traffic_signal"):
    return vmax.make_env(name, [f"env.episode.seeds={SEEDS}", *overrides])


def figures(env, policy, split="test"):
    judge = env.trials
    return judge.lane_figures(rollout(env, policy, env.params(split), judge.starts(split)))


@pytest.fixture(scope="module")
def swinging():
    return env_of()


@pytest.fixture(scope="module")
def steady():
    return env_of("env.demand.pattern=steady")


def rule(name, env):
    timing = env.config.signals.timing
    return {
        "30/30": FixedTime.of([[Plan((30.0, 30.0))]], timing),
        "webster": FixedTime.of([[Plan((25.0, 15.0))]], timing),
        "max_pressure": MaxPressure(),
        "longest_queue": LongestQueue(),
    }[name]


@pytest.mark.parametrize(
    ("name", "when_steady", "when_swinging"),
    [
        ("webster", 21.1, 91.3),
        ("max_pressure", 22.8, 23.4),
        pytest.param("30/30", 36.8, 39.8, marks=pytest.mark.slow),
        pytest.param("longest_queue", 21.8, 21.5, marks=pytest.mark.slow),
    ],
)
def test_rules_have_the_delays_of_a_prototype(steady, swinging, name, when_steady, when_swinging):
    """Seconds per vehicle, within 10 %; an independent program in NumPy, 64 demand seeds."""
    for env, known in ((steady, when_steady), (swinging, when_swinging)):
        delay = figures(env, rule(name, env))["delay_s_per_veh"].mean()
        assert delay == pytest.approx(known, rel=0.10), (name, delay)


def test_a_signal_that_asks_who_comes_beats_the_plan_and_the_plan_beats_even_greens(steady):
    """Webster's plan is made for this demand; a gap-out rule needs none."""
    delays = [
        figures(steady, policy)["delay_s_per_veh"].mean()
        for policy in (Actuated(jnp.float32(0.22), jnp.float32(50.0)), rule("webster", steady), rule("30/30", steady))
    ]
    assert delays == sorted(delays)


def test_every_policy_meets_the_same_vehicles_and_splits_have_others(swinging):
    came = [figures(swinging, rule(name, swinging))["arrived_veh"] for name in ("30/30", "longest_queue")]
    np.testing.assert_allclose(came[0], came[1], rtol=1e-5)
    other = figures(swinging, rule("30/30", swinging), "validation")["arrived_veh"]
    assert not np.allclose(came[0], other) and len(np.unique(np.round(came[0]))) > SEEDS // 2


@pytest.mark.parametrize("name", ["traffic_signal", "traffic_corridor", "traffic_lagos"])
def test_vehicles_are_accounted_for_to_a_hundred_thousandth_in_float32(name):
    env = vmax.make_env(name, ["env.episode.seeds=2", "env.episode.minutes=20", "env.demand.level=saturated"])
    found = figures(env, LongestQueue())
    assert np.all(found["mass_error_veh"] <= 1e-5 * found["arrived_veh"])
    assert np.all(found["arrived_veh"] > 100)


def test_delay_is_the_time_beyond_free_speed_counted_by_hand():
    """Little's law: vehicles inside and outside, summed over time, less what their way takes at free speed."""
    env = env_of("env.episode.minutes=40", "env.episode.seeds=1")
    record = rollout(env, rule("30/30", env), env.params("test"), env.trials.starts("test"))
    info = {name: np.asarray(values, np.float64)[:, 0] for name, values in record.info.items()}
    inside = info["inside_veh"] + info["outside_veh"]
    held_veh_s = 5.0 * (np.append(0.0, inside[:-1]) + inside).sum() / 2.0  # trapezoids of 5 s; the model counts by 1 s
    assert info["delay_veh_s"].sum() + info["free_flow_veh_s"].sum() == pytest.approx(held_veh_s, rel=0.03)
    free_s = 300.0 / (50.0 / 3.6)
    assert info["free_flow_veh_s"].sum() == pytest.approx(info["left_veh"].sum() * free_s, rel=0.05)


def test_requests_that_are_not_allowed_change_nothing_and_the_mask_says_so(swinging):
    params = swinging.params("train")
    step = jax.jit(swinging.step)
    state, seen = swinging.reset(jax.random.key(0), params)
    may = lambda seen: seen[np.asarray(swinging.observation_space.entries(swinging.allowed))].tolist()  # noqa: E731
    assert may(seen) == [1.0, 0.0]
    state, _ = step(jax.random.key(0), state, jnp.int32(1), params)
    state, told = step(jax.random.key(0), state, jnp.int32(1), params)
    assert float(told.info["switches"]) == 0.0 and may(told.observation) == [1.0, 1.0]
    state, told = step(jax.random.key(0), state, jnp.int32(1), params)
    assert float(told.info["switches"]) == 1.0 and may(told.observation) == [0.0, 1.0]


def test_a_network_in_padding_does_what_it_does_alone():
    """`simple` beside `corridor`, whose arrays are larger."""
    small = ("env.episode.seeds=2", "env.episode.minutes=10", "env.demand.poisson=false")
    alone, padded = (env_of(*small, f"env.network={name}") for name in ("simple", "[simple,corridor]"))
    one = figures(alone, LongestQueue())
    both = figures(padded, LongestQueue())
    np.testing.assert_allclose(both["delay_s_per_veh"][0], one["delay_s_per_veh"][0], rtol=1e-4)
    assert padded.action_space.count == 3 and padded.observation_space.size % 3 == 0


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("switch", "traffic_signal"),
        ("joint", "traffic_signal"),
        pytest.param("joint", "traffic_corridor", marks=pytest.mark.slow),
    ],
)
def test_other_actions_are_other_ways_to_say_the_same(action, name):
    """A rule that uses the clock alone to know what is allowed does the same by each."""
    small = ("env.episode.minutes=15", "env.demand.pattern=steady")
    by_phase, other = env_of(*small, name=name), env_of(*small, f"env.signals.action={action}", name=name)
    same = [figures(env, LongestQueue())["delay_s_per_veh"] for env in (by_phase, other)]
    np.testing.assert_allclose(*same, rtol=1e-5)
    assert other.allowed == () and other.action_space.count == 1


def test_the_observation_says_that_it_is_a_block_of_the_same_features_for_each_signal():
    """So that learners may share one network among the signals."""
    env = env_of(name="traffic_corridor")
    features, signals = env.observation_space.features, env.signal_names
    assert env.blocks and env.action_space.count == len(signals) > 1
    each = len(features) // len(signals)
    blocks = [features[j * each : (j + 1) * each] for j in range(len(signals))]
    alike = {
        tuple((f.name.removeprefix(name + "_"), f.size) for f in b) for name, b in zip(signals, blocks, strict=True)
    }
    assert len(alike) == 1 and len(features) == each * len(signals)


def test_all_signals_as_one_choice_name_it_and_are_not_too_many():
    env = env_of("env.signals.action=joint", name="traffic_corridor")
    assert env.action_space.size == 8 and len(set(env.action_space.names)) == 8
    phases = jnp.ones((3, 2))
    for choice in range(8):
        wish = actions.decode("joint", jnp.int32(choice), jnp.zeros(3, jnp.int32), phases)
        named = [name.split("+")[j] for j, name in enumerate([env.action_space.names[choice]] * 3)]
        assert named == [env_of(name="traffic_corridor").action_space.names[p] for p in np.asarray(wish)]
        assert int(actions.encode("joint", wish, jnp.zeros(3, jnp.int32), phases)) == choice
    with pytest.raises(UserError, match=r"env\.signals\.action=joint: 2\^9 combinations of phases; at most 64"):
        env_of("env.signals.action=joint", name="traffic_lagos")


def test_rewards_are_the_weighted_terms_and_episodes_of_training_have_unlike_lengths(swinging):
    params = swinging.params("train")
    ends = [int(swinging.reset(key, params)[0].end) for key in jax.random.split(jax.random.key(0), 20)]
    assert min(ends) >= swinging.min_episode_steps == 360 and max(ends) <= 720 and len(set(ends)) > 10
    env = env_of("env.reward.weights.queue=0.5", "env.reward.weights.throughput=0.1", "env.reward.weights.switches=2.0")
    params = env.params("train")
    state, _ = env.reset(jax.random.key(0), params)
    step = jax.jit(env.step)
    for i in range(30):
        state, _ = step(jax.random.key(0), state, jnp.int32(i // 3 % 2), params)
    _, told = step(jax.random.key(0), state, jnp.int32(0), params)
    info = {name: float(value) for name, value in told.info.items()}
    assert info["term_queue"] == pytest.approx(-0.5 * info["queue_veh"] / 20.0, rel=1e-5)
    assert info["term_throughput"] == pytest.approx(0.1 * info["left_veh"] / 20.0, rel=1e-5)
    assert info["term_delay"] == pytest.approx(-info["delay_veh_s"] / 5.0 / 20.0, rel=1e-5)
    terms = sum(value for name, value in info.items() if name.startswith("term_"))
    assert float(told.reward) == pytest.approx(terms, rel=1e-5)


def test_every_feature_lies_within_its_bounds_and_says_something():
    """The corridor, saturated, under random choices."""
    wanted = f"env.observation.features=[{','.join(FEATURES)}]"
    env = env_of(wanted, "env.demand.level=1.5", "env.episode.minutes=20", name="traffic_corridor")
    params, space = env.params("test"), env.observation_space
    starts = jax.tree.map(lambda leaf: leaf[:2], env.trials.starts("test"))
    record = rollout(env, Random(), params, starts, trace=True)
    seen, low, high = (np.asarray(x) for x in (record.trace["observation"], space.low, space.high))
    assert np.isfinite(seen).all() and (seen >= low - 1e-6).all() and (seen <= high + 1e-6).all()
    block = {f.name: seen[..., space.slice(f.name)] for f in space.features}
    still = {"motorcycles", "hour_sin", "hour_cos", "clearing", "held", "blocked"}  # one class; time; seldom
    moving = [name for name, values in block.items() if np.ptp(values) > 0.05]
    assert {name for name in block if not name.endswith(tuple(still))} <= set(moving)


@pytest.mark.parametrize("name", ["traffic_signal", "traffic_lagos"])
def test_what_will_come_is_not_observed(name):
    """Another future, more of it, from another phase of the swing: the observation stays as it is."""
    env = vmax.make_env(name)
    params = env.params("test")
    state, first = env.reset(jax.random.key(0), params)
    drawn = replace(state.drawn, key=jax.random.key(7), level=jnp.float32(3.0), phase=jnp.float32(0.4))
    np.testing.assert_array_equal(env.observe(replace(state, drawn=drawn), params), first)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env.flow.dt_s=1.25"], r"env\.flow\.dt_s=1\.25: must be at most 1\.08"),
        (["env.flow.dt_s=0.7"], r"env\.signals\.decide_s=5: must be a multiple of env\.flow\.dt_s=0\.7"),
        (["env.flow.model=arz2"], r"env\.flow\.model=arz2: of 1 classes"),
        (["env.demand.train_spread=1.5"], r"env\.demand\.train_spread=1\.5: must be within \[0, 1\]"),
        (["env.demand.level=huge"], r"env\.demand\.level=huge: must be a number, a range or one of light, moderate"),
        (
            ["env.observation.features=[count,colour]"],
            r"env\.observation\.features: no feature 'colour'; allowed: count",
        ),
        (
            ["env.signals.max_green_s=5"],
            r"env\.signals\.max_green_s=5\.0: must be above env\.signals\.min_green_s=10\.0",
        ),
        (["env.network=nowhere.yaml"], r"env\.network=nowhere\.yaml: no such file"),
        (["env.demand.shares=[0.5,0.5]"], r"env\.demand\.shares=\[0\.5, 0\.5\]: must be 1"),
    ],
)
def test_a_setting_that_cannot_be_is_named(overrides, message):
    with pytest.raises(UserError, match=message):
        vmax.make_env("traffic_signal", overrides)


def test_numbers_of_rules_that_are_given_are_not_tuned_and_others_by_the_delay():
    env = env_of(
        "env.episode.minutes=10", "env.rules.gap=0.22", "env.rules.actuated_max_s=50.0", "env.rules.sotl_theta=9"
    )
    settings = env.trials.settings()
    assert settings["actuated"] == {"gap": pytest.approx(0.22), "most_s": 50.0} and settings["sotl"] == {"theta": 9.0}
    thick, thin = (Actuated(jnp.float32(gap), jnp.float32(50.0)) for gap in (0.0, 0.22))
    assert trials.least_delay(env, [thick, thin]) is thin and trials.least_delay(env, [thin, thick]) is thin
