"""`data`: a first look at a file of prices, before anything is trained on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from matplotlib import colormaps
from matplotlib.figure import Figure
from omegaconf import DictConfig

from vmax.commands.cli import hydra_main, only
from vmax.config import compose, load, to_mapping
from vmax.conversion import convert
from vmax.data import sniff
from vmax.data.calendar import local_time
from vmax.data.series import DataConfig, Series
from vmax.data.suggest import Suggestion, suggest
from vmax.errors import UserError
from vmax.plotting import canvas, save

KEYS = ("path", "overrides")
FIRST_ROWS = 5
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def main() -> None:
    """Entry point of the command."""
    hydra_main(run, "data")


def run(composed: DictConfig) -> None:
    """One job of the command: prints what the file is and what reads it, and draws it. Raises UserError."""
    mapping = only(to_mapping(composed), KEYS)
    path = convert(str | None, mapping["path"], "path")
    overrides = convert(tuple[str, ...], mapping["overrides"], "overrides")
    if path is None:
        raise UserError("path=null: name the file, or a folder of files: path=prices.csv")
    if not Path(path).exists():
        raise UserError(f"path={path}: no such file (looked in {Path.cwd()})")
    print(f"{path}: its first lines")
    for line in sniff.first_lines(sniff.first_part(path), "utf-8-sig", FIRST_ROWS) or ["(no text)"]:
        print(f"    {line[:160]}")
    found = suggest(path, overrides, configured)
    tell(path, overrides, found)
    if found.series is None:
        raise UserError(str(found.error))
    for line in found.series.done:
        print(f"data: {line}")
    for split, blocks in found.series.splits.items():
        days = sum(stop - start for start, stop in blocks) / found.series.steps_per_day
        dates = local_time(found.series.utc, found.series.timezone).date
        print(f"{split}: {days:.0f} days, {dates[blocks[0][0]]} to {dates[blocks[-1][1] - 1]}")
    folder = Path(HydraConfig.get().runtime.output_dir)
    save(picture(found.series), folder / "data.png")
    print(f"picture: {folder / 'data.png'}")


def configured(overrides: Sequence[str]) -> DataConfig:
    """The configuration of the data of `bess`."""
    return load(compose(["env=bess", *overrides])).env.data


def tell(path: str, given: Sequence[str], found: Suggestion) -> None:
    """Prints the overrides with their reasons, and the command that uses them."""
    print("reads with:" if found.series is not None else "came as far as:")
    for step in found.steps:
        print(f"    {step.override}\n        {'assumed: ' if step.assumed else ''}{step.reason}")
    every = [f"env.data.path={path}", *(step.override for step in found.steps), *given]
    print(f"command: python scripts/train.py env=bess {' '.join(shlex.quote(one) for one in every)}")
    assumed = [step.override.partition("=")[0] for step in found.steps if step.assumed]
    if assumed:
        print(f"assumed, to be confirmed by who knows the file: {', '.join(assumed)}")


def picture(series: Series) -> Figure:
    """The series with its gaps and splits, and the mean day of each month."""
    price, unit = series.values["price"], f"{series.currency}/MWh"
    with canvas(11.0, 7.5, rows=2) as (figure, (above, below)):
        breaks = np.flatnonzero(np.diff(series.segment)) + 1
        for part in np.split(np.arange(len(price)), breaks):
            above.plot(series.utc[part], price[part], color="#1565c0", linewidth=0.5)
        for first in breaks:
            above.axvspan(series.utc[first - 1], series.utc[first], color="#b71c1c", alpha=0.4)
        for split, shade in (("validation", "#f5b342"), ("test", "#2e8b57")):
            for start, stop in series.splits[split]:
                above.axvspan(series.utc[start], series.utc[stop - 1], color=shade, alpha=0.15, label=split)
        handles, labels = above.get_legend_handles_labels()
        named = dict(zip(labels, handles, strict=True))
        above.legend(list(named.values()), list(named), loc="upper left")
        above.set(title=f"{Path(series.source).name}: {len(breaks)} gaps", ylabel=unit)
        for month in np.unique(series.local_month):
            here = series.local_month == month
            hours = np.unique(series.local_hour[here])
            mean = [price[here & (series.local_hour == hour)].mean() for hour in hours]
            below.plot(hours, mean, label=MONTHS[month - 1], color=colormaps["twilight_shifted"]((month - 0.5) / 12))
        below.set(title="Mean day by month", xlabel=f"hour, {series.timezone}", ylabel=unit, xlim=(0, 24))
        below.legend(ncols=6, loc="upper left")
    return figure
