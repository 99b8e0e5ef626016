"""`data`: the first look at a file finds the overrides that read it, and says which it had to assume."""

import re
import sys

import numpy as np
import pytest
from data_config import configured
from downloads import DOWNLOADS, place
from test_formats import PERIODS, pvgis, series_of

from vmax.commands import data
from vmax.data.series import load_series
from vmax.data.suggest import suggest


@pytest.mark.parametrize("source", DOWNLOADS)
def test_the_source_of_a_download_is_found(tmp_path, source):
    one = DOWNLOADS[source]
    utc, price = series_of(one.minutes, *PERIODS["autumn"])
    path = place(tmp_path, one.write(utc, price))
    given = [override for override in one.overrides if "format" not in override and "columns" not in override]
    given += ["env.data.missing_codes=[]"] if source == "aemo" else []
    found = suggest(str(path), given, data.configured)
    assert found.error is None and found.series is not None
    known = found.steps[0].override.removeprefix("env.data.format=")
    assert known in (source, "nyiso", "caiso") if source in ("caiso", "nyiso") else known == source
    if source not in ("caiso", "nyiso"):
        np.testing.assert_array_equal(
            found.series.utc, load_series(configured(f"env.data.path='{path}'", *one.overrides, *given)).utc
        )


def hours(write):
    utc, price = series_of(60, "2024-03-01 00:00", 12)
    return "\n".join(write(utc, np.round(price, 2))) + "\n"


FILES = {
    "plain": (
        hours(lambda t, p: ["time,price", *(f"{a:%Y-%m-%dT%H:%MZ},{b}" for a, b in zip(t, p, strict=True))]),
        {"columns.time", "columns.price"},
        set(),
    ),
    "month_first": (
        hours(lambda t, p: ["when,eur", *(f"{a:%m/%d/%Y %H:%M},{b}" for a, b in zip(t, p, strict=True))]),
        {"columns.time", "columns.price", "read.dayfirst", "naive_time"},
        {"read.dayfirst", "naive_time"},
    ),
    "lines_before": (
        "Prices of zone X\nof today\n"
        + hours(lambda t, p: ["t;EUR/MWh", *(f"{a}Z;{b}".replace(".", ",") for a, b in zip(t, p, strict=True))]),
        {"read.header_rows", "read.separator", "columns.time", "columns.price", "read.decimal"},
        set(),
    ),
    "epochs": (
        hours(lambda t, p: ["t,price", *(f"{a.timestamp():.0f},{b}" for a, b in zip(t, p, strict=True))]),
        {"columns.time", "columns.price", "read.time_format"},
        set(),
    ),
    "day_and_hour": (
        hours(lambda t, p: ["Day,Hour,Price", *(f"{a:%Y-%m-%d},{a.hour},{b}" for a, b in zip(t, p, strict=True))]),
        {"columns.time", "columns.price", "naive_time", "read.period", "read.first_period"},
        {"naive_time"},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_reads_another_file_is_found_and_what_is_assumed_is_said(tmp_path, name):
    text, settings, assumed = FILES[name]
    (tmp_path / "prices.csv").write_text(text)
    given = ["env.data.read.first_period=0"] if name == "day_and_hour" else []
    found = suggest(str(tmp_path / "prices.csv"), given, data.configured)
    assert found.error is None and found.series is not None
    _, price = series_of(60, "2024-03-01 00:00", 12)
    np.testing.assert_allclose(found.series.values["price"], np.round(price, 2))
    keys = {step.override.partition("=")[0].removeprefix("env.data."): step for step in found.steps}
    assert set(keys) == settings - ({"read.first_period"} if given else set())
    assert {key for key, step in keys.items() if step.assumed} == assumed


def test_the_command_prints_what_reads_the_file_and_draws_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prices.csv").write_text(FILES["month_first"][0])
    monkeypatch.setattr(sys, "argv", ["data.py", "path=prices.csv"])
    data.main()
    told = capsys.readouterr().out
    assert "    when,eur\n" in told and "assumed, to be confirmed by who knows the file: env.data.read.dayfirst" in told
    assert "data: prices.csv: 288 rows read" in told and "test: 2 days, 2024-03-11 to 2024-03-12" in told
    picture = re.search(r"picture: (\S+)", told)
    assert picture is not None and (tmp_path / picture[1]).stat().st_size > 10_000
    command = re.search(r"command: python scripts/train.py env=bess (.*)", told)
    assert command is not None
    assert load_series(configured(*command[1].split())).values["price"][30] == 1234.5


def test_a_file_that_cannot_be_read_ends_in_its_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.csv").write_text("time,price\n2024-01-01T00:00Z,1\n2024-01-01T00:00Z,2\n2024-01-01T01:00Z,3\n")
    for argument, line in (
        ("path=odd.csv", "odd.csv: row 3 (2024-01-01T00:00Z): the same time as in row 2; delete one of them"),
        ("path=gone.csv", "path=gone.csv: no such file"),
        ("path=null", "path=null: name the file"),
    ):
        monkeypatch.setattr(sys, "argv", ["data.py", argument])
        with pytest.raises(SystemExit) as ended:
            data.main()
        assert ended.value.code == 2 and line in capsys.readouterr().err
    assert not list(tmp_path.glob("outputs/data/*/*/*"))


def test_a_file_of_pv_alone_is_no_series_of_prices(tmp_path):
    utc, _ = series_of(60, *PERIODS["autumn"])
    (tmp_path / "pv.csv").write_text(pvgis(utc, np.ones(len(utc))))
    found = suggest(str(tmp_path / "pv.csv"), [], data.configured)
    assert found.series is None and found.error
