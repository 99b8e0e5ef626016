"""The microgrid's vectors in the units of the world, for an exported policy (`vmax.envs.natural`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from vmax.envs.microgrid.observation import LEFT_H, OPEN_H
from vmax.envs.microgrid.params import fitted
from vmax.envs.microgrid.tables import DEFICIT_H, SURPLUS_H, SURPLUS_UNIT, exogenous_features
from vmax.envs.microgrid.years import make_years
from vmax.envs.natural import Natural, Quantity

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid
    from vmax.envs.microgrid.params import MicrogridParams

Array = jax.Array


def natural(env: Microgrid, params: MicrogridParams) -> Natural:
    """How observation and action of `env` read in the world; `params` are those of any split."""
    quantities = [
        _quantity(env, params, feature.name, name, feature.low, feature.high, feature.unit, number)
        for feature in env.observation_space.features
        for number, name in enumerate(
            [feature.name] if feature.size == 1 else [f"{feature.name}_{i}" for i in range(feature.size)]
        )
    ]
    return Natural(tuple(quantities), _action(env), _Units(env), _data(env))


def _quantity(
    env: Microgrid, params: MicrogridParams, feature: str, name: str, low: float, high: float, unit: str, number: int
) -> Quantity:
    """What one number of a feature stands for."""
    battery, mall_kw = env.config.battery, env.config.data.mall.peak_kw
    if feature == "soc":
        middle, half = 0.5 * (battery.soc_max + battery.soc_min), 0.5 * (battery.soc_max - battery.soc_min)
        meaning = "state of charge"
        return Quantity(name, "capacity", battery.soc_min, battery.soc_max, meaning, "linear", middle, half)
    pv_kw = env.config.data.pv.ac_kw * env.config.data.pv.share
    valued, capacity = params.valued, battery.capacity_kwh
    scales: dict[str, tuple[str, float, str]] = {
        "peak_so_far": ("kW", mall_kw, "highest import of the month so far in the tariff's peak hours"),
        "offpeak_so_far": ("kW", mall_kw, "the same in the other hours"),
        "last_import": ("kW", mall_kw, "import of the step before"),
        "pv_now": ("kW", pv_kw, "PV of this step"),
        "mall_now": ("kW", mall_kw, "load of this step without the chargers"),
        "clear_now": ("kW", pv_kw, "PV of this step under a clear sky"),
        "price_now": ("money/kWh", float(valued.price_mean), "energy price of this step"),
        "carbon_now": ("kg/kWh", float(valued.carbon_mean), "carbon intensity of this step"),
        "hours_to_peak": ("h", 24.0, "hours until the tariff's peak begins"),
        "peak_deficit": ("kWh", capacity, "load less PV expected in the peak hours of the next day"),
        "peak_load": ("kW", mall_kw, "highest load less PV expected in them"),
        **{f"deficit_{h}h": ("kWh", capacity, f"load less PV expected within {h} h, where above 0") for h in DEFICIT_H},
        **{
            f"surplus_{h}h": ("kWh", SURPLUS_UNIT * capacity, f"PV less load expected within {h} h, where above 0")
            for h in SURPLUS_H
        },
    }
    for key, meaning in (
        ("ev_could", "most that its vehicles take now"),
        ("ev_must", "least that serves them all"),
        ("ev_back", "most that its vehicles give back now"),
    ):
        scales[key] = ("kW", float(params.limits.group_kw[min(number, len(params.limits.group_kw) - 1)]), meaning)
    group_kw = float(params.limits.group_kw[min(number, len(params.limits.group_kw) - 1)])
    scales["ev_open"] = ("kWh", OPEN_H * group_kw, "energy that its vehicles still want")
    socket_kw = float(params.limits.socket_kw[min(number, len(params.limits.socket_kw) - 1)])
    scales["need"] = ("kWh", OPEN_H * socket_kw, "energy that the vehicle still wants")
    scales["left"] = ("h", LEFT_H, "until it leaves; 0: nobody there")
    other = exogenous_features(env.config).get(feature)
    if other is not None:
        return _of_forecast(env, feature, other, low, high)
    if feature not in scales:
        return Quantity(name, unit, low, high)
    unit, scale, meaning = scales[feature]
    return Quantity(name, unit, low * scale, high * scale, meaning, "linear", 0.0, scale)


def _of_forecast(env: Microgrid, feature: str, name: str, low: float, high: float) -> Quantity:
    """What a number of another forecast stands for."""
    climate, names = fitted(env.config), [one.name for one in env.config.data.files.exogenous]
    mean, scale = (float(of[names.index(name)]) for of in (climate.exogenous_mean, climate.exogenous_deviation))
    meaning = f"mean of forecast '{name}' within {feature.removeprefix(name + '_')}; where unknown, that of the years"
    return Quantity(feature, "as in the file", mean + low * scale, mean + high * scale, meaning, "linear", mean, scale)


class _Units:
    """Actions `[N, A]` as an import target or power in kW, and shares of what chargers could take, `[N, A]`."""

    def __init__(self, env: Microgrid) -> None:
        self.env = env

    def __call__(self, raw: Array, action: Array) -> Array:
        env, parts = self.env, []
        if env.config.action.battery == "import_target":
            parts.append(env.actions.target_kw(action[:, :1]))
        elif env.config.action.battery == "power":
            parts.append(action[:, :1] * env.config.battery.power_kw)
        chargers = action[:, len(parts) :]
        back = env.actions.back_share(chargers) if env.config.action.v2g else 0.0
        parts.append(env.actions.share(chargers) - back)
        return jnp.concatenate(parts, axis=1)


def _action(env: Microgrid) -> tuple[Quantity, ...]:
    config, rated = env.config.action, env.config.battery.power_kw
    battery = {
        "import_target": [
            Quantity("import_target_kw", "kW", 0.0, config.target_max_kw, "import that the battery holds")
        ],
        "power": [Quantity("battery_kw", "kW", -rated, rated, "battery power asked for, discharge positive")],
    }.get(config.battery, [])
    names = env.action_space.names[len(battery) :]
    meaning, least = "share of what its vehicles could take", 0.0
    if config.v2g:
        meaning, least = f"{meaning}; below 0: could give back", -1.0
    return (*battery, *(Quantity(f"{name}_share", "1", least, 1.0, meaning) for name in names))


def _data(env: Microgrid) -> dict[str, Any]:
    """Where the years come from."""
    data = env.config.data
    given = {name: path for name, path in vars(data.files).items() if path is not None and "unit" not in name}
    years = {split: list(make_years(data, split).names) for split in ("train", "validation", "test")}
    return {"source": given or "generated", "step_h": env.dt_h, "timezone": data.timezone, "years": years}
