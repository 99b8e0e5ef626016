"""The environment bess: honest episodes, no leaks, one truth for observation and critic."""

import gzip
import json
from datetime import datetime, timedelta

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_bess import bess_on, wavy_prices

import vmax
from vmax.envs.bess import action as actions
from vmax.envs.bess import observation
from vmax.envs.bess.planners import Calibration, fit_calibration
from vmax.envs.bess.scenarios import row_of
from vmax.envs.environment import AutoReset
from vmax.errors import UserError

DAYS = 120


def write_prices(path, change_from=None):
    """An hourly price file of 120 days; from step `change_from` on, other prices."""
    hours = np.arange(DAYS * 24)
    rng = np.random.default_rng(3)
    price = 60 + 25 * np.sin(2 * np.pi * (hours - 9) / 12) + 10 * rng.standard_normal(len(hours))
    if change_from is not None:
        price[change_from:] = 60 + 40 * rng.standard_normal(len(hours) - change_from)
    start = datetime(2023, 1, 1)
    rows = [f"{start + timedelta(hours=int(h))},{p:.3f}" for h, p in zip(hours, price, strict=True)]
    path.write_text("utc,price_eur_per_mwh\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def prices(tmp_path_factory):
    return write_prices(tmp_path_factory.mktemp("prices") / "prices.csv")


def make(prices, *overrides):
    return vmax.make_env("bess", [f"env.data.path={prices}", "env.data.timezone=UTC", *overrides])


def at(env, params, time, soc=0.5, offset=7):
    from vmax.envs.bess.state import Start

    start = Start(jnp.int32(time), jnp.int32(time + 48), jnp.float32(soc), jnp.int32(offset))
    return env.reset(jax.random.key(0), params, start)


@pytest.mark.parametrize("information", ["day_ahead", "forecast"])
def test_nothing_beyond_the_horizon_is_seen(prices, tmp_path, information):
    env = make(prices, f"env.information={information}")
    first = env.series.splits["validation"][0][0]
    time = first + 24 + 10  # 10:00: prices are known to midnight
    horizon = time + 14 if information == "day_ahead" else time + 36
    other = make(write_prices(tmp_path / "changed.csv", change_from=horizon), f"env.information={information}")
    seen, unseen = (at(e, e.params("validation"), time)[1] for e in (env, other))
    np.testing.assert_array_equal(seen, unseen)
    nearer = make(write_prices(tmp_path / "nearer.csv", change_from=horizon - 1), f"env.information={information}")
    assert np.abs(at(nearer, nearer.params("validation"), time)[1] - seen).max() > 1e-3  # the test can fail


def test_tomorrow_is_known_from_13_local(prices):
    env = make(prices)
    params = env.params("validation")
    midnight = env.series.splits["validation"][0][0]
    known = [int(env.known(at(env, params, midnight + h)[0], params).mask.sum()) for h in (0, 12, 13, 23)]
    assert known == [24, 12, 35, 25]


def test_the_table_is_what_known_says(prices):
    """Tabulated features equal those computed through `known`, also in an episode with scaled and shifted prices."""
    env = make(prices, "env.augmentation.price_factor=[0.5,3]", "env.augmentation.price_shift_eur_per_mwh=[-20,20]")
    params = env.params("train")
    assert params.table is not None
    for seed in range(3):
        state, seen = env.reset(jax.random.key(seed), params)
        np.testing.assert_allclose(env.observe(state, params.replace(table=None)), seen, atol=2e-4)


def test_forecast_errors_are_fixed_per_target_hour(prices):
    env = make(prices, "env.information=forecast")
    params = env.params("validation")
    time = env.series.splits["validation"][0][0] + 30
    now, _ = at(env, params, time)
    early = env.known(now, params)
    late = env.known(now.replace(time=now.time + 5), params)
    np.testing.assert_allclose(early.price_eur_per_mwh[5:], late.price_eur_per_mwh[:-5], rtol=1e-5)
    actual = env.series.values["price"][time + 4]
    np.testing.assert_allclose(late.last_error_eur_per_mwh, early.price_eur_per_mwh[4] - actual, rtol=1e-4)


def test_training_draws_fresh_errors_and_starts(prices):
    env = make(prices, "env.information=forecast")
    params = env.params("train")
    states = jax.vmap(lambda k: env.reset(k, params)[0])(jax.random.split(jax.random.key(0), 64))
    assert len(np.unique(states.error_offset)) > 60
    assert len(np.unique(states.time)) > 50
    assert len(np.unique(states.soc)) > 60


@pytest.mark.parametrize("action", [-1.0, -0.4, 0.0, 0.3, 1.0])
def test_post_decision_knows_reward_and_charge(prices, action):
    env = make(prices, "env.observation.features=[soc,price_mean,price_scale,price_level,previous_soc]",
               "env.battery.wear_eur_per_mwh=[5,25]", "env.battery.power_mw=[1,2]")  # fmt: skip
    params = env.params("train")
    state, seen = env.reset(jax.random.key(4), params)
    _, step = env.step(jax.random.key(0), state, jnp.array([action]), params)
    reward, after = env.post_decision(seen, jnp.array([action]), env.post_decision_context(params))
    np.testing.assert_allclose(reward, step.reward, atol=2e-4)
    for name in ("soc", "previous_soc"):
        where = env.observation_space.slice(name)
        np.testing.assert_allclose(after[where], step.observation[where], atol=1e-4)
    slope = jax.grad(lambda a: env.post_decision(seen, a, env.post_decision_context(params))[0])(jnp.array([0.01]))
    assert abs(float(slope[0])) > 1e-4  # also inside the dead band


def test_dead_band_and_its_inverse(prices):
    env = make(prices)
    params, config = env.params("train"), env.config.action
    state, _ = env.reset(jax.random.key(0), params)
    assert float(actions.power_mw(config, jnp.float32(0.09), params.site, None)) == 0.0
    assert float(actions.power_mw(config, jnp.float32(-1.0), params.site, None)) == -1.5
    for power in (-1.5, -0.4, 0.2, 1.5):
        action = env.action_for_power(power, state, params)[0]
        assert float(actions.power_mw(config, action, params.site, None)) == pytest.approx(power, abs=1e-6)


def test_energy_left_is_valued_at_the_end_only_and_by_the_charge_gained(prices):
    env = make(prices)
    params = env.params("validation")
    time = env.series.splits["validation"][0][0]
    state, _ = at(env, params, time)
    values, charge = [], []
    step_fn, step = jax.jit(env.step), None
    for _ in range(48):
        state, step = step_fn(jax.random.key(0), state, jnp.array([1.0]), params)
        values.append(float(step.info["terminal_value_eur"]))
        charge.append(float(step.info["soc_end"]))
    assert step is not None and bool(step.truncated) and not bool(step.terminated)
    mean = env.series.values["price"][time + 47 - 168 : time + 47].mean()
    assert values[:-1] == [0.0] * 47
    assert values[-1] == pytest.approx((charge[-1] - 0.5) * 3.5 * 0.97 * (mean - 15.0), rel=1e-3)
    assert values[-1] < 0  # draining the battery is no gift


def test_auto_reset_keeps_the_final_observation_and_draws_a_fresh_start(prices):
    env = make(prices, "env.episode.days=1")
    params = env.params("train")
    auto = AutoReset(env)
    state, _ = auto.reset(jax.random.key(0)[None], params)
    first = int(state.time[0])
    step_fn = jax.jit(auto.step)
    for i in range(23):
        state, _, _ = step_fn(jax.random.key(i), state, jnp.array([[0.5]]), params)
    state, following, step = step_fn(jax.random.key(23), state, jnp.array([[0.5]]), params)
    assert bool(step.truncated[0])
    assert int(step.info["time"][0]) == first + 23
    assert np.abs(np.asarray(following - step.observation)).max() > 1e-3
    assert int(state.time[0]) not in (first, first + 24)


def test_potential_shaping_sums_to_the_difference_of_potentials(prices):
    env = make(prices, "env.reward.shaping=potential", "env.reward.potential_discount=1.0")
    params = env.params("validation")
    state, _ = at(env, params, env.series.splits["validation"][0][0])
    start = state
    total = 0.0
    for i in range(10):
        state, step = env.step(jax.random.key(0), state, jnp.array([(-1.0) ** i]), params)
        total += float(step.info["shaping_eur"])
    potential = lambda s: float(env.known(s, params).mean_eur_per_mwh * s.soc) * 3.5  # noqa: E731
    assert total == pytest.approx(potential(state) - potential(start), rel=1e-3)


def test_scales_are_fitted_on_training_data_alone(prices, tmp_path):
    changed = write_prices(tmp_path / "later.csv", change_from=round(DAYS * 0.7) * 24)
    scales = [make(p).params("test").scales for p in (prices, changed)]
    np.testing.assert_array_equal(scales[0]["exogenous"], scales[1]["exogenous"])


def test_every_feature_stands_where_it_is_declared(prices):
    names = [*observation.OWN, *observation.EXOGENOUS]
    chosen = f"env.observation.features=[{','.join(names)}]"
    env = make(prices, chosen, "env.battery.capacity_mwh=[2,4]", "env.reserve.product=up_and_down")
    params = env.params("train")
    state, seen = env.reset(jax.random.key(0), params)
    assert seen.shape == env.observation_space.shape
    assert np.isfinite(seen).all()
    assert (seen >= env.observation_space.low).all() and (seen <= env.observation_space.high).all()
    known = env.known(state, params)
    now = row_of(state.time, env.dt_h)
    view = observation.View(known, params.scenarios.calendar[now], env.dt_h, env.config.observation.ranges)
    for name in observation.EXOGENOUS:
        value = np.asarray(seen[env.observation_space.slice(name)])
        raw = np.asarray(observation.EXOGENOUS[name].compute(view))
        assert np.abs(value).max() > 0 or np.abs(raw).max() == 0
        ratio = raw[np.abs(value) > 1e-3] / value[np.abs(value) > 1e-3]
        np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio)), rtol=1e-3, err_msg=name)  # one scale a feature


