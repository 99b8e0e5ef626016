"""What the user reads: one line that names file, column, row, what was found and the override that mends it."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from data_config import SHIPPED

from vmax.data.series import load_series
from vmax.errors import UserError

CONFIG = replace(SHIPPED, path="prices.csv", columns=replace(SHIPPED.columns, time="time", price="price"))


def lines(count=960, start="2023-03-01", minutes=60):
    times = pd.date_range(start, periods=count, freq=f"{minutes}min").strftime("%Y-%m-%d %H:%M")
    return ["time,price", *(f"{time},{50 + i % 24}" for i, time in enumerate(times))]


def message(config=CONFIG):
    with pytest.raises(UserError) as error:
        load_series(config)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(row, text):
    """The file with one line replaced; line 1 is the header, as in an editor."""

    def write(folder):
        content = lines()
        content[row - 1] = text
        (folder / "prices.csv").write_text("\n".join(content))

    return write


@pytest.mark.parametrize(
    ("row", "text", "expected"),
    [
        (
            778,
            "2023-04-02 08:00,n/a?",
            "prices.csv: row 778 (2023-04-02 08:00): 'n/a?' in column 'price' is no number; if it stands "
            "for a missing value set 'env.data.read.missing_text=[\"n/a?\"]', else mend it",
        ),
        (
            778,
            "2023-04-02 08:00,",
            "prices.csv: row 778 (2023-04-02 08:00): no value in column 'price'; set env.data.missing=interpolate to "
            "bridge up to 3 steps",
        ),
        (
            778,
            "2023-04-02 08:00,-inf",
            "prices.csv: row 778 (2023-04-02 08:00): '-inf' in column 'price' is infinite; set "
            "env.data.missing=interpolate to bridge up to 3 steps",
        ),
        (
            3,
            "01/03/2023 01:00,50",
            "prices.csv: row 3 (01/03/2023 01:00): column 'time' is no ISO 8601 time such as 2024-01-31 23:00; set "
            "env.data.read.dayfirst=true if the day stands before the month, else false",
        ),
        (
            3,
            "2023-03-01T01:00Z,50",
            "prices.csv: row 3 (2023-03-01T01:00Z): column 'time' mixes stamps with and without an offset from UTC",
        ),
        (
            3,
            "2023-03-01 00:00,50",
            "prices.csv: row 3 (2023-03-01 00:00): the same time as in row 2; delete one of them",
        ),
        (
            4,
            "2023-02-28 23:00,50",
            "prices.csv: row 4 (2023-02-28 23:00): earlier than the row before it; set env.data.read.sort=true",
        ),
        (
            4,
            "2023-03-01 02:20,50",
            "prices.csv: row 3 (2023-03-01 01:00): the next row is 80 minutes later, but the file's step is 60 "
            "here; delete or mend the row",
        ),
        (1, "time,eur", "prices.csv: no column 'price'; set env.data.columns.price= to one of: time, eur"),
        (1, "date,price", "prices.csv: no column 'time'; set env.data.columns.time= to one of: date, price"),
    ],
)
def test_one_bad_line(in_folder, row, text, expected):
    edit(row, text)(in_folder)
    assert message() == expected


def test_gap_names_its_place_its_size_and_the_override(in_folder):
    content = lines()
    del content[100:105], content[300:301]
    (in_folder / "prices.csv").write_text("\n".join(content))
    assert message() == (
        "prices.csv: row 100 (2023-03-05 02:00): after it a gap, the first of 2; 6 steps of 60 minutes are missing in "
        "all, at most 5 in a row; set env.data.missing=hold if a value that is left out is that of the row before, or "
        "env.data.gaps=segments to split the series there"
    )


def test_off_the_hour_grid(in_folder):
    (in_folder / "prices.csv").write_text("\n".join(lines(start="2023-03-01 00:20")))
    assert "row 2 (2023-03-01 00:20): not on the grid of 60 minutes in Europe/Amsterdam" in message()


def test_unsupported_resolution(in_folder):
    (in_folder / "prices.csv").write_text("\n".join(lines(minutes=10)))
    expected = "prices.csv: column 'time' goes in steps of 10 minutes; set env.data.step_minutes= to one of 30, 60 to"
    assert message() == f"{expected} average them"


@pytest.mark.parametrize("gaps", ["error", "segments"])
def test_a_change_of_resolution_is_no_series_of_gaps(in_folder, gaps):
    content = lines(960, "2023-03-01", minutes=15) + lines(240, "2023-03-11", minutes=60)[1:]
    (in_folder / "prices.csv").write_text("\n".join(content))
    found = message(replace(CONFIG, gaps=gaps))
    assert found == (
        "prices.csv: row 962 (2023-03-11 00:00): the steps are 15 minutes before and 60 from here on; set "
        "env.data.step_minutes= to one of 15, 30, 60: longer ones are cut into such of the same values, shorter ones "
        "averaged"
    )


def test_duplicate_of_the_doubled_hour_suggests_local_time(in_folder):
    content = lines(960, "2023-10-20")
    at = next(i for i, line in enumerate(content) if line.startswith("2023-10-29 02:00"))
    content.insert(at + 1, content[at])
    (in_folder / "prices.csv").write_text("\n".join(content))
    assert message().endswith("set env.data.naive_time=local if the file is in Europe/Amsterdam time")


def test_gap_at_the_skipped_hour_suggests_local_time(in_folder):
    content = [line for line in lines() if not line.startswith("2023-03-26 02:00")]
    (in_folder / "prices.csv").write_text("\n".join(content))
    assert message() == (
        "prices.csv: row 603 (2023-03-26 01:00): after it a gap, the first of 1; 1 steps of 60 minutes are missing in "
        "all, at most 1 in a row; set env.data.naive_time=local if the file is in Europe/Amsterdam time"
    )


@pytest.mark.parametrize(
    ("scale", "mean", "mend"),
    [
        (0.001, "0.0615", "env.data.price_unit=eur_per_kwh if they are per kWh (ct_per_kwh if in hundredths)"),
        (1000, "61500", "env.data.price_scale_ok=true if the currency has such prices"),
    ],
)
def test_unit_slip(in_folder, scale, mean, mend):
    times = lines()[1:]
    rows = [f"{line.split(',')[0]},{float(line.split(',')[1]) * scale}" for line in times]
    (in_folder / "prices.csv").write_text("\n".join(["time,price", *rows]))
    assert message() == (
        f"prices.csv: column 'price' has a mean |price| of {mean}, outside of 1 to 5000 per MWh; set {mend}, or "
        "env.data.columns.price= to another column"
    )


def test_constant_series(in_folder):
    rows = [line.split(",")[0] + ",7" for line in lines()[1:]]
    (in_folder / "prices.csv").write_text("\n".join(["time,price", *rows]))
    assert message() == ("prices.csv: column 'price' is 7 throughout; set env.data.columns.price= to another column")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("prices.csv", None, r"prices.csv: no such file \(looked in .*\); set env.data.path=FILE"),
        ("prices.json", b"", r"prices.json: unknown kind of file; env.data.path must end in .csv, .txt, .tsv .*"),
        ("prices.csv", b"", r"prices.csv: unreadable: No columns to parse from file"),
        ("prices.csv", b"time,price\n", r"prices.csv: holds 0 rows of data; at least 2 are needed"),
        ("prices.csv", b"time,price\n1,2\n1,2,3\n", r"prices.csv: unreadable: .*line 3.*"),
        (
            "prices.csv",
            b"time,price\n1,2,3\n1,2,3\n",
            r"prices.csv: the rows have more entries than the header .*",
        ),
        (
            "prices.csv",
            b"time,price\n\xff\xfe,2\n",
            r"prices.csv: not written in utf-8-sig; set env.data.read.encoding=latin-1 .*",
        ),
        ("prices.csv.gz", b"time,price\n", r"prices.csv.gz: unreadable: Not a gzipped file .*"),
        ("prices.parquet", b"PAR1", r"prices.parquet: unreadable: .*"),
    ],
)
def test_unreadable_files(in_folder, name, content, expected):
    if content is not None:
        (in_folder / name).write_bytes(content)
    assert re.fullmatch(expected, message(replace(CONFIG, path=name)))


def test_truncated_gzip(in_folder):
    pd.DataFrame({"time": ["x"] * 5000, "price": np.arange(5000)}).to_csv(in_folder / "prices.csv.gz", index=False)
    whole = (in_folder / "prices.csv.gz").read_bytes()
    (in_folder / "prices.csv.gz").write_bytes(whole[: len(whole) // 2])
    assert message(replace(CONFIG, path="prices.csv.gz")).startswith("prices.csv.gz: unreadable: ")


def test_time_column_of_numbers(in_folder):
    pd.DataFrame({"time": np.arange(5), "price": np.arange(5.0)}).to_parquet(in_folder / "prices.parquet")
    found = message(replace(CONFIG, path="prices.parquet"))
    assert found == (
        "prices.parquet: column 'time' holds numbers, no times; set env.data.columns.time= to another, or "
        "env.data.read.time_format=[epoch_s] if they are seconds since 1970"
    )


DATES = {"train": ("2023-03-01", "2023-03-20"), "validation": ("2023-03-21", "2023-03-30")}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"test": ("2023-03-30", "2023-04-05")},
            "env.data.test=[2023-03-30,2023-04-05]: overlaps env.data.validation=[2023-03-21,2023-03-30]",
        ),
        (
            {"test": ("2023-03-31", "2023-05-05")},
            "env.data.test=[2023-03-31,2023-05-05]: outside of the data; prices.csv has 2023-03-01 to 2023-04-10",
        ),
        (
            {"test": ("2023-04-05", "2023-03-31")},
            "env.data.test=[2023-04-05,2023-03-31]: the first day is after the last",
        ),
        ({"test": None}, "env.data.test=null: give train, validation and test, or none of them"),
        ({"test": ("2023-04-31", "x")}, "env.data.test=[2023-04-31,x]: two days such as 2024-01-31 are needed"),
        (
            {"test": ("2023-04-10", "2023-04-10")},
            "prices.csv: split 'test' (2023-04-10 to 2023-04-10) has no gap-free day; set env.data.test=[FIRST,LAST]",
        ),
        (
            {"timezone": "Europe/Amsterdm"},
            "env.data.timezone=Europe/Amsterdm: unknown; an IANA name such as Europe/Amsterdam is needed",
        ),
        ({"missing_max_steps": 0}, "env.data.missing_max_steps=0: must be at least 1"),
    ],
)
def test_settings(in_folder, changes, expected):
    (in_folder / "prices.csv").write_text("\n".join(lines()))
    with pytest.raises(UserError) as error:
        load_series(replace(CONFIG, **{**DATES, **changes}))
    assert str(error.value) == expected


def test_too_short_for_an_automatic_split(in_folder):
    (in_folder / "prices.csv").write_text("\n".join(lines(30)))
    assert message() == (
        "prices.csv: 2023-03-01 to 2023-03-02 is too short to be split into train, validation and test by days"
    )
