"""The least that the weighted objectives can come to over a stretch with everything known: one linear program.

    min Σ_t [ i_t import_t - s export_t + v spill_t + r ramp_t + u (charge_t + discharge_t) ]
        + Σ_m [ d_p peak_m + d_e excess_m + h highest_m ] - z stored_T
    import_t - export_t - curtailed_t = net_t + charge_t - discharge_t
    stored_{t+1} = stored_t + dt (η charge_t - discharge_t / η)
    peak_m >= import_t (peak hours), off_m >= import_t (others), excess_m >= off_m - peak_m, highest_m >= peak_m, off_m
    ramp_t >= |import_t - import_{t-1}|

Vehicles charge on arrival, so `net_t` is given. Where PV is left over the battery does not discharge: feeding stored
energy in would only make room that is not needed, and a program that charges and discharges at once would burn what is
left over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from vmax.errors import UserError


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


def optimise(
    net_kw: np.ndarray,
    price_per_kwh: np.ndarray,
    carbon_kg_per_kwh: np.ndarray,
    peak: np.ndarray,
    month: np.ndarray,
    prices: Prices,
    storage: Storage,
    dt_h: float,
    before: Before,
    import_limit_kw: float = np.inf,
    export_limit_kw: float = np.inf,
) -> Plan:
    """The optimum of one stretch of T steps.

    Args: load less PV, energy price and intensity, `[T]`; whether a step lies in the tariff's peak hours; the month of
    each step, counted from 0.
    Raises UserError where the load cannot be met within the import limit.
    """
    steps, months = len(net_kw), int(month.max()) + 1
    sizes = {"import": steps, "export": steps, "curtailed": steps, "charge": steps, "discharge": steps, "stored": steps,
             "ramp": steps if prices.ramp_kw > 0 else 0, "peak": months, "off": months, "excess": months,
             "highest": months}  # fmt: skip
    starts = dict(zip(sizes, np.cumsum([0, *list(sizes.values())[:-1]]), strict=True))
    width = sum(sizes.values())
    cost, low, high = np.zeros(width), np.zeros(width), np.full(width, np.inf)

    def put(name: str, values: Any, bound: Any = None, least: Any = None) -> None:
        where = slice(starts[name], starts[name] + sizes[name])
        cost[where] = values
        if bound is not None:
            high[where] = bound
        if least is not None:
            low[where] = least

    first = np.arange(months) == month[0]
    import_kwh = prices.per_money * price_per_kwh + prices.per_kg * carbon_kg_per_kwh
    put("import", import_kwh * dt_h, import_limit_kw)
    put("export", (prices.spill_kwh - prices.export_kwh) * dt_h, export_limit_kw)
    put("curtailed", prices.spill_kwh * dt_h)
    put("charge", prices.moved_kwh * dt_h, storage.power_kw)
    put("discharge", prices.moved_kwh * dt_h, np.where(net_kw > 0.0, storage.power_kw, 0.0))
    put("stored", np.where(np.arange(steps) == steps - 1, -prices.stored_kwh, 0.0), storage.high_kwh, storage.low_kwh)
    put("ramp", prices.ramp_kw)
    put("peak", prices.peak_kw, least=np.where(first, before.peak_kw, 0.0))
    put("off", 0.0, least=np.where(first, before.offpeak_kw, 0.0))
    put("excess", prices.excess_kw)
    put("highest", prices.highest_kw)

    one, t = np.ones(steps), np.arange(steps)

    def block(rows: int, **parts: Any) -> Any:
        whole = [parts.get(name, sparse.csr_matrix((rows, size))) for name, size in sizes.items()]
        return sparse.hstack(whole, format="csr")

    unit: Any = sparse.identity(steps, format="csr")
    shifted: Any = sparse.diags(one[1:], -1, format="csr")
    equal = sparse.vstack(
        [
            block(steps, **{"import": unit}, export=-unit, curtailed=-unit, charge=-unit, discharge=unit),
            block(
                steps,
                stored=unit - shifted,
                charge=-storage.eta * dt_h * unit,
                discharge=dt_h / storage.eta * unit,
            ),
        ],
        format="csr",
    )
    stored = np.zeros(steps)
    stored[0] = storage.start_kwh
    into: Any = sparse.csr_matrix((one, (t, month)), (steps, months))
    eye: Any = sparse.identity(months, format="csr")
    at_peak = np.flatnonzero(peak)
    at_off = np.flatnonzero(~peak)
    below = [
        block(len(at_peak), **{"import": unit[at_peak]}, peak=-into[at_peak]),
        block(len(at_off), **{"import": unit[at_off]}, off=-into[at_off]),
        block(months, off=eye, peak=-eye, excess=-eye),
        block(months, peak=eye, highest=-eye),
        block(months, off=eye, highest=-eye),
    ]
    most = [np.zeros(rows.shape[0]) for rows in below]
    if prices.ramp_kw > 0:
        last = np.zeros(steps)
        last[0] = before.last_kw
        change = unit - shifted
        below += [block(steps, **{"import": change}, ramp=-unit), block(steps, **{"import": -change}, ramp=-unit)]
        most += [last, -last]
    found: Any = linprog(
        cost,
        A_ub=sparse.vstack(below, format="csr"),
        b_ub=np.concatenate(most),
        A_eq=equal,
        b_eq=np.concatenate([net_kw, stored]),
        bounds=np.stack([low, high], axis=1),
        method="highs-ipm" if steps > 2000 else "highs",
    )
    if found.status != 0:
        raise UserError(f"env.grid.import_limit_kw={import_limit_kw:g}: the load cannot be met within it")
    of = lambda name: found.x[starts[name] : starts[name] + sizes[name]]  # noqa: E731
    return Plan(of("discharge") - of("charge"), of("stored"), of("import"), float(found.fun))