@pytest.mark.parametrize("information", ["day_ahead", "forecast"])
def test_only_the_controlled_features_depend_on_what_the_battery_does(prices, information):
    """What counterfactuals rest on: from another charge, and after other decisions, all else is seen alike."""
    env = make(prices, f"env.information={information}")
    params = env.params("train")
    time = env.series.splits["train"][0][0] + 10

    def course(soc, action):
        state, seen = at(env, params, time, soc)
        for _ in range(6):
            state, step = jax.jit(env.step)(jax.random.key(1), state, jnp.full(1, action), params)
            seen = step.observation
        return np.asarray(seen)

    first, other = course(0.5, -1.0), course(0.8, 0.6)
    controlled = list(env.observation_space.entries(tuple(env.controlled)))
    assert np.abs(first[controlled] - other[controlled]).min() > 0.1
    np.testing.assert_array_equal(np.delete(first, controlled), np.delete(other, controlled))


def test_a_missing_feature_for_the_post_decision_critic_is_named(prices):
    env = make(prices, "env.observation.features=[soc,price_window]")
    with pytest.raises(vmax.errors.UserError, match="price_level"):  # pyright: ignore[reportAttributeAccessIssue]
        env.post_decision_context(env.params("train"))


def test_a_gap_splits_and_no_episode_crosses_it(tmp_path):
    path = write_prices(tmp_path / "gap.csv")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:1000] + lines[1010:]) + "\n")
    env = make(path, "env.data.gaps=segments")
    first_after = 999
    starts = np.asarray(env.params("train").scenarios.starts)
    assert not ((starts < first_after) & (starts + env.episode_steps > first_after)).any()
    lanes = env.evaluation_starts(env.params("train"), "train")
    assert len(lanes.time) == 2 and (np.asarray(lanes.soc) == 0.5).all()


