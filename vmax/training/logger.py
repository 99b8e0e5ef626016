"""The figures of a run: metrics.csv, metrics.jsonl and TensorBoard, from one record per chunk; the days of an epoch."""

from __future__ import annotations

import csv
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

from vmax.files import append_jsonl, disk_guard, write_csv
from vmax.run_folder import RunFolder, Status, read_metrics
from vmax.training.events import EventFile
from vmax.training.trackers import Tracker

TIME = "time_s"
"""Unix time of a row; a column that two equal runs do not share."""


class Logger:
    """Writes scalars to metrics.csv (one row a record) and to TensorBoard under the same names.

    Names are TensorBoard tags: `train/…`, `eval/…`, `speed/…`. A name that appears later adds a column; cells that
    were not given, or are not finite, are empty. Opened on a folder with a metrics.csv, it writes the event file anew
    from it: after `RunFolder.cut_back` nothing beyond the checkpoint is left in either. With `jsonl` each row also
    becomes a line of metrics.jsonl; what is not finite is null there. Raises DiskFull.
    """

    def __init__(self, folder: RunFolder, jsonl: bool = False, tracker: Tracker | None = None) -> None:
        """`tracker` is given the same figures."""
        self.folder, self.jsonl, self.tracker = folder, jsonl, tracker
        self.columns, rows = read_metrics(folder.metrics)
        shutil.rmtree(folder.tensorboard, ignore_errors=True)
        self.events = EventFile(folder.tensorboard)
        for row in rows:
            cells = dict(zip(self.columns, row, strict=True))
            self._plot(int(cells["step"]), float(cells[TIME]), {k: float(v) for k, v in cells.items() if v})
        self.events.write()

    def record(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Adds one row. `step`: environment steps so far. Raises DiskFull."""
        now = time.time()
        values = {name: float(value) for name, value in scalars.items()}
        self._add_columns(["step", TIME, *values])
        cells = {"step": str(step), TIME: f"{now:.3f}"}
        cells |= {name: repr(value) if math.isfinite(value) else "" for name, value in values.items()}
        with disk_guard(self.folder.metrics), self.folder.metrics.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([cells.get(column, "") for column in self.columns])
        if self.jsonl:
            append_jsonl(self.folder.metrics_jsonl, [{"step": step, TIME: round(now, 3), **values}])
        self._plot(step, now, values)
        self.events.write()
        if self.tracker is not None:
            self.tracker.record(step, {name: value for name, value in values.items() if math.isfinite(value)})

    def end(self, status: Status, figures: Mapping[str, float]) -> None:
        """Tells the tracker, if there is one, how the run ended, with the figures that stand for it."""
        if self.tracker is not None:
            self.tracker.end(status, figures)

    def days(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds lines to days.jsonl, one for each day that was trained on. Raises DiskFull."""
        append_jsonl(self.folder.days, rows)

    def figure(self, tag: str, figure: Any, step: int = 0) -> None:
        """Shows a Matplotlib figure in TensorBoard; the caller closes it. Raises DiskFull."""
        self.events.add_figure(tag, figure, step)
        self.events.write()

    def hparams(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Enters the run, once at its end, into TensorBoard's table of settings and results. Raises DiskFull."""
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
        table = EventFile(self.folder.tensorboard / "hparams")
        table.add_hparams(plain, {name: float(value) for name, value in metrics.items() if math.isfinite(value)})
        table.write()

    def _plot(self, step: int, when: float, values: Mapping[str, float]) -> None:
        shown = {name: v for name, v in values.items() if name not in ("step", TIME) and math.isfinite(v)}
        self.events.add_scalars(shown, step, when)

    def _add_columns(self, names: list[str]) -> None:
        """Rewrites metrics.csv with the columns that are new; earlier rows are empty there."""
        new = [name for name in names if name not in self.columns]
        if new:
            _, rows = read_metrics(self.folder.metrics)
            self.columns += new
            write_csv(self.folder.metrics, self.columns, [[*row, *[""] * len(new)] for row in rows])
