"""Where something that is not finite came from: the first number is named, on whichever device it was."""

import jax
import jax.numpy as jnp
import pytest

from vmax.envs.environment import Step
from vmax.spaces import Box, Feature
from vmax.training import finite

SEEN = Box((Feature("speed"), Feature("price", size=2)))
ENVS, ACTIONS = 4, 2


def after(steps):
    """The fault after steps of four environments; each names what is not a number there: (part, environment, entry)."""
    fault = finite.no_fault()
    for t, broken in enumerate(steps):
        parts = {
            "observation": jnp.zeros((ENVS, SEEN.size)),
            "action": jnp.zeros((ENVS, ACTIONS)),
            "reward": jnp.zeros((ENVS, 1)),
            "following": jnp.zeros((ENVS, SEEN.size)),
        }
        for part, env, entry in broken:
            parts[part] = parts[part].at[env, entry].set(jnp.nan)
        ended, length = jnp.zeros(ENVS, bool), 10 * jnp.arange(ENVS) + t + 1
        step = Step(parts["following"], parts["reward"][:, 0], ended, ended, {"episode_length": length})
        fault = finite.noted(fault, parts["observation"], parts["action"], step)
    return fault


@pytest.mark.parametrize(
    ("steps", "said", "at"),
    [
        ([[], [], []], None, None),
        (
            [[], [("following", 2, 1)], [("observation", 2, 1), ("action", 2, 0)]],
            "observation `price_0` {} step 22)",
            92,
        ),
        ([[("observation", 1, 0)], [("action", 1, 0)], []], "observation `speed` {} step 10)", 88),
        ([[], [], [("reward", 3, 0)]], "reward {} step 33)", 96),
        ([[], [("action", 0, 1)], [("following", 0, 0), ("reward", 0, 0)]], None, None),
    ],
    ids=["nothing", "led to", "acted on", "reward", "action first"],
)
def test_the_first_number_that_is_not_finite_is_named(steps, said, at):
    """Steps are counted to 96 for all environments at the end."""
    fault = after(steps)
    told = said and "the environment's " + said.format("is not finite (first in episode")
    assert finite.in_words(fault, SEEN, ACTIONS) == told
    assert at is None or finite.when(fault, 96, ENVS) == at


def test_of_several_devices_that_with_the_first_fault_is_believed():
    faults = [after(steps) for steps in ([[], []], [[("reward", 1, 0)], []], [[], [("following", 0, 0)]])]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *faults)
    first = jax.vmap(lambda fault: finite.first(fault, "device"), axis_name="device")(stacked)
    for found in range(3):
        one = jax.tree.map(lambda leaf: leaf[found], first)  # noqa: B023
        assert (
            finite.in_words(one, SEEN, ACTIONS) == "the environment's reward is not finite (first in episode step 11)"
        )
