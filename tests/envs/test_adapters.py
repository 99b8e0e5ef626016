import jax
import numpy as np
import pytest
from small_bess import small_bess

from vmax import make_env
from vmax.errors import UserError

pytest.importorskip("gymnasium")

import gymnasium
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import NormalizeObservation, RecordEpisodeStatistics

from vmax.envs.adapters import GymnasiumEnv, GymnasiumVectorEnv


@pytest.mark.parametrize("name", ["pendulum", "cartpole"])
def test_gymnasium_finds_nothing_to_complain_about(name):
    check_env(GymnasiumEnv(make_env(name)), skip_render_check=True)


def test_an_episode_is_that_of_the_environment_itself():
    env = make_env("pendulum", ["env.max_steps=3"])
    wrapped, params = GymnasiumEnv(env), env.params("train")
    observation, info = wrapped.reset(seed=1)
    state = wrapped._state
    assert wrapped.observation_space.contains(observation) and info == {}
    for t in range(1, 4):
        action = np.array([0.5], np.float32)
        seen, reward, terminated, truncated, info = wrapped.step(action)
        state, step = env.step(jax.random.key(0), state, action, params)
        np.testing.assert_allclose(seen, step.observation, rtol=1e-6)
        assert reward == pytest.approx(float(step.reward)) and (terminated, truncated) == (False, t == 3)
        assert set(info) == {feature.name for feature in env.info_space}


def test_a_seed_repeats_an_episode_and_without_one_the_next_differs():
    env = GymnasiumEnv(make_env("pendulum"))
    first, again, other = env.reset(seed=3)[0], env.reset(seed=3)[0], env.reset()[0]
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("name", ["pendulum", "cartpole", "bess"])
def test_stable_baselines_finds_nothing_to_complain_about(name):
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="the extra `peers` is not installed")
    checker.check_env(GymnasiumEnv(small_bess() if name == "bess" else make_env(name)))


def test_gymnasium_finds_nothing_to_complain_about_in_the_battery():
    check_env(GymnasiumEnv(small_bess()), skip_render_check=True)


def test_worlds_of_a_vector_are_those_of_the_environment_and_end_with_their_true_observation():
    env = make_env("pendulum", ["env.max_steps=3"])
    worlds, params = GymnasiumVectorEnv(env, 5), env.params("train")
    observations, info = worlds.reset(seed=1)
    states = worlds._state
    assert worlds.observation_space.contains(observations) and info == {} and len({*observations[:, 0].tolist()}) == 5
    actions = np.linspace(-1.0, 1.0, 5, dtype=np.float32)[:, None]
    step = None
    for t in range(1, 4):
        observations, rewards, terminations, truncations, info = worlds.step(actions)
        states, step = jax.vmap(env.step, in_axes=(None, 0, 0, None))(jax.random.key(0), states, actions, params)
        np.testing.assert_allclose(rewards, step.reward, rtol=1e-6)
        assert truncations.tolist() == [t == 3] * 5 and not terminations.any()
        assert worlds.observation_space.contains(observations)
        if t < 3:
            np.testing.assert_allclose(observations, step.observation, rtol=1e-6)
            assert set(info) == {feature.name for feature in env.info_space}
    assert step is not None
    np.testing.assert_allclose(info["final_obs"], step.observation, rtol=1e-6)
    assert info["_final_obs"].tolist() == [True] * 5
    assert (np.abs(observations[:, 2]) <= 1.0).all()  # the speed at the beginning of the next episodes


def test_a_seed_repeats_a_vector_and_rows_are_drawn_apart():
    worlds = GymnasiumVectorEnv(make_env("cartpole"), 3)
    first, again, other = worlds.reset(seed=3)[0], worlds.reset(seed=3)[0], worlds.reset()[0]
    assert first.tolist() == again.tolist() != other.tolist()
    assert worlds.step(np.zeros(3, int))[0].shape == (3, 4)


def test_no_world_at_all_is_refused():
    with pytest.raises(UserError, match="num_envs=0: must be at least 1"):
        GymnasiumVectorEnv(make_env("pendulum"), 0)


SHORT = ["env.max_steps=3"]


def lines_of(worlds: GymnasiumVectorEnv, steps: int) -> list[tuple]:
    """What a vector returns from its first step on, without looking into what it does."""
    return [worlds.step(np.zeros_like(worlds.action_space.sample())) for _ in range(steps)]


def test_with_next_step_an_ended_row_shows_its_true_observation_and_begins_anew_a_step_later():
    env = make_env("pendulum", SHORT)
    worlds = GymnasiumVectorEnv(env, 4, autoreset_mode="NextStep")
    assert worlds.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert GymnasiumVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    worlds.reset(seed=1)
    states, params, step = worlds._state, env.params("train"), None
    for _ in range(3):
        states, step = jax.vmap(env.step, (None, 0, 0, None))(jax.random.key(0), states, np.zeros((4, 1)), params)
    assert step is not None
    told = lines_of(worlds, 8)
    assert [truncated.tolist() for _, _, _, truncated, _ in told] == [[number in (2, 6)] * 4 for number in range(8)]
    np.testing.assert_allclose(told[2][0], step.observation, rtol=1e-6)
    first, reward, _, _, info = told[3]
    assert (np.abs(first[:, 2]) <= 1.0).all() and not np.allclose(first, told[2][0])  # slow, as episodes begin
    assert reward.tolist() == [0.0] * 4 and (told[4][1] < 0.0).all()
    assert all((info[feature.name] == 0.0).all() and not info[f"_{feature.name}"].any() for feature in env.info_space)


