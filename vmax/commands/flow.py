"""`flow`: traffic flow beside what is known of it, as one table, profiles and errors over the size of cells."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import jax
import numpy as np
from hydra.core.hydra_config import HydraConfig
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from vmax.commands.cli import hydra_main, only
from vmax.config import to_mapping
from vmax.conversion import convert
from vmax.envs.traffic_signal import validation as known
from vmax.envs.traffic_signal.riemann import solve
from vmax.errors import UserError
from vmax.files import write_csv
from vmax.plotting import canvas, save

HEADER = ("what", "measured", "expected", "bound", "met")
LOOKS = {"Godunov": "#1565c0", "two-class flux": "#e07b00"}
DEMANDS = (0.05, 0.10, 0.15, 0.20, 0.24)
Errors = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Row:
    """A figure, what is expected of it, the bound in words, and whether it is kept."""

    what: str
    measured: float
    expected: float
    bound: str
    met: bool


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "flow")


def run(composed: DictConfig) -> None:
    """One job of the command: prints the table, writes it and the figures. Raises UserError."""
    cells = convert(int, only(to_mapping(composed), ("cells",))["cells"], "cells")
    if not 20 <= cells <= 2000:
        raise UserError(f"cells={cells}: must be within [20, 2000]")
    folder = Path(HydraConfig.get().runtime.output_dir)
    console = Console(width=None if Console().is_terminal else 120)
    with jax.enable_x64(True):
        errors = {
            (case, scheme): known.errors_veh(model, known.CASES[case])
            for case in known.CASES
            for scheme, model in known.SCHEMES.items()
        }
        rows = [*riemann_rows(errors), *delay_rows(), *wave_rows(), *account_rows(), *capacity_rows()]
        drawn = profiles(cells)
    console.print(table(rows))
    write_csv(folder / "flow.csv", HEADER, [astuple(row) for row in rows])
    save(drawn, folder / "riemann.png")
    save(convergence(errors), folder / "convergence.png")
    print(f"{folder}: flow.csv, riemann.png, convergence.png")
    missed = [row.what for row in rows if not row.met]
    if missed:
        print(f"not as it must be: {'; '.join(missed)}", file=sys.stderr)
        sys.exit(1)


def riemann_rows(errors: Errors) -> Iterator[Row]:
    """Rates of convergence, and errors with cells of 10 m, beside those of an independent program."""
    at_10_m = known.CELLS.index(round(known.LENGTH_M / 10))
    for (case, scheme), values in errors.items():
        expected, rate = known.CASES[case].known[scheme], known.rate(values)
        yield Row(f"{case}, {scheme}: rate", rate, expected.rate, f">= {expected.least}", rate >= expected.least)
        off = float(values[at_10_m])
        met = abs(off - expected.off) <= 0.1 * expected.off + 0.03
        yield Row(f"{case}, {scheme}: off with 10 m, vehicles", off, expected.off, "10 % and rounding", met)


def delay_rows() -> Iterator[Row]:
    """Delay at a signal beside Webster's uniform term; cells of 5 m."""
    for name, model in (("lwr", known.LWR), ("ctm", known.CTM)):
        for arriving in DEMANDS:
            delay, expected = known.delay_at_signal_s(model, arriving), known.uniform_delay_s(arriving)
            what = f"uniform delay at {arriving:.2f} vehicles/s, {name}, s"
            yield Row(what, delay, expected, "1 %", abs(delay / expected - 1.0) <= 0.01)


def wave_rows() -> Iterator[Row]:
    """Speeds of the tail and the head of a queue."""
    for what, speed, expected, share in zip(
        ("tail of a queue at red, m/s", "head of a queue at green, m/s"),
        known.wave_speeds(),
        (0.2 * known.FREE, known.FREE),
        (0.05, 0.15),
        strict=True,
    ):
        yield Row(what, speed, expected, f"{100 * share:.0f} %", abs(speed / expected - 1.0) <= share)


