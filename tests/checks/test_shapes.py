"""A world that tells other shapes or types than it declares ends in one line, before anything is run or compiled."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from sound import SIZES, Tank
from sound_worlds import Corridor

from vmax.checks.registry import run_checks
from vmax.checks.shapes import verify
from vmax.config import compose, load, to_mapping
from vmax.envs.environment import Plain, Step
from vmax.errors import UserError
from vmax.spaces import Box, Discrete, Feature
from vmax.training.run import trace

VECTORS = "observations have to be vectors [D]; found [8, 8, 3]: flatten them (there are no convolutions)"


class Picture:
    """The space that one would try: an image's."""

    shape, size = (8, 8, 3), 192


@dataclass(frozen=True)
class Image(Plain):
    observation_space: Any
    name = "image"
    action_space = Discrete(3)
    info_space = ()
    min_episode_steps = 20

    def params(self, split):
        return ()

    def reset(self, key, params, start=None):
        seen = jax.random.uniform(key, (8, 8, 3))
        return seen, seen

    def step(self, key, state, action, params):
        seen = jax.random.uniform(key, (8, 8, 3))
        return seen, Step(seen, jnp.float32(action == 1), jnp.array(False), jnp.array(False), {})


class Slips(Corridor):
    """A corridor with one slip in what a step tells."""

    def step(self, key, state, action, params):
        state, step = super().step(key, state, action, params)
        return self.slip(state, step)

    def slip(self, state, step) -> Any:
        return state, step


class Longer(Slips):
    def slip(self, state, step):
        return state, replace(step, observation=jnp.append(step.observation, 0.0))


class RewardVector(Slips):
    def slip(self, state, step):
        return state, replace(step, reward=step.reward[None])


class WholeReward(Slips):
    def slip(self, state, step):
        return state, replace(step, reward=jnp.int32(step.reward))


class WholeNumbers(Slips):
    def slip(self, state, step):
        return state, replace(step, observation=step.observation.astype(jnp.int32))


class FloatEnd(Slips):
    def slip(self, state, step):
        return state, replace(step, truncated=jnp.float32(step.truncated))


class MoreInfo(Slips):
    info_space = (Feature("cost"),)

    def slip(self, state, step):
        return state, replace(step, info={"price": step.reward})


class GrowingState(Slips):
    def slip(self, state, step):
        return state.replace(x=jnp.stack([state.x, state.x])), step


class Alone(Slips):
    def slip(self, state, step):
        return step


class PythonBranch(Slips):
    def slip(self, state, step):
        return (state, step) if state.x > 0.5 else (state, replace(step, reward=2 * step.reward))


FLAT = Box((Feature("pixels", low=0.0, high=1.0, size=192),))
FAULTY = [
    (Image(Picture()), f"env=image: {VECTORS}"),
    (Image(FLAT), f"env=image: {VECTORS}"),
    (Longer(), "env=corridor: observation after step: declared [2] (x, time); found [3]"),
    (RewardVector(), "env=corridor: reward has to be one float32; found float32[1]"),
    (WholeReward(), "env=corridor: reward has to be one float32; found int32[]"),
    (WholeNumbers(), "env=corridor: observation after step has to be a float32 vector; found int32[2]"),
    (FloatEnd(), "env=corridor: truncated has to be one bool; found float32[]"),
    (
        MoreInfo(),
        "env=corridor: info: declared and not told: cost, told and not declared in info_space: price",
    ),
    (GrowingState(), "env=corridor: state.x: float32[] becomes float32[2]"),
    (Alone(), "env=corridor: step has to return (state, Step)"),
    (Corridor("left"), "env=corridor: action_space has to be a Box or Discrete; found a str"),
]


@pytest.mark.parametrize(("env", "message"), FAULTY, ids=[type(env).__name__ for env, _ in FAULTY])
def test_what_is_told_in_another_form_than_declared_is_one_line(env, message):
    with pytest.raises(UserError) as raised:
        verify(env, env.params("train"))
    assert str(raised.value) == message


def test_what_cannot_be_compiled_is_one_line_with_its_place():
    with pytest.raises(UserError) as raised:
        verify(PythonBranch(), ())
    told = str(raised.value)
    assert told.startswith("env=corridor: step cannot be compiled: TracerBoolConversionError: ")
    assert "\n" not in told and "test_shapes.py:" in told


def test_sound_worlds_are_as_they_declare():
    for env in (Tank(), Corridor()):
        verify(env, env.params("train"))


@pytest.mark.parametrize("space", [Picture(), FLAT], ids=["declared as an image", "declared flat"])
def test_images_are_refused_in_the_same_line_by_the_checks_and_by_a_training_without_them(space):
    config = load(to_mapping(compose(["env=cartpole", "algorithm=dqn", "checks=off"])))
    for begin in (lambda env: run_checks(env, SIZES, {}, {}), lambda env: trace(config, env, None)):
        with pytest.raises(UserError) as raised:
            begin(Image(space))
        assert str(raised.value) == f"env=image: {VECTORS}"
