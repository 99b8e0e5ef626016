"""Downloads are read as they come, by the preset of their source: the right price at the right time."""

import numpy as np
import pandas as pd
import pytest
from data_config import configured
from downloads import DOWNLOADS, place

from vmax.config import compose, load
from vmax.data import layout
from vmax.data.series import load_series
from vmax.errors import UserError

PERIODS = {"autumn": ("2024-10-19 22:00", 16), "spring": ("2024-03-23 23:00", 15)}
"""Days around the changes of European clocks, from a midnight in central Europe."""


def series_of(minutes, begin, days):
    utc = pd.date_range(begin, periods=days * 24 * 60 // minutes, freq=f"{minutes}min")
    price = 60.0 + 40.0 * np.sin(np.arange(len(utc)) / 7.0) + np.arange(len(utc)) % 13
    price[30] = 1234.5
    return utc, np.round(price, 2)


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("source", DOWNLOADS)
def test_a_download_is_read_as_it_comes(tmp_path, source, period):
    one = DOWNLOADS[source]
    utc, price = series_of(one.minutes, *PERIODS[period])
    path = place(tmp_path, one.write(utc, price))
    more = ["env.data.missing_codes=[]"] if source == "aemo" else []
    series = load_series(configured(f"env.data.path='{path}'", *one.overrides, *more))
    step = round(series.dt_h * 60)
    expected = pd.Series(price, utc).resample(f"{step}min").mean()
    np.testing.assert_array_equal(series.utc, expected.index.to_numpy().astype("M8[s]"))
    np.testing.assert_allclose(series.values["price"], expected.to_numpy(), atol=6e-3)
    assert series.bridged_values == 0 and path.name in series.done[0]


@pytest.mark.parametrize("source", DOWNLOADS)
def test_the_clock_of_a_download_is_its_own_whatever_the_zone_of_the_market(tmp_path, source):
    one = DOWNLOADS[source]
    utc, price = series_of(one.minutes, *PERIODS["autumn"])
    path = place(tmp_path, one.write(utc, price))
    more = ["env.data.missing_codes=[]"] if source == "aemo" else []
    series = load_series(configured(f"env.data.path='{path}'", *one.overrides, *more, "env.data.timezone=UTC"))
    step = round(series.dt_h * 60)
    expected = pd.Series(price, utc).resample(f"{step}min").mean()
    np.testing.assert_array_equal(series.utc, expected.index.to_numpy().astype("M8[s]"))


def test_every_preset_of_prices_is_tried_and_named_in_the_docs():
    of_prices = {name for name in layout.shipped() if "price" in layout.preset_value(name, "columns", "x")}
    assert of_prices - {"plain", "citylearn_pricing"} == set(DOWNLOADS)


@pytest.mark.parametrize("name", layout.shipped())
def test_every_preset_can_be_chosen_and_sets_nothing_unknown(name):
    config = configured(f"env.data.format={name}", "env.data.columns.price=p", "env.data.columns.time=t")
    assert config.columns.price == "p" and config.timezone


def test_several_areas_in_one_file_are_told_apart_by_the_line(tmp_path):
    utc, price = series_of(60, *PERIODS["autumn"])
    path = place(tmp_path, DOWNLOADS["entsoe"].write(utc, price))
    with pytest.raises(UserError, match=r"column 'Area' tells them apart .*where=\{Area: \"BZN\|FR\"\}"):
        load_series(configured(f"env.data.path={path}", "env.data.format=entsoe"))
    with pytest.raises(UserError, match=r"no row has 'BZN\|NO' in column 'Area' .*; found: BZN\|BE, BZN\|FR"):
        load_series(
            configured(f"env.data.path={path}", "env.data.format=entsoe", 'env.data.read.where={Area: "BZN|NO"}')
        )


def test_a_format_of_ones_own_is_a_file(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "columns: {time: when, price: cost}\nnaive_time: utc\nread: {separator: semicolon, decimal: comma}\n"
    )
    utc, price = series_of(60, *PERIODS["spring"])
    rows = [f"{moment};{str(p).replace('.', ',')}" for moment, p in zip(utc, price, strict=True)]
    (tmp_path / "p.csv").write_text("\n".join(["when;cost", *rows]))
    mine = f"env.data.format={tmp_path / 'mine.yaml'}"
    series = load_series(configured(f"env.data.path={tmp_path / 'p.csv'}", mine))
    np.testing.assert_allclose(series.values["price"], price)
    (tmp_path / "mine.yaml").write_text("colums: {time: when}\n")
    with pytest.raises(UserError, match="sets 'colums', which env.data has not"):
        configured(mine)
    with pytest.raises(UserError, match=r"env.data.format=nowhere: no such file, and none of .*entsoe"):
        configured("env.data.format=nowhere")


def test_what_is_set_counts_before_the_format_and_that_before_the_plain_one():
    config = configured("env.data.format=smard", "env.data.timezone=Europe/Vienna")
    assert (config.timezone, config.read.decimal, config.currency) == ("Europe/Vienna", "comma", "EUR")
    assert config.read.missing_text == configured().read.missing_text


def pvgis(utc, watts):
    """PVGIS's hourly file: lines before the names, stamps within the hour, a legend behind a blank line."""
    rows = [f"{moment:%Y%m%d}:{moment:%H}10,{w:.1f},0.0,0.0,5.1,2.0,0.0" for moment, w in zip(utc, watts, strict=True)]
    before = [
        "Latitude (decimal degrees):\t52.100",
        "Longitude (decimal degrees):\t5.200",
        "Elevation (m):\t3.0",
        "Radiation database:\tPVGIS-SARAH3",
        "",
        "Slope: 30 deg. ",
        "Nominal power of the PV system (c-Si) (kWp):\t2000.0",
        "System losses (%):\t14.0",
        "",
        "time,P,G(i),H_sun,T2m,WS10m,Int",
    ]
    legend = ["", "P: PV system power (W)", "G(i): Global irradiance on the inclined plane (W/m2)", "PVGIS (c) 2024"]
    return "\n".join([*before, *rows, *legend]) + "\n"


def test_pv_of_pvgis_is_joined_to_prices(tmp_path):
    utc, price = series_of(60, *PERIODS["autumn"])
    prices = place(tmp_path, DOWNLOADS["smard"].write(utc, price))
    early = utc[0] - pd.Timedelta(hours=48)
    longer = pd.date_range(early, periods=len(utc) + 24, freq="h")  # begins before the prices, ends before them
    watts = 1.5e6 * np.clip(np.sin((longer.hour.to_numpy() - 6) / 12 * np.pi), 0.0, None)
    (tmp_path / "pvgis.csv").write_text(pvgis(longer, watts))
    more = f"env.data.more=[{{path: {tmp_path / 'pvgis.csv'}, format: pvgis}}]"
    series = load_series(configured(f"env.data.path={prices}", "env.data.format=smard", more))
    common = longer.intersection(utc)
    np.testing.assert_array_equal(series.utc, common.to_numpy().astype("M8[s]"))
    np.testing.assert_allclose(series.values["pv"], watts[longer.isin(common)] / 1e6, atol=1e-6)
    np.testing.assert_allclose(series.values["price"], price[utc.isin(common)])
    assert any("24 steps of" in line and "left out" in line for line in series.done)


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ("{path: pvgis.csv}", r"env.data.more\[0\].columns: none is named"),
        ("{path: pvgis.csv, colums: {pv: P}}", r"env.data.more\[0\].colums: unknown; did you mean .*columns\?"),
        ("{columns: {pv: P}}", r"env.data.more\[0\].path=null: must be the path of a file"),
        ("{path: a.csv, columns: {pv: P, price: Q}}", r"env.data.more\[0\].columns.price: stands in env.data.columns"),
        ("{path: a.csv, columns: {pv: P, sun: Q}}", r"env.data.more\[0\].columns.sun: unknown"),
    ],
)
def test_further_files_that_cannot_be_meant(item, line):
    with pytest.raises(UserError, match=line):
        configured(f"env.data.more=[{item}]")


