"""What the battery tells the checks before training (docs/checks.md)."""

from __future__ import annotations

from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from vmax.envs.battery import energy_residual_mwh, flows_of
from vmax.envs.bess.action import size_of
from vmax.envs.bess.baselines import CheapDear, Idle, Threshold, TwoCycle
from vmax.envs.bess.reserve_rules import BIDS
from vmax.envs.bess.unknown import altered
from vmax.envs.environment import HELD_LEVELS, Checks, Step

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess
    from vmax.envs.bess.params import BessParams
    from vmax.envs.bess.settings import BessConfig
    from vmax.envs.bess.state import State

LONGEST_KNOWN_H = 35
"""So many hours of prices are known at 13:00, but for the day on which summer time ends."""
STREAMS = {
    "energy_revenue_eur": 1.0, "fee_eur": -1.0, "wear_cost_eur": -1.0, "imbalance_cost_eur": -1.0,
    "reserve_revenue_eur": 1.0, "activation_revenue_eur": 1.0, "penalty_eur": -1.0,
}  # fmt: skip
"""Entries of the info that make up the profit, where they are there, with their signs."""


def bess_checks(env: Bess) -> Checks:
    """The hooks of this configuration."""
    told = {feature.name for feature in env.info_space}
    rules = {
        "two_cycle": TwoCycle(jnp.float32(0.0)),
        "n_cheap_n_dear": CheapDear(jnp.float32(3.0)),
        "threshold": Threshold(jnp.float32(1.0)),
        **({"idle": Idle()} if env.config.reserve.sold else {}),
    }
    return Checks(
        reward_terms=(*(name for name in STREAMS if name in told), "shaping_eur"),
        kpi={"profit_eur": 1.0, "terminal_value_eur": 1.0},
        load=("price_eur_per_mwh", *(["pv_mw"] if env.has_pv else [])),
        rules=rules,
        residual=partial(residual, env),
        altered=partial(altered, env),
        exempt=_exempt(env),
    )


def residual(env: Bess, state: State, step: Step, params: BessParams) -> dict[str, Any]:
    """Energy from nowhere in the cells, share of the capacity, and profit that no stream explains, share of all."""
    info, site = step.info, env.site(state, params)
    energy = energy_residual_mwh(site, state.soc, flows_of(info), env.dt_h) / site.capacity_mwh
    streams = [sign * info[name] for name, sign in STREAMS.items() if name in info]
    size = 1.0 + sum(jnp.abs(stream) for stream in streams)
    return {"energy": energy, "money": (info["profit_eur"] - sum(streams)) / size}


def _exempt(env: Bess) -> dict[str, str]:
    """What is as it is for a reason in this configuration."""
    config, product = env.config, env.config.reserve.product
    every_day = "what is always published, and what never is, is the same every day"
    critics = "read by critics of the post-decision state alone"
    reasons = {
        "obs_live/price_mask": every_day,
        "obs_live/reserve_mask": every_day,
        "param_live/level_scale": critics,
        "param_live/reserve_scales": critics,
        "param_live/reserve.penalty_eur_per_mwh": "what is promised is backed, and all that is called was delivered",
    }
    if config.information == "day_ahead":
        for name, first in (
            ("price_window", 1),
            ("net_price_window", 0),
            *((f"reserve_{w}_prices", 0) for w in ("up", "down")),
        ):
            for step in range(round(LONGEST_KNOWN_H / env.dt_h), env.window):
                reasons[f"obs_live/{name}_{step - first}"] = "published beforehand on one day a year alone"
    reasons |= dict.fromkeys(_alike_by_the_bands(env), "both lie in a band of env.action.dead_band or full_band")
    if config.information == "provided" and env.sells_ahead:
        reasons |= dict.fromkeys(_beyond_the_day(env), "no forecast reaches beyond the day that is sold")
    if not env.has_pv:
        reasons |= dict.fromkeys(("param_live/site.pv_capacity_mw", "param_live/site.inverter_mw"), "there is no PV")
    if config.information != "forecast":
        reasons["param_live/forecast_factor"] = "no errors of forecasts are drawn"
    if not env.sells_ahead:
        reasons["param_live/penalty_eur_per_mwh"] = "nothing is sold ahead"
    elif config.market.commitment == "feasible":
        reasons["param_live/penalty_eur_per_mwh"] = "what can be delivered is sold, and all of it was delivered"
    reasons |= _exempt_of_wear(config)
    for name in ("price_mean", "price_scale"):
        if name not in env.observation_space:
            reasons[f"param_live/scales.{name}"] = "the feature is not observed"
    if not config.reserve.called:
        reasons["param_live/reserve.premium_eur_per_mwh"] = "nothing is called"
    if product in ("simple", "up", "down"):
        other = 0 if product == "down" else 1
        reasons[f"obs_live/reserve_committed_{other}"] = f"product={product} is sold in one direction"
    if config.battery.compat_soc_clip:
        reasons["conservation"] = "env.battery.compat_soc_clip=true lets energy appear on purpose (docs/fidelity.md)"
    if config.episode.end == "settled":
        reasons["time_limit"] = "env.episode.end=settled pays for the energy that is left, so nothing follows"
    return reasons


def _alike_by_the_bands(env: Bess) -> list[str]:
    """Pairs of bids that mean the same, as the bands at the ends of their range are wide. (Those of the power are below
    half of its range.)"""
    size = size_of(env.config.action, 0.5 * (jnp.asarray(HELD_LEVELS) + 1.0)).tolist()
    return [
        f"action_reaches_plant/{name}: {a:g} and {b:g}"
        for name in BIDS[env.config.reserve.product]
        for (a, first), (b, second) in combinations(zip(HELD_LEVELS, size, strict=True), 2)
        if first == second
    ]


def _beyond_the_day(env: Bess) -> list[str]:
    """Entries of the observation that are about steps behind the longest usual day from its beginning on."""
    day, window, data = env.steps_per_day, env.window, env.config.data
    names = [f"{name}_{step - 1}" for name in ("price_window", "price_mask") for step in range(day, window)]
    blocks = {"price_forecast": 1, "price_forecasts": data.forecasts, "forecast_spread": 1}
    for name, count in (blocks | dict.fromkeys(data.exogenous, 1)).items():
        names += [f"{name}_{number * window + step}" for number in range(count) for step in range(day, window)]
    return [f"obs_live/{name}" for name in names]


def _exempt_of_wear(config: BessConfig) -> dict[str, str]:
    """Numbers of wear that the chosen model does not read, or not as it is set."""
    wear, reasons = config.degradation, {}
    if wear.model != "throughput" and config.episode.end != "settled":
        reasons["site.wear_eur_per_mwh"] = f"read by rules and planners alone where degradation.model={wear.model}"
    if not wear.feedback:
        reasons["wear.start_loss"] = "wear does not shrink the capacity"
    if wear.model != "xu":
        reasons["wear.temperature_c"] = "of all models of wear, xu alone reads it"
    elif wear.temperature_c == wear.xu.temperature_reference_c:
        reasons["wear.model.k_temperature"] = "the cells are at temperature_reference_c, where it counts nothing"
    if wear.model.startswith("cardo_miota"):
        linear = wear.model.endswith("_linear")
        others = ("depth_limits", "stress", "depth_max", "cycles") if linear else ("depth_mean", "cycles_mean")
        reasons |= {f"wear.model.{name}": "of the other form of the model" for name in others}
    return {f"param_live/{name}": reason for name, reason in reasons.items()}