def account_rows() -> Iterator[Row]:
    """Vehicles that are missing, and occupancies, under random signals and far too much demand."""
    for network, name, model, dt_s in (
        ("corridor", "ctm", known.CTM, 1.0),
        ("corridor", "arz", known.ARZ, 1.0),
        ("lagos", "arz2", known.CLASSES, 0.5),
    ):
        for kind, exact, most in (("float64", True, 1e-9), ("float32", False, 1e-5)):
            found = known.account(network, model, dt_s, exact=exact)
            share = abs(found.missing) / found.came
            yield Row(f"{network}, {name}, {kind}: vehicles missing, share", share, 0.0, f"<= {most:g}", share <= most)
            if exact:
                fits = found.least >= 0.0 and found.most <= 1.0 + 1e-9
                yield Row(f"{network}, {name}: greatest occupancy", found.most, 1.0, "within [0, 1]", fits)


def capacity_rows() -> Iterator[Row]:
    """What a full road of both classes discharges, with the stop line's cap and without."""
    capped, burst = known.discharge_per_s(), known.discharge_per_s(1e6)
    held = float(capped[:40].mean())
    yield Row("two classes, discharge, passenger cars/s", held, 0.5, "2 %, never above", abs(held / 0.5 - 1.0) <= 0.02)
    most = float(capped.max())
    yield Row("two classes, greatest discharge", most, 0.5, "<= 0.5, 1e-6 more", most <= 0.5 + 1e-6)
    first = float(burst[0])
    yield Row("two classes without a cap, first half-second", first, 1.88, "> 1: why there is one", first > 1.0)


def table(rows: list[Row]) -> Table:
    """All rows."""
    made = Table(title="Traffic flow beside what is known of it", title_justify="left")
    made.add_column("what")
    for name in ("measured", "expected", "bound"):
        made.add_column(name, justify="right")
    made.add_column("met")
    for row in rows:
        made.add_row(row.what, f"{row.measured:.4g}", f"{row.expected:.4g}", row.bound, "yes" if row.met else "NO")
    return made


def profiles(cells: int) -> Figure:
    """Density and speed of every case after its time, exact and by both schemes."""
    edges = known.edges(cells)
    middle, fine = (edges[:-1] + edges[1:]) / 2, np.linspace(edges[0], edges[-1], 4001)
    with canvas(13, 10.5, rows=len(known.CASES) // 2, ncols=4) as (figure, axes):
        for number, (name, case) in enumerate(known.CASES.items()):
            row, column = number // 2, 2 * (number % 2)
            exact = solve(case.left, case.right, known.PRESSURE, fine / known.SECONDS)
            shown = {scheme: known.solved(model, case, cells) for scheme, model in known.SCHEMES.items()}
            for part, unit in enumerate(("density, vehicles/km", "speed, m/s")):
                axis, times = axes[row][column + part], 1000.0 if part == 0 else 1.0
                axis.plot(fine, times * exact[part], color="#111111", linewidth=1.0, label="exact")
                for scheme, found in shown.items():
                    axis.plot(middle, times * found[part], color=LOOKS[scheme], linewidth=1.2, label=scheme)
                axis.set(title=name if part == 0 else "", ylabel=unit, xlabel="m" if row == 2 else "")
                axis.set_xlim(-500, 500)
        axes[0][0].legend(loc="lower right")
        figure.suptitle(f"Riemann problems after {known.SECONDS:.0f} s, cells of {known.LENGTH_M / cells:.3g} m")
    return figure


def convergence(errors: Errors) -> Figure:
    """Error over the size of cells, a panel a scheme; in the legend the fitted rates."""
    size = known.LENGTH_M / np.array(known.CELLS)
    with canvas(12, 4.8, ncols=len(known.SCHEMES), sharey=True) as (figure, axes):
        for axis, scheme in zip(axes, known.SCHEMES, strict=True):
            for number, case in enumerate(known.CASES):
                values = errors[case, scheme]
                label = f"{case}, {known.rate(values):.2f}"
                axis.loglog(size, values, marker="o", markersize=3, linewidth=1.2, color=f"C{number}", label=label)
            axis.loglog(size, 0.1 * size, color="#8a929c", linestyle="--", linewidth=1.0, label="order 1")
            axis.set(title=scheme, xlabel="size of cells, m")
            axis.set_xticks([2.5, 5, 10, 20, 40], ["2.5", "5", "10", "20", "40"])
            axis.minorticks_off()
            axis.legend()
        axes[0].set_ylabel("error, vehicles (L1)")
    return figure
