"""What can be earned with every price known: the optimum under some models of wear, plans and an upper bound under
others.

| wear | plans of `perfect_foresight` | what capture is a share of |
| --- | --- | --- |
| a price on throughput | linear program | the plan: it is the optimum |
| depth buckets | dynamic program | the plan: it is the optimum, up to its grid |
| depth buckets of a self-discharging battery | rest; linear programs at some prices of throughput | the bound |
| rainflow, Xu et al. | the same, and the bound's program with its wear times some factors | the bound |
| any with SOH feedback | as without it, at the capacity of the start | the bound |
| see `kind` | as without peak windows, without reserve, without energy that appears | the plan: it is no bound |

Of several plans the one counts that earns most in the environment. The bound stands in `wear_bound.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vmax.envs.battery import Site
from vmax.envs.bess import depth_stress, dynamic_program, wear_bound
from vmax.envs.bess.degradation import CardoMiota, cycle_cost_eur_per_mwh
from vmax.envs.bess.optimum import Schedule, perfect_foresight
from vmax.envs.bess.scenarios import row_of
from vmax.envs.bess.wear_bound import Bound, Underestimate

if TYPE_CHECKING:
    from vmax.envs.bess.environment import Bess

TRIED = (1.0, 1.5, 2.0, 3.0)
"""Factors on the planning price, and on the wear of the bound, of the plans that are tried where none is the
optimum."""
SWEEPS_FROM_HOUR = (5, 10, 16, 22)
"""Local hours that part the windows of the bound: between the usual lows and highs of a day's prices."""


@dataclass(frozen=True)
class Lane:
    """What is known beforehand of one lane of n steps.

    Attributes:
      site: its numbers at the start. price, pv: `[n]`.
      starts_half, starts_sweep: whether a local half-day, or a window of the bound, begins, `[n]`.
      end_value_eur_per_mwh: of what is stored at the end.
    """

    site: Site
    price_eur_per_mwh: np.ndarray
    pv_mw: np.ndarray
    starts_half: np.ndarray
    starts_sweep: np.ndarray
    soc: float
    end_value_eur_per_mwh: float

    @classmethod
    def of(cls, env: Bess, params: Any, start: Any, site: Site, end_value_eur_per_mwh: float) -> Lane:
        """The lane that begins at `start`."""
        rows = slice(row_of(int(start.time), env.dt_h), row_of(int(start.end), env.dt_h))
        scenarios = params.scenarios
        hour = np.asarray(scenarios.local_hour[rows.start - 1 : rows.stop])
        half, sweep = hour < 12.0, np.digitize(hour, SWEEPS_FROM_HOUR) % len(SWEEPS_FROM_HOUR)
        return cls(
            site=site,
            price_eur_per_mwh=np.asarray(scenarios.price_eur_per_mwh[rows], np.float64),
            pv_mw=np.asarray(scenarios.pv_per_mw[rows], np.float64) * float(site.pv_capacity_mw),
            starts_half=half[1:] != half[:-1],
            starts_sweep=sweep[1:] != sweep[:-1],
            soc=float(start.soc),
            end_value_eur_per_mwh=end_value_eur_per_mwh,
        )


def kind(env: Bess) -> Literal["optimum", "bound", "plan"]:
    """Whether the plan with perfect foresight is the optimum, only an upper bound on that is at hand, or neither.

    Neither where it plans for another battery: one whose action is free of peak windows, whose wear has a constant
    price beside reserve, to which no energy is given.
    """
    given = env.config.battery.compat_power_limit and env.config.battery.compat_soc_clip
    beside = env.config.reserve.sold and (env.wear.observed_size > 0 or env.config.degradation.feedback)
    if env.config.action.mode == "peak_windows" or given or beside:
        return "plan"
    if env.config.degradation.feedback:
        return "bound"
    if isinstance(env.wear, CardoMiota):
        return "bound" if np.max(env.config.battery.self_discharge_per_h) > 0.0 else "optimum"
    return "bound" if env.wear.stacked else "optimum"


