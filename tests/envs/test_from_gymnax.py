"""The stand-ins have the interface of Gymnax 1.0.1, and of 0.0.9: one flag for every end."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from vmax.envs.environment import AutoReset
from vmax.envs.from_gymnax import FromGymnax
from vmax.errors import UserError
from vmax.spaces import Discrete


@struct.dataclass
class State:
    x: jax.Array
    time: int


@struct.dataclass
class Numbers:
    limit: float = 2.0
    max_steps_in_episode: int = 4


def box(low, high, shape):
    return SimpleNamespace(low=low, high=high, shape=shape, dtype=jnp.float32)


class Cart:
    """A place on a line that is moved by the action and lost beyond a limit. As of Gymnax 1.0.1."""

    name = "Cart-v0"
    default_params = Numbers()

    def observation_space(self, params):
        return box(jnp.array([-jnp.inf, 0.0]), jnp.inf, (2,))

    def action_space(self, params):
        return box(-3.0, 1.0, (1,))

    def reset_env(self, key, params):
        state = State(jax.random.uniform(key, minval=-0.1, maxval=0.1), 0)
        return self.get_obs(state), state

    def step_env(self, key, state, action, params):
        x = (state.x + action).squeeze()
        state = State(x, state.time + 1)
        return self.get_obs(state), state, -jnp.abs(x), self.ends(state, params), {"discount": jnp.array(1.0)}

    def ends(self, state, params):
        return jnp.abs(state.x) > params.limit

    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode

    def get_obs(self, state):
        return jnp.stack([state.x, jnp.abs(state.x)])


class OldCart:
    """The same as of Gymnax 0.0.9, where `done` tells of time limits too."""

    name, default_params = Cart.name, Cart.default_params
    observation_space, action_space, reset_env, get_obs = (
        *(Cart.observation_space, Cart.action_space),
        *(Cart.reset_env, Cart.get_obs),
    )
    step_env = Cart.step_env

    def ends(self, state, params):
        return (jnp.abs(state.x) > params.limit) | (state.time >= params.max_steps_in_episode)


class Choices(Cart):
    def action_space(self, params):
        return SimpleNamespace(n=3, shape=())


@pytest.mark.parametrize("kind", [Cart, OldCart])
def test_an_episode_ends_by_truncation_at_its_time_and_by_termination_beyond_the_limit(kind):
    env = FromGymnax(kind())
    params = env.params("train")
    state, _ = env.reset(jax.random.key(0), params)
    begin = float(state.x)
    for t, (action, moved) in enumerate([(0.5, 0.0), (1.0, 1.0), (-0.5, -2.0), (0.5, 0.0)], 1):
        state, step = env.step(jax.random.key(t), state, jnp.array([action]), params)
        begin += moved  # [-1, 1] stands for [-3, 1]: 0.5 is rest
        np.testing.assert_allclose(step.observation, [begin, abs(begin)], rtol=1e-5, atol=1e-6)
        assert float(step.reward) == pytest.approx(-abs(begin), abs=1e-6)
        assert (bool(step.terminated), bool(step.truncated)) == (False, t == 4)
    state, _ = env.reset(jax.random.key(0), params)
    _, step = env.step(jax.random.key(1), state, jnp.array([-1.0]), params)
    assert (bool(step.terminated), bool(step.truncated)) == (True, False)


def test_spaces_bounds_and_episode_length_are_those_of_gymnax():
    env = FromGymnax(Cart())
    assert (env.name, env.min_episode_steps, env.observation_space.size) == ("Cart-v0", 4, 2)
    assert env.observation_space.low.tolist() == [-np.inf, 0.0]
    assert FromGymnax(Cart(), Numbers(max_steps_in_episode=9), shortest=2).min_episode_steps == 2
    assert FromGymnax(Choices()).action_space == Discrete(3)
    natural = env.natural(env.params("train"))
    assert natural is not None and (natural.action[0].low, natural.action[0].high) == (-3.0, 1.0)
    assert natural.units(jnp.zeros((2, 2)), jnp.array([[-1.0], [1.0]])).tolist() == [[-3.0], [1.0]]


def test_it_runs_side_by_side_in_a_scan_and_keeps_the_final_observations():
    env = FromGymnax(Cart())
    worlds, params = AutoReset(env), env.params("train")
    begin = worlds.reset(jax.random.split(jax.random.key(0), 6), params)

    def one(loop, key):
        action = jax.random.uniform(key, (6, 1), minval=-1.0)
        states, observation, step = worlds.step(key, loop[0], action, params)
        return (states, observation), step

    _, steps = jax.lax.scan(one, begin, jax.random.split(jax.random.key(1), 12))
    ended = steps.terminated | steps.truncated
    assert steps.observation.shape == (12, 6, 2) and ended.any() and jnp.isfinite(steps.reward).all()
    assert (jnp.abs(steps.observation[..., 0])[steps.terminated] > 2.0).all()  # the true final observation


@pytest.mark.parametrize(
    ("method", "space", "message"),
    [
        ("observation_space", SimpleNamespace(n=4, shape=()), "Cart-v0: its observations are SimpleNamespace; only a"),
        ("action_space", SimpleNamespace(spaces=()), "Cart-v0: its actions are SimpleNamespace; only Box and Discrete"),
        ("action_space", box(-jnp.inf, 1.0, (1,)), "Cart-v0: an action has no bounds; they are needed"),
    ],
)
def test_spaces_that_cannot_be_used_are_refused(monkeypatch, method, space, message):
    monkeypatch.setattr(Cart, method, lambda self, params: space)
    with pytest.raises(UserError, match=message):
        FromGymnax(Cart())


def test_a_start_cannot_be_named():
    env = FromGymnax(Cart())
    with pytest.raises(UserError, match="cannot start where one says"):
        env.reset(jax.random.key(0), env.params("test"), start=1.0)
