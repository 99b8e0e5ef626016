"""The user's own files: read as they are meant, units checked, and one line for whatever is wrong."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sites
from hypothesis import given, settings
from hypothesis import strategies as st
from small_microgrid import FEW, NO_FILES

from vmax.conversion import build
from vmax.envs.microgrid.data_settings import SiteFile
from vmax.envs.microgrid.rules import NoControl
from vmax.envs.microgrid.sessions import FileSessions, place_sessions, read_sessions, socket_power_kw
from vmax.envs.microgrid.years import data_notes, make_years
from vmax.errors import UserError

YEARS = ("2023", "2024", "2025")


def config(minutes=60, **files):
    return replace(FEW, step_minutes=minutes, files=replace(NO_FILES, **files))


def clock(minutes=60, start="2023-01-01", stop="2026-01-01"):
    """Local begins of the steps of three years, of which the second has a 29th of February."""
    return pd.date_range(start, stop, freq=f"{minutes}min", inclusive="left")


def mall_kw(times):
    """A load of the site's energy, other each hour."""
    hour = times.hour.to_numpy() + times.minute.to_numpy() / 60
    return 353.0 + 200.0 * np.sin((hour - 8) / 24 * 2 * np.pi) + times.day_of_week.to_numpy()


def write(name, times, **columns):
    frame = pd.DataFrame({"time": times.strftime("%Y-%m-%d %H:%M"), **columns})
    frame.to_csv(name, index=False, float_format="%.6f")
    return frame


def message(config):
    with pytest.raises(UserError) as error:
        make_years(config, "test")
    text = str(error.value)
    assert "\n" not in text and "env.data.columns" not in text and "env.data.read" not in text
    return text


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Series


def test_years_of_a_file_are_split_and_the_rest_is_generated():
    times = clock()
    write("mall.csv", times, mall_kw=mall_kw(times))
    train, validation, test = (make_years(config(mall="mall.csv"), split) for split in ("train", "validation", "test"))
    assert (train.names, validation.names, test.names) == (("2023",), ("2024",), ("2025",))
    whole = times[~((times.month == 2) & (times.day == 29))]
    for years, year in ((train, 2023), (validation, 2024), (test, 2025)):
        local = whole[whole.year == year]
        assert (years.utc[0] == (local + pd.Timedelta(hours=5)).to_numpy().astype("M8[s]")).all()
        np.testing.assert_allclose(years.mall_kw[0], mall_kw(local), rtol=1e-5)
        assert years.pv_kw.shape == (1, 8760) and years.need_kwh.shape == (1, 8760, 4)
        assert years.pv_kw.sum(dtype=float) == pytest.approx(8_030_119, rel=0.1)


@pytest.mark.parametrize("minutes", [15, 30])
@pytest.mark.parametrize("unit", ["kw", "kwh"])
def test_finer_steps_are_averaged_and_energies_become_powers(minutes, unit):
    times = clock(minutes)
    values = mall_kw(times) * (minutes / 60 if unit == "kwh" else 1.0)
    write("mall.csv", times, **{f"mall_{unit}": values})
    years = make_years(config(mall="mall.csv"), "test")
    last = times.year == 2025
    np.testing.assert_allclose(years.mall_kw[0], mall_kw(times)[last].reshape(8760, -1).mean(axis=1), rtol=1e-5)


def test_utc_and_offsets_mean_the_same_and_what_lies_around_whole_years_is_left_out():
    times = clock(start="2022-12-01", stop="2026-01-20")
    frame = write("local.csv", times, mall_kw=mall_kw(times))
    pd.DataFrame({"utc": times + pd.Timedelta(hours=5), "mall_kw": frame.mall_kw}).to_csv("utc.csv", index=False)
    frame.assign(time=frame.time + "-05:00").to_csv("offset.csv", index=False)
    made = [make_years(config(mall=name), "train") for name in ("local.csv", "utc.csv", "offset.csv")]
    assert all(years.names == ("2023",) for years in made)
    assert all((years.mall_kw == made[0].mall_kw).all() and (years.utc == made[0].utc).all() for years in made)


def test_a_file_may_be_in_the_time_of_another_zone():
    times = clock(start="2022-12-31", stop="2026-01-02")
    write("mall.csv", times, mall_kw=mall_kw(times))
    lima, earlier = (
        make_years(config(mall="mall.csv", timezone=zone), "test").mall_kw[0] for zone in (None, "America/La_Paz")
    )
    np.testing.assert_array_equal(earlier[:-1], lima[1:])  # clocks in La Paz are an hour ahead


