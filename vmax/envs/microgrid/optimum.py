"""The least that the weighted objectives can come to over a stretch with everything known: one linear program.

    min Σ_t [ i_t import_t - s export_t + v spill_t + r ramp_t + u (charge_t + discharge_t) ]
        + Σ_m [ d_p peak_m + d_e excess_m + h highest_m ] - z stored_T
    import_t - export_t - curtailed_t = net_t + charge_t - discharge_t
    stored_{t+1} = stored_t + dt (η charge_t - discharge_t / η)
    peak_m >= import_t (peak hours), off_m >= import_t (others), excess_m >= off_m - peak_m, highest_m >= peak_m, off_m
    ramp_t >= |import_t - import_{t-1}|

Vehicles charge on arrival, so `net_t` is given. Where PV is left over the battery does not discharge: feeding stored
energy in would only make room that is not needed. Elsewhere the program may charge and discharge at once, which burns
energy that finds no use; no battery can do that, and such steps are made one or the other (`_Program.solve`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from vmax.errors import UserError

INTERIOR_FROM = 2000
"""Steps from which the interior-point method is the faster one."""
BOTH_KW = 1e-3
MOST_SOLVES = 6


@dataclass(frozen=True)
class Prices:
    """What each quantity counts, in the units of the objective.

    `per_money`, `per_kg`: a unit of money and of CO2 (an import counts both); `export_kwh` (a gain), `spill_kwh` (fed
    in or curtailed), `moved_kwh` (charged or discharged), `ramp_kw`, `peak_kw` and `excess_kw` (demand charges of a
    month), `highest_kw` (of a month), `stored_kwh` (a gain, at the end).
    """

    per_money: float
    per_kg: float
    export_kwh: float
    spill_kwh: float
    moved_kwh: float
    ramp_kw: float
    peak_kw: float
    excess_kw: float
    highest_kw: float
    stored_kwh: float


@dataclass(frozen=True)
class Storage:
    """The battery: its capacity, the lowest and highest energy stored, and the energy at the start; power at the AC
    terminals; efficiency of either way."""

    capacity_kwh: float
    low_kwh: float
    high_kwh: float
    start_kwh: float
    power_kw: float
    eta: float


@dataclass(frozen=True)
class Plan:
    """Battery power, discharge positive, and what is stored after each step, `[T]`; the objective."""

    power_kw: np.ndarray
    stored_kwh: np.ndarray
    import_kw: np.ndarray
    objective: float


@dataclass(frozen=True)
class Before:
    """The month's highest imports before the first step, and the import of the step before."""

    peak_kw: float = 0.0
    offpeak_kw: float = 0.0
    last_kw: float = 0.0


@dataclass(frozen=True)
class Stretch:
    """What is known of T steps, `[T]`: load less PV in kW, energy price and intensity, whether a step lies in the
    tariff's peak hours, and its month, counted from 0. Limits of the connection in kW."""

    net_kw: np.ndarray
    price_per_kwh: np.ndarray
    carbon_kg_per_kwh: np.ndarray
    peak: np.ndarray
    month: np.ndarray
    dt_h: float
    before: Before = Before()
    import_limit_kw: float = np.inf
    export_limit_kw: float = np.inf


def optimise(stretch: Stretch, prices: Prices, storage: Storage) -> Plan:
    """The optimum of one stretch. Raises UserError where the load cannot be met within the import limit."""
    return _Program(stretch, prices, storage).solve()


