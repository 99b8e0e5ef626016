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
from vmax.envs.microgrid.balance import Flows, balance, held
from vmax.envs.microgrid.chargers import (
    Groups,
    Vehicles,
    after,
    arrive,
    could_take,
    must_take,
    share_out,
    within_limits,
)
from vmax.envs.microgrid.climate import Outlook, look
from vmax.envs.microgrid.objectives import TERMS, Holdings, Imports, Moment, Reward, StepTerms
from vmax.envs.microgrid.observation import LARGEST_DRAWN
from vmax.envs.microgrid.params import MicrogridParams, build
from vmax.envs.microgrid.rules import priority_power_kw
from vmax.envs.microgrid.settings import Forecast, MicrogridConfig
from vmax.envs.microgrid.state import INFO, Start, State
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
    def action_space(self) -> Box:
        battery = {"import_target": [Feature("import_target", "largest target")], "power": [Feature("power", "rated")]}
        named = [group.name for group in self.config.data.chargers.groups]
        sockets = sum(self.groups.sizes)
        chargers = {
            "group": [Feature(f"charge_{name}", "what can be taken") for name in named],
            "socket": [Feature("charge", "what can be taken", size=sockets)],
            "arrival": [],
        }
        return Box((*battery.get(self.config.action.battery, []), *chargers[self.config.action.chargers]))

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
        power_kw = self.charging(state, action, params)
        ev_kw = power_kw.sum()
        pv_kw, mall_kw = data.pv_kw[year, time], data.mall_kw[year, time]
        request_kw = self.request_kw(state, action, params, mall_kw + ev_kw - pv_kw, ev_kw)
        flows = balance(
            params.battery, params.valued.connection, state.soc, request_kw, pv_kw, mall_kw, ev_kw, self.dt_h
        )
        vehicles, unmet = after(state.vehicles, power_kw, self.dt_h)
        unmet_kwh = unmet.sum() + flows.unserved_kw * self.dt_h
        moment = Moment(
            data.price_per_kwh[year, time],
            data.carbon_kg_per_kwh[year, time],
            data.peak[time],
            data.month_left[time],
            data.month_left_after[time],
        )
        terms = StepTerms.of(flows, unmet_kwh, moment, state.imports, params.valued, self.dt_h)
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
            info=self._tell(state, flows, moment, terms, reward, params),
        )

    def charging(self, state: State, action: Array, params: MicrogridParams) -> Array:
        """Power of each socket `[S]` that an action asks for, within all limits."""
        could = could_take(state.vehicles, params.limits, self.dt_h)
        must = must_take(state.vehicles, params.limits, self.dt_h)
        if self.config.action.chargers == "socket":
            wanted = could * self.share(action[self._first_charger :])
            if self.config.action.guarantee:
                wanted = jnp.maximum(wanted, must)
            group = self.groups.total(wanted)
            allowed = within_limits(group, params.limits)
            return wanted * self.groups.spread(allowed / jnp.maximum(group, 1e-9))
        group = within_limits(self.wanted(action, self.groups.total(could), self.groups.total(must)), params.limits)
        return share_out(group, could, must, self.groups)

    def wanted(self, action: Array, could_kw: Array, must_kw: Array) -> Array:
        """Power that an action asks for its groups, `[G]`, before the limits."""
        if self.config.action.chargers == "arrival":
            return could_kw
        share = self.share(action[self._first_charger :])
        return must_kw + share * (could_kw - must_kw) if self.config.action.guarantee else share * could_kw

    def share(self, action: Array) -> Array:
        """What share of what could be taken an action means."""
        return jnp.clip(0.5 * (action + 1.0) / (1.0 - self.config.action.full_band), 0.0, 1.0)

    def request_kw(
        self, state: State, action: Array, params: MicrogridParams, deficit_kw: Array, ev_kw: Array
    ) -> Array:
        """The battery's power, discharge positive, that an action asks for, before the limits."""
        if self.config.action.battery == "rule":
            return priority_power_kw(self, state, params, deficit_kw, ev_kw)
        return self.requested_kw(action, deficit_kw)

    def requested_kw(self, action: Array, deficit_kw: Array) -> Array:
        """The same where the battery has an action."""
        if self.config.action.battery == "power":
            return action[0] * self.config.battery.power_kw
        return held(deficit_kw, self.target_kw(action[0]))

    def target_kw(self, action: Array) -> Array:
        """The import that an action asks the battery to hold: 0 at -1, `target_max_kw` at 1, between them the share of
        the range to the power `target_exponent`. A rule or a plan may ask for more, with an action beyond 1."""
        config = self.config.action
        return config.target_max_kw * (0.5 * jnp.maximum(action + 1.0, 0.0)) ** config.target_exponent

    def target_share(self, target_kw: Array) -> Array:
        """The share of the action's range that asks for an import target."""
        config = self.config.action
        return jnp.maximum(target_kw / config.target_max_kw, 0.0) ** (1.0 / config.target_exponent)

    @property
    def _first_charger(self) -> int:
        return 0 if self.config.action.battery == "rule" else 1

    def action_for(self, battery_kw: Array, charge_share: Array, deficit_kw: Array) -> Array:
        """The action `[A]` that asks for this battery power (discharge positive) and this share of what each group, or
        socket, could take (`[G]` or `[S]`).

        As an import target a power is only met where it leaves an import of at least 0. It may lie beyond 1.
        """
        config = self.config.action
        battery = {
            "import_target": lambda: 2.0 * self.target_share(deficit_kw - battery_kw) - 1.0,
            "power": lambda: battery_kw / self.config.battery.power_kw,
        }
        first = [battery[config.battery]()[None]] if config.battery in battery else []
        last = [] if config.chargers == "arrival" else [2.0 * (1.0 - config.full_band) * charge_share - 1.0]
        return jnp.concatenate([*first, *last])

    @property
    def charger_count(self) -> int:
        """How many actions the chargers have."""
        return self.action_space.size - self._first_charger

    def _follow(
        self, state: State, flows: Flows, vehicles: Vehicles, imports: Imports, params: MicrogridParams
    ) -> State:
        """The state one step later, with those who arrive then."""
        data, time = params.data, state.time + 1
        length = data.peak.shape[0]
        inside = jnp.minimum(time, length - 1)
        stay = jnp.where(time < length, data.stay_steps[state.year, inside], 0)
        fresh = data.month_begins[time % length]
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
