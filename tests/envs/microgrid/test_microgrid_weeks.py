"""One year of files for all splits: which weeks are held out, that nothing of them is fitted on, what they cost."""

from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from sites import site, told

from vmax.data.calendar import local_time
from vmax.envs.microgrid.params import calendar_of, fitted
from vmax.envs.microgrid.plots import _typical_week
from vmax.envs.microgrid.rules import NoControl
from vmax.envs.microgrid.weeks import A_YEAR, MONTH_SHARE, blocks_of
from vmax.envs.microgrid.years import data_notes, make_years
from vmax.envs.rollout import rollout
from vmax.errors import UserError
from vmax.evaluation.evaluate import evaluate

ZONE = "Europe/Amsterdam"
PLACE = (f"env.data.timezone={ZONE}", "env.data.pv.latitude=52.1", "env.data.pv.longitude=5.2")
PLANT = ("env.data.pv.annual_kwh=4000000", "env.data.pv.tilt=30", "env.data.pv.azimuth=180")


def clock(year=2024, years=1):
    return pd.date_range(f"{year}-01-01", f"{year + years}-01-01", freq="h", inclusive="left", tz=ZONE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A year of PV, load and sessions on a clock that changes; the held-out weeks of the load are another world."""
    folder = tmp_path_factory.mktemp("year")
    time = clock()
    hour, draw = time.hour.to_numpy(), np.random.default_rng(1)
    mall = 300.0 + 150.0 * np.sin((hour - 8) / 24 * 2 * np.pi) + draw.normal(0.0, 20.0, len(time))
    sun = 3000.0 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0) * draw.uniform(0.2, 1.0, len(time))
    utc = time.tz_convert("UTC").strftime("%Y-%m-%d %H:%M")
    pd.DataFrame({"utc": utc, "mall_kw": mall}).to_csv(folder / "mall.csv", index=False)
    pd.DataFrame({"utc": utc, "pv_kw": sun}).to_csv(folder / "pv.csv", index=False)
    return folder


def on_files(folder, *overrides):
    files = (f"env.data.files.mall={folder}/mall.csv", f"env.data.files.pv={folder}/pv.csv")
    return site(*PLACE, *PLANT, *files, *overrides)


@pytest.fixture(scope="module")
def env(folder):
    return on_files(folder)


@pytest.mark.parametrize("years", [1, 2])
def test_weeks_are_held_out_in_every_month_and_splits_share_no_step(years):
    local = []
    for year in range(2025, 2025 + years):
        utc = clock(year).tz_convert("UTC").tz_localize(None).to_numpy()
        local.append(local_time(utc, ZONE))
    blocks = blocks_of(local)
    steps = {name: {(y, t) for y, first, stop in rows for t in range(first, stop)} for name, rows in blocks.items()}
    assert sum(map(len, steps.values())) == len(set().union(*steps.values())) == 8760 * years
    months = {}
    for name in ("validation", "test"):
        assert len(blocks[name]) == 6 * years
        for y, first, stop in blocks[name]:
            days = local[y].date[first:stop].astype("M8[D]")
            assert len(np.unique(days)) == 7 and (local[y].month[first:stop] == local[y].month[first]).all()
            assert local[y].hour[first] == 0.0 and local[y].hour[stop - 1] == 23.0  # whole days, also of 23 or 25 hours
            months.setdefault(name, []).append(int(local[y].month[first]))
    assert sorted(months["validation"] + months["test"]) == sorted([*range(1, 13)] * years)
    for of in months.values():
        assert {(month % 12) // 3 for month in of} == {0, 1, 2, 3}  # all seasons


def test_what_is_fitted_does_not_move_with_the_weeks_that_are_held_out(env):
    """Other values in all held-out weeks: the same climate."""
    data, years = env.config.data, make_years(env.config.data, "train")
    assert years.blocks is not None and years.own.sum() == 8760 - 2 * 6 * 168 - _clock_hours(env)
    other = replace(
        years,
        pv_kw=np.where(years.own, years.pv_kw, 0.3 * years.pv_kw),
        mall_kw=np.where(years.own, years.mall_kw, 5.0 * years.mall_kw),
    )
    from vmax.envs.microgrid.climate import fit_climate
    from vmax.envs.microgrid.params import prices_of

    calendar = calendar_of(env.config, years)
    price = prices_of(env.config, years, calendar)
    was, now = fitted(env.config), fit_climate(data, other, calendar, np.where(years.own, price, 9.0))
    for name in ("pv_kw", "mall_kw", "ev_kw", "carbon_mean", "price_mean"):
        np.testing.assert_allclose(getattr(now, name), getattr(was, name), rtol=1e-6, err_msg=name)


def _clock_hours(env):
    """Hours that held-out weeks have more than 168, for the clocks' changes."""
    held = [make_years(env.config.data, split).own.sum() for split in ("validation", "test")]
    return int(sum(held)) - 2 * 6 * 168


def test_training_episodes_stay_in_training_weeks(env):
    params, own = env.params("train"), make_years(env.config.data, "train").own
    states, _ = jax.vmap(lambda key: env.reset(key, params))(jax.random.split(jax.random.key(0), 500))
    firsts, ends = np.asarray(states.time), np.asarray(states.end)
    assert len(np.unique(firsts)) > 60
    for first, end in zip(firsts, ends, strict=True):
        assert end - first == env.min_episode_steps and own[0, first:end].all()


def test_lanes_are_the_held_out_weeks_and_their_days_begin_at_midnight(env):
    params = env.params("test")
    starts = env.assessment.starts(params, "test", 1)
    own = make_years(env.config.data, "test").own
    assert len(starts.time) == 6 and sum(int(n) for n in starts.end - starts.time) == own.sum()
    flags = env.assessment.day_starts(params, starts)
    assert (flags.sum(axis=0) == 7).all()
    short = env.assessment.starts(params, "test", 1, days=2)
    np.testing.assert_array_equal(short.end - short.time, 48)
    assert env.assessment.lanes == "weeks"


def test_a_weeks_demand_charge_is_its_share_of_the_months(env):
    held, train = env.params("test").valued.tariff, env.params("train").valued.tariff
    for name in ("demand_peak_per_kw", "demand_excess_per_kw"):
        assert float(getattr(held, name)) == pytest.approx(MONTH_SHARE * float(getattr(train, name)))
    params = env.params("test")
    starts = env.assessment.starts(params, "test", 1)
    record = rollout(env, NoControl(), params, starts)
    valid = np.arange(record.info["demand_cost"].shape[0])[:, None] < np.asarray(record.steps)
    paid = np.where(valid, np.asarray(record.info["demand_cost"], np.float64), 0.0).sum(axis=0)
    peak = np.asarray(params.data.peak)
    for lane, (year, first, stop) in enumerate(np.asarray(params.data.blocks)):
        import_kw = np.asarray(record.info["grid_import_kw"])[: stop - first, lane]
        highest = [import_kw[peak[year, first:stop] == of].max(initial=0.0) for of in (True, False)]
        due = float(held.demand_peak_per_kw) * highest[0]
        due += float(held.demand_excess_per_kw) * max(highest[1] - highest[0], 0.0)
        assert paid[lane] == pytest.approx(due, rel=1e-4)


def test_key_figures_are_those_of_a_year(env):
    """Energies and costs of six weeks, brought to a year; the optimum is not dearer than any rule."""
    table = evaluate(env, {}, "test", error_draws=1, bootstrap=20, max_episode_steps=10_000).result["policies"]
    info = told(env, NoControl(), env.assessment.starts(env.params("test"), "test", 1))
    steps = np.arange(len(info["pv_kw"]))[:, None] < np.diff(env.params("test").data.blocks[:, 1:])[:, 0]
    for name, entry in (("grid_import_kwh", "grid_import_kw"), ("energy_cost", "energy_cost")):
        assert table["no_control"][name] == pytest.approx((info[entry] * steps).sum() / 6 * A_YEAR, rel=1e-6)
    months = table["no_control"]["profit_eur_by_month"]
    assert sum(months.values()) == pytest.approx(-table["no_control"]["cost"]) and len(months) == 6
    best = table["perfect_foresight"]["uplift_eur"]
    assert all(one["uplift_eur"] <= best * (1.0 + 1e-6) + 1e-6 for one in table.values())


def test_it_is_said(env, folder):
    said = " ".join(data_notes(env.config.data))
    assert "fewer than 3 years, so weeks are held out: six a year for validation and six for test" in said
    with pytest.raises(UserError, match=r"env.episode.days=60: no stretch of the training weeks is so long"):
        on_files(folder, "env.episode.days=60").params("train")


def test_the_picture_of_a_week_begins_with_its_first_day():
    hours = np.datetime64("2024-02-01") + np.arange(168) * np.timedelta64(1, "h")  # a Thursday
    assert _typical_week(np.ones(168), hours) == hours[0]
    longer = np.datetime64("2024-02-01") + np.arange(24 * 28) * np.timedelta64(1, "h")
    assert _typical_week(np.ones(24 * 28), longer).astype("M8[D]").astype(int) % 7 == 4  # a Monday
