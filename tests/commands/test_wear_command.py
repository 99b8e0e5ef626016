"""The command `wear`: one dispatch under every model, table and figures written; mistakes in one line."""

import csv

import pytest
from invoking import invoker

from vmax.commands.wear import HEADER, MODELS, main


@pytest.mark.slow
def test_one_dispatch_under_every_model(monkeypatch, capsys, tmp_path):
    wear = invoker(monkeypatch, capsys, main, f"hydra.run.dir={tmp_path / 'out'}")
    status, out, err = wear("days=7")
    assert (status, err) == (0, "")
    with (tmp_path / "out" / "wear.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == HEADER
    assert [row["model"] for row in rows] == [*MODELS, "xu, from SOH 0.93"]
    by_model = {row["model"]: {name: float(value) for name, value in row.items() if name != "model"} for row in rows}
    assert by_model["throughput"]["eur_per_mwh"] == pytest.approx(15.0, rel=1e-5)
    assert by_model["cardo_miota_linear"]["eur_per_mwh"] == pytest.approx(120_000 / 3600, rel=1e-5)
    assert by_model["cardo_miota"]["eur_per_mwh"] < 15.0  # shallow cycles are cheaper, none is dearer
    for figures in by_model.values():  # 3.5 MWh at 120,000 EUR for a fifth of the capacity
        assert figures["wear_eur"] == pytest.approx(figures["soh_loss_percent"] / 20 * 120_000 * 3.5, rel=1e-4)
    assert all(model in out for model in MODELS)
    with (tmp_path / "out" / "wear_optimum.csv").open() as file:
        ratio = {row["model"]: float(row["ratio"]) for row in csv.DictReader(file)}
    assert ratio["throughput"] == pytest.approx(1.0, abs=5e-3)  # dynamic program against linear program
    assert ratio["cardo_miota"] == pytest.approx(1.0, abs=1e-4)  # carried out against its own reckoning
    assert 0.0 < ratio["rainflow"] <= 1.0 and 0.0 < ratio["xu, from SOH 0.93"] <= 1.0
    for figure in ("wear_curves.png", "wear_priced.png"):
        assert (tmp_path / "out" / figure).read_bytes().startswith(b"\x89PNG")
    ignored, priced = (
        float(text.split()[0].replace(",", "")) for text in out.split("wear ignored ")[1].split(", wear priced ")
    )
    assert priced > ignored


@pytest.mark.parametrize(
    ("argument", "message"),
    [("days=3", "days=3: must be at least 7, or null"), ("split=year", "split=year: must be one of train"),
     ("overrides=[env.batery.power_mw=2]", "env.batery")],
)  # fmt: skip
def test_a_mistake_is_one_line(monkeypatch, capsys, tmp_path, argument, message):
    status, _, err = invoker(monkeypatch, capsys, main, f"hydra.run.dir={tmp_path / 'out'}")(argument)
    assert status == 2 and message in err and len(err.splitlines()) == 1