class _Program:
    """The columns of the program by name, with their costs and bounds, and its rows."""

    def __init__(self, stretch: Stretch, prices: Prices, storage: Storage) -> None:
        steps, months = len(stretch.net_kw), int(stretch.month.max()) + 1
        self.stretch, self.prices, self.storage, self.steps, self.months = stretch, prices, storage, steps, months
        per_step = ("import", "export", "curtailed", "charge", "discharge", "stored")
        self.sizes = dict.fromkeys(per_step, steps) | {"ramp": steps if prices.ramp_kw > 0 else 0}
        self.sizes |= dict.fromkeys(("peak", "off", "excess", "highest"), months)
        firsts = np.cumsum([0, *list(self.sizes.values())[:-1]])
        self.places = {
            name: slice(first, first + self.sizes[name]) for name, first in zip(self.sizes, firsts, strict=True)
        }
        width = sum(self.sizes.values())
        self.cost, self.low, self.high = np.zeros(width), np.zeros(width), np.full(width, np.inf)
        self._columns()

    def solve(self) -> Plan:
        """Solves; where the program charges and discharges in the same step, the lesser of both is forbidden there and
        it is solved again, until it is a plan that a battery can carry out."""
        equal, right = self._balances()
        below, most = self._limits()
        found: Any = None
        charge = discharge = np.zeros(self.steps)
        for _ in range(MOST_SOLVES):
            found = linprog(
                self.cost,
                A_ub=below,
                b_ub=most,
                A_eq=equal,
                b_eq=right,
                bounds=np.stack([self.low, self.high], axis=1),
                method="highs-ipm" if self.steps > INTERIOR_FROM else "highs",
            )
            if found.status != 0:
                limit = self.stretch.import_limit_kw
                raise UserError(f"env.grid.import_limit_kw={limit:g}: the load cannot be met within it")
            charge, discharge = found.x[self.places["charge"]], found.x[self.places["discharge"]]
            both = np.minimum(charge, discharge) > BOTH_KW
            if not both.any():
                break
            self.high[self.places["charge"]][both & (charge < discharge)] = 0.0
            self.high[self.places["discharge"]][both & (charge >= discharge)] = 0.0
        stored, imported = found.x[self.places["stored"]], found.x[self.places["import"]]
        return Plan(discharge - charge, stored, imported, float(found.fun))

    def _put(self, name: str, cost: Any, high: Any = None, low: Any = None) -> None:
        place = self.places[name]
        self.cost[place] = cost
        self.high[place] = np.inf if high is None else high
        self.low[place] = 0.0 if low is None else low

    def _columns(self) -> None:
        """Costs and bounds."""
        of, prices, storage, dt_h = self.stretch, self.prices, self.storage, self.stretch.dt_h
        first, last = np.arange(self.months) == of.month[0], np.arange(self.steps) == self.steps - 1
        import_kwh = prices.per_money * of.price_per_kwh + prices.per_kg * of.carbon_kg_per_kwh
        self._put("import", import_kwh * dt_h, of.import_limit_kw)
        self._put("export", (prices.spill_kwh - prices.export_kwh) * dt_h, of.export_limit_kw)
        self._put("curtailed", prices.spill_kwh * dt_h)
        self._put("charge", prices.moved_kwh * dt_h, storage.power_kw)
        self._put("discharge", prices.moved_kwh * dt_h, np.where(of.net_kw > 0.0, storage.power_kw, 0.0))
        self._put("stored", np.where(last, -prices.stored_kwh, 0.0), storage.high_kwh, storage.low_kwh)
        self._put("ramp", prices.ramp_kw)
        self._put("peak", prices.peak_kw, low=np.where(first, of.before.peak_kw, 0.0))
        self._put("off", 0.0, low=np.where(first, of.before.offpeak_kw, 0.0))
        self._put("excess", prices.excess_kw)
        self._put("highest", prices.highest_kw)

    def _rows(self, count: int, **parts: Any) -> Any:
        """Rows with these blocks, and zeros in all other columns; `imports` are those of `import`."""
        given = {("import" if name == "imports" else name): part for name, part in parts.items()}
        whole = [given.get(name, sparse.csr_matrix((count, size))) for name, size in self.sizes.items()]
        return sparse.hstack(whole, format="csr")

    def _balances(self) -> tuple[Any, np.ndarray]:
        """The energy balances of site and battery, and their right sides."""
        steps, storage, dt_h = self.steps, self.storage, self.stretch.dt_h
        unit, change = _unit(steps), _change(steps)
        site = self._rows(steps, imports=unit, export=-unit, curtailed=-unit, charge=-unit, discharge=unit)
        battery = self._rows(
            steps, stored=change, charge=-storage.eta * dt_h * unit, discharge=dt_h / storage.eta * unit
        )
        stored = np.zeros(steps)
        stored[0] = storage.start_kwh
        return sparse.vstack([site, battery], format="csr"), np.concatenate([self.stretch.net_kw, stored])

    def _limits(self) -> tuple[Any, np.ndarray]:
        """What lies above what: the months' highest imports, and ramps; and the right sides."""
        steps, months, of = self.steps, self.months, self.stretch
        into: Any = sparse.csr_matrix((np.ones(steps), (np.arange(steps), of.month)), (steps, months))
        unit, month = _unit(steps), _unit(months)
        at_peak, at_off = np.flatnonzero(of.peak), np.flatnonzero(~of.peak)
        rows = [
            self._rows(len(at_peak), imports=unit[at_peak], peak=-into[at_peak]),
            self._rows(len(at_off), imports=unit[at_off], off=-into[at_off]),
            self._rows(months, off=month, peak=-month, excess=-month),
            self._rows(months, peak=month, highest=-month),
            self._rows(months, off=month, highest=-month),
        ]
        most = [np.zeros(one.shape[0]) for one in rows]
        if self.sizes["ramp"]:
            last = np.zeros(steps)
            last[0] = of.before.last_kw
            change = _change(steps)
            rows += [self._rows(steps, imports=change, ramp=-unit), self._rows(steps, imports=-change, ramp=-unit)]
            most += [last, -last]
        return sparse.vstack(rows, format="csr"), np.concatenate(most)


def _unit(size: int) -> Any:
    return sparse.identity(size, format="csr")


def _change(size: int) -> Any:
    """x_t - x_{t-1}."""
    return sparse.csr_matrix(_unit(size) - sparse.diags(np.ones(size - 1), -1))
