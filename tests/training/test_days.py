"""Training by days: every day once an epoch whatever runs side by side, what a day starts from, what it brought."""

from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_bess
from hypothesis import given, settings
from hypothesis import strategies as st

from vmax import config, devices, envs
from vmax.errors import UserError
from vmax.training.day_plan import DayCount, day_schedule, in_days
from vmax.training.days import DayEpisodes, DaySchedule


@partial(jax.jit, static_argnames=("schedule", "envs_side_by_side", "count", "rounds"))
def queue(schedule, key, envs_side_by_side, count, rounds):
    """The days of the first rounds from the schedule's first on, one after the other."""
    position = (schedule.first_round + jnp.arange(rounds)[:, None]) * envs_side_by_side + jnp.arange(envs_side_by_side)
    return jax.vmap(lambda row: schedule.visits(key, row, count))(position).ravel()


@settings(max_examples=12)
@given(st.data())
def test_every_epoch_passes_each_of_its_days_exactly_once(data):
    """Against plain counting: for any number of days, environments and days an epoch, before and behind position 0."""
    count = data.draw(st.integers(1, 7))
    per_epoch, envs_side_by_side = data.draw(st.integers(1, count)), data.draw(st.integers(1, 9))
    warm_up, epochs = data.draw(st.integers(0, 2)), 3
    schedule = DaySchedule(per_epoch, data.draw(st.booleans()), -warm_up)
    rounds = warm_up + -(-epochs * per_epoch // envs_side_by_side)
    days = np.asarray(queue(schedule, jax.random.key(3), envs_side_by_side, count, rounds))
    assert ((days >= 0) & (days < count)).all()
    planned = days[warm_up * envs_side_by_side :][: epochs * per_epoch].reshape(epochs, per_epoch)
    for epoch in planned:
        assert len(set(epoch.tolist())) == per_epoch
    if not schedule.shuffled:
        assert planned.ravel().tolist() == [i % count for i in range(epochs * per_epoch)]


def test_each_epoch_is_shuffled_anew_and_the_key_decides():
    schedule, shape = DaySchedule(20, True, 0), dict(envs_side_by_side=8, count=20, rounds=10)
    first, again, other = (queue(schedule, jax.random.key(key), **shape).reshape(4, 20) for key in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    assert len({tuple(epoch.tolist()) for epoch in np.asarray(first)}) == 4
    # the order does not depend on how many environments share it
    alone = queue(schedule, jax.random.key(0), envs_side_by_side=5, count=20, rounds=16).reshape(4, 20)
    assert (alone == first).all()


@lru_cache(maxsize=1)
def world():
    """A battery on 60 days, of which 41 are for training, and what it is given."""
    env = small_bess.small_bess()
    return env, env.params("train")


def side_by_side(function, devices_emulated, *arguments):
    """A function of each device, on as many as wished: mapped under the name of their axis."""
    return jax.vmap(function, in_axes=(0, *(None for _ in arguments)), axis_name=devices.AXIS)(
        jnp.arange(devices_emulated), *arguments
    )


@pytest.mark.parametrize("emulated", [1, 3])
def test_devices_share_the_queue_and_a_day_starts_at_midnight_with_all_else_drawn(emulated):
    env, params = world()
    episodes = DayEpisodes(env, DaySchedule(41, True, 0))
    order_key = jax.random.key(5)

    def start(device):
        return episodes.reset(jax.random.split(jax.random.key(device), 6 // emulated), params, order_key)[0]

    states = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1), side_by_side(start, emulated).inner)
    expected = queue(episodes.schedule, order_key, envs_side_by_side=6, count=41, rounds=1)
    first = env.series.splits["train"][0][0]
    assert states.time.tolist() == [first + 24 * int(day) for day in expected]
    assert (states.end == states.time + 24).all() and (env.series.local_hour[states.time] == 0).all()
    for drawn in (states.soc, states.price_factor, states.error_offset):
        assert len(np.unique(drawn)) > 2


def test_what_is_told_of_a_day_is_the_sum_of_its_steps_and_its_end():
    """Three environments through two rounds of days and a bit, against plain sums over the steps."""
    env, params = world()
    episodes, order_key = DayEpisodes(env, DaySchedule(4, False, -1)), jax.random.key(0)

    def course(device):
        state, _ = episodes.reset(jax.random.split(jax.random.key(1), 3), params, order_key)

        def one(state, key):
            action = jax.random.uniform(key, (3, 1), minval=-1.0, maxval=1.0)
            following, _, step = episodes.step(key, state, action, params)
            return following, (episodes.told(state, following, step), step)

        state, (told, step) = jax.lax.scan(one, state, jax.random.split(jax.random.key(2), 60))
        return told, step, episodes.finished(state.key, told, params)

    _, step, found = jax.tree.map(lambda leaf: np.asarray(leaf)[0], side_by_side(course, 1))
    assert found["ended"].tolist() == [True, True, False]
    assert found["position"][:2].tolist() == [[-3, -2, -1], [0, 1, 2]]
    assert found["day"][:2].tolist() == [[38, 39, 40], [0, 1, 2]]  # by the calendar
    for number in range(2):
        steps = slice(24 * number, 24 * number + 24)
        for name in ("profit_eur", "wear_cost_eur", "energy_revenue_eur", "fee_eur", "shaping_eur"):
            np.testing.assert_allclose(
                found["figures"][name][number], step.info[name][steps].sum(axis=0), rtol=1e-4, atol=1e-3
            )
        np.testing.assert_allclose(found["figures"]["reward"][number], step.reward[steps].sum(axis=0), rtol=1e-4)
        np.testing.assert_array_equal(found["figures"]["soc_end"][number], step.info["soc_end"][24 * number + 23])
        price = env.series.values["price"][step.info["time"][24 * number]]
        factor = found["figures"]["price_factor"][number]
        np.testing.assert_allclose(step.info["price_eur_per_mwh"][24 * number], factor * price, rtol=1e-4)


def by_days(*overrides):
    days = ("env=bess", "env.episode.days=1", "training.schedule=epochs", "training.num_envs=4")
    return config.load(config.compose([*days, *overrides]))


SMALL = ("training.warmup_steps=200", "training.log_every=100", "training.replay_capacity=4000")


def test_the_plan_counts_whole_rounds_of_days_for_the_warm_up_and_for_all_epochs():
    settled = in_days(by_days("training.epochs=3", "training.days_per_epoch=10", *SMALL), world()[0])
    assert settled.training.warmup_steps == 3 * 96  # three rounds of four days hold 200 steps
    assert settled.total_steps == 288 + 8 * 96  # 30 days are eight rounds of four
    assert settled.planned_steps == 288 + 800  # in whole chunks of 100
    assert in_days(settled, world()[0]) == settled
    assert day_schedule(settled, world()[0]) == DaySchedule(10, True, -3)
    everything = in_days(by_days("training.epochs=1", *SMALL), world()[0])
    assert everything.training.days_per_epoch == 41
    budget = in_days(by_days("budget.total_steps=20_000", *SMALL), world()[0])
    assert budget.training.epochs == round((20_000 - 288) / (41 * 24)) == 20


def test_progress_is_told_in_days_that_have_ended():
    settled = in_days(by_days("training.epochs=3", "training.days_per_epoch=10", *SMALL), world()[0])
    days = DayCount.of(settled, world()[0])
    assert days is not None
    steps = (288, 288 + 95, 288 + 96, 288 + 3 * 96, 288 + 8 * 96, 1088)
    assert [days.done(step) for step in steps] == [0, 0, 4, 12, 30, 30]
    assert days.progress(288) == "epoch 1/3, day 0/10"
    assert days.progress(288 + 3 * 96) == "epoch 2/3, day 2/10"
    assert days.progress(1088) == "epoch 3/3, day 10/10"
    assert days.introduction() == "3 epochs of 10 of the 41 whole training days"


@pytest.mark.parametrize(
    ("environment", "overrides", "message"),
    [
        ("pendulum", [], "training.schedule=epochs: env=pendulum has no days to pass; must be steps"),
        (
            "bess",
            ["env.episode.days=7"],
            "env.episode.days=7: must be 1 with training.schedule=epochs, where",
        ),
        ("bess", ["training.days_per_epoch=1454"], "training.days_per_epoch=1454: must be within [1, 1453], the whole"),
    ],
)
def test_what_does_not_go_together_is_one_line(environment, overrides, message):
    settings = by_days(*overrides)
    env = envs.make(config.load(config.compose(["env=pendulum"])).env if environment == "pendulum" else settings.env)
    with pytest.raises(UserError) as caught:
        in_days(settings, env)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