def test_local_time_with_summer_time_is_read_and_slips_of_it_are_explained():
    there = replace(FEW.pv, latitude=52.0, longitude=5.0)
    dutch = replace(config(mall="mall.csv"), timezone="Europe/Amsterdam", pv=there)
    utc = pd.date_range("2022-12-31 23:00", "2025-12-31 22:00", freq="h", tz="UTC")
    local = utc.tz_convert("Europe/Amsterdam").tz_localize(None)
    write("mall.csv", local, mall_kw=mall_kw(local))
    years = make_years(dutch, "test")
    np.testing.assert_allclose(years.mall_kw[0], mall_kw(local[local.year == 2025]), rtol=1e-5)
    pd.DataFrame({"utc": local, "mall_kw": 1.0}).to_csv("mall.csv", index=False)
    assert message(dutch).endswith(
        "set naive_time=local if the file is in Europe/Amsterdam time (in env.data.files.mall={path: mall.csv, …})"
    )
    pd.DataFrame({"local": utc.tz_localize(None), "mall_kw": 1.0}).to_csv("mall.csv", index=False)
    assert "this hour does not exist in Europe/Amsterdam" in message(dutch)
    assert message(dutch).endswith("set timezone= to that (in env.data.files.mall={path: mall.csv, …})")
    said = {"path": "mall.csv", "timezone": "UTC"}
    own = replace(dutch, files=replace(NO_FILES, mall=build(SiteFile, said, "env.data.files.mall")))
    with pytest.raises(UserError, match="adds up to 8760 kWh a year"):  # it is read as UTC; 1 kW is not this site
        make_years(own, "test")


def test_carbon_and_tariff_go_with_generated_loads():
    times = clock()
    write("carbon.csv", times, carbon_kg_per_kwh=0.4 + 0.1 * (times.hour >= 18))
    write("tariff.csv", times, price_per_kwh=np.full(len(times), 0.2))
    years = make_years(config(carbon="carbon.csv", tariff="tariff.csv"), "test")
    assert years.carbon_kg_per_kwh[0, :24].tolist() == pytest.approx([0.4] * 18 + [0.5] * 6)
    assert years.prices is not None and (years.prices == np.float32(0.2)).all()
    assert years.mall_kw.sum(dtype=float) == pytest.approx(3_092_204, rel=0.1)


def priced(*overrides, column="price_per_kwh", price=0.25):
    """An environment with a tariff file: the price, and a tenth more in the evening."""
    times = clock()
    write("tariff.csv", times, **{column: price * (1.0 + 0.1 * (times.hour.to_numpy() >= 18))})
    return sites.site("env.data.files.tariff=tariff.csv", *overrides)


@pytest.mark.parametrize(
    ("more", "unit"),
    [((), {}), (("env.data.files.tariff_unit=per_mwh",), {"price": 250.0}),
     ((), {"column": "price_per_mwh", "price": 250.0})],
)  # fmt: skip
def test_the_prices_of_a_tariff_file_are_taken_as_they_are_and_nothing_is_added(more, unit):
    env = priced("env.tariff.currency=EUR", *more, **unit)
    params = env.params("test")
    price = np.asarray(params.data.price_per_kwh[0])
    np.testing.assert_allclose(np.unique(price), [0.25, 0.275], rtol=1e-6)
    tariff = params.valued.tariff
    assert env.assessment.currency == "EUR" and not np.asarray(params.data.peak).any()
    assert (float(tariff.demand_peak_per_kw), float(tariff.demand_excess_per_kw)) == (0.0, 0.0)
    info = sites.told(env, NoControl(), sites.days(env, 40))
    assert info["demand_cost"].sum() == 0.0
    np.testing.assert_allclose(info["energy_cost"][:, 0], price[: 40 * 24] * info["grid_import_kw"][:, 0], rtol=1e-5)


def test_what_is_asked_for_beside_a_tariff_file_counts():
    more = ("env.tariff.local_per_unit=2", "env.tariff.peak_hours=[17,20]", "env.tariff.demand_peak_per_kw=10")
    params = priced(*more).params("test")
    assert float(params.data.price_per_kwh[0, 0]) == pytest.approx(0.125)
    assert float(params.valued.tariff.demand_peak_per_kw) == 5.0 and np.asarray(params.data.peak).sum() == 3 * 365