def test_rows_that_end_apart_begin_apart():
    worlds = GymnasiumVectorEnv(make_env("cartpole"), 6, autoreset_mode="NextStep")
    worlds.reset(seed=0)
    over = np.zeros(6, bool)
    for _ in range(60):
        _, rewards, terminations, truncations, _ = worlds.step(np.ones(6, int))
        assert rewards.tolist() == np.where(over, 0.0, 1.0).tolist() and not (over & terminations).any()
        over = terminations | truncations
    assert worlds.reset(seed=0)[0].shape == (6, 4)


def test_the_wrappers_of_gymnasium_work_with_next_step():
    worlds = NormalizeObservation(
        RecordEpisodeStatistics(GymnasiumVectorEnv(make_env("pendulum", SHORT), 4, autoreset_mode="NextStep"))
    )
    worlds.reset(seed=1)
    lengths = []
    for _ in range(12):
        info = worlds.step(np.zeros((4, 1), np.float32))[-1]
        lengths += info["episode"]["l"][info["_episode"]].tolist() if "episode" in info else []
    assert lengths == [3] * 12 and worlds.obs_rms.count > 40


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_reset_mask_resets_its_rows_alone(mode):
    worlds = GymnasiumVectorEnv(make_env("pendulum"), 3, autoreset_mode=mode)
    worlds.reset(seed=1)
    before, twin = worlds.step(np.zeros((3, 1), np.float32))[0], worlds._state
    mask = np.array([False, True, False])
    after, info = worlds.reset(options={"reset_mask": mask})
    assert info == {} and (after == before).all(axis=1).tolist() == [True, False, True]
    kept = jax.tree.map(lambda a, b: bool((a == b)[~mask].all()), worlds._state, twin)
    assert all(jax.tree.leaves(kept)) and worlds.observation_space.contains(after)


def test_without_autoreset_the_caller_resets_what_has_ended():
    worlds = GymnasiumVectorEnv(make_env("pendulum", SHORT), 2, autoreset_mode=AutoresetMode.DISABLED)
    worlds.reset(seed=1)
    worlds.reset(options={"reset_mask": np.array([True, False])})
    assert lines_of(worlds, 3)[2][3].tolist() == [True, True]
    with pytest.raises(UserError, match=r"step: the episode of row 0 has ended; call reset with options reset_mask"):
        lines_of(worlds, 1)
    worlds.reset(options={"reset_mask": np.array([True, True])})
    assert not lines_of(worlds, 1)[0][3].any()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.array([1, 0, 0]), r"reset_mask is int64 \[3\]; must be bool \[3\], true somewhere"),
        (np.array([True, False]), r"reset_mask is bool \[2\]"),
        (np.zeros(3, bool), r"reset_mask is bool \[3\]; must be bool \[3\], true somewhere"),
        (np.array([True, False, False]), "reset_mask leaves rows that have never been reset"),
    ],
)
def test_a_mask_that_is_none_is_refused(mask, message):
    with pytest.raises(UserError, match=message):
        GymnasiumVectorEnv(make_env("cartpole"), 3).reset(options={"reset_mask": mask})


def test_options_that_are_unknown_are_refused():
    with pytest.raises(UserError, match="options: 'low' is unknown; allowed: start"):
        GymnasiumEnv(make_env("cartpole")).reset(options={"low": 0.1})
    with pytest.raises(UserError, match="options: 'start' is unknown; allowed: reset_mask"):
        GymnasiumVectorEnv(make_env("cartpole"), 3).reset(options={"start": 0})
    with pytest.raises(UserError, match="autoreset_mode=never: must be one of NextStep, SameStep, Disabled"):
        GymnasiumVectorEnv(make_env("cartpole"), 3, autoreset_mode="never")


@pytest.mark.parametrize(
    ("name", "action", "message"),
    [
        ("cartpole", 7, "action = 7: must be whole numbers from 0 to 1"),
        ("cartpole", -1, "action = -1: must be whole numbers from 0 to 1"),
        ("cartpole", 0.5, "action: type float64; must be whole numbers from 0 to 1"),
        ("cartpole", [0], r"action: shape \[1\]; must be \[\]"),
        ("pendulum", [np.nan], r"action\[0\] = nan: must be finite numbers"),
        ("pendulum", [-np.inf], r"action\[0\] = -inf: must be finite numbers"),
        ("pendulum", 0.5, r"action: shape \[\]; must be \[1\]"),
    ],
)
def test_an_action_that_is_none_is_refused_and_the_episode_goes_on(name, action, message):
    env = GymnasiumEnv(make_env(name))
    env.reset(seed=0)
    with pytest.raises(UserError, match=message):
        env.step(action)
    assert np.isfinite(env.step(env.action_space.sample())[1])


def test_the_row_of_an_action_that_is_none_is_named():
    worlds = GymnasiumVectorEnv(make_env("cartpole"), 3)
    with pytest.raises(UserError, match="step: the environment has not been reset"):
        worlds.step([0, 1, 0])
    worlds.reset(seed=0)
    with pytest.raises(UserError, match=r"actions\[1\] = 2: must be whole numbers from 0 to 1"):
        worlds.step([0, 2, 0])
    swings = GymnasiumVectorEnv(make_env("pendulum"), 2)
    swings.reset(seed=0)
    with pytest.raises(UserError, match=r"actions\[1, 0\] = nan: must be finite numbers"):
        swings.step(np.array([[0.0], [np.nan]], np.float32))


def test_gymnasium_makes_vectors_of_single_environments():
    """Its own vector resets by mask and by step; what it sees of each world is what the vector here shows."""
    made = gymnasium.vector.SyncVectorEnv([lambda: GymnasiumEnv(make_env("pendulum", SHORT))] * 2)
    made.reset(seed=3)
    made.reset(options={"reset_mask": np.array([True, False])})
    assert [made.step(np.zeros((2, 1), np.float32))[3].tolist() for _ in range(4)][2:] == [[True] * 2, [False] * 2]
