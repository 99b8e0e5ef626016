"""The environment `bess`: a battery, alone or with PV behind one grid connection, that trades on real prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.data.series import Series
from vmax.envs.bess import battery, market, observation, post_decision, reserve
from vmax.envs.bess.battery import Dispatch, Site
from vmax.envs.bess.degradation import WearModel, WearStep, make_wear
from vmax.envs.bess.known import Known, look
from vmax.envs.bess.market import Money
from vmax.envs.bess.params import BessParams, build_params, series_of
from vmax.envs.bess.reserve_rules import BIDS
from vmax.envs.bess.scenarios import WINDOW_H, row_of
from vmax.envs.bess.settings import BessConfig
from vmax.envs.bess.state import INFO, Start, State
from vmax.envs.environment import Step
from vmax.spaces import Box, Feature

Array = jax.Array


@dataclass(frozen=True)
class Bess:
    """Battery environment. Action: power in [-1, 1], discharge positive, and the bids of a reserve product.

    Episodes are only ever truncated."""

    config: BessConfig
    series: Series = field(init=False)
    """The prices; another series after its file has changed, so that nothing stays cached of the one before."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "series", series_of(self.config))

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.config.name

    @cached_property
    def dt_h(self) -> float:
        return self.series.dt_h

    @property
    def steps_per_day(self) -> int:
        return round(24 / self.dt_h)

    @property
    def window(self) -> int:
        return round(WINDOW_H / self.dt_h)

    @property
    def episode_steps(self) -> int:
        return self.config.episode.days * self.steps_per_day

    @property
    def min_episode_steps(self) -> int:
        return self.episode_steps

    @cached_property
    def wear(self) -> WearModel:
        return make_wear(self.config.degradation)

    @cached_property
    def ranged(self) -> tuple[str, ...]:
        """Names of the site's numbers that are given as a range."""
        groups = (self.config.battery, self.config.plant)
        return tuple(k for group in groups for k, v in vars(group).items() if isinstance(v, tuple))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Chosen features, the battery's own first; drawn numbers and memory of wear are always among them."""
        chosen = self.config.observation.features
        needed = (*(["wear"] if self.wear.observed_size else []), *(["site"] if self.ranged else []))
        own = [n for n in observation.OWN if n in chosen or n in needed]
        return (*own, *(n for n in chosen if n in observation.EXOGENOUS))

    @cached_property
    def observation_space(self) -> Box:
        limits = {n: 10.0 for n, d in observation.EXOGENOUS.items() if d.fitted} | {
            "price_mean": 20.0,
            "price_scale": 20.0,
        }
        sizes = {"site": len(self.ranged), "wear": self.wear.observed_size, "reserve_committed": 2}
        return observation.observation_space(self.features, self.window, sizes, limits)

    @property
    def action_space(self) -> Box:
        bids = BIDS[self.config.reserve.product]
        return Box((Feature("power", "rated power, discharge positive"), *(Feature(n, "rated power") for n in bids)))

    @property
    def info_space(self) -> tuple[Feature, ...]:
        return (*INFO, *reserve.INFO) if self.config.reserve.sold else INFO

    def params(self, split: str) -> BessParams:
        """Arrays and numbers of `train`, `validation` or `test`; scales and estimates are fitted on `train` alone."""
        return build_params(self.config, self.series, split, self.features)

    # --- what is known ----------------------------------------------------------------------------------------------

    def site(self, state: State, params: BessParams) -> Site:
        """The site's numbers in this episode."""
        return replace(params.site, **state.drawn) if state.drawn else params.site

    def known(self, state: State, params: BessParams) -> Known:
        """What may be known at this step: the only way to the future for observations and baselines."""
        known = look(
            params.scenarios,
            params.estimate,
            params.forecast_factor,
            state.time,
            state.error_offset,
            self.site(state, params).pv_capacity_mw,
            self.dt_h,
        )
        return replace(
            known,
            price_eur_per_mwh=jnp.where(known.mask, state.price(known.price_eur_per_mwh), 0.0),
            expected_price_eur_per_mwh=jnp.where(known.mask, state.price(known.expected_price_eur_per_mwh), 0.0),
            past_price_eur_per_mwh=state.price(known.past_price_eur_per_mwh),
            last_error_eur_per_mwh=state.difference(known.last_error_eur_per_mwh),
            profile_eur_per_mwh=state.price(known.profile_eur_per_mwh),
            mean_eur_per_mwh=state.price(known.mean_eur_per_mwh),
            spread_eur_per_mwh=state.difference(known.spread_eur_per_mwh),
            reserve=None if known.reserve is None else known.reserve.scaled(state.difference),
        )

    def observe(self, state: State, params: BessParams) -> Array:
        """The observation, `[D]`: own features, then those of the outside world (from the table where there is one)."""
        row = row_of(state.time, self.dt_h)
        site, scenarios = self.site(state, params), params.scenarios
        spread = state.difference(scenarios.spread_eur_per_mwh[row])
        mean = state.price(scenarios.mean_eur_per_mwh[row])
        own = {
            "soc": observation.soc_feature(site, state.soc),
            "previous_soc": observation.soc_feature(site, state.previous_soc),
            "price_mean": jnp.arcsinh(mean / spread) / params.scales["price_mean"],
            "price_scale": jnp.arcsinh(observation.SCALE_REFERENCE_EUR / spread) / params.scales["price_scale"],
        }
        if state.reserve is not None:
            own |= state.reserve.features(site, scenarios.reserve.opens[row])
        parts = [jnp.atleast_1d(own[n]) for n in self.features if n in own]
        if self.wear.observed_size:
            parts.append(self.wear.observed(state.wear, state.soc))
        if self.ranged:
            low_high = jnp.stack([getattr(params.site, n) for n in self.ranged])
            value = jnp.stack([state.drawn[n] for n in self.ranged])
            span = jnp.maximum(low_high[:, 1] - low_high[:, 0], 1e-9)
            parts.append(2.0 * (value - low_high[:, 0]) / span - 1.0)
        if params.table is not None:
            outside = params.table[state.time - params.table_first]
        else:
            known = self.known(state, params)
            per_capacity = known.pv_mw / jnp.maximum(site.pv_capacity_mw, 1e-9)
            view = observation.View(replace(known, pv_mw=per_capacity), scenarios.calendar[row], self.dt_h)
            outside = observation.exogenous(view, self.features) / params.scales["exogenous"]
        return jnp.concatenate([*parts, outside]).astype(jnp.float32)

    # --- what happens -----------------------------------------------------------------------------------------------

    def reset(self, key: Array, params: BessParams, start: Start | None = None) -> tuple[State, Array]:
        """A fresh episode: start hour, charge, forecast errors, price factor and ranged numbers are drawn.

        `start` (evaluation, debugging) names time, end, charge and errors instead and leaves prices as they are.
        """
        promised = reserve.Commitment.none() if self.config.reserve.sold else None
        keys = jax.random.split(key, 6)
        drawn = {}
        for i, name in enumerate(self.ranged):
            low, high = getattr(params.site, name)
            draw = jax.random.uniform(jax.random.fold_in(keys[0], i), (), minval=low, maxval=high)
            drawn[name] = draw if start is None else 0.5 * (low + high)
        if start is not None:
            soc, one, zero = start.soc, jnp.float32(1.0), jnp.float32(0.0)
            wear = self.wear.initial(soc)
            state = State(start.time, start.end, soc, soc, soc, start.error_offset, one, zero, drawn, wear, promised)
            return state, self.observe(state, params)
        index = jax.random.randint(keys[1], (), 0, params.scenarios.starts.shape[0])
        time = params.scenarios.starts[index]
        soc = jax.random.uniform(keys[2], (), minval=params.start_soc[0], maxval=params.start_soc[1])
        site = replace(params.site, **drawn)
        soc = jnp.clip(soc, site.soc_min, site.soc_max)
        factor = jnp.exp(jax.random.uniform(keys[3], (), minval=params.log_factor[0], maxval=params.log_factor[1]))
        shift = jax.random.uniform(keys[4], (), minval=params.shift[0], maxval=params.shift[1])
        offset = jax.random.randint(keys[5], (), 0, 2**30)
        wear = self.wear.initial(soc)
        state = State(time, time + self.episode_steps, soc, soc, soc, offset, factor, shift, drawn, wear, promised)
        return state, self.observe(state, params)

    def step(self, key: Array, state: State, action: Array, params: BessParams) -> tuple[State, Step]:
        """One step. Reward: (profit + shaping) / (trailing spread · 1 h at rated power)."""
        del key
        scenarios, site = params.scenarios, self.site(state, params)
        row = row_of(state.time, self.dt_h)
        price = state.price(scenarios.price_eur_per_mwh[row])
        pv_mw = scenarios.pv_per_mw[row] * site.pv_capacity_mw
        request_mw, operation = self.to_power(action, site), None
        if self.config.reserve.sold:
            operation = self._operate(state, site, params, request_mw, action, pv_mw, price)
            flows = operation.flows
        else:
            flows = battery.dispatch(site, state.soc, request_mw, pv_mw, price, self.dt_h)
        starts_half = (scenarios.local_hour[row] < 12) != (scenarios.local_hour[row - 1] < 12)
        memory, wear = self.wear.step(params.wear, state.wear, site, state.soc, flows, starts_half, self.dt_h)
        money = market.settle(site, flows, price, wear.cost_eur, self.dt_h)
        mark, next_mark = (state.price(scenarios.mean_eur_per_mwh[r]) for r in (row, row + 1))
        shaping = market.shaping_eur(self.config.reward, site, state.soc, flows.soc_end, mark, next_mark)
        scale = state.difference(scenarios.spread_eur_per_mwh[row]) * site.power_mw
        following = replace(state, time=state.time + 1, soc=flows.soc_end, previous_soc=state.soc, wear=memory)
        info = self._info(state, following, site, params, price, flows, money, wear, shaping)
        if operation is not None:
            following = replace(following, reserve=operation.commitment)
            capacity = tuple(state.difference(p) for p in scenarios.reserve.prices(row))
            told = reserve.settle(params.reserve, operation, capacity, price, self.dt_h)
            info = reserve.with_reserve(info, told, price)
        return following, Step(
            observation=self.observe(following, params),
            reward=(info["profit_eur"] + shaping) / scale,
            terminated=jnp.array(False),
            truncated=following.time >= state.end,
            info=info,
        )

    def _operate(
        self, state: State, site: Site, params: BessParams, request_mw: Array, action: Array, pv_mw: Array, price: Array
    ) -> reserve.Operation:
        """What happens in a step where reserve is sold."""
        return reserve.operate(
            self.config.reserve,
            params.reserve,
            site,
            state.soc,
            request_mw,
            self.to_bids(action, site),
            state.reserve,
            params.scenarios.reserve.opens[row_of(state.time, self.dt_h)] > 0.5,
            params.reserve.call(state.time, state.error_offset),
            pv_mw,
            price,
            self.dt_h,
        )

    def _info(
        self,
        state: State,
        following: State,
        site: Site,
        params: BessParams,
        price: Array,
        flows: Dispatch,
        money: Money,
        wear: WearStep,
        shaping: Array,
    ) -> dict[str, Array]:
        left_mwh = (flows.soc_end - state.start_soc) * site.capacity_mwh
        value = left_mwh * self.terminal_price(params, following, site)
        return {
            "price_eur_per_mwh": price,
            "charge_mw": flows.charge_mw,
            "discharge_mw": flows.discharge_mw,
            "soc": state.soc,
            "soc_end": flows.soc_end,
            "pv_mw": flows.pv_mw + flows.curtailed_mw,
            "curtailed_mw": flows.curtailed_mw,
            "standby_mw": flows.standby_mw,
            "energy_revenue_eur": money.energy_revenue_eur,
            "fee_eur": money.fee_eur,
            "wear_cost_eur": money.wear_cost_eur,
            "soh_loss": wear.soh_loss,
            "profit_eur": money.profit_eur,
            "shaping_eur": shaping,
            "terminal_value_eur": jnp.where(following.time >= state.end, value, 0.0),
            "time": state.time,
        }

    def terminal_price(self, params: BessParams, state: State, site: Site) -> Array:
        """EUR per MWh stored when the step before `state` has ended: the mean price of the 168 hours before that step,
        after fees, wear and losses. The step at `state` itself may lie behind a gap."""
        mean = params.scenarios.mean_eur_per_mwh[row_of(state.time, self.dt_h) - 1]
        return market.stored_value_eur_per_mwh(site, state.price(mean))

    def to_power(self, action: Array, site: Site) -> Array:
        """Requested AC power in MW, discharge positive, of an action `[1]`; 0 within the dead band."""
        return jnp.sign(action[0]) * self._share(jnp.abs(action[0])) * site.power_mw

    def to_bids(self, action: Array, site: Site) -> tuple[Array, Array]:
        """Upward and downward reserve in MW that an action `[A]` bids, before any cut: a component of -1 bids nothing,
        1 rated power, with the bands of `to_power` at either end."""
        names = BIDS[self.config.reserve.product]
        bids = {n: self._share(0.5 * (action[1 + i] + 1.0)) * site.power_mw for i, n in enumerate(names)}
        both = bids.get("reserve", jnp.zeros_like(site.power_mw))
        return bids.get("reserve_up", both), bids.get("reserve_down", both)

    def _share(self, size: Array) -> Array:
        """The share of rated power that a part of the action range means."""
        band, full = self.config.action.dead_band, self.config.action.full_band
        return jnp.clip((size - band) / (1.0 - band - full), 0.0, 1.0)

    def action_for_power(self, power_mw: Any, site: Site, up_mw: Any = 0.0, down_mw: Any = 0.0) -> Array:
        """The action `[..., A]` that requests exactly this power and bids this reserve: inverse of `to_power` and
        `to_bids`. What the product does not offer is left out; of a symmetric one the upward bid counts."""
        band, full = self.config.action.dead_band, self.config.action.full_band

        def size(share: Array) -> Array:
            return jnp.sign(share) * (band + jnp.abs(share) * (1.0 - band - full))

        power = size(jnp.clip(jnp.asarray(power_mw) / site.power_mw, -1.0, 1.0))
        bids = {"reserve": up_mw, "reserve_up": up_mw, "reserve_down": down_mw}
        shares = [jnp.clip(bids[n] / site.power_mw, 0.0, 1.0) for n in BIDS[self.config.reserve.product]]
        return jnp.stack([power, *(jnp.broadcast_to(2.0 * size(s) - 1.0, power.shape) for s in shares)], axis=-1)

    # --- for critics, checks and evaluation -------------------------------------------------------------------------

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]]:
        """See `post_decision.post_decision`."""
        return partial(post_decision.post_decision, self)

    @property
    def controlled(self) -> tuple[str, ...]:
        """The charge and what is remembered of wear, unless calls move them too."""
        if self.config.reserve.called:
            return ()
        return tuple(name for name in ("soc", "wear") if name in self.observation_space)

    def post_decision_context(self, params: BessParams) -> Any:
        """The numbers that `post_decision` reads. Raises UserError if the observation lacks a feature that it needs."""
        return post_decision.context(self, params)

    @property
    def assessment(self) -> Any:
        """How policies are judged in this environment (`vmax.evaluation.evaluate.Assessment`)."""
        from vmax.envs.bess.assessment import BessAssessment

        return BessAssessment(self)

    @cached_property
    def has_pv(self) -> bool:
        return bool(np.max(self.config.plant.pv_capacity_mw) > 0)

    def evaluation_starts(self, params: BessParams, split: str, error_draws: int = 1, days: int | None = None) -> Start:
        """Lanes that cover the split, or its first `days`: one per gap-free block (and draw of forecast errors
        or of calls, where there are any).

        Each starts from SOC 0.5, or the nearest that the window allows.
        """
        draws = error_draws if self.config.information == "forecast" or self.config.reserve.called else 1
        blocks = self.series.splits[split]
        stop = blocks[-1][1] if days is None else blocks[0][0] + days * self.steps_per_day
        covered = [(first, min(last, stop)) for first, last in blocks if first < stop]
        lanes = [(first, last, draw) for draw in range(draws) for first, last in covered]
        first, last, draw = (jnp.asarray(column, jnp.int32) for column in zip(*lanes, strict=True))
        soc = jnp.clip(0.5, jnp.mean(params.site.soc_min), jnp.mean(params.site.soc_max))
        return Start(first, last, jnp.full(len(lanes), soc, jnp.float32), draw * 50_000)