def test_gzip_is_read_too(prices, tmp_path):
    zipped = tmp_path / "prices.csv.gz"
    zipped.write_bytes(gzip.compress(prices.read_bytes()))
    np.testing.assert_array_equal(make(zipped).series.values["price"], make(prices).series.values["price"])


def test_energy_left_at_a_gap_is_valued_by_the_week_before_it(prices, tmp_path):
    lines = prices.read_text().splitlines()
    gap = 1 + 24 * 110  # within the test split
    path = tmp_path / "gap.csv"
    path.write_text("\n".join(lines[:gap] + lines[gap + 5 :]) + "\n")
    env = make(path, "env.data.gaps=segments", "env.episode.days=1")
    params = env.params("test")
    lanes = env.evaluation_starts(params, "test")
    end = int(lanes.end[0])
    start = jax.tree.map(lambda leaf: leaf[0], lanes).replace(time=jnp.int32(end - 1))
    state, _ = env.reset(jax.random.key(0), params, start)
    _, step = env.step(jax.random.key(0), state, jnp.array([-1.0]), params)
    price = env.series.values["price"]
    assert bool(step.truncated) and env.series.segment[end] != env.series.segment[end - 1]
    gained_mwh = float(step.info["soc_end"] - step.info["soc"]) * 3.5
    worth = 0.97 * (price[end - 1 - 168 : end - 1].mean() - 15.0)
    assert float(step.info["terminal_value_eur"]) == pytest.approx(gained_mwh * worth, rel=1e-3)


