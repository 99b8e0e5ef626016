"""What a rollout's rewards add up to. Kernels of one trajectory, unbatched, in the names of rlax: `_t` is what follows
the decision of `_tm1`.
"""

from __future__ import annotations

import chex
import jax
import jax.numpy as jnp

Array = jax.Array


def generalised_advantage(r_t: Array, discount_t: Array, lambda_t: Array, v_tm1: Array, v_t: Array) -> Array:
    """Generalised advantage estimates of T decisions, `[T]`.

        δ_t = r_t + γ_t v_t - v_{t-1}
        A_{t-1} = δ_t + γ_t λ_t A_t

    Args: rewards `[T]`; discounts `[T]`, 0 where the world ended; λ `[T]`, 0 where the trajectory breaks off (the next
    decision is of another episode); values of the state before each decision and of the one that it truly led to, which
    at the end of an episode is its final one, `[T]` both.
    Source: Schulman et al. (2016), High-Dimensional Continuous Control Using Generalized Advantage Estimation, eq. 16;
    time limits as in Pardo et al. (2018), Time Limits in Reinforcement Learning.
    """
    chex.assert_rank([r_t, discount_t, lambda_t, v_tm1, v_t], 1)
    chex.assert_equal_shape([r_t, discount_t, lambda_t, v_tm1, v_t])
    delta_t = r_t + discount_t * v_t - v_tm1

    def back(advantage_t: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        delta, trace = inputs
        advantage_tm1 = delta + trace * advantage_t
        return advantage_tm1, advantage_tm1

    return jax.lax.scan(back, jnp.zeros(()), (delta_t, discount_t * lambda_t), reverse=True)[1]


def discounted_so_far(r_t: Array, ended_t: Array, discount: Array, before: Array) -> tuple[Array, Array]:
    """The discounted sum of the rewards of an episode so far, at each of T steps, `[T]`; and what the next one adds to.

        G_t = r_t + γ G_{t-1},  G_{t-1} = 0 where another episode begins

    Args: rewards and ends of episodes `[T]`; the discount; G before the first step, `[]`.
    """
    chex.assert_rank([r_t, ended_t, before], [1, 1, 0])

    def on(g_tm1: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, ended = inputs
        g_t = reward + discount * g_tm1
        return jnp.where(ended, 0.0, g_t), g_t

    after, g_t = jax.lax.scan(on, before, (r_t, ended_t))
    return g_t, after
