import numpy as np
import pytest

from vmax.errors import UserError
from vmax.export.rows import read_rows, unusual

COLUMNS = [
    {"name": "soc", "unit": "capacity", "low": 0.1, "high": 0.9, "seen": [0.2, 0.8]},
    {"name": "price", "unit": "EUR/MWh", "low": None, "high": 500.0, "seen": [-10.0, 90.0]},
    {"name": "mask", "unit": "1", "low": 0.0, "high": 1.0, "seen": [1.0, 1.0]},
]


def written(tmp_path, text):
    path = tmp_path / "rows.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_columns_may_come_in_any_order_with_blank_lines_and_an_episode(tmp_path):
    path = written(tmp_path, "\ufeffprice, soc,episode,mask\r\n-1e9,0.5,a,1\r\n\r\n500,0.9000001,b,0\r\n")
    rows = read_rows(path, COLUMNS)
    np.testing.assert_allclose(rows.raw, [[0.5, -1e9, 1.0], [0.9000001, 500.0, 0.0]])
    assert rows.episodes == ["a", "b"] and rows.numbers == [2, 4]
    assert read_rows(written(tmp_path, "soc,price,mask\n0.5,1,1\n"), COLUMNS).episodes is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows.csv: is empty; its first row must name the columns"),
        ("soc,price,mask\n", "rows.csv: has no rows below the header"),
        ("soc,mask\n0.5,1\n", "rows.csv: column 'price' is missing"),
        ("soc,Price,mask\n0.5,1,1\n", "rows.csv: column 'price' is missing; unknown: Price"),
        ("episode\n1\n", "rows.csv: columns 'soc', 'price', 'mask' are missing"),
        ("soc,price,mask,x\n", "rows.csv: column 'x' is unknown; allowed: soc, price, mask, episode"),
        ("soc,price,mask,soc\n", "rows.csv: column 'soc' stands there twice"),
        ("soc,price,mask\n0.5,1,1\n0.5,1\n", "rows.csv: row 3 has 2 entries; the header has 3"),
        ("soc,price,mask\n0.5,,1\n", "rows.csv: row 2, column 'price': '' is no number"),
        ("soc,price,mask\n\n50 %,1,1\n", "rows.csv: row 3, column 'soc': '50 %' is no number"),
        ("soc,price,mask\n0.5,nan,1\n", "rows.csv: row 2, column 'price': nan is not finite"),
        ("soc,price,mask\n95,1,1\n", "rows.csv: row 2, column 'soc': 95 is out of range; allowed: 0.1 to 0.9 capacity"),
        ("soc,price,mask\n0.5,1,-1\n", "rows.csv: row 2, column 'mask': -1 is out of range; allowed: 0 to 1"),
        (b"soc,price,mask\n\xff\xfe,1,1\n", "rows.csv: cannot be read (no CSV text in UTF-8)"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, message):
    with pytest.raises(UserError) as error:
        read_rows(written(tmp_path, text), COLUMNS)
    assert str(error.value).removeprefix("csv=").removeprefix(f"{tmp_path}/") == message


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"csv=.*nowhere\.csv: cannot be read \(No such file"):
        read_rows(tmp_path / "nowhere.csv", COLUMNS)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("0.1,-110,1", None),
        ("0.1,191,1", "1 of 2 rows lie far outside of what the policy met in training; first row 3, column 'price': "),
        (
            "0.5,50,0",
            "1 of 2 rows lie far outside of what the policy met in training; first row 3, column 'mask': 0, met",
        ),
    ],
)
def test_values_far_from_training_are_told(tmp_path, row, told):
    line = unusual(read_rows(written(tmp_path, f"soc,price,mask\n0.5,50,1\n{row}\n"), COLUMNS), COLUMNS)
    assert (line is None) if told is None else (line is not None and line.startswith(told))