def test_episodes_start_wherever_a_whole_one_fits(prices):
    env = make(prices, "env.episode.days=2")
    first, last = env.series.splits["train"][0]
    starts = np.asarray(env.params("train").scenarios.starts)
    assert (starts[0], starts[-1]) == (first, last - 48)


def test_a_changed_file_is_another_environment(prices, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text(prices.read_text())
    before = make(path)
    means = [float(before.params("test").scenarios.mean_eur_per_mwh[-1])]
    write_prices(path, change_from=24 * 60)
    after = make(path)
    means.append(float(after.params("test").scenarios.mean_eur_per_mwh[-1]))
    assert before != after and means[0] != means[1]
    assert make(path) == after


def test_an_evaluation_may_be_cut_to_its_first_days(prices):
    env = make(prices)
    first, last = env.series.splits["test"][0]
    for days, end in ((3, first + 72), (None, last)):
        lanes = env.evaluation_starts(env.params("test"), "test", 1, days)
        assert (lanes.time.tolist(), lanes.end.tolist()) == ([first], [end])


def with_pv(path, prices, peak_mw):
    lines = prices.read_text().splitlines()
    output = [max(0.0, peak_mw * np.sin(np.pi * (hour % 24 - 6) / 12)) for hour in range(len(lines) - 1)]
    rows = [f"{line},{mw:.4f}" for line, mw in zip(lines[1:], output, strict=True)]
    path.write_text("\n".join([f"{lines[0]},pv", *rows]) + "\n")
    return path


def test_a_pv_column_is_taken_in_mw(prices, tmp_path):
    path = with_pv(tmp_path / "pv.csv", prices, 3.8)
    overrides = [f"env.data.path={path}", "env.data.timezone=UTC", "env.data.columns.pv=pv"]
    env = vmax.make_env("bess_pv", overrides)
    params = env.params("test")
    noon = env.series.splits["test"][0][0] + 12
    state, _ = at(env, params, noon)
    _, step = env.step(jax.random.key(0), state, jnp.zeros(1), params)
    assert float(step.info["pv_mw"]) == pytest.approx(3.8, rel=1e-4)
    message = r"pv.csv: the PV column reaches 3.8 MW with env.plant.pv_capacity_mw=1.0; set env.data.pv_unit="
    with pytest.raises(UserError, match=message):
        vmax.make_env("bess_pv", [*overrides, "env.plant.pv_capacity_mw=1"]).params("test")
    with pytest.raises(UserError, match=r"pv_capacity_mw=0.0"):
        vmax.make_env("bess", overrides).params("test")


def test_forecast_errors_are_correlated_by_the_hour_whatever_the_step():
    config = vmax.make_env("bess").config.forecast
    hourly, quarterly = (config.path(dt_h, "test") for dt_h in (1.0, 0.25))
    for path, lag in ((hourly, 1), (quarterly, 4)):
        assert np.corrcoef(path[:-lag], path[lag:])[0, 1] == pytest.approx(0.8, abs=0.01)


def test_the_battery_alone_is_as_its_file_says_and_power_is_no_hidden_limit(prices):
    env = make(prices, "env.battery.power_mw=3", "env.battery.capacity_mwh=20")
    assert (env.config.action.dead_band, env.config.action.full_band) == (0.1, 0.0)
    params = env.params("test")
    state, _ = at(env, params, env.series.splits["test"][0][0])
    _, step = env.step(jax.random.key(0), state, jnp.array([-1.0]), params)
    assert float(step.info["charge_mw"]) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "override",
    [
        "env.forecast.rho=1",
        "env.forecast.factor=-1",
        "env.forecast.seed=-1",
        "env.solar.seed=-1",
        "env.episode.start_soc=50",
        "env.reward.potential_discount=2",
    ],
)
def test_a_value_out_of_range_is_one_line_with_its_key(override):
    with pytest.raises(UserError, match=rf"{override.partition('=')[0]}=.*: must be"):
        vmax.make_env("bess", [override])


