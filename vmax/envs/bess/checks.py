"""What the battery tells the checks before training (docs/checks.md)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from vmax.envs.bess.baselines import CheapDear, Idle, Threshold, TwoCycle
from vmax.envs.bess.battery import energy_residual_mwh, flows_of
from vmax.envs.bess.unknown import altered
from vmax.envs.environment import Checks, Step

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess
    from vmax.envs.bess.params import BessParams
    from vmax.envs.bess.state import State

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
    """Energy that appears in the cells as a share of the capacity, and money that no stream explains as a share of all."""
    info, site = step.info, env.site(state, params)
    energy = energy_residual_mwh(site, state.soc, flows_of(info), env.dt_h) / site.capacity_mwh
    streams = [sign * info[name] for name, sign in STREAMS.items() if name in info]
    size = 1.0 + sum(jnp.abs(stream) for stream in streams)
    return {"energy": energy, "money": (info["profit_eur"] - sum(streams)) / size}


def _exempt(env: Bess) -> dict[str, str]:
    """What is as it is for a reason in this configuration."""
    config = env.config
    found = {
        "obs_live/price_mask": "what is published at least, and never, is the same every day",
        "obs_live/reserve_mask": "what is published at least, and never, is the same every day",
        "param_live/level_scale": "read by critics of the post-decision state alone",
        "param_live/reserve_scales": "read by critics of the post-decision state alone",
    }
    if not env.has_pv:
        found |= dict.fromkeys(("param_live/site.pv_capacity_mw", "param_live/site.inverter_mw"), "there is no PV")
    if config.information != "forecast":
        found["param_live/forecast_factor"] = "prices are known"
    if not env.sells_ahead:
        found["param_live/penalty_eur_per_mwh"] = "nothing is sold ahead"
    if config.degradation.model == "throughput":
        for name in ("start_loss", "temperature_c"):
            found[f"param_live/wear.{name}"] = "wear is a price on throughput"
    if config.battery.compat_soc_clip:
        found["conservation"] = "env.battery.compat_soc_clip=true lets energy appear on purpose (docs/fidelity.md)"
    if config.episode.end == "settled":
        found["time_limit"] = "env.episode.end=settled pays for the energy that is left, so nothing follows"
    return found