@pytest.mark.parametrize(
    ("more", "price", "message"),
    [
        ((), 250.0, r"has a mean \|price\| of 256.* per kWh; if it is per MWh set env.data.files.tariff_unit=per_mwh"),
        (("env.tariff.peak_per_kwh=0.4",), 0.25, "peak_per_kwh=0.4: does not count beside env.data.files.tariff="),
        (("env.tariff.demand_peak_per_kw=9",), 0.25, "demand_peak_per_kw=9.0: needs env.tariff.peak_hours= beside a"),
    ],
)
def test_a_tariff_that_cannot_be_meant_is_one_line(more, price, message):
    with pytest.raises(UserError, match=message) as error:
        priced(*more, price=price).params("train")
    assert "\n" not in str(error.value)


def test_a_yen_tariff_is_taken_once_its_unit_is_said():
    params = priced("env.data.files.tariff_unit=per_kwh", price=30.0).params("test")
    assert float(params.data.price_per_kwh[0, 0]) == 30.0


def test_generated_loads_follow_the_weekdays_of_the_files_years():
    times = clock()
    write("carbon.csv", times, carbon_kg_per_kwh=np.full(len(times), 0.4))
    years = make_years(config(carbon="carbon.csv"), "validation")
    days = years.mall_kw[0].reshape(365, 24)
    whole = times[(times.year == 2024) & ~((times.month == 2) & (times.day == 29)) & (times.hour == 0)]
    evening = [days[whole.day_of_week == weekday, 20].mean() for weekday in range(7)]
    assert np.argmin(evening) == 6 and np.argmax(evening) == 5


def test_output_of_a_plant_is_scaled_by_its_share():
    times = clock()
    noon = np.maximum(np.sin((times.hour.to_numpy() - 6) / 12 * np.pi), 0.0)
    write("pv.csv", times, pv_kw=noon / noon.sum() * 3 * 8_030_119)
    one = make_years(config(pv="pv.csv"), "test")
    part = make_years(replace(config(pv="pv.csv"), pv=replace(FEW.pv, share=0.35)), "test")
    assert one.pv_kw.sum(dtype=float) == pytest.approx(8_030_119, rel=0.002)
    np.testing.assert_allclose(part.pv_kw, 0.35 * one.pv_kw, rtol=1e-6)


@pytest.mark.parametrize(
    ("minutes", "name", "factor", "looks"),
    [
        (15, "mall_kw", 0.25, "energies of 15 minutes in kWh: then set env.data.files.mall_unit=kWh"),
        (30, "mall_kw", 0.5, "energies of 30 minutes in kWh: then set env.data.files.mall_unit=kWh"),
        (15, "mall_kwh", 1.0, "powers in kW: then set env.data.files.mall_unit=kW"),
        (30, "mall_kwh", 1.0, "powers in kW: then set env.data.files.mall_unit=kW"),
        (60, "mall_kw", 4.0, "sums of four quarter-hour powers: divide them by 4"),
        (60, "mall_kw", 9_202 / 33_887, "means of quarter-hour energies: multiply them by 4"),
        (60, "mall_kw", 1000.0, "a unit a thousand times too small (W or Wh); convert it"),
        (60, "mall_kw", 0.001, "a unit a thousand times too large (MW or MWh); convert it"),
    ],
)
def test_slips_of_the_unit_are_seen_in_the_total(minutes, name, factor, looks):
    times = clock(minutes)
    write("mall.csv", times, **{name: mall_kw(times) * factor})
    text = message(config(mall="mall.csv"))
    assert text.startswith(f"mall.csv: column '{name}' in kW") and f"it looks like {looks}; if it is meant" in text


def test_what_the_line_says_helps():
    times = clock(15)
    write("mall.csv", times, mall_kw=mall_kw(times) / 4)
    right = make_years(config(mall="mall.csv", mall_unit="kWh"), "test")
    assert right.mall_kw.mean() == pytest.approx(356, abs=1)
    total = message(config(mall="mall.csv")).rpartition("env.data.mall.annual_kwh=")[2]
    meant = replace(config(mall="mall.csv"), mall=replace(FEW.mall, annual_kwh=float(total)))
    assert make_years(meant, "test").mall_kw.mean() == pytest.approx(89, abs=1)


