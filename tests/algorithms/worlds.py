"""Tiny worlds of choices that the tests of this folder share, and what a learner makes of them."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vmax import devices
from vmax.algorithms.algorithm import Spec
from vmax.envs.environment import Plain, Step
from vmax.replay.settings import PriorityConfig, SequenceConfig
from vmax.spaces import Box, Discrete, Feature
from vmax.training.guide import Guide
from vmax.training.program import Program, RunState, Sizes

STEPS = 5


@dataclass(frozen=True)
class Masked(Plain):
    """`count` choices among 4 at once, for five steps. Which are allowed changes from step to step: some, one alone, or
    (by mistake) none. The reward is minus how many forbidden ones were made; where none is allowed, any may be."""

    count: int = 1

    name = "masked"
    info_space = ()
    min_episode_steps = STEPS

    @property
    def observation_space(self) -> Box:
        return Box((Feature("x"), Feature("may", low=0.0, high=1.0, size=4 * self.count)))

    @property
    def action_space(self) -> Discrete:
        return Discrete(4, (), self.count)

    @property
    def allowed(self) -> tuple[str, ...]:
        return ("may",)

    def params(self, split: str) -> tuple[()]:
        return ()

    def reset(self, key: jax.Array, params: Any, start: Any = None) -> Any:
        return self._seen(key, jnp.int32(0))

    def step(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> Any:
        observation, time = state
        may = observation[1:].reshape(self.count, 4)
        made = jnp.take_along_axis(may, jnp.reshape(action, (self.count, 1)), axis=1)[:, 0]
        forbidden = (made < 0.5) & may.any(axis=1)
        state, observation = self._seen(key, time + 1)
        over = time + 1 >= STEPS
        return state, Step(observation, -forbidden.sum().astype(jnp.float32), jnp.array(False), over, {})

    def _seen(self, key: jax.Array, time: jax.Array) -> Any:
        """State (the observation and the time) and observation."""
        keys = jax.random.split(key, 3)
        some = jax.random.bernoulli(keys[0], 0.4, (self.count, 4))
        alone = jax.nn.one_hot(jax.random.randint(keys[1], (self.count,), 0, 4), 4) > 0.5
        may = jnp.where(jax.random.bernoulli(keys[2], 0.3), alone, some)
        observation = jnp.concatenate([jnp.ones(1), may.reshape(-1).astype(jnp.float32)])
        return (observation, time), observation


def spec_of(world: Any) -> Spec:
    """What a learner is told of it."""
    space = world.observation_space
    return Spec(space, world.action_space, 1000, devices.AXIS, allowed=space.entries(world.allowed))


def trained(
    algorithm: Any, world: Any, iterations: int, warm_up: int = 0, guide: Guide | None = None
) -> tuple[RunState, dict[str, float]]:
    """The state after a chunk of 8 environments on one device, and the chunk's figures."""
    sizes = Sizes(
        num_envs=8,
        unroll=STEPS if algorithm.on_policy else 1,
        updates=2,
        batch_size=16,
        replay_capacity=8 * (iterations + warm_up),
        n_step=1,
        sequences=SequenceConfig(kind="window", length=4, stride=4, burn_in=0),
        priorities=PriorityConfig(0.0, 0.4, 1e-3, 0.9),
    )
    program = Program(world, algorithm, spec_of(world), sizes, guide)
    initialise, warm, chunk = program.compiled(iterations, warm_up)
    params = devices.replicate(world.params("train"), 1)
    state = initialise(devices.replicate(jax.random.key(0), 1), params)
    state, record = chunk(warm(state, params), params)
    record = devices.fetch(record)
    return state, {name: float(value) for name, value in record.items() if name != "fault"}
