"""No two splits share an episode, whatever the environment: no policy is tested on what it was chosen on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import vmax
from vmax.data.splits import SPLITS
from vmax.envs.environment import AutoReset
from vmax.envs.rollout import rollout_states, trace_episodes
from vmax.evaluation.episodes import split_key
from vmax.spaces import Discrete

STEPS, EPISODES = 3, 64
OVERRIDES = {
    "pendulum": [],
    "cartpole": [],
    "bess": [],
    "bess_pv": [],
    "microgrid": ["env.data.train_years=2", "env.data.validation_years=1", "env.data.test_years=1"],
    "traffic_signal": ["env.episode.minutes=5", "env.episode.seeds=8"],
}


@struct.dataclass
class Nothing:
    """The same action in every lane, in the middle of its range."""

    def initial(self, env, params, starts):
        return ()

    def act(self, env, states, observation, params, carry, key):
        space = env.action_space
        shape = (len(observation), *space.shape)
        return jnp.zeros(shape, jnp.int32 if isinstance(space, Discrete) else jnp.float32), carry


def evaluated(env, split):
    """What the evaluation of a split sees of each episode's first steps, `[L, T * D]`."""
    params = env.params(split)
    if env.assessment is not None:
        starts = env.assessment.starts(params, split, error_draws=1)
    elif env.trials is not None:
        starts = env.trials.starts(split)
    else:
        record = trace_episodes(env, Nothing(), params, split_key(split), EPISODES, STEPS)
        return seen(record.trace["observation"])
    return seen(rollout_states(env, Nothing(), params, starts, STEPS, trace=True).trace["observation"])


def trained(env):
    """The same of episodes as training draws them, `seed=0`."""
    world, params = AutoReset(env), env.params("train")
    step = jax.jit(world.step)
    state, observation = jax.jit(world.reset)(jax.random.split(jax.random.key(0), EPISODES), params)
    found = []
    for number in range(STEPS):
        found.append(observation)
        action, _ = Nothing().act(env, state, observation, params, (), None)
        state, observation, _ = step(jax.random.key(number), state, action, params)
    return seen(jnp.stack(found))


def seen(observation):
    return np.asarray(observation).swapaxes(0, 1).reshape(observation.shape[1], -1)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "bess_pv")) for n in OVERRIDES])
def test_no_two_splits_share_an_episode(name):
    env = vmax.make_env(name, OVERRIDES[name])
    found = {"training": trained(env), **{split: evaluated(env, split) for split in SPLITS[1:]}}
    episodes = {split: {row.tobytes() for row in rows} for split, rows in found.items()}
    assert all(episodes.values())
    for one in episodes:
        for other in episodes:
            assert one == other or not episodes[one] & episodes[other], f"{one} and {other} share an episode"


def test_the_test_episodes_are_the_same_for_all_seeds_and_no_seed_draws_them():
    keys = {jax.random.key_data(split_key(split)).tobytes() for split in SPLITS}
    assert len(keys) == 3
    assert not keys & {jax.random.key_data(jax.random.key(seed)).tobytes() for seed in range(100)}
