"""An upper bound on what any schedule can earn where no optimum is at hand: linear programs that take wear for too
little.

The wear in each program is proven not to exceed the model's, so no schedule earns more than the program does:

- depth buckets: every MWh costs at least what it costs in the shallowest one.
- rainflow, convex power law: cut the time into windows, a few a day. Within each, the charge sweeps from its
  lowest to its highest (or back), and the running extreme of that sweep belongs to one half cycle; sweeps of other
  windows in the same half cycle cover other charges. As Φ is convex with Φ(0) = 0, Φ of a half cycle is at least the
  sum of Φ over the sweeps in it. So the wear is at least Σ_windows ½·Φ(highest − lowest), which tangents make linear.
- Xu et al. 2018: a cycle of depth δ has a mean charge of at least s_min + δ/2, so its stress is at least
  c·δ, with c the least of stress over depth; half cycles add up to the charge moved, of which the discharged
  half is counted. Stress of time is convex in the charge: a tangent. Life is concave in stress: a chord, over the
  range that a schedule worth anything can reach.

With SOH feedback the programs keep the capacity of the start, with which everything can be done that a smaller one
allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vmax.envs.battery import Site
from vmax.envs.bess import depth_stress
from vmax.envs.bess.optimum import Schedule, StorageProgram

TANGENTS = 16
SAFETY = 1.0 - 1e-3
"""On a least value found on a grid."""


@dataclass(frozen=True)
class Underestimate:
    """Wear that is linear in a schedule and never above the model's.

    Attributes:
      ac_eur_per_mwh: of each MWh at the AC terminals, each way. discharge_eur_per_mwh: of each discharged one besides.
      stored_eur_per_mwh: of each MWh stored over a step. step_eur: of each step whatever happens.
      tangents: EUR of a window in which the charge sweeps a depth δ: at least slope·δ + intercept, `[K, 2]`; or none.
    """

    ac_eur_per_mwh: float = 0.0
    discharge_eur_per_mwh: float = 0.0
    stored_eur_per_mwh: float = 0.0
    step_eur: float = 0.0
    tangents: np.ndarray | None = None

    def times(self, factor: float) -> Underestimate:
        """That many times this wear."""
        return Underestimate(
            self.ac_eur_per_mwh * factor,
            self.discharge_eur_per_mwh * factor,
            self.stored_eur_per_mwh * factor,
            self.step_eur * factor,
            None if self.tangents is None else self.tangents * factor,
        )


class Bound(StorageProgram):
    """A storage program with such a wear in place of `site.wear_eur_per_mwh`; `starts_window` `[n]`: a
    window begins."""

    def __init__(self, n: int, dt_h: float, site: Site, wear: Underestimate, starts_window: np.ndarray) -> None:
        self.wear = wear
        super().__init__(n, dt_h, replace(site, wear_eur_per_mwh=wear.ac_eur_per_mwh))
        self._last_of_window = np.append(np.flatnonzero(starts_window[1:]), n - 1)
        self._sweeps = np.zeros((0, 3), np.int32)
        if wear.tangents is not None:
            self._sweeps = np.asarray([self._add_sweep(wear.tangents) for _ in self._last_of_window], np.int32)
            self._span_sweeps()

    def best(
        self, price_eur_per_mwh: np.ndarray, soc: float, end_value_eur_per_mwh: float, pv_mw: np.ndarray
    ) -> tuple[Schedule, np.ndarray]:
        """The best schedule of the program and what it earns in each step, `[n]`, EUR.

        The value of the energy left is not in it, but it is what `end_value_eur_per_mwh` made the program see.
        """
        start_mwh = soc * self.site["capacity_mwh"]
        if len(self._sweeps):
            self._highs.changeColBounds(int(self._sweeps[0, 0]), start_mwh, np.inf)
            self._highs.changeColBounds(int(self._sweeps[0, 1]), -np.inf, start_mwh)
        schedule = self.solve(price_eur_per_mwh, soc, end_value_eur_per_mwh, pv_mw)
        costs = np.asarray(self._highs.getLp().col_cost_)
        paid = costs * np.asarray(self._highs.getSolution().col_value)
        k, n = self.segments, self.n
        powers, others = paid[: 2 * n * k].reshape(2, n, k), paid[2 * n * k : len(self._columns)].reshape(-1, n)
        earned = -powers.sum(axis=(0, 2)) - others.sum(axis=0) - self.wear.step_eur
        earned[-1] -= end_value_eur_per_mwh * schedule.stored_mwh[-1]
        earned[0] -= 0.5 * self.wear.stored_eur_per_mwh * start_mwh
        if len(self._sweeps):
            np.subtract.at(earned, self._last_of_window, paid[self._sweeps[:, 2]])
        return schedule, earned

    def _set_costs(self, price: np.ndarray, end_value: float) -> None:
        super()._set_costs(price, end_value)
        costs = np.array(self._highs.getLp().col_cost_)[: len(self._columns)]
        costs[self.columns_of("discharge")] += self.wear.discharge_eur_per_mwh * self.dt_h
        stored = self.columns_of("stored")
        costs[stored] += self.wear.stored_eur_per_mwh  # of step t half at its start and half at its end
        costs[stored[-1]] -= 0.5 * self.wear.stored_eur_per_mwh
        self._highs.changeColsCost(len(costs), self._columns, costs)

    def _add_sweep(self, tangents: np.ndarray) -> tuple[int, int, int]:
        """Highest and lowest MWh of a window and the wear of its sweep, EUR: three columns and the rows of the
        tangents."""
        high = self._highs.getNumCol()
        for lower in (-np.inf, -np.inf, 0.0):
            self._highs.addVar(lower, np.inf)
        self._highs.changeColCost(high + 2, 1.0)
        columns = np.array([high, high + 1, high + 2], np.int32)
        for slope, intercept in tangents:
            per_mwh = slope / self.site["capacity_mwh"]
            self._highs.addRow(intercept, np.inf, 3, columns, np.array([-per_mwh, per_mwh, 1.0]))
        return high, high + 1, high + 2

    def _span_sweeps(self) -> None:
        """Highest and lowest enclose the energy stored at the start of a window and at the end of each of its steps."""
        stored, first = self.columns_of("stored"), 0
        for (high, low, _), last in zip(self._sweeps, self._last_of_window, strict=True):
            for step in range(max(first - 1, 0), last + 1):
                self._highs.addRow(0.0, np.inf, 2, np.array([high, stored[step]], np.int32), np.array([1.0, -1.0]))
                self._highs.addRow(0.0, np.inf, 2, np.array([stored[step], low], np.int32), np.array([1.0, -1.0]))
            first = last + 1


def of_rainflow(site: Site, life_eur: float, share: float, exponent: float) -> Underestimate:
    """Tangents of ½·Φ(δ) times the price of a life, EUR."""
    depth = np.linspace(0.0, float(site.soc_max - site.soc_min), TANGENTS + 1)[1:]
    half = 0.5 * life_eur * depth_stress.power_law(depth, share, exponent)
    slope = half * exponent / depth
    return Underestimate(tangents=np.stack([slope, half - slope * depth], axis=1))


def of_xu(
    site: Site,
    k: Mapping[str, Any],
    temperature_c: float,
    steps: int,
    dt_h: float,
    *,
    eur_per_loss: float,
    most_eur: float,
    feedback: bool,
) -> Underestimate:
    """Chord of life over stress, tangent of stress over charge, least stress per depth.

    Args:
      k: constants of `XuConfig` and `start_stress`. eur_per_loss: price of losing the whole capacity.
      most_eur: no schedule worth anything wears more. feedback: the charge says nothing of the energy stored.
    """
    low, window = float(site.soc_min), float(site.soc_max - site.soc_min)
    temperature = np.float64(temperature_c)
    depth = np.linspace(window / 4096, window, 4096)
    per_depth = SAFETY * float(np.min(depth_stress.xu_cycle(k, depth, low + 0.5 * depth, temperature) / depth))
    reference = np.float64(low if feedback else 0.5 * (site.soc_min + site.soc_max))
    of_time = float(depth_stress.xu_calendar(k, np.float64(dt_h), reference, temperature))
    slope = 0.0 if feedback else of_time * float(k["k_soc"])  # per unit of charge
    start = float(k["start_stress"])
    least = start + steps * float(depth_stress.xu_calendar(k, np.float64(dt_h), np.float64(low), temperature))
    lost = lambda stress: float(depth_stress.xu_life(k, np.float64(stress)))  # noqa: E731
    most = least
    while lost(most) - lost(start) < most_eur / eur_per_loss and most < 20.0:
        most += 1e-3
    chord = (lost(most) - lost(least)) / (most - least) if most > least else 0.0
    eur = eur_per_loss * chord  # of a unit of stress
    capacity_mwh = float(site.capacity_mwh)
    constant = eur_per_loss * (lost(least) - lost(start)) - eur * (least - start) - eur * per_depth * window / 2.0
    return Underestimate(
        discharge_eur_per_mwh=eur * per_depth / (float(site.eta_discharge) * capacity_mwh),
        stored_eur_per_mwh=eur * slope / capacity_mwh,
        step_eur=eur * (of_time - slope * float(reference)) + constant / steps,
    )
