"""Arrays and numbers of a split: data on the device, and what is fitted on the training years alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from vmax.envs.battery import Site, Switches
from vmax.envs.microgrid.balance import KW, Connection, Tariff
from vmax.envs.microgrid.chargers import Limits
from vmax.envs.microgrid.climate import Climate, Expected, expected_of, fit_climate
from vmax.envs.microgrid.objectives import Valuation
from vmax.envs.microgrid.settings import BatteryConfig, MicrogridConfig
from vmax.envs.microgrid.tables import Calendar, features_of
from vmax.envs.microgrid.weeks import HELD_OUT, MONTH_SHARE
from vmax.envs.microgrid.years import Years, make_years
from vmax.errors import UserError

Array = jax.Array


@struct.dataclass
class Data:
    """The years of a split and their calendar, `[Y, T, …]`. `minutes`: since 1970, UTC; `day_begins`: `[Y, 365]`;
    `told_until`: the first step of which no forecast is known yet. `blocks` `[N, 3]` (year, first step, step behind the
    last) and `start_days` `[S, 2]` (year, day), where the splits share the years: the split's stretches, and where an
    episode may begin; else None."""

    pv_kw: Array
    mall_kw: Array
    pv_forecast_kw: Array | None
    mall_forecast_kw: Array | None
    told_until: Array
    blocks: Array | None
    start_days: Array | None
    carbon_kg_per_kwh: Array
    price_per_kwh: Array
    need_kwh: Array
    stay_steps: Array
    table: Array
    minutes: Array
    expected: Expected
    peak: Array
    hours_to_peak: Array
    day_begins: Array
    month_begins: Array
    month_left: Array
    month_left_after: Array


@struct.dataclass
class MicrogridParams:
    """`peak_reference_kw`: no control's mean monthly peak; `start_soc`, `start_peak`: ranges, `[2]`."""

    data: Data
    battery: Site
    limits: Limits
    valued: Valuation
    peak_reference_kw: Array
    start_soc: Array
    start_peak: Array


def build(config: MicrogridConfig, split: str, mean_terms: Any, peak_reference_kw: Any) -> MicrogridParams:
    """The params of a split. Raises UserError for data that cannot be read."""
    years, climate = make_years(config.data, split), fitted(config)
    calendar = calendar_of(config, years)
    price = prices_of(config, years, calendar)
    expected = expected_of(climate, years, calendar)
    data = Data(
        pv_kw=jnp.asarray(years.pv_kw),
        mall_kw=jnp.asarray(years.mall_kw),
        pv_forecast_kw=None if years.pv_forecast_kw is None else jnp.asarray(years.pv_forecast_kw),
        mall_forecast_kw=None if years.mall_forecast_kw is None else jnp.asarray(years.mall_forecast_kw),
        told_until=jnp.asarray(calendar.told_until(config.data.files.forecast_hour), jnp.int32),
        blocks=None if years.blocks is None else jnp.asarray(years.blocks, jnp.int32),
        start_days=None if years.blocks is None else jnp.asarray(start_days(config, years, calendar, split), jnp.int32),
        carbon_kg_per_kwh=jnp.asarray(years.carbon_kg_per_kwh),
        price_per_kwh=jnp.asarray(price),
        need_kwh=jnp.asarray(years.need_kwh),
        stay_steps=jnp.asarray(years.stay_steps),
        table=jnp.asarray(features_of(config, years, calendar, climate, expected, price)),
        minutes=jnp.asarray(years.utc.astype("datetime64[m]").astype(np.int32)),
        expected=Expected(**{name: jnp.asarray(value) for name, value in expected.items()}),
        peak=jnp.asarray(calendar.peak),
        hours_to_peak=jnp.asarray(calendar.hours_to_peak, jnp.float32),
        day_begins=jnp.asarray(calendar.day_begins, jnp.int32),
        month_begins=jnp.asarray(calendar.month_begins),
        month_left=jnp.asarray(1.0 - calendar.month_progress, jnp.float32),
        month_left_after=jnp.asarray(calendar.month_left_after, jnp.float32),
    )
    train = make_years(config.data, "train")
    chargers, tariff, money = config.data.chargers, config.billing, config.billing.local_per_unit
    number = lambda value: jnp.asarray(value, jnp.float32)  # noqa: E731
    no_limit = lambda value: number(jnp.inf if value is None else value)  # noqa: E731
    counted = MONTH_SHARE if years.blocks is not None and split in HELD_OUT else 1.0
    counted = counted if tariff.kind == "time_of_use" else 0.0
    return MicrogridParams(
        data=data,
        battery=battery_site(config.battery),
        limits=Limits(
            number(np.repeat([g.power_kw for g in chargers.groups], [g.sockets for g in chargers.groups])),
            number([g.limit_kw for g in chargers.groups]),
            number(chargers.limit_kw),
        ),
        valued=Valuation(
            connection=Connection(
                no_limit(config.grid.import_limit_kw),
                no_limit(config.grid.export_limit_kw),
                number(config.grid.export_price_per_kwh),
            ),
            tariff=Tariff(
                number(counted * tariff.demand_peak_per_kw / money),
                number(counted * tariff.demand_excess_per_kw / money),
            ),
            wear_per_kwh=number(config.battery.wear_per_kwh),
            mean_terms=number(mean_terms),
            dearest_per_kwh=number(dearest_per_kwh(config, train)),
            dirtiest_kg_per_kwh=number(train.carbon_kg_per_kwh[train.own].max()),
            price_mean=number(climate.price_mean),
            carbon_mean=number(climate.carbon_mean),
            weights=number(config.reward.vector),
            scale=number(config.reward.scale),
            shaping=number(config.reward.shaping),
            shaping_discount=number(config.reward.shaping_discount),
        ),
        peak_reference_kw=number(peak_reference_kw),
        start_soc=number(config.episode.start_soc),
        start_peak=number(config.episode.start_peak),
    )


