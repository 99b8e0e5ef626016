"""The optimal schedule of a battery as a linear program: the bound, and the engine of every planning baseline.

    max  Σ_t dt·[p_t·(x_t − m_t) − f_x·x_t − f_m·m_t − w·(c_t + d_t)] + v·e_n
    e_t = (1 − σ·dt)·e_{t-1} + dt·(η_c·c_t − d_t/η_d),   s_min·E ≤ e_t ≤ s_max·E,   x_t − m_t = pv_t + d_t − c_t

with AC powers c, d of battery, pv used, export x, import m (MW), stored energy e (MWh). Without PV x = d and m = c, and
the program shrinks to three variables a step. Losses that grow with power (`quadratic_loss`) enter as `SEGMENTS` chords
of the convex curve. What covers self-discharge at the lower limit may in the program also charge, without
wear: with self-discharge the bound lies a little above what can be earned. Nothing forbids c and d at once; that pays
only where burning energy does (strongly negative prices), and `perfect_foresight` then adds a binary for such steps
until none is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from scipy import sparse

from vmax.envs.battery import Site

SEGMENTS = 8
"""Chords of the loss curve each way; their error is below q/4/64 of rated power."""
TOLERANCE_MW = 1e-6
SHORTFALL_EUR_PER_MWH = 1e5
"""Above every price, so that no energy wanted at the end is sold."""


@dataclass(frozen=True)
class Schedule:
    """A planned course. Powers `[n]` MW at the AC terminals, stored energy `[n]` MWh at the end of each step.

    `objective_eur` contains the value of the energy left at the end (v·e_n); `simultaneous_steps` counts the steps in
    which the relaxation charged and discharged at once before `perfect_foresight` excluded it.
    """

    charge_mw: np.ndarray
    discharge_mw: np.ndarray
    stored_mwh: np.ndarray
    objective_eur: float
    simultaneous_steps: int = 0

    @property
    def power_mw(self) -> np.ndarray:
        """Net AC power, discharge positive, `[n]`."""
        return self.discharge_mw - self.charge_mw


class StorageProgram:
    """A kept HiGHS model of `n` steps: prices, PV, start and end change between solves, the basis stays.

    Args:
      site: numbers of battery, plant and money (scalars).
      end_mwh: energy to be stored after the last step if it can be (what is missing costs `SHORTFALL_EUR_PER_MWH`);
        default: the lower limit of the window.
    """

    def __init__(self, n: int, dt_h: float, site: Site, end_mwh: float | None = None) -> None:
        self.n, self.dt_h = n, dt_h
        self.site = {name: float(np.asarray(value)) for name, value in site.numbers.items()}
        self.switches = site.switches
        self.segments = SEGMENTS if self.site["quadratic_loss"] > 0 else 1
        self.with_pv = self.site["pv_capacity_mw"] > 0
        self._highs = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.passModel(self._model())
        if end_mwh is not None:
            self._want_at_end(end_mwh)
        self._columns = np.arange(self._highs.getNumCol(), dtype=np.int32)

    def solve(
        self,
        price_eur_per_mwh: np.ndarray,
        soc: float,
        end_value_eur_per_mwh: float = 0.0,
        pv_mw: np.ndarray | None = None,
    ) -> Schedule:
        """The best schedule for prices `[n]` and available PV `[n]` from state of charge `soc`.

        `end_value_eur_per_mwh` is what a stored MWh is worth after the last step.
        """
        self._set_costs(price_eur_per_mwh, end_value_eur_per_mwh)
        stored_mwh = (1.0 - self.site["self_discharge_per_h"] * self.dt_h) * soc * self.site["capacity_mwh"]
        self._highs.changeRowBounds(0, stored_mwh, stored_mwh)
        if self.with_pv:
            self._set_available_pv(np.zeros(self.n) if pv_mw is None else pv_mw)
        return self._run()

    def exclude_simultaneous(self, schedule: Schedule) -> np.ndarray:
        """Adds a binary choice for every step that charges and discharges at once; returns these steps."""
        both = (schedule.charge_mw > TOLERANCE_MW) & (schedule.discharge_mw > TOLERANCE_MW)
        steps, power = np.flatnonzero(both), self.site["power_mw"]
        for step in steps:
            choice = self._highs.getNumCol()
            self._highs.addVar(0.0, 1.0)
            self._highs.changeColIntegrality(choice, highspy.HighsVarType.kInteger)
            charge = np.append(self.columns_of("charge")[step], choice).astype(np.int32)
            discharge = np.append(self.columns_of("discharge")[step], choice).astype(np.int32)
            ones = np.ones(self.segments)
            self._highs.addRow(-np.inf, 0.0, len(charge), charge, np.append(ones, -power))
            self._highs.addRow(-np.inf, power, len(discharge), discharge, np.append(ones, power))
        return steps

    # --- what a program that adds to this one uses ------------------------------------------------------------------

    @property
    def num_columns(self) -> int:
        return self._highs.getNumCol()

    def add_variables(self, upper: np.ndarray, cost: np.ndarray | None = None) -> np.ndarray:
        """Variables from 0 to `upper` `[m]`, with costs `[m]` (default 0); returns their columns."""
        first, count = self.num_columns, len(upper)
        nothing, no_start = np.zeros(0), np.zeros(0, np.int32)
        costs = np.zeros(count) if cost is None else cost
        self._highs.addCols(count, costs, np.zeros(count), upper, 0, no_start, no_start, nothing)
        return np.arange(first, first + count)

    def add_rows(self, lower: float, upper: float, matrix: sparse.csr_matrix) -> np.ndarray:
        """Rows `lower ≤ matrix · x ≤ upper`, `matrix` `[m, columns]`; returns their numbers."""
        first, count = self._highs.getNumRow(), matrix.get_shape()[0]
        index, start = np.asarray(matrix.indices, np.int32), np.asarray(matrix.indptr, np.int32)[:-1]
        bounds = np.full(count, lower), np.full(count, upper)
        self._highs.addRows(count, *bounds, matrix.nnz, start, index, matrix.data.astype(np.float64))
        return np.arange(first, first + count)

    def set_costs(self, columns: np.ndarray, costs: np.ndarray) -> None:
        self._highs.changeColsCost(len(columns), columns.astype(np.int32), costs)

    def set_column_bounds(self, columns: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        self._highs.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper)

    def set_row_bounds(self, rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> None:
        for row, low, high in zip(rows.tolist(), lower.tolist(), upper.tolist(), strict=True):
            self._highs.changeRowBounds(row, low, high)

    def solution(self) -> np.ndarray:
        """All variables after the last solve, by column."""
        return np.asarray(self._highs.getSolution().col_value)

    def cell_power(self) -> tuple[np.ndarray, np.ndarray]:
        """Power into the cells and out of them per MW at the AC terminals, of each segment `[segments]`."""
        s, k = self.site, self.segments
        middle = (2 * np.arange(k) + 1) / k  # slope of the chord of (p/P)² over each segment
        return s["eta_charge"] - s["quadratic_loss"] * middle, 1.0 / s["eta_discharge"] + s["quadratic_loss"] * middle

    def columns_of(self, name: str) -> np.ndarray:
        """Column numbers of a variable, `[n]` or, for the two powers, `[n, segments]`."""
        k, n = self.segments, self.n
        if name in ("charge", "discharge"):
            start = 0 if name == "charge" else n * k
            return np.arange(start, start + n * k).reshape(n, k)
        start = n * (2 * k + ("stored", "standby", "pv", "export", "import").index(name))
        return np.arange(start, start + n)

    def _set_costs(self, price: np.ndarray, end_value: float) -> None:
        s, dt, n, k = self.site, self.dt_h, self.n, self.segments
        price = np.asarray(price, np.float64)
        wear, buy, sell = (
            s["wear_eur_per_mwh"],
            price + s["import_fee_eur_per_mwh"],
            price - s["export_fee_eur_per_mwh"],
        )
        stored = np.zeros(n)
        stored[-1] = -end_value
        if self.with_pv:
            powers = [np.full(2 * n * k, wear * dt), stored, np.zeros(2 * n), -sell * dt, buy * dt]
        else:
            charge, discharge = np.repeat((buy + wear) * dt, k), np.repeat((wear - sell) * dt, k)
            powers = [charge, discharge, stored, buy * dt]
        costs = np.concatenate(powers)
        self._highs.changeColsCost(len(costs), self._columns[: len(costs)], costs)

    def _set_available_pv(self, pv_mw: np.ndarray) -> None:
        upper = np.minimum(np.asarray(pv_mw, np.float64), self.site["inverter_mw"])
        forced = self.switches.curtailment == "limit"
        lower = np.minimum(upper, self.site["export_limit_mw"]) if forced else np.zeros(self.n)
        self._highs.changeColsBounds(self.n, self.columns_of("pv").astype(np.int32), lower, upper)

    def _run(self) -> Schedule:
        self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            self._highs.clearSolver()  # a rare basis from which the simplex method finds no way
            self._highs.run()
        if self._highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise RuntimeError(f"storage program: HiGHS ended with {self._highs.getModelStatus()}")
        values = np.asarray(self._highs.getSolution().col_value)
        return Schedule(
            charge_mw=values[self.columns_of("charge")].sum(axis=1),
            discharge_mw=values[self.columns_of("discharge")].sum(axis=1),
            stored_mwh=values[self.columns_of("stored")],
            objective_eur=-self._highs.getInfo().objective_function_value,
        )

    def _want_at_end(self, end_mwh: float) -> None:
        """Adds what is missing after the last step as a variable with its price."""
        missing = self._highs.getNumCol()
        self._highs.addVar(0.0, np.inf)
        self._highs.changeColCost(missing, SHORTFALL_EUR_PER_MWH)
        columns = np.array([self.columns_of("stored")[-1], missing], np.int32)
        self._highs.addRow(end_mwh, np.inf, 2, columns, np.ones(2))

    def _model(self) -> highspy.HighsLp:
        matrix = self._balance()
        rows, columns = matrix.get_shape()
        lower, upper = self._bounds()
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = rows, columns
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(len(lower)), lower, upper
        lp.row_lower_ = lp.row_upper_ = np.zeros(rows)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.asarray(matrix.indptr, np.int32)
        lp.a_matrix_.index_ = np.asarray(matrix.indices, np.int32)
        lp.a_matrix_.value_ = np.asarray(matrix.data, np.float64)
        return lp

    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        s, n, k = self.site, self.n, self.segments
        most_charge = most_discharge = s["power_mw"]
        if not self.with_pv:
            most_charge = min(most_charge, s["import_limit_mw"])
            most_discharge = min(most_discharge, s["export_limit_mw"])
        standby = s["soc_min"] * s["capacity_mwh"] * s["self_discharge_per_h"] / s["eta_charge"]
        lower = np.zeros(2 * n * k + 2 * n)
        lower[self.columns_of("stored")] = s["soc_min"] * s["capacity_mwh"]
        upper = [np.full(n * k, most_charge / k), np.full(n * k, most_discharge / k)]
        upper += [np.full(n, s["soc_max"] * s["capacity_mwh"]), np.full(n, standby)]
        if self.with_pv:
            lower = np.append(lower, np.zeros(3 * n))
            upper += [np.zeros(n), np.full(n, s["export_limit_mw"]), np.full(n, s["import_limit_mw"] + standby)]
        return lower, np.concatenate(upper)

    def _balance(self) -> sparse.csc_matrix:
        """Rows: stored energy of each step, then (with PV) power at the grid connection of each step."""
        s, n, k, dt = self.site, self.n, self.segments, self.dt_h
        intake, outtake = self.cell_power()
        identity = sparse.identity(n)
        kept = -(1.0 - s["self_discharge_per_h"] * dt) * sparse.eye(n, k=-1)
        row = [sparse.kron(identity, -dt * intake), sparse.kron(identity, dt * outtake), identity + kept]
        row.append(-dt * s["eta_charge"] * identity)
        if not self.with_pv:
            return sparse.csc_matrix(sparse.hstack(row))
        ones = np.ones((1, k))
        grid = [sparse.kron(identity, ones), sparse.kron(identity, -ones), sparse.csc_matrix((n, n)), identity]
        grid += [-identity, identity, -identity]
        energy = sparse.hstack([*row, sparse.csc_matrix((n, 3 * n))])
        return sparse.csc_matrix(sparse.vstack([energy, sparse.hstack(grid)]))


def perfect_foresight(
    site: Site,
    price_eur_per_mwh: np.ndarray,
    dt_h: float,
    soc: float,
    end_value_eur_per_mwh: float = 0.0,
    end_mwh: float | None = None,
    pv_mw: np.ndarray | None = None,
) -> Schedule:
    """The most that the site could have earned over the steps `[n]`, all prices known beforehand.

    Without charging and discharging at once: such steps get a binary choice and the program is solved again.
    """
    program = StorageProgram(len(price_eur_per_mwh), dt_h, site, end_mwh)
    steps = 0
    while True:
        schedule = program.solve(price_eur_per_mwh, soc, end_value_eur_per_mwh, pv_mw)
        found = program.exclude_simultaneous(schedule)
        if not len(found):
            return Schedule(
                schedule.charge_mw, schedule.discharge_mw, schedule.stored_mwh, schedule.objective_eur, steps
            )
        steps += len(found)
