"""Energy and reserve planned together: the storage program of `optimum.py` with what reserve adds.

    max  … + Σ_t dt·(u_t·r_up_t + v_t·r_dn_t),      with p_t = d_t − c_t
    −P + r_dn_t ≤ p_t ≤ P − r_up_t,   export_t + r_up_t ≤ X,   import_t + r_dn_t ≤ I
    τ(1/η_d + 2q)·r_up_t ≤ e − s_min·E,   τ·η_c·r_dn_t ≤ s_max·E − e      for e = e_t, and e_{t−1} where a block begins
    r_t = r_{t−1} within a block,   r_up = r_dn for a symmetric product

The rules are those of `reserve.py`. `product=simple`: r_up·τ ≤ e_{t−1} − s_min·E alone, and no blocks. With calls
a_t ≥ 0 and b_t ≥ 0 (shares of r_up and r_dn, given) c and d are what flows, p = d − c − a·r_up + b·r_dn is the
schedule, and the backing is that of the schedule's end. Every call is then delivered. Where a plan begins with less
backing than it has promised, what is missing costs `SHORTFALL_EUR_PER_MWH`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from vmax.envs.battery import Site
from vmax.envs.bess.optimum import SHORTFALL_EUR_PER_MWH, Schedule, StorageProgram
from vmax.envs.bess.reserve import per_mw_backing_mwh
from vmax.envs.bess.reserve_rules import SELLS_DOWN, SELLS_UP, ReserveConfig


@dataclass(frozen=True)
class ReserveMarket:
    """What a plan reads of the reserve market: pay upward and downward `[n]` in EUR per MW and hour, and block starts.

    `promised_mw` (up, down) holds until the first block start.
    """

    up_eur_per_mw_h: np.ndarray
    down_eur_per_mw_h: np.ndarray
    opens: np.ndarray
    promised_mw: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class ReservePlan:
    """A planned course: scheduled power (MW, discharge positive) and reserve (MW), each `[n]`, and what flows."""

    power_mw: np.ndarray
    up_mw: np.ndarray
    down_mw: np.ndarray
    flows: Schedule


class ReserveProgram:
    """A kept model of `n` steps: prices, blocks, promises, PV, start and end change between solves.

    Args:
      calls: shares of the upward and the downward commitment that are called, each a number or `[n]`.
    """

    def __init__(
        self,
        n: int,
        dt_h: float,
        site: Site,
        rules: ReserveConfig,
        calls: tuple[float | np.ndarray, float | np.ndarray] = (0.0, 0.0),
    ) -> None:
        self.n, self.dt_h, self.rules = n, dt_h, rules
        self.storage = StorageProgram(n, dt_h, site)
        self.site = self.storage.site
        self.calls = tuple(np.broadcast_to(np.asarray(call, np.float64), n) for call in calls)
        self.simple = rules.product == "simple"
        self.per_up, self.per_down = per_mw_backing_mwh(site, rules.backing_h)
        self.per_up, self.per_down = float(self.per_up), float(self.per_down)
        power = self.site["power_mw"]
        self.most = (
            min(power, self.site["export_limit_mw"]) if rules.product in SELLS_UP else 0.0,
            min(power, self.site["import_limit_mw"]) if rules.product in SELLS_DOWN else 0.0,
        )
        self._add_variables(power)
        self._add_limits()
        self._add_backing()
        self._add_blocks()

    def solve(
        self,
        price_eur_per_mwh: np.ndarray,
        soc: float,
        market: ReserveMarket,
        end_value_eur_per_mwh: float = 0.0,
        pv_mw: np.ndarray | None = None,
    ) -> ReservePlan:
        """The best plan for prices `[n]` from state of charge `soc`; `end_value_eur_per_mwh` is what a stored MWh is
        worth after the last step."""
        self._set_market(market, soc)
        flows = self.storage.solve(price_eur_per_mwh, soc, end_value_eur_per_mwh, pv_mw)
        values = self.storage.solution()
        up, down, power = (values[columns] for columns in (*self._columns[:2], self._columns[-1]))
        return ReservePlan(power if self._called else flows.power_mw, up, down, flows)

    def best(
        self,
        price_eur_per_mwh: np.ndarray,
        soc: float,
        market: ReserveMarket,
        end_value_eur_per_mwh: float = 0.0,
        pv_mw: np.ndarray | None = None,
    ) -> ReservePlan:
        """As `solve`, without charging and discharging at once (see `optimum.perfect_foresight`)."""
        while True:
            plan = self.solve(price_eur_per_mwh, soc, market, end_value_eur_per_mwh, pv_mw)
            if not len(self.storage.exclude_simultaneous(plan.flows)):
                return plan

    @property
    def _called(self) -> bool:
        return any(call.any() for call in self.calls)

    def _add_variables(self, power_mw: float) -> None:
        """Reserve each way; with calls the scheduled power besides what flows; missing backing."""
        add, n = self.storage.add_variables, self.n
        self._columns = [add(np.full(n, most)) for most in self.most]
        if self._called:
            self._columns.append(add(np.full(n, power_mw)))
            self.storage.set_column_bounds(self._columns[2], np.full(n, -power_mw), np.full(n, power_mw))
        missing = np.full(n, SHORTFALL_EUR_PER_MWH)
        self._missing = [add(np.full(n, np.inf), missing) for _ in range(0 if self.simple else 2)]

    def _pick(self, columns: np.ndarray, factor: float | np.ndarray = 1.0, lag: int = 0) -> sparse.csr_matrix:
        """`factor` times a variable `[n]` or its segments `[n, k]`, `lag` steps before each step, `[n, columns]`."""
        columns = columns.reshape(self.n, -1)
        rows = np.repeat(np.arange(lag, self.n), columns.shape[1])
        weight = np.broadcast_to(factor, (self.n, columns.shape[1]))[lag:].ravel()
        return sparse.csr_matrix(
            (weight, (rows, columns[: self.n - lag].ravel())), shape=(self.n, self.storage.num_columns)
        )

    def _add_limits(self) -> None:
        """Power of the battery and room at the grid connection; what is called links schedule and flow."""
        of, s, add = self.storage.columns_of, self.site, self.storage.add_rows
        flowing = self._pick(of("discharge")) - self._pick(of("charge"))
        up, down = (self._pick(columns) for columns in self._columns[:2])
        power = flowing
        if self._called:
            power = self._pick(self._columns[2])
            up_call, down_call = (call[:, None] for call in self.calls)
            called = self._pick(self._columns[0], up_call) - self._pick(self._columns[1], down_call)
            add(0.0, 0.0, power + called - flowing)
        add(-np.inf, s["power_mw"], power + up)
        add(-np.inf, s["power_mw"], down - power)
        net = power
        if self.storage.with_pv:
            net = self._pick(of("export")) - self._pick(of("import")) + power - flowing
        if np.isfinite(s["export_limit_mw"]):
            export = self._pick(of("export" if self.storage.with_pv else "discharge")) if self.simple else net
            add(-np.inf, s["export_limit_mw"], export + up)
        if np.isfinite(s["import_limit_mw"]) and not self.simple:
            add(-np.inf, s["import_limit_mw"], down - net)

    def _add_backing(self) -> None:
        """Stored energy and room at the start of a block and at the end of every schedule.

        What a scheduled power p moves, −p/η_d or −η_c·p, is concave in p: both bound the energy left from above.
        """
        of, s, add = self.storage.columns_of, self.site, self.storage.add_rows
        lowest, highest = (s[key] * s["capacity_mwh"] for key in ("soc_min", "soc_max"))
        up, down = self._columns[:2]
        before = self._pick(of("stored"), lag=1)
        per_up = self.rules.backing_h if self.simple else self.per_up
        self._start_up = add(lowest, np.inf, before - self._pick(up, per_up))
        self._start_down = add(-np.inf, highest, before + self._pick(down, self.per_down))
        if self.simple:
            return
        backed = self._pick(self._missing[0]) - self._pick(up, self.per_up)
        roomy = self._pick(down, self.per_down) - self._pick(self._missing[1])
        stored = self._pick(of("stored"))
        if not self._called:
            add(lowest, np.inf, stored + backed)
            add(-np.inf, highest, stored + roomy)
            return
        into, out = self.storage.cell_power()
        rested = stored - self.dt_h * (self._pick(of("charge"), into) - self._pick(of("discharge"), out))
        for slope in (out.max(), into.min()):
            add(lowest, np.inf, rested - self._pick(self._columns[2], self.dt_h * slope) + backed)
        add(-np.inf, highest, rested - self._pick(self._columns[2], self.dt_h * into.max()) + roomy)

    def _add_blocks(self) -> None:
        up, down = self._columns[:2]
        self._same = [
            self.storage.add_rows(-np.inf, np.inf, self._pick(columns) - self._pick(columns, lag=1))
            for columns in (up, down)
        ]
        if self.rules.product == "symmetric":
            self.storage.add_rows(0.0, 0.0, self._pick(up) - self._pick(down))

    def _set_market(self, market: ReserveMarket, soc: float) -> None:
        """Pay, blocks and promises of this solve."""
        s, n, storage = self.site, self.n, self.storage
        opens = np.asarray(market.opens, bool) | self.simple
        premium = self.rules.activation.premium_eur_per_mwh
        pay = (market.up_eur_per_mw_h, market.down_eur_per_mw_h)
        for columns, price, call in zip(self._columns, pay, self.calls, strict=False):
            storage.set_costs(columns, -self.dt_h * (np.asarray(price, np.float64) + call * premium))
        stored = soc * s["capacity_mwh"] * (np.arange(n) == 0)  # what the first step starts with
        lowest, highest = (s[key] * s["capacity_mwh"] - stored for key in ("soc_min", "soc_max"))
        storage.set_row_bounds(self._start_up, np.where(opens, lowest, -np.inf), np.full(n, np.inf))
        storage.set_row_bounds(self._start_down, np.full(n, -np.inf), np.where(opens, highest, np.inf))
        free = np.where(opens, np.inf, 0.0)
        free[0] = np.inf
        for which, (columns, most) in enumerate(zip(self._columns, self.most, strict=False)):
            storage.set_row_bounds(self._same[which], -free, free)
            lower, upper = np.zeros(n), np.full(n, most)
            if not opens[0]:
                lower[0] = upper[0] = min(float(market.promised_mw[which]), most)
            storage.set_column_bounds(columns, lower, upper)
