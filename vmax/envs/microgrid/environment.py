"""The environment `microgrid`: a site with PV, a battery, a building and EV chargers behind one grid connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from vmax.envs.environment import Checks, Plain, Step
from vmax.envs.microgrid import episodes, objectives, observation, post_decision
from vmax.envs.microgrid.actions import Actions
from vmax.envs.microgrid.balance import Flows, balance
from vmax.envs.microgrid.chargers import Groups, Vehicles, after, arrive
from vmax.envs.microgrid.climate import Outlook, look
from vmax.envs.microgrid.objectives import TERMS, Holdings, Imports, Moment, Reward, StepTerms
from vmax.envs.microgrid.observation import LARGEST_DRAWN
from vmax.envs.microgrid.params import MicrogridParams, build
from vmax.envs.microgrid.rules import priority_power_kw
from vmax.envs.microgrid.settings import Forecast, MicrogridConfig
from vmax.envs.microgrid.state import INFO, Start, State
from vmax.envs.microgrid.weeks import A_YEAR
from vmax.envs.natural import Natural
from vmax.spaces import Box, Feature

Array = jax.Array

WINDOW_H = 36


@dataclass(frozen=True)
class Microgrid(Plain):
    """Actions in [-1, 1]: the battery's, then those of the chargers (`env.action`). Episodes are truncated."""

    config: MicrogridConfig

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def dt_h(self) -> float:
        return self.config.data.step_minutes / 60.0

    @property
    def steps_per_day(self) -> int:
        return round(24 / self.dt_h)

    @property
    def year_steps(self) -> int:
        return episodes.DAYS_A_YEAR * self.steps_per_day

    @property
    def lanes_a_year(self) -> float:
        """How many of the lanes of an evaluation make a year: one, or weeks where the splits share the years."""
        from vmax.envs.microgrid.years import make_years

        return 1.0 if make_years(self.config.data, "test").blocks is None else A_YEAR

    @property
    def window(self) -> int:
        """Steps of an outlook."""
        return round(WINDOW_H / self.dt_h)

    @property
    def min_episode_steps(self) -> int:
        return self.config.episode.days * self.steps_per_day

    @cached_property
    def groups(self) -> Groups:
        return Groups(tuple(group.sockets for group in self.config.data.chargers.groups))

    @cached_property
    def observation_space(self) -> Box:
        return Box(observation.features(self))

    @cached_property
    def actions(self) -> Actions:
        """How actions are read."""
        names = tuple(group.name for group in self.config.data.chargers.groups)
        return Actions(self.config.action, self.groups, names, self.config.battery.power_kw, self.dt_h)

    @property
    def action_space(self) -> Box:
        return self.actions.space

    @property
    def info_space(self) -> tuple[Feature, ...]:
        return INFO

    def params(self, split: str) -> MicrogridParams:
        """Data and numbers of `train`, `validation` or `test`; what is fitted is fitted on `train` alone."""
        return build(self.config, split, *objectives.normalisers(self))

    def known(self, state: State, params: MicrogridParams, forecast: Forecast = "weather") -> Outlook:
        """What may be known at this step, `[W]`: the only way to the future for baselines and features."""
        return look(params.data, state.year, state.time, self.window, self.dt_h, forecast)

    def observe(self, state: State, params: MicrogridParams) -> Array:
        """The observation `[D]`: the site's own entries, then those of the outside world."""
        return observation.observe(self, state, params)

    # --- what happens -----------------------------------------------------------------------------------------------

    def reset(self, key: Array, params: MicrogridParams, start: Start | None = None) -> tuple[State, Array]:
        """A fresh episode: year, day, charge, and the month's highest imports so far are drawn; or a named start."""
        state = episodes.begin(self, key, params, start)
        return state, self.observe(state, params)

    def step(self, key: Array, state: State, action: Array, params: MicrogridParams) -> tuple[State, Step]:
        """One step. Reward: minus the weighted objectives in units of no control's mean step, times `reward.scale`."""
        del key
        data, year, time = params.data, state.year, state.time
        power_kw = self.actions.charging(state.vehicles, params.limits, action)
        pv_kw, mall_kw = data.pv_kw[year, time], data.mall_kw[year, time]
        back_kw = jnp.zeros(())
        charged_kwh, ev_kw = power_kw * self.dt_h, power_kw.sum()
        if self.config.action.v2g:
            given = self.actions.giving_back(state.vehicles, params.limits, action, mall_kw + ev_kw - pv_kw)
            back_kw = given.sum()
            charged_kwh -= given / self.config.action.v2g_efficiency * self.dt_h
            ev_kw -= back_kw
        request_kw = self.request_kw(state, action, params, mall_kw + ev_kw - pv_kw, ev_kw)
        flows = balance(
            params.battery, params.valued.connection, state.soc, request_kw, pv_kw, mall_kw, ev_kw, self.dt_h
        )
        vehicles, unmet = after(state.vehicles, charged_kwh)
        unmet_kwh = unmet.sum() + flows.unserved_kw * self.dt_h
        moment = Moment(
            data.price_per_kwh[year, time],
            data.carbon_kg_per_kwh[year, time],
            data.peak[year, time],
            data.month_left[year, time],
            data.month_left_after[year, time],
        )
        terms = StepTerms.of(flows, unmet_kwh, moment, state.imports, params.valued, self.dt_h)
        terms = self.paid_to_owners(terms, back_kw)
        clip = self.config.reward.clip
        now = state.imports.after(flows.import_kw, moment.peak)
        before = Holdings(state.soc, state.vehicles.need_kwh.sum(), state.imports, moment.month_left)
        left = Holdings(flows.soc_end, vehicles.need_kwh.sum(), now, moment.month_left_after)
        reward = Reward.of(terms, before, left, state.weights, params.battery, params.valued, clip)
        following = self._follow(state, flows, vehicles, now, params)
        return following, Step(
            observation=self.observe(following, params),
            reward=reward.value,
            terminated=jnp.array(False),
            truncated=following.time >= state.end,
            info={**self._tell(state, flows, moment, terms, reward, params), "ev_back_kw": back_kw},
        )

    def paid_to_owners(self, terms: StepTerms, back_kw: Array) -> StepTerms:
        """What a step comes to with what is paid for energy that vehicles give back."""
        config = self.config.action
        return terms.paying(back_kw * self.dt_h * config.v2g_per_kwh) if config.v2g else terms

    def request_kw(
        self, state: State, action: Array, params: MicrogridParams, deficit_kw: Array, ev_kw: Array
    ) -> Array:
        """The battery's power, discharge positive, that an action asks for, before the limits."""
        if self.config.action.battery == "rule":
            return priority_power_kw(self, state, params, deficit_kw, ev_kw)
        return self.actions.requested_kw(action, deficit_kw)

    def _follow(
        self, state: State, flows: Flows, vehicles: Vehicles, imports: Imports, params: MicrogridParams
    ) -> State:
        """The state one step later, with those who arrive then."""
        data, time = params.data, state.time + 1
        length = data.peak.shape[1]
        inside = jnp.minimum(time, length - 1)
        stay = jnp.where(time < length, data.stay_steps[state.year, inside], 0)
        fresh = data.month_begins[state.year, time % length]
        imports = replace(
            imports,
            peak_kw=jnp.where(fresh, 0.0, imports.peak_kw),
            offpeak_kw=jnp.where(fresh, 0.0, imports.offpeak_kw),
        )
        vehicles = arrive(vehicles, data.need_kwh[state.year, inside], stay)
        return replace(state, time=time, soc=flows.soc_end, vehicles=vehicles, imports=imports)

    def _tell(
        self, state: State, flows: Flows, moment: Moment, terms: StepTerms, reward: Reward, params: MicrogridParams
    ) -> dict[str, Array]:
        data, at = params.data, (state.year, state.time)
        arriving = jnp.where(data.stay_steps[at] > 0, data.need_kwh[at].astype(jnp.float32), 0.0)
        return {
            "minutes": data.minutes[at],
            "pv_kw": flows.pv_kw,
            "curtailed_kw": flows.curtailed_kw,
            "mall_kw": flows.mall_kw,
            "ev_kw": flows.ev_kw,
            "charge_kw": flows.charge_kw,
            "discharge_kw": flows.discharge_kw,
            "soc": state.soc,
            "soc_end": flows.soc_end,
            "grid_import_kw": flows.import_kw,
            "grid_export_kw": flows.export_kw,
            "unserved_kw": flows.unserved_kw,
            "carbon_kg_per_kwh": moment.carbon_kg_per_kwh,
            "price_per_kwh": moment.price_per_kwh,
            "ev_wanted_kwh": arriving.sum(),
            "ev_unmet_kwh": terms.unmet_kwh,
            "energy_cost": terms.energy_cost,
            "demand_cost": terms.demand_cost,
            "wear_cost": terms.wear_cost,
            "co2_kg": terms.co2_kg,
            **{f"term_{name}": reward.weighted[i] for i, name in enumerate(TERMS)},
            **{f"saturated_{name}": reward.saturated[i] for i, name in enumerate(TERMS)},
            "shaping": reward.shaping,
        }

    # --- for critics, checks and evaluation -------------------------------------------------------------------------

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]]:
        """See `post_decision.post_decision`."""
        return partial(post_decision.post_decision, self)

    @property
    def controlled(self) -> dict[str, tuple[float, float]]:
        """The charge of the battery, the month's highest imports so far, and the last import."""
        imports = ("peak_so_far", "offpeak_so_far", "last_import")
        return {"soc": (-1.0, 1.0), **dict.fromkeys(imports, (0.0, LARGEST_DRAWN))}

    def post_decision_context(self, params: MicrogridParams) -> Any:
        """The numbers that `post_decision` reads."""
        return post_decision.context(self, params)

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What was done to the values of the user's files."""
        from vmax.envs.microgrid.years import data_notes

        return data_notes(self.config.data)

    def natural(self, params: MicrogridParams) -> Natural:
        """kW, kWh and shares."""
        from vmax.envs.microgrid.natural import natural

        return natural(self, params)

    @property
    def checks(self) -> Checks:
        """See `checks.microgrid_checks`."""
        from vmax.envs.microgrid.checks import microgrid_checks

        return microgrid_checks(self)

    @property
    def assessment(self) -> Any:
        """See `assessment.MicrogridAssessment`."""
        from vmax.envs.microgrid.assessment import MicrogridAssessment

        return MicrogridAssessment(self)
