import jax
import numpy as np
import pytest
from small_bess import small_bess

from vmax import make_env
from vmax.errors import UserError

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

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