def test_a_site_may_be_twice_as_large():
    times = clock()
    write("mall.csv", times, mall_kw=mall_kw(times) * 2)
    assert make_years(config(mall="mall.csv"), "test").mall_kw.mean() == pytest.approx(712, abs=2)


def test_output_above_the_inverters_limit_is_refused():
    times = clock()
    noon = np.maximum(np.sin((times.hour.to_numpy() - 6) / 12 * np.pi), 0.0) ** 2
    write("pv.csv", times, pv_kw=noon / noon.sum() * 3 * 8_030_119)
    text = message(config(pv="pv.csv"))
    assert "pv.csv: column 'pv_kw' in kW reaches 36" in text and "above env.data.pv.ac_kw=3201" in text
    limit = float(text.rpartition("env.data.pv.ac_kw=")[2])
    assert make_years(replace(config(pv="pv.csv"), pv=replace(FEW.pv, ac_kw=limit)), "test").pv_kw.max() > 3600


def edited(row, column, entry):
    """The mall's file with one entry replaced; row 2 is the first below the header."""
    times = clock()
    frame = write("mall.csv", times, mall_kw=mall_kw(times)).astype({"mall_kw": str})
    frame.loc[row - 2, column] = entry
    frame.to_csv("mall.csv", index=False)


@pytest.mark.parametrize(
    ("column", "entry", "line"),
    [
        ("mall_kw", "n/a?", "mall.csv: row 30 (2023-01-02 04:00): 'n/a?' in column 'mall_kw' is no number; if it st"),
        ("mall_kw", "", "mall.csv: row 30 (2023-01-02 04:00): no value in column 'mall_kw'; a number of at least 0"),
        ("mall_kw", "-3", "mall.csv: row 30 (2023-01-02 04:00): '-3' in column 'mall_kw'; a number of at least 0"),
        ("mall_kw", "inf", "mall.csv: row 30 (2023-01-02 04:00): 'inf' in column 'mall_kw'"),
        ("time", "yesterday", "mall.csv: row 30 (yesterday): column 'time' is no ISO 8601 time"),
        ("time", "2023-01-02 03:00", "mall.csv: row 30 (2023-01-02 03:00): the same time as in row 29; delete one"),
        ("time", "2023-01-02 04:10", "mall.csv: row 29 (2023-01-02 03:00): the next row is 70 minutes later"),
        ("time", "2022-01-02 04:00", "mall.csv: row 30 (2022-01-02 04:00): earlier than the row before it"),
    ],
)
def test_bad_entries_are_named(column, entry, line):
    edited(30, column, entry)
    assert message(config(mall="mall.csv")).startswith(line)


def test_a_gap_is_named():
    times = clock().delete(28)
    write("mall.csv", times, mall_kw=mall_kw(times))
    text = message(config(mall="mall.csv"))
    assert text.startswith("mall.csv: row 29 (2023-01-02 03:00): after it a gap") and text.endswith(
        "set missing=hold if a value that is left out is that of the row before (in env.data.files.mall={path: "
        "mall.csv, …})"
    )


def test_other_files_are_refused():
    assert message(config(mall="gone.csv")).endswith("set env.data.files.mall=FILE")
    Path("pv.json").write_text("{}")
    assert "one time column is needed" in message(config(pv="pv.json"))
    times = clock(stop="2023-01-05")
    write("short.csv", times, mall_kw=mall_kw(times))
    assert "2023-01-01 to 2023-01-04 holds no whole local calendar year; at least one" in message(
        config(mall="short.csv")
    )
    write("unnamed.csv", times, mall=mall_kw(times))
    assert "column 'mall' does not say its unit; name it mall_kw or mall_kwh" in message(config(mall="unnamed.csv"))
    write("load.csv", times, load=mall_kw(times))
    assert "one value column is needed, named mall_kw or mall_kwh or mall; found: time, load" in message(
        config(mall="load.csv")
    )
    write("both.csv", times, mall_kw=1.0, mall_kwh=1.0)
    assert "both.csv: one value column is needed" in message(config(mall="both.csv"))
    pd.DataFrame({"when": ["2023-01-01"], "mall_kw": [1.0]}).to_csv("when.csv", index=False)
    assert "when.csv: one time column is needed, named utc or local or time" in message(config(mall="when.csv"))
    pd.DataFrame({"time": [1.0, 2.0], "mall_kw": 1.0}).to_parquet("numbers.parquet")
    assert message(config(mall="numbers.parquet")).endswith(
        "holds numbers, no times; set columns.time= to another, or read.time_format=[epoch_s] if they are seconds "
        "since 1970 (in env.data.files.mall={path: numbers.parquet, …})"
    )
    write("grams.csv", times, carbon_kg_per_kwh=452.1)
    assert "452.1 kg per kWh, more than any grid; at most 5" in message(config(carbon="grams.csv"))


