"""Units of the columns of a file: what a column's name says, what the user says, and the factor to ours."""

from __future__ import annotations

import re

import numpy as np

from vmax.errors import UserError

HUNDREDTHS = frozenset(
    ["c", "ct", "cts", "cent", "cents", "eurocent", "p", "pence", "penny", "øre", "öre", "ore", "sen", "paise"]
)
"""Names of hundredths of a currency."""
ENERGIES = {"mwh": 1.0, "kwh": 1000.0, "wh": 1e6}
CAPACITIES = {"mw": 1.0, "kw": 1000.0}
"""What a price may be per, as names and settings write it, and its factor to ours, which is the first."""
OURS = {"mwh": "MWh", "mw": "MW"}
POWERS = {"MW": 1.0, "kW": 1e-3, "W": 1e-6, "per_unit": 1.0, "W_per_kW": 1e-3}
"""In MW; what is per unit, or in W per kW, is a share of the plant."""
CODES = (-9999.0, -999.0, -99999.0, 99999.0, 999999.0)
"""Numbers that stand for a missing value in many files, and for no price anywhere."""
LIKE_PRICES = 50.0
"""Two kinds of price per MWh that differ by more are in different units."""


def factor_of(unit: str, key: str, per: dict[str, float]) -> float:
    """What a value in `eur_per_mwh`, `ct_per_kwh` and the like is multiplied by. Raises UserError."""
    found = re.fullmatch(r"([^\W\d_]+|[€£$¥])_per_([a-z]+)", unit.lower())
    if found is None or found[2] not in per:
        allowed = ", ".join(f"eur_per_{name}, ct_per_{name}" for name in per if name != "wh")
        raise UserError(f"{key}={unit}: must be a unit such as {allowed}, of any currency")
    return per[found[2]] * (0.01 if found[1] in HUNDREDTHS else 1.0)


def named_unit(name: str, per: dict[str, float]) -> str | None:
    """The unit that a column's name says, as `ct_per_kwh`; None where it says none."""
    last = "|".join(sorted(per, key=len, reverse=True))
    found = re.search(rf"([^\W\d_]+|[€£$¥])?(?:\s*/\s*|_per_|\s+(?:per|pro)\s+|[_\s]+)({last})(?![a-z])", name.lower())
    return None if found is None else f"{found[1] or 'price'}_per_{found[2]}"


def price_factor(file: str, name: str, given: str | None, key: str, per: dict[str, float] = ENERGIES) -> float:
    """What the values of a price column are multiplied by: what `key` says, which must be what the name says.

    Raises UserError where the name says another unit, or one that nothing is said of.
    """
    said = named_unit(name, per)
    factor = 1.0 if given is None else factor_of(given, key, per)
    if said is not None and factor_of(said, key, per) != factor:
        ours = f"{key}={given}" if given is not None else f"prices are taken per {OURS[next(iter(per))]}"
        raise UserError(f"{file}: column '{name}' says {said}, but {ours}; set {key}={said}, or rename the column")
    return factor


def power_factor(file: str, name: str, given: str | None, key: str) -> float:
    """What a column of powers is multiplied by to be in MW. Raises UserError as `price_factor`."""
    found = re.search(r"(?:^|[^a-z])(mw|kw|w)(?![a-z])", name.lower())
    said = None if found is None else {"mw": "MW", "kw": "kW", "w": "W"}[found[1]]
    taken = given or "MW"
    if said is not None and said != taken:
        ours = f"{key}={given}" if given else "MW are taken"
        raise UserError(f"{file}: column '{name}' says {said}, but {ours}; set {key}={said}, or rename the column")
    return POWERS[taken]


def check_alike(file: str, names: tuple[str, str], values: np.ndarray, price: np.ndarray, key: str) -> None:
    """Raises UserError where prices of another kind are far from day-ahead ones. `names`: theirs, and the others'."""
    mean, usual = float(np.abs(values).mean()), float(np.abs(price).mean())
    if mean * LIKE_PRICES < usual or mean > usual * LIKE_PRICES:
        raise UserError(
            f"{file}: column '{names[0]}' has a mean |value| of {mean:g}, column '{names[1]}' of {usual:g}; is one of "
            f"them per kWh? set {key}=eur_per_kwh, or eur_per_mwh if it is meant"
        )


def codes_in(values: np.ndarray) -> np.ndarray:
    """Where a value is one of `CODES`, bool `[T]`."""
    return np.isin(values, CODES)