def test_errors_of_a_further_file_name_its_settings(tmp_path):
    utc, price = series_of(60, *PERIODS["spring"])
    prices = place(tmp_path, DOWNLOADS["smard"].write(utc, price))
    (tmp_path / "pv.csv").write_text("time;pv\n" + "".join(f"{moment}Z;0,5\n" for moment in utc))
    more = f"env.data.more=[{{path: {tmp_path / 'pv.csv'}, columns: {{time: time, pv: pv}}}}]"
    with pytest.raises(UserError, match=r"set read.separator=semicolon read.decimal=comma \(in env.data.more\[0\]\)"):
        load_series(configured(f"env.data.path={prices}", "env.data.format=smard", more))


def test_presets_of_sessions_and_sites_are_read_by_the_microgrid(tmp_path):
    rows = [
        f"{k};CP{k % 3};1;{day}/02/2024 {k % 24:02d}:05;{day}/02/2024 {k % 24:02d}:55;x;0.8;0.5;1.2;3"
        for k, day in enumerate(np.repeat(np.arange(12, 22), 24))
    ]
    header = "TransactionId;ChargePoint;Connector;UTCTransactionStart;UTCTransactionStop;StartCard;ConnectedTime;"
    (tmp_path / "elaad.csv").write_text("\n".join([header + "ChargeTime;TotalEnergy;MaxPower", *rows]))
    given = f"env.data.files.sessions={{path: {tmp_path / 'elaad.csv'}, format: elaadnl}}"
    config = load(compose(["env=microgrid", given])).env.data
    from vmax.envs.microgrid.sessions import read_sessions

    found = read_sessions(config)
    assert len(found.arrival) == 240 and found.energy_kwh.sum() == pytest.approx(288.0)
    assert found.arrival.min() == np.datetime64("2024-02-12T00:05")
    acn = [
        f's{k},st{k % 3},"Mon, {12 + k // 24:02d} Feb 2024 {k % 24:02d}:05:00 GMT",'
        f'"Mon, {12 + k // 24:02d} Feb 2024 {k % 24:02d}:55:00 GMT",1.2'
        for k in range(100)
    ]
    (tmp_path / "acn.csv").write_text(
        "\n".join(["sessionID,stationID,connectionTime,disconnectTime,kWhDelivered", *acn])
    )
    given = f"env.data.files.sessions={{path: {tmp_path / 'acn.csv'}, format: acn}}"
    found = read_sessions(load(compose(["env=microgrid", given])).env.data)
    assert len(found.arrival) == 100 and found.arrival.min() == np.datetime64("2024-02-12T00:05")
