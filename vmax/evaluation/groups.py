"""What policies earned on some days of an evaluation: by season, by how far prices lay apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from vmax.data.days import DayGroups

QUIET = 0.01
"""Days on which the optimum earns less than this share of its mean daily uplift are too quiet for a capture."""


def grouped(
    groups: DayGroups,
    profit_eur: np.ndarray,
    uplift_eur: np.ndarray,
    best_uplift_eur: np.ndarray,
    cycles: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """The figures of one policy by group, from those of each day, `[days]`; `best_uplift_eur` is the optimum's.

    The profit and the uplift of a day are those of its hours; what stored energy earns on a later day counts there.
    `capture` is null where the optimum earns next to nothing (`QUIET`).
    """
    found, mean_eur = {}, float(best_uplift_eur.mean())
    for index, name in enumerate(groups.names):
        chosen = groups.of_day == index
        days, best_eur = int(chosen.sum()), float(best_uplift_eur[chosen].sum())
        own_eur = float(uplift_eur[chosen].sum())
        found[name] = {
            "profit_eur": float(profit_eur[chosen].sum()),
            "uplift_eur": own_eur,
            "capture": own_eur / best_eur if best_eur > max(QUIET * mean_eur * days, 0.0) else None,
            "cycles_per_day": float(cycles[chosen].mean()) if days else None,
        }
    return found
