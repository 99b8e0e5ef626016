"""The calendar of a year, and what the policy sees of the world beside its own state, as a table of features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vmax.data.calendar import local_time
from vmax.envs.microgrid.settings import MicrogridConfig
from vmax.envs.microgrid.weather import LAST_H, last_ratios, stretch_of
from vmax.envs.microgrid.years import Years
from vmax.errors import UserError
from vmax.spaces import Feature

EXOGENOUS_H = (3, 6, 12, 24, 36)
DEFICIT_H = (3, 6, 12, 18, 24, 36)
SURPLUS_H = (6, 12, 24, 36)
LARGEST, SURPLUS_UNIT = 4.0, 4.0
OUTSIDE = (
    Feature("hour_sin"), Feature("hour_cos"), Feature("season_sin"), Feature("season_cos"),
    Feature("saturday", "flag", 0.0, 1.0), Feature("sunday", "flag", 0.0, 1.0), Feature("peak", "flag", 0.0, 1.0),
    Feature("hours_to_peak", "day", 0.0, 1.0), Feature("month_progress", "month", 0.0, 1.0),
    Feature("month_left_after", "month", 0.0, 1.0),
    Feature("pv_now", "largest PV", 0.0, LARGEST), Feature("mall_now", "mall peak", 0.0, LARGEST),
    Feature("clear_now", "largest PV", 0.0, LARGEST), Feature("price_now", "mean price", 0.0, 10.0),
    Feature("carbon_now", "mean intensity", 0.0, 10.0),
    *(Feature(f"pv_ratio_{h}h", "expected", 0.0, LARGEST) for h in LAST_H),
    Feature("mall_ratio", "expected", 0.0, LARGEST),
    *(Feature(f"deficit_{h}h", "capacity", 0.0, LARGEST) for h in DEFICIT_H),
    *(Feature(f"surplus_{h}h", f"{SURPLUS_UNIT:g} capacities", 0.0, LARGEST) for h in SURPLUS_H),
    Feature("peak_deficit", "capacity", 0.0, LARGEST), Feature("peak_load", "mall peak", 0.0, LARGEST),
)  # fmt: skip
"""Energies are sums of what is expected, in units of the battery's capacity, surpluses in 4 of them."""


def outside(config: MicrogridConfig) -> tuple[Feature, ...]:
    """`OUTSIDE`, and the means of what other forecasts tell of the hours up to each of `EXOGENOUS_H`, in standard
    deviations of the training years from their mean; 0 where nothing is told."""
    added = exogenous_features(config)
    for name in {feature.name for feature in OUTSIDE} & set(added):
        raise UserError(f"env.data.files.exogenous: '{added[name]}' makes a second feature {name}; choose another name")
    return (*OUTSIDE, *(Feature(name, "sd", -10.0, 10.0) for name in added))


def exogenous_features(config: MicrogridConfig) -> dict[str, str]:
    """The features of other forecasts, and which forecast each is of, in order."""
    return {f"{one.name}_{h}h": one.name for one in config.data.files.exogenous for h in EXOGENOUS_H}


