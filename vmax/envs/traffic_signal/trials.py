"""How signals are judged: by the delay of all vehicles over many demand seeds, beside rules and plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from vmax.envs.rollout import Column, Record, rollout
from vmax.envs.traffic_signal import network_plot, plots
from vmax.envs.traffic_signal.film import film
from vmax.envs.traffic_signal.plans import Plan, coordinated
from vmax.envs.traffic_signal.rules import (
    Actuated,
    Constant,
    FixedTime,
    LongestQueue,
    MaxPressure,
    Random,
    SelfOrganising,
)
from vmax.envs.traffic_signal.state import Start, TrafficParams
from vmax.plotting import Picture

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal

GAPS = (0.06, 0.1, 0.14, 0.18, 0.22, 0.26, 0.3)
LONGEST_S = (30.0, 50.0)
THETAS = (100.0, 200.0, 300.0, 450.0, 600.0, 900.0)
PLATOON_VEH = 3.0
TUNING_SEEDS = 16


@dataclass(frozen=True)
class TrafficTrials:
    """The protocol is `vmax.evaluation.trials.Trials`: a lane for each demand seed."""

    env: TrafficSignal

    judged_by: ClassVar[str] = "delay_s_per_veh"
    lanes: ClassVar[str] = "demand seeds"
    references: ClassVar[tuple[str, ...]] = ("actuated", "max_pressure", "longest_queue")
    elsewhere: ClassVar[tuple[str, ...]] = (*references, "webster")
    columns: ClassVar[tuple[Column, ...]] = (
        Column("delay s/veh", "delay_s_per_veh", 2),
        Column("95 % CI", "ci95.delay_s_per_veh", 2),
        Column("worst approach s", "max_approach_delay_s", 1),
        Column("queue veh", "queue_mean_veh", 1),
        Column("stops/veh", "stops_per_veh", 2),
        Column("veh/h", "throughput_veh_per_h", 0),
        Column("switches/h", "switches_per_h", 0),
    )
    rules: ClassVar[Mapping[str, str]] = {
        "delay_s_per_veh": "seconds on the roads and outside them before vehicles find a place, less what their way "
        "takes at free speed, over the vehicles that came; mean over demand seeds",
        "travel_time_s": "the same with the time at free speed",
        "queue_mean_veh": "vehicles in cells with at least 0.6 of jam density and those outside; mean over time",
        "stops_per_veh": "vehicles that went from a flowing into a jammed cell or had to wait outside, over those that "
        "came",
        "spillback_s": "seconds times links whose first cell is jammed, sources apart",
        "max_approach_delay_s": "the largest delay of an approach over the vehicles that passed its stop line",
        "emission_proxy_g_per_veh": "grams of CO2 beyond free flow, a proxy and no measurement: delay and stops times "
        "env.emission_proxy",
        "other_worlds": "policies on the same demand seeds at other levels of demand; rules keep what was "
        "tuned at the level of the test",
        "mass_error_veh": "vehicles that came, less those that left and those on the roads and outside: the largest",
        "more_than_learned": "what delay is more than under the learned policy on the same demand seeds",
        "ci95": "95 % interval of a bootstrap over demand seeds",
    }

    def starts(self, split: str) -> Start:
        """The demand seeds of a split; which world each is follows from the split and its number."""
        return self._starts(self.env.config.episode.seeds)

    def _starts(self, count: int) -> Start:
        seeds = jnp.arange(count, dtype=jnp.int32)
        zero = jnp.zeros(count, jnp.int32)
        return Start(seeds, seeds % len(self.env.descriptions), zero, jnp.full(count, self.env.episode_steps))

    def other_worlds(self, split: str) -> dict[str, TrafficParams]:
        """Other levels of demand; whether training had them stands in the name."""
        params, (least, most) = self.env.params(split), self.env.config.demand.train_levels
        name = lambda level: f"level {level:g}{', as in training' * (least <= level <= most)}"  # noqa: E731
        return {
            name(level): params.replace(level=jnp.full(2, level, jnp.float32))  # pyright: ignore[reportAttributeAccessIssue]
            for level in self.env.config.episode.other_levels
        }

    def baselines(self) -> dict[str, Any]:
        """All policies to compare with, by name; the tuned ones tuned."""
        return _baselines(self.env)[0]

    def settings(self) -> dict[str, Any]:
        """What was tuned, and on what."""
        return {"chosen_on": f"{TUNING_SEEDS} training seeds, by the delay", **_baselines(self.env)[1]}

    def lane_figures(self, record: Record) -> dict[str, np.ndarray]:
        """Figures of each demand seed, `[L]`, from the end of the warm-up on."""
        first = self.env.warm_up_steps
        whole = {name: np.asarray(values, np.float64) for name, values in record.info.items()}
        info = {name: values[first:] for name, values in whole.items()}
        total = {name: values.sum(axis=0) for name, values in info.items()}
        hours = len(info["delay_veh_s"]) * self.env.dt_h
        came = np.maximum(total["arrived_veh"], 1.0)
        proxy = self.env.config.emission_proxy
        grams = proxy.delay_g_per_s * total["delay_veh_s"] + proxy.stop_g * total["stopped_veh"]
        there = whole["inside_veh"] + whole["outside_veh"]
        lost = (whole["arrived_veh"] - whole["left_veh"]).cumsum(axis=0) - there
        return {
            "delay_s_per_veh": total["delay_veh_s"] / came,
            "travel_time_s": (total["delay_veh_s"] + total["free_flow_veh_s"]) / came,
            "queue_mean_veh": info["queue_veh"].mean(axis=0),
            "queue_max_veh": info["queue_veh"].max(axis=0),
            "stops_per_veh": total["stopped_veh"] / came,
            "throughput_veh_per_h": total["left_veh"] / hours,
            "spillback_s": total["spillback_s"],
            "switches_per_h": total["switches"] / hours,
            "max_approach_delay_s": info["max_approach_delay_s"][-1],
            "emission_proxy_g_per_veh": grams / came,
            "mass_error_veh": np.abs(lost).max(axis=0),
            "arrived_veh": total["arrived_veh"],
        }

    def timeseries(self, name: str, record: Record, lanes: int) -> pd.DataFrame:
        """A row per step of the first demand seeds; seconds from the beginning."""
        rows = []
        for lane in range(min(lanes, len(np.asarray(record.steps)))):
            count = int(record.steps[lane])
            seconds = (np.arange(count) + 1) * self.env.config.signals.decide_s
            info = {key: np.asarray(values)[:count, lane] for key, values in record.info.items()}
            rows.append(pd.DataFrame({"policy": name, "lane": lane, "seconds": seconds, **info}))
        return pd.concat(rows, ignore_index=True)

    def figures(
        self, policies: Mapping[str, Any], records: Mapping[str, Record], worlds: Mapping[str, Any]
    ) -> dict[str, Picture]:
        """Pictures by name: of the first demand seed under the first policy, the best rule and equal greens, how delay
        lies over the seeds, and what it is at other levels of demand."""
        delays = {name: self.lane_figures(record)[self.judged_by] for name, record in records.items()}
        first, rules = next(iter(policies)), self.baselines()
        best = min(rules, key=lambda name: delays[name].mean())
        start = jax.tree.map(lambda leaf: leaf[:1], self._starts(1))
        params = self.env.params("test")
        shown = dict.fromkeys((first, best, "fixed"))
        films = {name: film(self.env, policies[name], params, start) for name in shown}
        return {
            "time_space": plots.time_space(self.env, films[first], first),
            "queues": plots.queues(self.env, films),
            "cumulative": plots.cumulative(self.env, films),
            "snapshot": network_plot.snapshot(self.env, films[first], first),
            "network": network_plot.moving(self.env, films[first], first),
            "delay_by_seed": plots.by_seed(delays),
            **({"delay_by_level": plots.by_world(worlds)} if worlds else {}),
        }


def delay_of(env: TrafficSignal, policy: Any, seeds: int) -> float:
    """Seconds per vehicle on so many training seeds, at the level of the test."""
    judge, level = TrafficTrials(env), jnp.asarray(env.config.demand.levels, jnp.float32)
    params = env.params("train").replace(level=level)  # pyright: ignore[reportAttributeAccessIssue]
    record = rollout(env, policy, params, judge._starts(seeds))
    return float(judge.lane_figures(record)["delay_s_per_veh"].mean())


@lru_cache(maxsize=8)
def _baselines(env: TrafficSignal) -> tuple[dict[str, Any], dict[str, Any]]:
    """Policies to compare with, and what was chosen for them."""
    signals, rules = env.config.signals, env.config.rules
    timing, grid_s = signals.timing, signals.decide_s
    plans = [list(coordinated(network, timing, grid_s).values()) for network in env.descriptions]
    even = [[Plan((rules.fixed_green_s,) * len(p.green_s)) for p in network] for network in plans]
    actuated, gap = _tuned_actuated(env)
    sotl, theta = _tuned_sotl(env)
    found = {
        "fixed": FixedTime.of(even, timing),
        "webster": FixedTime.of(plans, timing),
        "actuated": actuated,
        "max_pressure": MaxPressure(),
        "longest_queue": LongestQueue(),
        "sotl": sotl,
        "random": Random(),
        "constant": Constant(),
    }
    return found, {"fixed": {"green_s": rules.fixed_green_s}, "actuated": gap, "sotl": theta}


def _tuned_actuated(env: TrafficSignal) -> tuple[Actuated, dict[str, float]]:
    """The gap and the longest green with the least delay, as far as the config leaves them open."""
    rules = env.config.rules
    gaps = GAPS if rules.gap is None else (rules.gap,)
    longest = LONGEST_S if rules.actuated_max_s is None else (rules.actuated_max_s,)
    candidates = [Actuated(jnp.float32(gap), jnp.float32(most_s)) for gap in gaps for most_s in longest]
    best = least_delay(env, candidates)
    return best, {"gap": float(best.gap), "most_s": float(best.most_s)}


def _tuned_sotl(env: TrafficSignal) -> tuple[SelfOrganising, dict[str, float]]:
    thetas = THETAS if env.config.rules.sotl_theta is None else (env.config.rules.sotl_theta,)
    best = least_delay(env, [SelfOrganising(jnp.float32(theta), jnp.float32(PLATOON_VEH)) for theta in thetas])
    return best, {"theta": float(best.theta)}


def least_delay(env: TrafficSignal, candidates: list[Any]) -> Any:
    """The candidate with the least delay on training seeds; a single one is not tried."""
    if len(candidates) == 1:
        return candidates[0]
    delays = [delay_of(env, candidate, TUNING_SEEDS) for candidate in candidates]
    return candidates[int(np.argmin(delays))]