def start_days(config: MicrogridConfig, years: Years, calendar: Calendar, split: str) -> np.ndarray:
    """Years and days from which an episode stays within a stretch of the split, `[S, 2]`; where none is so long (weeks
    that are held out), the first day of each. Raises UserError for training."""
    assert years.blocks is not None
    length, found, longest = config.episode.days * config.data.steps_per_day, [], 0
    for year, first, stop in years.blocks:
        begins = calendar.day_begins[year]
        days = np.flatnonzero((begins >= first) & (begins < stop))
        longest = max(longest, len(days))
        found += [(year, day) for day in days if begins[day] + length <= stop]
    if not found and split == "train":
        raise UserError(
            f"env.episode.days={config.episode.days}: no stretch of the training weeks is so long; the longest has "
            f"{longest} days"
        )
    return np.asarray(found or [(year, calendar.day[year, first]) for year, first, _ in years.blocks])


def battery_site(config: BatteryConfig) -> Site:
    """The battery's numbers as its module wants them, without plant, fees and wear."""
    number = lambda value: jnp.asarray(value, jnp.float32)  # noqa: E731
    eta, none = number(config.round_trip**0.5), number(0.0)
    infinite = number(jnp.inf)
    return Site(
        capacity_mwh=number(config.capacity_kwh / KW),
        power_mw=number(config.power_kw / KW),
        soc_min=number(config.soc_min),
        soc_max=number(config.soc_max),
        eta_charge=eta,
        eta_discharge=eta,
        quadratic_loss=none,
        self_discharge_per_h=none,
        wear_eur_per_mwh=none,
        pv_capacity_mw=none,
        inverter_mw=infinite,
        import_limit_mw=infinite,
        export_limit_mw=infinite,
        import_fee_eur_per_mwh=none,
        export_fee_eur_per_mwh=none,
        switches=Switches(),
    )


@lru_cache(maxsize=8)
def fitted(config: MicrogridConfig) -> Climate:
    """What is expected at each step of the year, fitted on the training years."""
    train = make_years(config.data, "train")
    calendar = calendar_of(config, train)
    return fit_climate(config.data, train, calendar, prices_of(config, train, calendar))


def prices_of(config: MicrogridConfig, years: Years, calendar: Calendar) -> np.ndarray:
    """Energy prices per kWh in the site's currency, `[Y, T]` float32."""
    tariff = config.billing
    if years.prices is not None:
        return (years.prices / tariff.local_per_unit).astype(np.float32)
    if tariff.kind == "flat":
        return np.full(years.pv_kw.shape, tariff.flat_per_kwh, np.float32)
    price = np.where(calendar.peak, tariff.peak_per_kwh, tariff.offpeak_per_kwh) / tariff.local_per_unit
    return price.astype(np.float32)


def dearest_per_kwh(config: MicrogridConfig, train: Years) -> float:
    """What a kWh costs in the dearest hour: the highest price, and the demand charge that it raises where the step sets
    the month's highest import. Nothing that is saved by not serving it is more."""
    tariff = config.billing
    highest = float(prices_of(config, train, calendar_of(config, train))[train.own].max())
    if tariff.kind == "flat":
        return highest
    return (
        highest + max(tariff.demand_peak_per_kw, tariff.demand_excess_per_kw) / tariff.local_per_unit / config.data.dt_h
    )


def calendar_of(config: MicrogridConfig, years: Years) -> Calendar:
    """The local calendar of these years."""
    return Calendar.of(config, years.utc)