def test_one_feature_is_enough_and_forecasts_may_be_exact(prices):
    env = make(prices, "env.observation.features=[soc]")
    assert at(env, env.params("test"), env.series.splits["test"][0][0])[1].shape == (1,)
    exact = make(prices, "env.information=forecast", "env.forecast.factor=0")
    assert fit_calibration(exact) == Calibration(persistence=0.0, weight=1.0)


def test_a_plant_whose_inverter_is_not_stated_sells_all_that_it_makes(prices):
    env = make(prices, "env.plant.pv_capacity_mw=5")
    params = env.params("validation")
    state, _ = env.reset(jax.random.key(0), params, None)
    made = sold = 0.0
    for _ in range(24):
        state, step = env.step(jax.random.key(0), state, jnp.zeros(1), params)
        if step.info["price_eur_per_mwh"] > 0:
            made, sold = made + float(step.info["pv_mw"]), sold + float(step.info["pv_mw"] - step.info["curtailed_mw"])
    assert made > 0.1
    assert sold == pytest.approx(made, rel=1e-6)


def test_a_feature_that_stands_twice_is_refused(prices):
    with pytest.raises(UserError, match="'calendar' stands there twice"):
        make(prices, "env.observation.features=[soc,calendar,calendar]")


def test_what_was_done_to_a_file_is_printed_and_recorded(prices, tmp_path, capsys):
    lines = with_pv(tmp_path / "pv.csv", prices, 3800.0).read_text().splitlines()
    rows = [line if number % 24 else f"{line.rsplit(',', 1)[0]},-2.5" for number, line in enumerate(lines)]
    (tmp_path / "pv.csv").write_text("\n".join([lines[0], *rows[1:]]) + "\n")
    data = [
        f"env.data.path={tmp_path}/pv.csv",
        "env.data.timezone=UTC",
        "env.data.columns.pv=pv",
        "env.data.pv_unit=kW",
    ]
    small = ("network.hidden=[8]", "total_steps=128", "training.num_envs=8", "training.warmup_steps=64", "checks=off")
    sizes = ("training.log_every=64", "training.replay_capacity=512", "training.batch_size=16", "env.episode.days=1")
    quiet = ("evaluation.plots=false", "evaluation.bootstrap=5", "evaluation.days=1", "export=false", "device=cpu")
    few = ("training.updates_per_iteration=1", "training.eval_every=64", "checkpoint.every=64")
    result = vmax.train(["env=bess_pv", "algorithm=sac", *data, *small, *sizes, *quiet, *few], str(tmp_path / "run"))
    count = sum(row.endswith(",-2.5") for row in rows[1:])
    rows_read, *notes, zone = result["run"]["data"]
    assert rows_read.startswith(f"pv.csv: {len(rows) - 1} rows read, price from 'price_eur_per_mwh', pv from 'pv'")
    assert notes == ["pv: times 0.001, the unit", f"pv: {count} values below 0, down to -0.0025 MW, set to 0"]
    assert zone == "prices in EUR/MWh, days of UTC"
    notes = [rows_read, *notes, zone]
    assert result["run"]["data"] == notes and json.loads((tmp_path / "run/run.json").read_text())["data"] == notes
    said = capsys.readouterr().out
    assert all(f"data: {note}\n" in said for note in notes)
    assert notes[1] in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_gaps_say_how_many_episodes_they_cost_and_another_currency_what_counts_in_it():
    prices = wavy_prices().drop(index=[100, 101, 700])
    env = bess_on(prices, "env.data.gaps=segments", "env.data.currency=CHF", "env.episode.days=2")
    starts = {split: len(env.params(split).scenarios.starts) for split in ("train", "validation", "test")}
    steps = {split: sum(b - a for a, b in env.series.splits[split]) for split in starts}
    said = [f"{s}: an episode of 2 days without a gap begins at {starts[s]} of {steps[s]} steps" for s in starts]
    assert set(said) < set(env.data_notes) and "2 gaps of 3 rows in all: the series is split there" in env.data_notes
    assert env.data_notes[-1] == "env.battery.wear_eur_per_mwh=15.0 and all settings named eur count in CHF"
    whole = bess_on(wavy_prices())
    assert not any("gap" in note or "wear" in note for note in whole.data_notes)
