"""Contiguous train, validation and test blocks in local days; never a random day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from typing import Annotated, NamedTuple

import numpy as np

from vmax.errors import UserError

SPLITS = ("train", "validation", "test")
TRAIN_SHARE, TRAIN_AND_VALIDATION_SHARE = 0.70, 0.85

Days = Annotated[tuple[str, str], "two days such as [2024-01-01,2024-12-31]"]
"""First and last local day of a split."""
Years = Annotated[tuple[int, ...], "years such as [2023,2024]"]
Blocks = tuple[tuple[int, int], ...]


class Dropped(NamedTuple):
    """Gap-free blocks that are too short for a split, and the steps in them."""

    blocks: int
    steps: int


def split_dates(file: str, given: Mapping[str, Days | None], local_date: np.ndarray) -> dict[str, tuple[date, date]]:
    """First and last local day of each split: as given, or 70/15/15 % of the steps in time order if none is given.

    Args:
      local_date: local day of each step, datetime64[D] `[T]`, ascending.

    Raises UserError for dates that cannot be read, are not all given, overlap or lie outside of the data.
    """
    if all(days is None for days in given.values()):
        return _automatic_dates(file, local_date)
    dates = {name: _read_dates(name, given[name]) for name in SPLITS}
    first_day, last_day = local_date[0].item(), local_date[-1].item()
    for name, (first, last) in dates.items():
        if first < first_day or last > last_day:
            raise UserError(
                f"{_override(name, first, last)}: outside of the data; {file} has {first_day} to {last_day}"
            )
    ordered = sorted(dates, key=lambda name: dates[name])
    for name, after in pairwise(ordered):
        if dates[after][0] <= dates[name][1]:
            raise UserError(f"{_override(after, *dates[after])}: overlaps {_override(name, *dates[name])}")
    return dates


def _automatic_dates(file: str, local_date: np.ndarray) -> dict[str, tuple[date, date]]:
    steps = len(local_date)
    first, last = local_date[0], local_date[-1]
    validation = local_date[int(TRAIN_SHARE * steps)]
    test = local_date[int(TRAIN_AND_VALIDATION_SHARE * steps)]
    if not first < validation < test:
        raise UserError(f"{file}: {first} to {last} is too short to be split into train, validation and test by days")
    starts, ends = (first, validation, test), (validation - 1, test - 1, last)
    return {name: (a.item(), b.item()) for name, a, b in zip(SPLITS, starts, ends, strict=True)}


def _read_dates(name: str, days: Days | None) -> tuple[date, date]:
    if days is None:
        raise UserError(f"env.data.{name}=null: give train, validation and test, or none of them")
    try:
        first, last = (date.fromisoformat(str(day)) for day in days)
    except ValueError as error:
        raise UserError(
            f"env.data.{name}=[{','.join(map(str, days))}]: two days such as 2024-01-31 are needed"
        ) from error
    if first > last:
        raise UserError(f"{_override(name, first, last)}: the first day is after the last")
    return first, last


def _override(name: str, first: date, last: date) -> str:
    return f"env.data.{name}=[{first},{last}]"


def split_blocks(
    file: str, dates: Mapping[str, tuple[date, date]], local_date: np.ndarray, segment: np.ndarray, steps_per_day: int
) -> tuple[dict[str, Blocks], Dropped]:
    """Gap-free blocks `[start, stop)` of each split, one per segment; those shorter than a day are dropped and counted.

    Raises UserError for a split of which no block is left.
    """
    splits, dropped = {}, Dropped(0, 0)
    for name, (first, last) in dates.items():
        begin = int(np.searchsorted(local_date, np.datetime64(first)))
        end = int(np.searchsorted(local_date, np.datetime64(last), side="right"))
        cuts = begin + 1 + np.flatnonzero(np.diff(segment[begin:end]))
        edges = [begin, *cuts.tolist(), end]
        blocks = [(a, b) for a, b in pairwise(edges) if b > a]
        # A local day of 23 hours is a day too.
        whole = tuple((a, b) for a, b in blocks if b - a >= steps_per_day * 23 // 24)
        if not whole:
            raise UserError(
                f"{file}: split '{name}' ({first} to {last}) has no gap-free day; set env.data.{name}=[FIRST,LAST]"
            )
        splits[name] = whole
        steps = sum(b - a for a, b in blocks) - sum(b - a for a, b in whole)
        dropped = Dropped(dropped.blocks + len(blocks) - len(whole), dropped.steps + steps)
    return splits, dropped


def check_split_lengths(file: str, splits: Mapping[str, Blocks], steps_per_day: int, episode_days: int) -> None:
    """Raises UserError for a split that does not hold two episodes within its gap-free blocks.

    One hour may lack: a block across the start of summer time is that much shorter than its days.
    """
    for name, blocks in splits.items():
        lengths = np.array([stop - start for start, stop in blocks])
        episodes = int(((lengths + steps_per_day // 24) // (episode_days * steps_per_day)).sum())
        if episodes < 2:
            raise UserError(
                f"{file}: split '{name}' has {lengths.sum() / steps_per_day:.1f} days in gap-free blocks, "
                f"fewer than two episodes of env.episode.days={episode_days}; lower it or set env.data.{name}="
            )
