"""Generated PV: calibrated, deterministic, dark at night, plausible by season, hour and tilt."""

from dataclasses import replace

import numpy as np
import pytest

from vmax.config import compose, load
from vmax.data.calendar import local_time
from vmax.data.solar import SolarConfig, check_place, generate_pv
from vmax.errors import UserError

SITE = SolarConfig(
    latitude=52.1, longitude=5.2, tilt_deg=30.0, azimuth_deg=180.0, yearly_yield_mwh_per_mw=950.0, seed=0
)


def steps(start, stop, minutes=60):
    return np.arange(np.datetime64(start, "s"), np.datetime64(stop, "s"), np.timedelta64(60 * minutes, "s"))


TWO_YEARS = steps("2022-01-01", "2024-01-01")


@pytest.mark.parametrize(("minutes", "dt_h"), [(60, 1.0), (15, 0.25)])
@pytest.mark.parametrize("target", [700.0, 950.0, 1900.0])
def test_mean_yearly_yield_is_met_with_the_inverter_clip(target, minutes, dt_h):
    utc = steps("2023-01-01", "2024-01-01", minutes)
    pv = generate_pv(utc, dt_h, replace(SITE, yearly_yield_mwh_per_mw=target))
    assert pv.shape == utc.shape
    assert pv.min() == 0.0
    assert pv.max() <= 1.0
    assert pv.mean() * 8766.0 == pytest.approx(target, rel=1e-6)
    assert (pv.max() == 1.0) == (target == 1900.0)


def test_a_part_of_a_year_gets_its_part_of_the_yield():
    whole = generate_pv(TWO_YEARS, 1.0, SITE)
    winter = np.isin(TWO_YEARS.astype("datetime64[M]").astype(str), ["2022-12", "2023-01"])
    kept = np.flatnonzero(winter)
    kept = np.delete(kept, slice(100, 150))  # a gap moves nothing
    assert (generate_pv(TWO_YEARS[kept], 1.0, SITE) == whole[kept]).all()
    assert whole[winter].mean() < 0.5 * whole.mean()


def test_seed_decides():
    first = generate_pv(TWO_YEARS, 1.0, SITE)
    assert (first == generate_pv(TWO_YEARS, 1.0, SITE)).all()
    other = generate_pv(TWO_YEARS, 1.0, replace(SITE, seed=1))
    sunny = first > 0.0
    assert (sunny == (other > 0.0)).all()
    assert (first[sunny] != other[sunny]).mean() > 0.99


def test_no_output_at_night_and_most_at_solar_noon():
    pv = generate_pv(TWO_YEARS, 1.0, SITE)
    hour = TWO_YEARS.astype("datetime64[h]").astype(int) % 24
    assert (pv[(hour >= 20) | (hour <= 2)] == 0.0).all()  # at 5° east the sun sets before 20:10 UTC all year
    by_hour = [pv[hour == h].mean() for h in range(24)]
    assert int(np.argmax(by_hour)) == 11  # 11:00 to 12:00 UTC holds solar noon (11:39)
    month = local_time(TWO_YEARS, "UTC").month
    assert pv[month == 6].mean() > 3.0 * pv[month == 12].mean()


def test_southern_site_has_its_summer_in_january():
    south = SolarConfig(-33.9, 151.2, 30.0, 0.0, 1500.0, 0)
    pv = generate_pv(TWO_YEARS, 1.0, south)
    month = local_time(TWO_YEARS, "Australia/Sydney").month
    assert pv[month == 1].mean() > pv[month == 6].mean()


def test_days_differ_as_weather_does():
    pv = generate_pv(TWO_YEARS, 1.0, SITE).reshape(-1, 24).sum(axis=1)
    june = pv[np.r_[151:181, 516:546]]
    assert june.min() < 0.4 * june.max()
    season = np.convolve(pv, np.ones(31) / 31, "same")
    anomaly = (pv - season)[31:-31]
    assert 0.1 < np.corrcoef(anomaly[:-1], anomaly[1:])[0, 1] < 0.6  # weather stays for a while


@pytest.mark.parametrize("target", [0.0, 6000.0])
def test_impossible_yield(target):
    with pytest.raises(UserError, match=rf"env.solar.yearly_yield_mwh_per_mw={target:g}: must be above 0 and below"):
        generate_pv(TWO_YEARS, 1.0, replace(SITE, yearly_yield_mwh_per_mw=target))


@pytest.mark.parametrize(
    ("environment", "section", "overrides", "hour"),
    [
        ("bess_pv", "env.solar", ["env.data.timezone=Australia/Brisbane"], "21:39"),
        ("microgrid", "env.data.pv", ["env.data.timezone=Europe/Amsterdam"], "17:53"),
        ("microgrid", "env.data.pv", ["env.data.pv.longitude=73.25"], "02:07"),  # a sign that was left out
    ],
)
def test_a_place_far_from_its_zone_is_refused(environment, section, overrides, hour):
    said = rf"{section}.longitude=.*: is not in env.data.timezone=.*highest at {hour}; set {section}.latitude= and"
    with pytest.raises(UserError, match=said):
        load(compose(["algorithm=sac", f"env={environment}", *overrides]))


@pytest.mark.parametrize(("latitude", "zone"), [(52.1, "Africa/Johannesburg"), (-33.9, "Europe/Athens")])
def test_a_place_in_the_other_hemisphere_is_refused(latitude, zone):
    with pytest.raises(UserError, match=f"env.solar.latitude={latitude}: is not in env.data.timezone={zone}, which is"):
        check_place("env.solar", latitude, 25.0, zone)


def test_a_zone_holds_its_own_places():
    places = {
        "Europe/Madrid": (43.0, -9.0),
        "Asia/Jakarta": (5.5, 95.3),
        "Africa/Nairobi": (4.0, 36.0),
        "UTC": (52.0, 5.0),
        "Etc/GMT-10": (-27.0, 153.0),
        "Europe/Dublin": (53.0, -8.0),
        "America/Lima": (-12.0, -77.0),
    }
    for zone, (latitude, longitude) in places.items():
        check_place("env.solar", latitude, longitude, zone)


def test_without_generated_pv_the_place_does_not_matter():
    load(compose(["algorithm=sac", "env=bess", "env.data.timezone=Australia/Brisbane"]))


@pytest.mark.parametrize("zone", ["Australia/Brisbane", "America/Lima", "Europe/Amsterdam"])
def test_the_sun_is_highest_about_noon_on_the_clock(zone):
    place = {"Australia/Brisbane": (-27.5, 153.0, 0.0), "America/Lima": (-12.0, -77.0, 0.0)}.get(
        zone, (52.1, 5.2, 180.0)
    )
    check_place("env.solar", *place[:2], zone)
    utc = np.arange(np.datetime64("2024-01-01", "s"), np.datetime64("2025-01-01", "s"), np.timedelta64(3600, "s"))
    output = generate_pv(utc, 1.0, SolarConfig(place[0], place[1], 25.0, place[2], 1200.0, 0))
    hour = local_time(utc, zone).hour.astype(int)
    assert np.argmax(np.bincount(hour, output)) in (11, 12, 13)