@dataclass(frozen=True)
class Calendar:
    """The site's local clock and calendar along years of 365 days, each `[Y, T]`: where clocks change, a day has 23 or
    25 hours, on another date each year.

    Attributes:
      hour, step_of_day: on the clock, at the begin of a step; where an hour comes twice, both have the same.
      sun_step: steps since the last full 24 hours from the begin of the year, `[T]`: the sun knows no summer time.
      day: of the year, from 0. kind: 0: Monday to Friday, 1: Saturday, 2: Sunday.
      peak: whether the tariff's peak hours are.
      hours_to_peak: on the clock.
      month_progress: share of the month's hours that are over at the begin of a step.
      day_begins: the first step of each day, `[Y, 365]`.
    """

    dt_h: float
    hour: np.ndarray
    step_of_day: np.ndarray
    sun_step: np.ndarray
    day: np.ndarray
    kind: np.ndarray
    peak: np.ndarray
    hours_to_peak: np.ndarray
    month_begins: np.ndarray
    month_progress: np.ndarray
    day_begins: np.ndarray

    @classmethod
    def of(cls, config: MicrogridConfig, utc: np.ndarray) -> Calendar:
        """The calendar of years whose steps begin at `utc` `[Y, T]`, the first of each at a local midnight."""
        local = [local_time(steps, config.data.timezone) for steps in utc]
        hour, month = np.stack([year.hour for year in local]), np.stack([year.month for year in local])
        day_begins, month_begins = _begins(np.stack([year.day for year in local])), _begins(month)
        dt_h, (low, high) = config.data.dt_h, config.billing.peak_hours
        per_day, steps = config.data.steps_per_day, np.arange(utc.shape[1])
        into_month = steps - np.maximum.accumulate(np.where(month_begins, steps, 0), axis=1)
        days_of_month = np.stack([np.bincount(of)[of] for of in month]) / per_day
        return cls(
            dt_h=dt_h,
            hour=hour,
            step_of_day=np.rint(hour / dt_h).astype(int),
            sun_step=steps % per_day,
            day=np.cumsum(day_begins, axis=1) - 1,
            kind=np.maximum(np.stack([year.weekday for year in local]) - 4, 0),
            peak=(hour >= low) & (hour < high),
            hours_to_peak=(low - hour) % 24.0 if low < high else np.full_like(hour, 24.0),
            month_begins=month_begins,
            month_progress=(into_month // per_day + (into_month % per_day) * dt_h / 24.0) / days_of_month,
            day_begins=np.stack([np.flatnonzero(of) for of in day_begins]),
        )

    def told_until(self, from_hour: int) -> np.ndarray:
        """The first step of which no forecast is known yet, `[Y, T]`: the end of the local day, from this hour on the
        end of the next."""
        ends = np.append(self.day_begins[:, 1:], np.full((len(self.hour), 2), self.hour.shape[1]), axis=1)
        return np.take_along_axis(ends, self.day + (self.hour >= from_hour), axis=1)

    @property
    def month_left_after(self) -> np.ndarray:
        """Share of the month that is left after each step; 0 after its last one."""
        following = np.append(self.month_progress[:, 1:], np.zeros((len(self.month_progress), 1)), axis=1)
        return np.where(following > self.month_progress, 1.0 - following, 0.0)


def _begins(of: np.ndarray) -> np.ndarray:
    """Where a number along a year is another than at the step before, bool `[Y, T]`; the first step is one."""
    return np.append(np.ones((len(of), 1), bool), of[:, 1:] != of[:, :-1], axis=1)


def features_of(
    config: MicrogridConfig, years: Years, calendar: Calendar, climate: Any, expected: Any, price: np.ndarray
) -> np.ndarray:
    """The features `outside` of every step, `[Y, T, F]` float32. All come from the present and the past, and from what
    is expected by the climate, or forecast in the user's files."""
    shape = years.pv_kw.shape
    most_pv = config.data.pv.ac_kw * config.data.pv.share
    most_mall = config.data.mall.peak_kw
    angle, season = 2 * np.pi * calendar.hour / 24.0, 2 * np.pi * (calendar.day + calendar.hour / 24.0) / 365.0
    same = lambda values: np.broadcast_to(values, shape)  # noqa: E731
    columns = [
        np.sin(angle), np.cos(angle), np.sin(season), np.cos(season),
        calendar.kind == 1, calendar.kind == 2, calendar.peak,
        calendar.hours_to_peak / 24.0, calendar.month_progress, calendar.month_left_after,
        years.pv_kw / most_pv, years.mall_kw / most_mall, same(climate.clear_kw / most_pv),
        price / climate.price_mean, years.carbon_kg_per_kwh / climate.carbon_mean,
        *np.moveaxis(last_ratios(years.pv_kw, climate.pv_kw, calendar.dt_h), -1, 0),
        expected["mall_ratio"],
        *_sums(config, years, calendar, expected),
        *_exogenous(config, years, calendar, climate),
    ]  # fmt: skip
    table, names = np.stack([np.asarray(column, np.float32) for column in columns], axis=-1), outside(config)
    return np.clip(table, [f.low for f in names], [f.high for f in names]).astype(np.float32)


def _exogenous(config: MicrogridConfig, years: Years, calendar: Calendar, climate: Any) -> list[np.ndarray]:
    """The columns of other forecasts, each `[Y, T]`, in the order of `outside`."""
    if years.exogenous is None:
        return []
    values = (years.exogenous - climate.exogenous_mean) / climate.exogenous_deviation
    told_until, length = calendar.told_until(config.data.files.forecast_hour), values.shape[1]
    steps, total, count, columns = np.arange(length), np.zeros(values.shape), np.zeros(told_until.shape), {}
    for k in range(1, round(max(EXOGENOUS_H) / calendar.dt_h) + 1):
        told = steps + k < told_until
        total = total + np.where(told[..., None], values[:, (steps + k) % length], 0.0)
        count = count + told
        columns[k * calendar.dt_h] = total / np.maximum(count, 1.0)[..., None]
    return [columns[float(h)][..., i] for i in range(values.shape[-1]) for h in EXOGENOUS_H]


def _sums(config: MicrogridConfig, years: Years, calendar: Calendar, expected: Any) -> list[np.ndarray]:
    """Expected deficits and surpluses within some hours after the present step, those of the peak hours of the next
    day, and the highest load in them, each `[Y, T]`."""
    capacity, dt_h = config.battery.capacity_kwh, calendar.dt_h
    level = 1.0 + expected["mall_rho"] * (expected["mall_ratio"] - 1.0)
    length = calendar.hour.shape[1]
    deficit, surplus, in_peak, load = (np.zeros(level.shape) for _ in range(4))
    deficits, surpluses = {}, {}
    stretch = stretch_of(round(max(DEFICIT_H) / dt_h) + 1, dt_h)
    told_until = calendar.told_until(config.data.files.forecast_hour)
    for k in range(1, len(stretch)):
        steps, weather = (np.arange(length) + k) % length, expected["pv_share"][:, :, stretch[k]]
        mall_kw, pv_kw = expected["mall_kw"][:, steps] * level, expected["pv_kw"][steps] * weather
        told = np.arange(length) + k < told_until
        if years.mall_forecast_kw is not None:
            mall_kw = np.where(told, years.mall_forecast_kw[:, steps], mall_kw)
        if years.pv_forecast_kw is not None:
            pv_kw = np.where(told, years.pv_forecast_kw[:, steps], pv_kw)
        net = mall_kw + expected["ev_kw"][:, steps] - pv_kw
        deficit = deficit + np.maximum(net, 0.0) * dt_h
        surplus = surplus + np.maximum(-net, 0.0) * dt_h
        if k * dt_h <= 24:
            in_peak = in_peak + np.where(calendar.peak[:, steps], np.maximum(net, 0.0) * dt_h, 0.0)
            load = np.maximum(load, np.where(calendar.peak[:, steps], np.maximum(net, 0.0), 0.0))
        deficits[k * dt_h], surpluses[k * dt_h] = deficit, surplus
    return [
        *(deficits[float(h)] / capacity for h in DEFICIT_H),
        *(surpluses[float(h)] / (SURPLUS_UNIT * capacity) for h in SURPLUS_H),
        in_peak / capacity,
        load / config.data.mall.peak_kw,
    ]
