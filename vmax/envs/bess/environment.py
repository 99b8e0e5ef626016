"""The environment `bess`: a battery, alone or with PV behind one grid connection, that trades on real prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.conversion import show
from vmax.data.series import Series
from vmax.envs.battery import Site
from vmax.envs.bess import action as actions
from vmax.envs.bess import episodes, market, observation, operation, post_decision, reserve
from vmax.envs.bess.degradation import WearModel, make_wear
from vmax.envs.bess.known import Known, look
from vmax.envs.bess.params import BessParams, build_params, series_of
from vmax.envs.bess.reserve_rules import BIDS
from vmax.envs.bess.scenarios import WINDOW_H, information_row, row_of
from vmax.envs.bess.settings import BessConfig
from vmax.envs.bess.state import AUCTION_INFO, CAPACITY, INFO, OVERFLOW, Start, State
from vmax.envs.environment import Checks, Day, Plain, Step
from vmax.envs.natural import Natural
from vmax.spaces import Box, Feature

Array = jax.Array


@dataclass(frozen=True)
class Bess(Plain):
    """Battery environment. Action: power in [-1, 1], and the bids of a reserve product. Episodes are truncated, or with
    `episode.end=settled` terminated."""

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
        """Chosen features, the battery's own first; the drawn numbers, what wear depends on, and what the data
        forecasts besides the price always among them."""
        chosen, outside = self.config.observation.features, self.config.outside
        own = [n for n in observation.OWN if self._own_sizes.get(n, n in chosen)]
        given = self.config.observation.of_forecasts if self.config.information == "provided" else ()
        names = dict.fromkeys((*chosen, *given, *outside.exogenous))
        return (*own, *(n for n in names if n in outside and outside[n].size(self.window)))

    @cached_property
    def observation_space(self) -> Box:
        return observation.observation_space(self.features, self.window, self._own_sizes, self.config.outside)

    @property
    def _own_sizes(self) -> dict[str, int]:
        """Sizes of the features that are no single number or there wherever they tell something: 0 elsewhere."""
        wear, feedback = self.wear, self.config.degradation.feedback
        remembered = {"half_day_start": int(wear.by_half_day), "soh": int(feedback), "wear": wear.observed_size}
        promised = 2 if "reserve_committed" in self.config.observation.features else 0
        return {**remembered, "reserve_committed": promised, "site": len(self.ranged)}

    @property
    def action_space(self) -> Box:
        bids = BIDS[self.config.reserve.product]
        return Box((Feature("power", "rated power, discharge positive"), *(Feature(n, "rated power") for n in bids)))

    @property
    def info_space(self) -> tuple[Feature, ...]:
        capacity, overflow = self.config.degradation.feedback, self.wear.stacked
        return (
            *INFO,
            *(AUCTION_INFO if self.sells_ahead else ()),
            *(reserve.INFO if self.config.reserve.sold else ()),
            *([CAPACITY] if capacity else []),
            *([OVERFLOW] if overflow else []),
        )

    @property
    def sells_ahead(self) -> bool:
        """Whether days are sold in an auction."""
        return self.config.market.kind == "auction"

    def params(self, split: str) -> BessParams:
        """Arrays and numbers of `train`, `validation` or `test`; scales and estimates are fitted on `train` alone."""
        return build_params(self.config, self.series, split, self.features)

    # --- what is known ----------------------------------------------------------------------------------------------

    def site(self, state: State, params: BessParams) -> Site:
        """The site's numbers in this episode, the capacity that is left among them."""
        site = replace(params.site, **state.drawn) if state.drawn else params.site
        if state.soh_loss is None:
            return site
        return replace(site, capacity_mwh=site.capacity_mwh * self.soh(state, params))

    def soh(self, state: State, params: BessParams) -> Array:
        """State of health: capacity as a share of the new battery's, at least 1 % so that nothing divides by 0."""
        return jnp.maximum(1.0 - params.wear.start_loss - state.soh_loss, 0.01)

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
            forecasts_eur_per_mwh=None
            if known.forecasts_eur_per_mwh is None
            else jnp.where(known.mask, state.price(known.forecasts_eur_per_mwh), 0.0),
            past_price_eur_per_mwh=state.price(known.past_price_eur_per_mwh),
            last_error_eur_per_mwh=state.difference(known.last_error_eur_per_mwh),
            profile_eur_per_mwh=state.price(known.profile_eur_per_mwh),
            mean_eur_per_mwh=state.price(known.mean_eur_per_mwh),
            spread_eur_per_mwh=state.difference(known.spread_eur_per_mwh),
            reserve=None if known.reserve is None else known.reserve.scaled(state.difference),
        )

    def observe(self, state: State, params: BessParams) -> Array:
        """The observation, `[D]`: own features, then those of the outside world (from the table where there is one)."""
        site, scenarios = self.site(state, params), params.scenarios
        now, row = row_of(state.time, self.dt_h), information_row(scenarios, state.time, self.dt_h)
        spread = state.difference(scenarios.spread_eur_per_mwh[row])
        mean = state.price(scenarios.mean_eur_per_mwh[row])
        own = {
            "soc": observation.soc_feature(site, state.seen_soc),
            "previous_soc": observation.soc_feature(site, state.previous_soc),
            "price_mean": jnp.arcsinh(mean / spread) / params.scales["price_mean"],
            "price_scale": jnp.arcsinh(observation.SCALE_REFERENCE_EUR / spread) / params.scales["price_scale"],
            "half_day_start": jnp.where(self._starts_half(params, now), 1.0, -1.0),
        }
        if state.soh_loss is not None:
            own["soh"] = 2.0 * self.soh(state, params) - 1.0
        if state.reserve is not None:
            own |= state.reserve.features(site, scenarios.reserve.opens[now])
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
            known, ranges = replace(known, pv_mw=per_capacity), self.config.observation.ranges
            view = observation.View(known, scenarios.calendar[now], self.dt_h, ranges)
            outside = observation.exogenous(view, self.features, self.config.outside) / params.scales["exogenous"]
        return jnp.concatenate([*parts, outside]).astype(jnp.float32)

    # --- what happens -----------------------------------------------------------------------------------------------

    def reset(self, key: Array, params: BessParams, start: Start | Day | None = None) -> tuple[State, Array]:
        """A fresh episode: start hour, charge, forecast errors, price factor and ranged numbers are drawn.

        A `Day` names the start hour alone. A `Start` (evaluation, debugging) names time, end, charge and errors instead
        and leaves prices as they are.
        """
        state = episodes.begin(self, key, params, start)
        return state, self.observe(state, params)

    def _starts_half(self, params: BessParams, row: Array) -> Array:
        """Whether a local half-day (0-12, 12-24 h) begins with the step of this row."""
        hour = params.scenarios.local_hour
        return (hour[row] < 12.0) != (hour[row - 1] < 12.0)

    def step(self, key: Array, state: State, action: Array, params: BessParams) -> tuple[State, Step]:
        """One step. Reward: (profit + shaping) / `reward.scale_eur`, or / (trailing spread · 1 h at rated power)."""
        del key
        site, row = self.site(state, params), row_of(state.time, self.dt_h)
        price = state.price(params.scenarios.price_eur_per_mwh[row])
        done = operation.carry_out(self, state, action, site, params, price)
        new = replace(site, capacity_mwh=state.drawn.get("capacity_mwh", params.site.capacity_mwh))
        memory, wear = self.wear.step(
            params.wear, state.wear, new, state.soc, done.flows, self._starts_half(params, row), self.dt_h
        )
        soh_loss = None if state.soh_loss is None else state.soh_loss + wear.soh_loss
        following = replace(operation.follow(self, state, done, site, params), wear=memory, soh_loss=soh_loss)
        info = operation.tell(self, state, following, done, wear, site, params, price)
        shaping = operation.shaping_eur(self, state, done, site, params)
        scale = self.config.reward.scale_eur or self._scale_eur(state, site, params)
        ends, settled = following.time >= state.end, self.config.episode.end == "settled"
        earned_eur = info["profit_eur"] + shaping
        if settled and self.config.reward.shaping == "none":
            left_eur = done.flows.soc_end * site.capacity_mwh * self.terminal_price(params, following, site)
            earned_eur = earned_eur + jnp.where(ends, left_eur, 0.0)
        return following, Step(
            observation=self.observe(following, params),
            reward=earned_eur / scale,
            terminated=ends & settled,
            truncated=ends & (not settled),
            info={**info, "shaping_eur": shaping},
        )

    def _scale_eur(self, state: State, site: Site, params: BessParams) -> Array:
        """The trailing spread of prices for an hour at rated power."""
        return state.difference(params.scenarios.spread_eur_per_mwh[row_of(state.time, self.dt_h)]) * site.power_mw

    def terminal_price(self, params: BessParams, state: State, site: Site) -> Array:
        """EUR per MWh stored when the step before `state` has ended: the mean price of the 168 hours before that step,
        after fees, wear and losses. The step at `state` itself may lie behind a gap."""
        mean = params.scenarios.mean_eur_per_mwh[row_of(state.time, self.dt_h) - 1]
        return market.stored_value_eur_per_mwh(site, state.price(mean))

    def peak(self, state: State, params: BessParams) -> Array | None:
        """Whether this step lies in a peak window; None where an action is signed and nobody has to know."""
        if self.config.action.mode == "signed":
            return None
        return actions.in_peak_window(self.known(state, params), self.dt_h)

    def to_bids(self, action: Array, site: Site) -> tuple[Array, Array]:
        """Upward and downward reserve in MW that an action `[A]` bids, before any cut."""
        return actions.bids_mw(self.config.action, BIDS[self.config.reserve.product], action[1:], site)

    def action_for_power(
        self, power_mw: Any, state: State, params: BessParams, up_mw: Any = 0.0, down_mw: Any = 0.0
    ) -> Array:
        """The action `[A]` that requests exactly this AC power (MW, discharge positive; idle where there is none) and
        bids this reserve. What the product does not offer is left out; of a symmetric one the upward bid counts."""
        site, peak = self.site(state, params), self.peak(state, params)
        power = actions.action_for(self.config.action, power_mw, site, peak)
        bids = {"reserve": up_mw, "reserve_up": up_mw, "reserve_down": down_mw}
        names = BIDS[self.config.reserve.product]
        return jnp.stack([power, *(actions.action_for_bid(self.config.action, bids[n], site) for n in names)])

    # --- for critics, checks and evaluation -------------------------------------------------------------------------

    @property
    def post_decision(self) -> Callable[[Array, Array, Any], tuple[Array, Array]]:
        """See `post_decision.post_decision`."""
        return partial(post_decision.post_decision, self)

    @property
    def controlled(self) -> dict[str, tuple[float, float]]:
        """The charge and what is remembered of wear."""
        return {name: (-1.0, 1.0) for name in ("soc", "soh", "wear") if name in self.observation_space}

    @property
    def news_moves(self) -> bool:
        """Calls of reserve move the charge too."""
        return self.config.reserve.called

    def post_decision_context(self, params: BessParams) -> Any:
        """The numbers that `post_decision` reads. Raises UserError if the observation lacks a feature that it needs."""
        return post_decision.context(self, params)

    @property
    def days(self) -> Any:
        """The whole local days of a split. Raises UserError where an episode is longer than one."""
        from vmax.envs.bess.days import BessDays

        return BessDays(self)

    @property
    def data_notes(self) -> tuple[str, ...]:
        """What was done to the values of the file, and which settings count in its currency."""
        notes = list(self.series.done)
        if self.series.segment[-1] > 0:
            days, steps = self.config.episode.days, self.config.episode.days * self.series.steps_per_day
            for split, blocks in self.series.splits.items():
                begins = sum(max(stop - start - steps + 1, 0) for start, stop in blocks)
                every = sum(stop - start for start, stop in blocks)
                notes.append(f"{split}: an episode of {days} days without a gap begins at {begins} of {every} steps")
        money, wear = self.config.data.currency, show(self.config.battery.wear_eur_per_mwh)
        if money != "EUR":
            notes.append(f"env.battery.wear_eur_per_mwh={wear} and all settings named eur count in {money}")
        return tuple(notes)

    def natural(self, params: BessParams) -> Natural:
        """Charges as shares, hours as hours, prices in spreads or EUR/MWh; actions in MW."""
        from vmax.envs.bess.natural import natural

        return natural(self, params)

    @property
    def assessment(self) -> Any:
        """How policies are judged in this environment (`vmax.evaluation.evaluate.Assessment`)."""
        from vmax.envs.bess.assessment import BessAssessment

        return BessAssessment(self)

    @property
    def checks(self) -> Checks:
        """What the checks before training are told."""
        from vmax.envs.bess.checks import bess_checks

        return bess_checks(self)

    @cached_property
    def has_pv(self) -> bool:
        return bool(np.max(self.config.plant.pv_capacity_mw) > 0)

    def evaluation_starts(self, params: BessParams, split: str, error_draws: int = 1, days: int | None = None) -> Start:
        """Lanes that cover the split, or its first `days`: see `episodes.lanes`."""
        return episodes.lanes(self, params, split, error_draws, days)