def test_coarser_steps_and_other_years_are_refused():
    times = clock()
    write("mall.csv", times, mall_kw=mall_kw(times))
    text = message(config(30, mall="mall.csv"))
    assert "its steps of 60 minutes are longer than env.data.step_minutes=30; set env.data.step_minutes=60" in text
    later = clock(start="2024-01-01", stop="2027-01-01")
    write("carbon.csv", later, carbon_kg_per_kwh=0.4)
    text = message(config(mall="mall.csv", carbon="carbon.csv"))
    assert "env.data.files.carbon=carbon.csv: has the years 2024, 2025, 2026, but env.data.files.mall has 2023" in text


def test_a_file_that_changed_is_read_again():
    times = clock()
    write("mall.csv", times, mall_kw=mall_kw(times))
    first = make_years(config(mall="mall.csv"), "test").mall_kw.mean()
    write("mall.csv", times, mall_kw=mall_kw(times) * 1.5)
    assert make_years(config(mall="mall.csv"), "test").mall_kw.mean() == pytest.approx(1.5 * first, rel=1e-4)


def test_what_inverters_draw_at_night_counts_as_nothing_and_is_said():
    times = clock()
    hour = times.hour.to_numpy()
    output = np.where((hour > 5) & (hour < 18), 1833.0, 0.0)
    write("pv.csv", times, pv_kw=np.where(output > 0, output, -0.3))
    site = replace(config(pv="pv.csv"), pv=replace(FEW.pv, annual_kwh=output[:8760].sum()))
    years = make_years(site, "test")
    assert years.pv_kw.min() == 0.0 and years.pv_kw.max() == pytest.approx(1833.0)
    notes = data_notes(site)
    assert f"pv_kw: {(output == 0).sum()} values below 0, down to -0.3 kW, set to 0" in notes
    assert notes[0].startswith("pv.csv: 26304 rows read, pv from 'pv_kw' in kW; from 2023-01-01T05:00 to")
    assert "generated, for no file is given: mall, sessions" in notes and "test: 2025" in notes
    write("pv.csv", times, pv_kw=np.where(output > 0, output, -300.0))
    assert "'-300.000000' in column 'pv_kw'; a number of at least 0 is needed" in message(site)


def test_how_a_file_is_read_stands_beside_its_path():
    times = clock()
    entries = [f"{power / 1000:.6f}".replace(".", ",") for power in mall_kw(times)]
    rows = [f"{moment};{entry}" for moment, entry in zip(times.strftime("%d.%m.%Y %H:%M"), entries, strict=True)]
    Path("load.csv").write_text("\n".join(["when;P", *rows]))
    said = {
        "path": "load.csv",
        "unit": "MW",
        "columns": {"time": "when", "load": "P"},
        "read": {"separator": "semicolon", "decimal": "comma", "time_format": ["%d.%m.%Y %H:%M"]},
    }
    years = make_years(config(mall=build(SiteFile, said, "env.data.files.mall")), "test")
    np.testing.assert_allclose(years.mall_kw[0], mall_kw(times[times.year == 2025]), rtol=1e-4)
    with pytest.raises(UserError, match=r"env.data.files.mall.units: unknown; did you mean env.data.files.mall.unit\?"):
        build(SiteFile, {"path": "load.csv", "units": "MW"}, "env.data.files.mall")


def test_hours_without_times_follow_a_begin():
    times = clock()
    pd.DataFrame({"non_shiftable_load": mall_kw(times).round(3)}).to_csv("building.csv", index=False)
    read = {"begin": "2023-01-01T00:00", "step": 60}
    said = {"path": "building.csv", "format": "citylearn_building", "timezone": "America/Lima", "read": read}
    years = make_years(config(mall=build(SiteFile, said, "env.data.files.mall")), "test")
    np.testing.assert_allclose(years.mall_kw[0], mall_kw(times[times.year == 2025]), rtol=1e-4)


