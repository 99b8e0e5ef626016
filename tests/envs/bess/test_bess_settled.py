"""Episodes that end settled, rewards in plain EUR, features in plain prices: what a discount of 1 over a day needs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bess import bess_on, wavy_prices

from vmax.errors import UserError

FEATURES = "env.observation.features=[soc,price_mean,price_scale,price_level,price_now,day_peak_prices,is_peak]"
PLAIN = ("env.reward.scale_eur=200", "env.reward.shaping=none", "env.augmentation.price_factor=[1,1]", FEATURES)


def day_of(env, actions):
    """The steps of one day from SOC 0.5, each leaf `[24]`."""
    params = env.params("validation")
    start = jax.tree.map(lambda leaf: leaf[0], env.evaluation_starts(params, "validation"))
    state, _ = env.reset(jax.random.key(0), params, start.replace(end=start.time + len(actions)))
    one = lambda state, action: env.step(jax.random.key(0), state, action[None], params)  # noqa: E731
    return jax.lax.scan(one, state, jnp.asarray(actions))[1]


ACTIONS = [-0.5] * 4 + [0.0] * 3 + [1.0] * 2 + [0.0] * 12 + [-1.0] * 3


def test_a_settled_day_ends_with_the_worth_of_what_is_left():
    step = day_of(bess_on(wavy_prices(), "env.episode.end=settled", *PLAIN), ACTIONS)
    assert step.terminated.tolist() == [False] * 23 + [True]
    assert not step.truncated.any()
    np.testing.assert_allclose(step.reward[:-1], step.info["profit_eur"][:-1] / 200.0, atol=1e-6)
    last = {name: float(values[-1]) for name, values in step.info.items()}
    gained = last["soc_end"] - 0.5
    assert abs(gained) > 0.2
    worth_eur = last["terminal_value_eur"] / gained * last["soc_end"]  # of all that is left, not of the gain
    assert worth_eur > 50.0
    assert float(step.reward[-1]) == pytest.approx((last["profit_eur"] + worth_eur) / 200.0, rel=1e-4)


def test_energy_that_shaping_has_paid_for_is_not_paid_twice():
    step = day_of(bess_on(wavy_prices(), "env.episode.end=settled", "env.reward.scale_eur=200"), ACTIONS)
    assert bool(step.terminated[-1])
    np.testing.assert_allclose(step.reward, (step.info["profit_eur"] + step.info["shaping_eur"]) / 200.0, atol=1e-6)


@pytest.mark.parametrize("action", [-0.7, 0.8])
def test_a_critic_knows_rewards_in_plain_eur(action):
    env = bess_on(wavy_prices(), "env.reward.scale_eur=200", FEATURES)
    params = env.params("train")
    state, seen = env.reset(jax.random.key(5), params)
    _, step = jax.jit(env.step)(jax.random.key(0), state, jnp.array([action]), params)
    reward, _ = env.post_decision(seen, jnp.array([action]), env.post_decision_context(params))
    assert float(reward) == pytest.approx(float(step.reward), abs=1e-4)
    assert abs(float(reward)) > 0.005


def test_a_critic_that_would_not_know_the_last_payment_is_refused():
    env = bess_on(wavy_prices(), "env.episode.end=settled", *PLAIN)
    with pytest.raises(UserError, match="env.reward.shaping=mark, or env.episode.end=cut"):
        env.post_decision_context(env.params("train"))


def test_plain_prices_follow_the_episodes_price_factor():
    env = bess_on(wavy_prices(), FEATURES, "env.observation.price_range_eur_per_mwh=[0,200]")
    params = env.params("train")
    assert params.table is None
    factors = []
    for seed in range(3):
        state, seen = env.reset(jax.random.key(seed), params)
        price = float(env.known(state, params).price_eur_per_mwh[0])
        np.testing.assert_allclose(seen[env.observation_space.slice("price_now")], price / 100.0 - 1.0, rtol=1e-5)
        factors.append(float(state.price_factor))
    assert np.ptp(factors) > 0.1
    assert bess_on(wavy_prices(), *PLAIN).params("train").table is not None  # without a factor they are tabulated


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("env.reward.scale_eur=0", "must be above 0"),
        ("env.episode.end=free", "one of cut, settled"),
        ("env.observation.price_range_eur_per_mwh=[5,5]", "low < high"),
    ],
)
def test_values_that_cannot_be(override, message):
    with pytest.raises(UserError, match=message):
        bess_on(wavy_prices(), override)
