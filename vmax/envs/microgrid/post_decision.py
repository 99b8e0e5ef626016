"""What is certain the moment a decision is taken, and what remains to be observed after it, from the observation.

The present means of PV and load are measured, so all that the step costs is certain but for the vehicles that leave
unserved; what their groups then miss is left in `ev_must`. Differentiable in the action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.battery import Site
from vmax.envs.microgrid.balance import balance
from vmax.envs.microgrid.chargers import Limits, given_back, within_limits
from vmax.envs.microgrid.objectives import TERMS, Holdings, Imports, Moment, Reward, StepTerms, Valuation
from vmax.envs.microgrid.observation import OPEN_H
from vmax.errors import UserError

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid
    from vmax.envs.microgrid.params import MicrogridParams

Array = jax.Array


@struct.dataclass
class Context:
    """The numbers that the function reads."""

    battery: Site
    limits: Limits
    valued: Valuation


def context(env: Microgrid, params: MicrogridParams) -> Context:
    """The numbers of a configuration. Raises UserError where the observation does not tell enough."""
    if env.config.action.chargers == "socket" or env.config.action.battery == "rule":
        raise UserError(
            "algorithm.post_decision_critic=true: needs env.action.chargers=group or arrival and env.action.battery="
            "import_target or power"
        )
    return Context(params.battery, params.limits, params.valued)


def post_decision(env: Microgrid, seen: Array, action: Array, given: Context) -> tuple[Array, Array]:
    """`(known reward, observation after the decision)` of one sample: `[D]`, `[A]` -> `[]`, `[D]`."""
    box, limits, valued, dt_h = env.observation_space, given.limits, given.valued, env.dt_h
    entry = lambda name: seen[box.slice(name)]  # noqa: E731
    config = env.config
    most_kw = config.data.mall.peak_kw
    lowest, span = given.battery.soc_min, given.battery.soc_max - given.battery.soc_min
    soc = lowest + 0.5 * (entry("soc")[0] + 1.0) * span
    could_kw, must_kw = entry("ev_could") * limits.group_kw, entry("ev_must") * limits.group_kw
    group_kw = within_limits(env.actions.wanted(action, could_kw, must_kw), limits)
    pv_kw = entry("pv_now")[0] * config.data.pv.ac_kw * config.data.pv.share
    mall_kw = entry("mall_now")[0] * most_kw
    charged_kw, ev_kw, back_kw = group_kw, group_kw.sum(), jnp.zeros(())
    if config.action.v2g:
        wanted_kw = env.actions.back_share(action[-len(group_kw) :]) * entry("ev_back") * limits.group_kw
        back = given_back(wanted_kw, mall_kw + ev_kw - pv_kw, limits)
        back_kw = back.sum()
        charged_kw, ev_kw = group_kw - back / config.action.v2g_efficiency, ev_kw - back_kw
    request_kw = env.actions.requested_kw(action, mall_kw + ev_kw - pv_kw)
    flows = balance(given.battery, valued.connection, soc, request_kw, pv_kw, mall_kw, ev_kw, dt_h)
    imports = Imports(*(entry(name)[0] * most_kw for name in ("peak_so_far", "offpeak_so_far", "last_import")))
    moment = Moment(
        entry("price_now")[0] * valued.price_mean,
        entry("carbon_now")[0] * valued.carbon_mean,
        entry("peak")[0] > 0.5,
        1.0 - entry("month_progress")[0],
        entry("month_left_after")[0],
    )
    weights = valued.weights
    if config.reward.conditioned:
        weights = jnp.concatenate([entry(f"weight_{name}") for name in TERMS])
    terms = StepTerms.of(flows, flows.unserved_kw * dt_h, moment, imports, valued, dt_h)
    terms = env.paid_to_owners(terms, back_kw)
    clip = config.reward.clip
    now = imports.after(flows.import_kw, moment.peak)
    open_kwh = (entry("ev_open") * OPEN_H * limits.group_kw).sum()
    before = Holdings(soc, open_kwh, imports, moment.month_left)
    after = Holdings(flows.soc_end, open_kwh - charged_kw.sum() * dt_h, now, moment.month_left_after)
    reward = Reward.of(terms, before, after, weights, given.battery, valued, clip)
    month_ends = moment.month_left_after <= 0.0
    left = {
        "soc": 2.0 * (flows.soc_end - lowest)[None] / span - 1.0,
        "peak_so_far": jnp.where(month_ends, 0.0, now.peak_kw)[None] / most_kw,
        "offpeak_so_far": jnp.where(month_ends, 0.0, now.offpeak_kw)[None] / most_kw,
        "last_import": now.last_kw[None] / most_kw,
        "ev_must": jnp.maximum(must_kw - group_kw, 0.0) / limits.group_kw,
        "ev_open": entry("ev_open") - charged_kw * dt_h / (OPEN_H * limits.group_kw),
    }
    for name, value in left.items():
        seen = seen.at[box.slice(name)].set(value)
    return reward.value, seen