def plans(env: Bess, params: Any, lane: Lane) -> list[Schedule]:
    """Schedules of one lane: `perfect_foresight` follows the one that earns most in the environment."""
    if isinstance(env.wear, CardoMiota) and float(lane.site.self_discharge_per_h) == 0.0:
        model = params.wear.model
        price = np.asarray(model["stress"], np.float64) * float(cycle_cost_eur_per_mwh(params.wear)) / 2.0
        wear = dynamic_program.Wear(price, np.asarray(model["depth_limits"], np.float64), lane.starts_half)
        value = lane.end_value_eur_per_mwh
        best = dynamic_program.optimise(lane.site, lane.price_eur_per_mwh, env.dt_h, lane.soc, wear, value, lane.pv_mw)
        return [best.schedule]
    price = env.wear.price_eur_per_mwh(params.wear, lane.site)
    if price is not None:
        return [_priced(env, lane, float(price))]
    found = [_priced(env, lane, factor * float(lane.site.wear_eur_per_mwh)) for factor in TRIED]
    if env.wear.stacked:
        wear = _underestimate(env, params, lane)
        found += [_program(env, lane, wear.times(factor))[0] for factor in TRIED]
    idle = np.zeros(len(lane.price_eur_per_mwh))
    return [*found, Schedule(idle, idle, idle, 0.0)]


def _priced(env: Bess, lane: Lane, wear_eur_per_mwh: float) -> Schedule:
    """The optimum if wear were this price on throughput."""
    site, value = replace(lane.site, wear_eur_per_mwh=wear_eur_per_mwh), lane.end_value_eur_per_mwh
    return perfect_foresight(site, lane.price_eur_per_mwh, env.dt_h, lane.soc, value, pv_mw=lane.pv_mw)


def bound_eur(env: Bess, params: Any, lane: Lane) -> np.ndarray:
    """What no schedule of the lane exceeds in sum: by step, `[n]`, EUR after wear, the value of the change in stored
    energy in the last one."""
    return _program(env, lane, _underestimate(env, params, lane))[1]


def _program(env: Bess, lane: Lane, wear: Underestimate) -> tuple[Schedule, np.ndarray]:
    """The best schedule of the linear program with this wear, and what it earns by step as in `bound_eur`."""
    value, site = lane.end_value_eur_per_mwh, lane.site
    program = Bound(len(lane.price_eur_per_mwh), env.dt_h, site, wear, lane.starts_sweep)
    schedule, earned = program.best(lane.price_eur_per_mwh, lane.soc, value, lane.pv_mw)
    # With feedback energy shrinks away, least at the least charge: what the start holds counts for no more than that.
    held = float(site.soc_min) if env.config.degradation.feedback else lane.soc
    earned[-1] += value * (float(schedule.stored_mwh[-1]) - held * float(site.capacity_mwh))
    return schedule, earned


def _underestimate(env: Bess, params: Any, lane: Lane) -> Underestimate:
    """Linear wear below that of the model."""
    numbers, site, config = params.wear, lane.site, env.config.degradation
    own = {name: np.asarray(value, np.float64) for name, value in numbers.model.items()}
    new_mwh = float(site.capacity_mwh) / (config.start_soh if config.feedback else 1.0)
    life_eur = float(numbers.replacement_eur_per_mwh) * new_mwh
    if config.model == "cardo_miota":
        return Underestimate(ac_eur_per_mwh=float(own["stress"][0]) * float(cycle_cost_eur_per_mwh(numbers)) / 2.0)
    if config.model == "rainflow":
        return wear_bound.of_rainflow(site, life_eur, float(own["life_share_per_cycle"]), float(own["exponent"]))
    if config.model == "xu":
        return _below_xu(env, lane, own, life_eur / float(numbers.end_of_life_loss))
    return Underestimate(ac_eur_per_mwh=float(np.asarray(env.wear.price_eur_per_mwh(params.wear, site))))


def _below_xu(env: Bess, lane: Lane, own: dict[str, np.ndarray], eur_per_loss: float) -> Underestimate:
    """A battery at rest earns something too, so what the best schedule wears is no more than what rest wears and what
    can be earned without wear."""
    config, count = env.config.degradation, len(lane.price_eur_per_mwh)
    temperature_c = np.float64(config.temperature_c)
    resting = count * depth_stress.xu_calendar(own, np.float64(env.dt_h), np.float64(lane.soc), temperature_c)
    most_eur = eur_per_loss * float(depth_stress.xu_life_added(own, own["start_stress"], resting))
    most_eur += float(_program(env, lane, Underestimate())[1].sum())
    return wear_bound.of_xu(
        lane.site,
        own,
        config.temperature_c,
        count,
        env.dt_h,
        eur_per_loss=eur_per_loss,
        most_eur=most_eur if float(lane.site.self_discharge_per_h) == 0.0 else np.inf,
        feedback=config.feedback,
    )
