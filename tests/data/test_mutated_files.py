"""Data files that something went wrong with, by chance: read, or refused in one line that names the file."""

import random
from pathlib import Path

import pandas as pd
import pytest

import vmax
from vmax.errors import UserError

CLEAN = "utc,price_eur_per_mwh\n" + "".join(
    f"{stamp:%Y-%m-%d %H:%M:%S},{40 + 20 * (hour % 24) / 24:.2f}\n"
    for hour, stamp in enumerate(pd.date_range("2023-01-01", periods=24 * 40, freq="h"))
)


def mutated(draw: random.Random) -> bytes:
    """The clean file with one thing or two gone wrong."""
    content = CLEAN.encode()
    for _ in range(draw.choice([1, 1, 2])):
        content = draw.choice(MUTATIONS)(draw, content)
    return content


def cut(draw, content):
    return content[: draw.randrange(len(content))]


def flip(draw, content):
    place = draw.randrange(len(content))
    return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]


def rows(change):
    """A mutation of the list of lines."""

    def mutate(draw, content):
        lines = content.split(b"\n")
        return b"\n".join(change(draw, lines, draw.randrange(len(lines))))

    return mutate


def cell(values):
    """A mutation of one cell."""

    def mutate(draw, lines, place):
        cells = lines[place].split(b",")
        cells[draw.randrange(len(cells))] = draw.choice(values)
        return [*lines[:place], b",".join(cells), *lines[place + 1 :]]

    return rows(mutate)


MUTATIONS = (
    cut,
    flip,
    rows(lambda draw, lines, i: lines[:i] + lines[i + 1 :]),
    rows(lambda draw, lines, i: [*lines[:i], lines[i], *lines[i:]]),
    rows(lambda draw, lines, i: [*lines[:i], b"", *lines[i:]]),
    rows(lambda draw, lines, i: [*lines[:1], *reversed(lines[1:])]),
    rows(lambda draw, lines, i: lines[1:]),
    rows(lambda draw, lines, i: [*lines[:i], lines[i] + b",7", *lines[i + 1 :]]),
    cell([b"", b"n/a", b"nan", b"inf", b"1e400", b"1,5", b"'12'", b"2023-02-30", b"2023-13-01 00:00:00", b"0"]),
    cell([b"2023-03-26 02:30:00+01:00", b"26.03.2023 02:00", b"\xff\xfe", b"\x00", b'"', b"-", b"9" * 400]),
    lambda draw, content: b"\xef\xbb\xbf" + content,
    lambda draw, content: content.decode(errors="replace").encode("utf-16"),
    lambda draw, content: content.replace(b",", draw.choice([b";", b"\t", b" "])),
    lambda draw, content: content.replace(b"\n", draw.choice([b"\r\n", b"\r"])),
    lambda draw, content: b"",
    lambda draw, content: bytes(draw.randrange(256) for _ in range(300)),
)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_mutated_data_files_are_read_or_refused_in_one_line_that_names_them(tmp_path, seed):
    draw, said = random.Random(seed), []
    for number in range(20):
        path = Path(tmp_path / f"prices{number}.csv")
        path.write_bytes(mutated(draw))
        said.append(message(path))
    lines = [line for line in said if line is not None]
    assert 5 <= len(lines) <= 20
    for line in lines:
        assert len(line.splitlines()) == 1 and ("prices" in line or "env.data" in line)


def message(path: Path) -> str | None:
    """What is said of a file; None where it is read. Anything but a UserError fails the test."""
    try:
        vmax.make_env("bess", [f"env.data.path={path}", "env.data.timezone=UTC", "env.episode.days=1"])
    except UserError as error:
        return str(error)
    return None
