import jax
import numpy as np
import pytest

from vmax import make_env

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from vmax.envs.adapters import GymnasiumEnv


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