# Sessions


def test_times_as_in_http_are_read():
    frame = daily()
    plain = read_sessions_of(frame)
    for column in ("arrival", "departure"):
        local = pd.to_datetime(frame[column]).dt.tz_localize("America/Lima").dt.tz_convert("UTC")
        frame[column] = local.dt.strftime("%a, %d %b %Y %H:%M:%S GMT")
    found = read_sessions_of(frame)
    np.testing.assert_array_equal(found.arrival, plain.arrival)
    np.testing.assert_array_equal(found.departure, plain.departure)


def read_sessions_of(frame):
    frame.to_csv("sessions.csv", index=False)
    return read_sessions(config(sessions="sessions.csv"))


def test_a_session_in_the_hour_that_the_clock_repeats_goes_from_the_first_to_the_second():
    there = replace(FEW.pv, latitude=52.0, longitude=5.0)
    rows = ["A,2024-10-27 02:50,2024-10-27 02:10,0.5", "A,2024-10-28 02:10,2024-10-28 02:50,0.5"]
    Path("sessions.csv").write_text("\n".join(["charger,arrival,departure,energy_kwh", *rows]))
    found = read_sessions(replace(config(sessions="sessions.csv"), timezone="Europe/Amsterdam", pv=there))
    stays = (found.departure - found.arrival).astype("timedelta64[m]").astype(int)
    assert stays.tolist() == [20, 40]
    assert found.arrival[0] == np.datetime64("2024-10-27T00:50")  # summer time


def daily(sockets=4):
    """A session a day at each socket, at 10:00 + socket hours for two hours, of socket + 1 kWh; three years."""
    days = pd.date_range("2023-01-01", "2025-12-31", freq="D")
    rows = []
    for socket in range(sockets):
        begin = days + pd.Timedelta(hours=10 + socket)
        rows.append(
            pd.DataFrame(
                {
                    "socket": str(socket),
                    "arrival": begin.strftime("%Y-%m-%d %H:%M"),
                    "departure": (begin + pd.Timedelta(hours=2)).strftime("%Y-%m-%d %H:%M"),
                    "energy_kwh": [f"{socket + 1}"] * len(days),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def check_daily(years):
    need, stay = np.zeros((24, 4)), np.zeros((24, 4))
    need[range(10, 14), range(4)], stay[range(10, 14), range(4)] = range(1, 5), 2
    assert (years.need_kwh.reshape(-1, 365, 24, 4) == need).all()
    assert (years.stay_steps.reshape(-1, 365, 24, 4) == stay).all()


def test_a_table_of_sessions_by_socket_or_charger_and_a_folder_mean_the_same(in_folder):
    frame = daily()
    frame.sample(frac=1.0, random_state=0).to_csv("sessions.csv", index=False)
    named = frame.assign(charger="playa_" + (frame.socket.astype(int) + 8).astype(str)).drop(columns="socket")
    named.to_csv("chargers.csv", index=False)  # playa_8 … playa_11: in order of the numbers
    folder = in_folder / "chargers"
    folder.mkdir()
    for name, part in named.groupby("charger"):
        part.drop(columns="charger").to_csv(folder / f"{name}.csv", index=False)
    for path in ("sessions.csv", "chargers.csv", "chargers"):
        years = make_years(config(sessions=path), "train")
        assert years.names == ("2023",)
        check_daily(years)
        check_daily(make_years(config(sessions=path), "validation"))  # a leap year


def test_sessions_go_with_a_load_of_the_same_years():
    times = clock()
    write("mall.csv", times, mall_kw=mall_kw(times))
    frame = daily()
    frame.to_csv("sessions.csv", index=False)
    check_daily(make_years(config(sessions="sessions.csv", mall="mall.csv"), "test"))
    frame[frame.arrival < "2025"].to_csv("early.csv", index=False)
    assert "early.csv: no session in 2025, a year of the other files" in message(
        config(sessions="early.csv", mall="mall.csv")
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"departure": "2023-01-05 09:00"}, "departure 2023-01-05 09:00 is not after the arrival"),
        (
            {"departure": "2023-01-06 10:30"},
            "row 7 (2023-01-06 10:00): arrives at socket 0 while the vehicle of row 6 is there until 2023-01-06",
        ),
        ({"departure": "later"}, "row 6 (later): column 'departure' is no ISO 8601 time"),
        ({"energy_kwh": "4.1"}, "energy_kwh 4.1 is more than socket 0 of 2 kW delivers in 2 h, 4 kWh"),
        ({"energy_kwh": "-1"}, "'-1' in column 'energy_kwh'; a number of at least 0 is needed"),
        ({"energy_kwh": "full"}, "'full' in column 'energy_kwh' is no number"),
        ({"socket": "4"}, "'4' in column 'socket'; whole numbers from 0 to 3 are allowed"),
        ({"socket": "A"}, "'A' in column 'socket'; whole numbers from 0 to 3 are allowed"),
        ({"socket": ""}, "no value in column 'socket'"),
    ],
)
def test_bad_sessions_are_named(changes, line):
    frame = daily()
    for column, entry in changes.items():
        frame.loc[4, column] = entry
    frame.to_csv("sessions.csv", index=False)
    text = message(config(sessions="sessions.csv"))
    if "departure" not in changes or line.startswith("departure"):
        line = f"row 6 (2023-01-05 10:00): {line}"
    assert text.startswith(f"sessions.csv: {line}")


