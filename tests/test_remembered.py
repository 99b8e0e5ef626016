"""What is remembered: never for anything else than it was made of, and never in the way."""

import os
from dataclasses import dataclass

import numpy as np
import pytest

from vmax import remembered


@dataclass(frozen=True)
class Holder:
    value: object
    other: int = 0


@dataclass(frozen=True)
class OtherHolder:
    value: object
    other: int = 0


def test_a_digest_tells_contents_types_and_shapes_apart(tmp_path):
    told = [
        0, 0.0, False, "0", None, (0,), [0], (0, 0), ((0,), 0), {"a": 0}, {"a": 0.0}, {"b": 0}, "a", "b", ("ab", "c"),
        ("a", "bc"), Holder(0), Holder(0, 1), OtherHolder(0), Holder((0, 0)), np.zeros(2), np.zeros(2, np.float32),
        np.zeros((1, 2)), np.zeros((2, 1)), np.array([0.0, 1e-7]), np.int32(0),
    ]  # fmt: skip
    assert len({remembered.digest(value, ("spaces.py",)) for value in told}) == len(told)
    assert remembered.digest({"a": 1, "b": 2}, ()) == remembered.digest({"b": 2, "a": 1}, ())
    assert remembered.digest(0, ("spaces.py",)) != remembered.digest(0, ("files.py",))
    with pytest.raises(TypeError):
        remembered.digest(Holder(object()), ())


def test_a_digest_reads_the_files_that_are_named(tmp_path):
    folder = tmp_path / "sessions"
    folder.mkdir()
    digests = [remembered.digest(str(folder), ())]
    for text in ("1\n", "12\n"):
        (folder / "charger_1.csv").write_text(text)
        digests += [remembered.digest(str(folder), ()), remembered.digest(folder / "charger_1.csv", ())]
    assert len(set(digests)) == 5


def test_the_oldest_records_go(monkeypatch, tmp_path):
    monkeypatch.setattr(remembered, "MOST", 2)
    paths = [tmp_path / f"{number}.npy" for number in range(4)]
    for age, path in enumerate(reversed(paths)):
        path.write_text("")
        os.utime(path, (1000 - age, 1000 - age))
    remembered.tidy(paths[0])
    assert sorted(tmp_path.iterdir()) == paths[2:]
