"""The command that validates traffic flow: its table, files and pictures; what is not as it must be ends it with 1."""

import csv

import numpy as np
import pytest
from invoking import invoker

from vmax.commands import flow
from vmax.envs.traffic_signal import validation as known


@pytest.fixture
def invoke(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    return invoker(monkeypatch, capsys, flow.main)


def scheme_of(model):
    return next(name for name, other in known.SCHEMES.items() if other == model)


@pytest.fixture
def quick(monkeypatch):
    """Without what takes long: errors as they would be, halved with the size of cells."""
    monkeypatch.setattr(
        known,
        "errors_veh",
        lambda model, case: case.known[scheme_of(model)].off * 200 / np.array(known.CELLS),
    )
    monkeypatch.setattr(known, "delay_at_signal_s", lambda model, arriving: known.uniform_delay_s(arriving))
    monkeypatch.setattr(known, "account", lambda *_, **__: known.Account(100.0, 50.0, 0.0, 0.0, 1.0, 0.0))
    monkeypatch.setattr(known, "discharge_per_s", lambda per_h=1800.0: np.full(60, 0.5 if per_h == 1800.0 else 1.9))


@pytest.mark.slow
def test_all_is_as_it_must_be(invoke, tmp_path):
    status, out, err = invoke("hydra.run.dir=out")
    assert (status, err) == (0, "") and "NO" not in out
    with (tmp_path / "out/flow.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 and all(row["met"] == "True" for row in rows)
    for name in ("riemann", "convergence"):
        assert (tmp_path / f"out/{name}.png").stat().st_size > 50_000


def test_what_is_not_as_it_must_be_is_named_and_ends_with_1(invoke, quick, monkeypatch, tmp_path):
    status, _, err = invoke("cells=20", "hydra.run.dir=out")
    assert (status, err) == (0, "")
    monkeypatch.setattr(known, "wave_speeds", lambda: (2.0, known.FREE))
    monkeypatch.setattr(known, "solved", lambda model, case, cells: (np.zeros(cells), np.zeros(cells)))
    status, out, err = invoke("cells=20", "hydra.run.dir=other")
    assert status == 1 and err == "not as it must be: tail of a queue at red, m/s\n" and "NO" in out
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"flow.csv", "riemann.png", "convergence.png"}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("cells=5", "cells=5: must be within [20, 2000]"),
        ("cells=many", "cells=many: must be a whole number"),
        ("cell=50", "cell: unknown; did you mean cells?"),
    ],
)
def test_a_mistake_is_one_line(invoke, tmp_path, argument, message):
    status, _, err = invoke(argument)
    assert status == 2 and err.startswith(f"error: {message}") and err.count("\n") == 1
    assert not list(tmp_path.rglob("*.csv"))