def test_other_tables_of_sessions_are_refused(in_folder):
    frame = daily()
    frame.drop(columns="socket").to_csv("sessions.csv", index=False)
    assert "no column socket or charger; found: arrival" in message(config(sessions="sessions.csv"))
    frame.drop(columns="departure").to_csv("sessions.csv", index=False)
    assert "no column departure; found: socket" in message(config(sessions="sessions.csv"))
    daily(5).rename(columns={"socket": "charger"}).to_csv("many.csv", index=False)
    assert "many.csv: 5 chargers, but env.data.chargers.groups has 4 sockets" in message(config(sessions="many.csv"))
    frame.assign(energy_kwh=0).to_csv("none.csv", index=False)
    assert "none.csv: no session with an energy_kwh above 0" in message(config(sessions="none.csv"))
    frame[frame.arrival > "2025-03"].to_csv("late.csv", index=False)
    assert "sessions from 2025-03-01 to 2025-12-31 holds no whole local" in message(config(sessions="late.csv"))
    assert "gone: no such file or folder" in message(config(sessions="gone"))
    (in_folder / "empty").mkdir()
    assert "empty: holds no *.csv; one per charger is needed" in message(config(sessions="empty"))
    folder = in_folder / "five"
    folder.mkdir()
    for number in range(5):
        frame.to_csv(folder / f"{number}.csv", index=False)
    assert "five: 5 chargers, but env.data.chargers.groups has 4 sockets" in message(config(sessions="five"))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), minutes=st.sampled_from([15, 30, 60]))
def test_no_energy_is_lost_and_nobody_shares_a_socket_when_times_are_rounded(data, minutes):
    site = replace(FEW, step_minutes=minutes)
    utc = np.datetime64("2023-01-01T05:00:00") + np.arange(8760 * 60 // minutes) * np.timedelta64(minutes * 60, "s")
    rows = []
    for socket in range(2):
        at = 0
        for _ in range(data.draw(st.integers(1, 8))):
            at += data.draw(st.integers(0, 90))
            length = data.draw(st.integers(3, 200))
            share = data.draw(st.floats(0.01, 1.0))
            rows.append((socket, at, at + length, share * 2.0 * length / 60))
            at += length
    socket, arrival, departure, energy = (np.array(column) for column in zip(*rows, strict=True))
    begins, ends = (utc[0] + 60 * when.astype("timedelta64[s]") for when in (arrival, departure))
    need, stay = place_sessions(site, FileSessions("f", socket, begins, ends, energy), utc)
    np.testing.assert_allclose(need.sum(axis=0, dtype=float)[:2], np.bincount(socket, energy), rtol=2e-3, atol=1e-3)
    where, step = np.nonzero(stay.T)
    same = where[1:] == where[:-1]
    assert len(step) == len(rows) and (step[1:][same] >= (step + stay[step, where])[:-1][same]).all()
    assert (
        need[step, where] <= socket_power_kw(site.chargers)[where] * stay[step, where] * minutes / 60 * 1.0006
    ).all()
