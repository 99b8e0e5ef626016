"""The program of `optimum.py` over a short window that moves on, as a kept HiGHS model: a solve starts from the basis
of the one before.

The window may reach into the next month, whose highest imports begin at 0; so there are four of them: this month's and
the next one's, each in peak hours and in the others (`CLASSES`).
"""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from vmax.envs.microgrid.optimum import Prices, Storage

CLASSES = 4
BALANCE, STORED, CAP = 0, 1, 2
"""Kinds of rows of a step."""


class Receding:
    """A window of W steps. Columns: import, spill, charge, discharge, stored and, where ramps count, ramp, of every
    step; then the highest imports by class, and excess and highest of both months."""

    def __init__(
        self, window: int, dt_h: float, prices: Prices, storage: Storage, import_limit_kw: float, end_factor: float
    ) -> None:
        self.window, self.dt_h, self.prices, self.storage = window, dt_h, prices, storage
        self.end_factor = end_factor
        self.ramps = prices.ramp_kw > 0
        self.kinds = ("import", "spill", "charge", "discharge", "stored", *(("ramp",) if self.ramps else ()))
        self._highs = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._columns(import_limit_kw)
        self._rows()
        self._class = np.zeros(window, np.int64)

    def solve(self, net_kw: np.ndarray, known: Any, imports: Any, soc: float) -> float:
        """The battery's power in the first step, discharge positive, for an expected load less PV `[W]`."""
        highs, window = self._highs, self.window
        steps = np.arange(window, dtype=np.int32)
        stored_kwh = soc * self.storage.capacity_kwh
        highs.changeColsCost(window, self._first("import") + steps, self._import_cost(known))
        for t in range(window):
            highs.changeRowBounds(self._row(t, BALANCE), float(net_kw[t]), float(net_kw[t]))
        highs.changeRowBounds(self._row(0, STORED), stored_kwh, stored_kwh)
        power = np.where(net_kw > 0.0, self.storage.power_kw, 0.0)
        highs.changeColsBounds(window, self._first("discharge") + steps, np.zeros(window), power)
        self._reclass(np.where(known.peak, 0, 1) + np.where(known.same_month, 0, 2))
        highest = (float(imports.peak_kw), float(imports.offpeak_kw))
        for kind, least in enumerate(highest):
            highs.changeColBounds(self._cap + kind, least, highspy.kHighsInf)
        if self.ramps:
            last = float(imports.last_kw)
            highs.changeRowBounds(self._ramp_row, -highspy.kHighsInf, last)
            highs.changeRowBounds(self._ramp_row + 1, -highspy.kHighsInf, -last)
        highs.run()
        if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:  # a load that cannot be met: all that there is
            return float(net_kw[0])
        solution = highs.getSolution().col_value
        return solution[self._first("discharge")] - solution[self._first("charge")]

    def _import_cost(self, known: Any) -> np.ndarray:
        """What an import counts in each step of the window, per kW."""
        price, carbon = (np.asarray(x, np.float64) for x in (known.price_per_kwh, known.carbon_kg_per_kwh))
        return (self.prices.per_money * price + self.prices.per_kg * carbon) * self.dt_h

    def _first(self, kind: str) -> int:
        return self.kinds.index(kind) * self.window

    def _row(self, step: int, kind: int) -> int:
        return 3 * step + kind

    def _columns(self, import_limit_kw: float) -> None:
        """All columns with their costs and bounds."""
        window, dt_h, prices, storage, none = self.window, self.dt_h, self.prices, self.storage, highspy.kHighsInf
        cost = {
            "import": np.zeros(window),
            "spill": np.full(window, (prices.spill_kwh - prices.export_kwh) * dt_h),
            "charge": np.full(window, prices.moved_kwh * dt_h),
            "discharge": np.full(window, prices.moved_kwh * dt_h),
            "stored": np.where(np.arange(window) == window - 1, -self.end_factor * prices.stored_kwh, 0.0),
            "ramp": np.full(window, prices.ramp_kw),
        }
        low = {"stored": storage.low_kwh}
        high = {
            "import": min(import_limit_kw, none), "charge": storage.power_kw, "discharge": storage.power_kw,
            "stored": storage.high_kwh,
        }  # fmt: skip
        for kind in self.kinds:
            for t in range(window):
                self._highs.addCol(float(cost[kind][t]), low.get(kind, 0.0), high.get(kind, none), 0, [], [])
        self._cap = self._highs.getNumCol()
        for value in (0.0,) * CLASSES + (prices.excess_kw,) * 2 + (prices.highest_kw,) * 2:
            self._highs.addCol(float(value), 0.0, none, 0, [], [])
        for month in range(2):
            self._highs.changeColCost(self._cap + 2 * month, float(prices.peak_kw))

    def _rows(self) -> None:
        """All rows; every import is below the first class until `_reclass` says otherwise."""
        window, dt_h, eta, none = self.window, self.dt_h, self.storage.eta, highspy.kHighsInf

        def add(low: float, high: float, entries: dict[int, float]) -> None:
            index, values = np.fromiter(entries, np.int32), np.fromiter(entries.values(), np.float64)
            self._highs.addRow(low, high, len(index), index, values)

        at = lambda kind, t: self._first(kind) + t  # noqa: E731
        for t in range(window):
            add(0.0, 0.0, {at("import", t): 1.0, at("spill", t): -1.0, at("charge", t): -1.0, at("discharge", t): 1.0})
            moved = {at("charge", t): -eta * dt_h, at("discharge", t): dt_h / eta}
            before = {at("stored", t - 1): -1.0} if t else {}
            add(0.0, 0.0, {at("stored", t): 1.0, **before, **moved})
            add(-none, 0.0, {at("import", t): 1.0, self._cap: -1.0})
        excess, highest = self._cap + CLASSES, self._cap + CLASSES + 2
        for month in range(2):
            peak, off = self._cap + 2 * month, self._cap + 2 * month + 1
            add(-none, 0.0, {off: 1.0, peak: -1.0, excess + month: -1.0})
            add(-none, 0.0, {peak: 1.0, highest + month: -1.0})
            add(-none, 0.0, {off: 1.0, highest + month: -1.0})
        self._ramp_row = self._highs.getNumRow()
        if self.ramps:
            for t in range(window):
                before = {at("import", t - 1): -1.0} if t else {}
                add(-none, 0.0, {at("import", t): 1.0, **before, at("ramp", t): -1.0})
                add(-none, 0.0, {at("import", t): -1.0, **{k: -v for k, v in before.items()}, at("ramp", t): -1.0})

    def _reclass(self, classes: np.ndarray) -> None:
        """Puts each step's import below the highest import of its class."""
        for t in np.flatnonzero(classes != self._class).tolist():
            self._highs.changeCoeff(self._row(t, CAP), self._cap + int(self._class[t]), 0.0)
            self._highs.changeCoeff(self._row(t, CAP), self._cap + int(classes[t]), -1.0)
        self._class = np.asarray(classes)
