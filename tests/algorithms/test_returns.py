"""Advantages and discounted sums: by hand, against loops, and at the ends of episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vmax.algorithms.returns import discounted_so_far, generalised_advantage


def test_advantages_of_three_steps_by_hand():
    # γ = 0.5, λ = 0.5; δ = (1 + 0.5·4 - 2, 2 + 0.5·6 - 4, 3 + 0.5·8 - 6) = (1, 1, 1)
    found = generalised_advantage(*map(jnp.float32, ([1, 2, 3], [0.5] * 3, [0.5] * 3, [2, 4, 6], [4, 6, 8])))
    assert np.allclose(found, [1 + 0.25 * 1.25, 1.25, 1.0])


@pytest.mark.parametrize(
    ("terminated", "truncated", "first"),
    [
        # the next episode's advantage, 1, does not reach back in any of them
        (False, False, 1 + 0.9 * 5 - 2 + 0.9 * 0.8 * 1),
        (True, False, 1 - 2),
        (False, True, 1 + 0.9 * 5 - 2),  # the true final observation is worth 5
        (True, True, 1 - 2),  # terminated wins
    ],
)
def test_the_end_of_an_episode_cuts_the_trace_and_only_the_end_of_the_world_the_value(terminated, truncated, first):
    discount, trace = 0.9 * (1 - terminated), 0.8 * (1 - (terminated or truncated))
    r_t, v_tm1, v_t = [1, 1 - 0.9 * 3], [2, 0], [5, 3]
    found = generalised_advantage(*map(jnp.float32, (r_t, [discount, 0.9], [trace, 0.8], v_tm1, v_t)))
    assert np.allclose(found, [first, 1.0], atol=1e-6)


def test_advantages_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    reward, before, after = rng.normal(size=(3, 50))
    ended = rng.random(50) < 0.2
    discount, trace = 0.97 * (rng.random(50) > 0.1), 0.9 * ~ended
    expected, following = np.zeros(50), 0.0
    for t in reversed(range(50)):
        following = reward[t] + discount[t] * after[t] - before[t] + discount[t] * trace[t] * following
        expected[t] = following
    found = jax.jit(generalised_advantage)(*map(jnp.float32, (reward, discount, trace, before, after)))
    assert np.allclose(found, expected, atol=1e-5)


def test_discounted_sums_begin_anew_with_each_episode_and_go_on_over_rollouts():
    reward, ended = jnp.float32([1, 2, 3, 4]), jnp.array([False, True, False, False])
    sums, after = discounted_so_far(reward, ended, jnp.float32(0.5), jnp.float32(8.0))
    assert sums.tolist() == [5.0, 4.5, 3.0, 5.5] and after == 5.5
    first, between = discounted_so_far(reward[:2], ended[:2], jnp.float32(0.5), jnp.float32(8.0))
    then, _ = discounted_so_far(reward[2:], ended[2:], jnp.float32(0.5), between)
    assert between == 0.0 and [*first.tolist(), *then.tolist()] == sums.tolist()
