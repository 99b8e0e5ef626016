"""Generated years: the site's totals, their spread, random numbers of their own, and sessions that can take place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_microgrid import FEW, SITE

from vmax.data.calendar import local_time
from vmax.envs.microgrid import profiles
from vmax.envs.microgrid.sessions import MOST_NEED, served_on_arrival_kwh, socket_power_kw
from vmax.envs.microgrid.years import clear_sky_kw, make_years
from vmax.errors import UserError

TWENTY = replace(SITE, seed=987_654, test_years=20)


@pytest.fixture(scope="module")
def twenty():
    return make_years(TWENTY, "test")


def totals(years, config):
    """kWh of each year of PV, mall and sessions, each `[Y]`."""
    series = [values.sum(axis=1, dtype=np.float64) * config.dt_h for values in (years.pv_kw, years.mall_kw)]
    return [*series, years.need_kwh.sum(axis=(1, 2), dtype=np.float64)]


def test_twenty_years_have_the_sites_means_and_the_spread_that_is_asked_for(twenty):
    for total, site in zip(totals(twenty, TWENTY), (8_030_119, 3_092_204, 438_000), strict=True):
        assert total.mean() == pytest.approx(site, rel=0.005)
        assert 0.02 < total.std() / total.mean() < 0.04
    highest = twenty.mall_kw.max(axis=1)
    assert highest.mean() == pytest.approx(690.75, rel=0.005)
    assert highest.std() > 5.0


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_any_twenty_levels_have_the_mean_one(seed):
    levels = profiles.year_levels(20, 0.05, 3, np.random.SeedSequence(seed))
    assert levels.mean() == pytest.approx(1.0, abs=0.003)
    assert levels.std() == pytest.approx(0.05, abs=0.015)
    assert (levels[:7] == profiles.year_levels(7, 0.05, 3, np.random.SeedSequence(seed))).all()


def test_pv_stays_below_the_cap_and_a_clear_sky_and_is_dark_at_night(twenty):
    clear = clear_sky_kw(TWENTY)
    assert twenty.pv_kw.max() == clear.max() == 3201.0
    assert (twenty.pv_kw <= clear * (1 + 1e-6)).all()
    hour = (twenty.utc[0] - np.datetime64("2025-01-01T05:00:00")) // np.timedelta64(1, "h") % 24
    assert twenty.utc[0, 0] == np.datetime64("2025-01-01T05:00:00")  # midnight in Lima
    assert (twenty.pv_kw[:, (hour < 5) | (hour > 19)] == 0.0).all()
    mornings, afternoons = (twenty.pv_kw[:, hour == at].mean() / clear[hour == at].mean() for at in (9, 15))
    assert afternoons < mornings  # convection


def test_a_third_of_the_plant_is_the_same_weather():
    scarce = replace(FEW, pv=replace(FEW.pv, share=0.35))
    np.testing.assert_allclose(make_years(scarce, "test").pv_kw, 0.35 * make_years(FEW, "test").pv_kw, rtol=1e-5)
    np.testing.assert_allclose(clear_sky_kw(scarce), 0.35 * clear_sky_kw(FEW), rtol=1e-5)


def test_weekends_are_other_days_for_the_mall(twenty):
    day = np.arange(8760) // 24
    evening = np.arange(8760) % 24 == 20
    mean = [twenty.mall_kw[:, evening & ((day + 2) % 7 == weekday)].mean() for weekday in range(7)]  # 1 Jan: Wednesday
    assert mean[6] < min(mean[:5]) and mean[5] > max(mean[:5])


@pytest.mark.parametrize("minutes", [15, 30])
def test_shorter_steps_have_the_same_totals(minutes):
    hourly, config = make_years(FEW, "test"), replace(FEW, step_minutes=minutes)
    years = make_years(config, "test")
    assert years.pv_kw.shape == (2, 8760 * 60 // minutes)
    for total, same in zip(totals(years, config), totals(hourly, FEW), strict=True):
        np.testing.assert_allclose(total, same, rtol=0.01)
    assert years.mall_kw.max() == pytest.approx(hourly.mall_kw.max(), rel=0.01)
    assert (years.pv_kw <= clear_sky_kw(config) * (1 + 1e-6)).all()
    stays = years.stay_steps[years.stay_steps > 0] * config.dt_h
    assert 2.0 < stays.mean() < 3.0


def test_a_seed_gives_the_same_years_and_more_years_change_none():
    few, more = (make_years(replace(FEW, test_years=count), "test") for count in (1, 2))
    assert few.names == ("test 0",) and more.names == ("test 0", "test 1")
    for name in ("utc", "pv_kw", "mall_kw", "carbon_kg_per_kwh", "need_kwh", "stay_steps"):
        assert (getattr(few, name)[0] == getattr(more, name)[0]).all(), name
        assert not getattr(few, name).flags.writeable
    assert few.prices is None
    assert (few.carbon_kg_per_kwh == np.float32(0.4521)).all()


def test_no_two_years_of_any_split_or_seed_share_their_noise():
    made = [make_years(FEW, split) for split in ("train", "validation", "test")]
    made.append(make_years(replace(FEW, seed=1), "train"))
    night = np.arange(8760) % 24 == 3
    for values in (
        np.concatenate([years.pv_kw[:, 12::24] for years in made]),
        np.concatenate([y.mall_kw[:, night] for y in made]),
    ):
        apart = np.corrcoef(values) - np.eye(len(values))
        assert np.abs(apart).max() < 0.35
    comes = np.concatenate([years.stay_steps > 0 for years in made]).reshape(8, -1)
    assert len({row.tobytes() for row in comes}) == 8


def session_list(years, number):
    """Step, socket, need and stay of each session, in order of sockets and steps."""
    socket, step = np.nonzero(years.stay_steps[number].T)
    return step, socket, years.need_kwh[number][step, socket], years.stay_steps[number][step, socket].astype(int)


@settings(max_examples=25, deadline=None)
@example(seed=0, minutes=30, opens=0, hours=6, longest=1.0, annual_kwh=1000.0, zone="Europe/Amsterdam")
@given(
    seed=st.integers(0, 2**31 - 1),
    minutes=st.sampled_from([30, 60]),
    opens=st.sampled_from([0, 1, 2, 9, 12]),
    hours=st.integers(6, 11),
    longest=st.floats(1.0, 9.0),
    annual_kwh=st.floats(1_000.0, 9_000.0),
    zone=st.sampled_from(["America/Lima", "Europe/Amsterdam", "Pacific/Auckland"]),
)
def test_sessions_can_take_place(seed, minutes, opens, hours, longest, annual_kwh, zone):
    chargers = replace(
        FEW.chargers,
        open_h=(float(opens), float(opens + hours)),
        peak_h=(opens + 1.0, opens + 3.0),
        stay_h=(1.0, longest),
        annual_kwh=annual_kwh,
    )
    pv = replace(FEW.pv, longitude={"Europe/Amsterdam": 5.0, "Pacific/Auckland": 174.0}.get(zone, FEW.pv.longitude))
    config = replace(FEW, seed=seed, step_minutes=minutes, test_years=1, chargers=chargers, timezone=zone, pv=pv)
    years = make_years(config, "test")
    step, socket, need, stay = session_list(years, 0)
    assert ((years.need_kwh > 0) == (years.stay_steps > 0)).all()
    same = socket[1:] == socket[:-1]
    assert (step[1:][same] >= (step + stay)[:-1][same]).all()  # one after the other
    most = socket_power_kw(chargers)[socket] * stay * config.dt_h
    assert (need <= MOST_NEED * most * (1 + 5e-4)).all()  # float16
    clock = local_time(years.utc[0], zone).hour
    assert (clock[step] >= opens).all() and (clock[step] < opens + hours).all()
    last = clock[step + stay - 1]  # also where the clock skips or repeats an hour meanwhile
    assert (last >= clock[step] - 1.0).all() and (last < opens + hours + 1).all()


def test_charging_on_arrival_serves_the_site_within_its_limits(twenty):
    need, chargers = twenty.need_kwh[0], SITE.chargers
    served = served_on_arrival_kwh(need, twenty.stay_steps[0], chargers, 1.0)
    assert served.sum() >= 0.995 * need.sum(dtype=np.float64)
    assert served.sum(axis=1).max() <= 150.0 + 1e-6 and served[:, :112].sum(axis=1).max() <= 120.0 + 1e-6
    expected = served.reshape(365, 24, 128).mean(axis=0)
    assert expected.sum(axis=1).max() < 150.0 and expected[:, :112].sum(axis=1).max() < 120.0
    assert expected.sum(axis=1)[18:21].min() > 1.15 * expected.sum(axis=1)[10:18].mean()  # the evening peak


def test_charging_on_arrival_by_hand():
    # two motos of 2 kW share 3 kW: 1.5 each; the mototaxi has its 3 kW, until all together would take more than 5 kW
    groups = tuple(
        replace(group, sockets=n, limit_kw=3.0) for group, n in zip(FEW.chargers.groups, (2, 1), strict=True)
    )
    chargers = replace(FEW.chargers, groups=groups, limit_kw=5.0)
    need = np.array([[3.0, 2.0, 0.0], [0.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    stay = np.array([[3, 2, 0], [0, 0, 1], [0, 0, 0]])
    served = served_on_arrival_kwh(need, stay, chargers, 1.0)
    # second step: wishes 1.5, 0.5 and 3 are just the 5 kW of all; third: the mototaxi has left with 1 kWh missing
    np.testing.assert_allclose(served, [[1.5, 1.5, 0.0], [1.5, 0.5, 3.0], [0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("section", "changes", "line"),
    [
        ("pv", {"annual_kwh": 2e7}, "env.data.pv.annual_kwh=2e\\+07: must be below 1[0-9]{7}, which is reached"),
        ("pv", {"annual_kwh": 1.3e7, "year_spread": 0.2}, "env.data.pv.annual_kwh=1.3e\\+07.*beyond clear skies"),
        ("mall", {"peak_kw": 340.0}, "env.data.mall.peak_kw: a year of 3.* cannot reach 3"),
        ("chargers", {"annual_kwh": 60_000.0}, "env.data.chargers.annual_kwh=60000: must be below"),
    ],
)
def test_figures_that_do_not_fit_together_end_in_one_line(section, changes, line):
    config = replace(FEW, **{section: replace(getattr(FEW, section), **changes)})
    with pytest.raises(UserError, match=line):
        make_years(config, "test")
