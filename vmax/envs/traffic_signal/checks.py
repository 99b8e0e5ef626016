"""What the checks before training are told of traffic signals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from vmax.envs.environment import Checks, Step
from vmax.envs.traffic_signal.account import residuals, undrawn
from vmax.envs.traffic_signal.measures import vehicles
from vmax.envs.traffic_signal.rules import Actuated, LongestQueue, MaxPressure
from vmax.envs.traffic_signal.settings import TERMS

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal

Array = jax.Array
GAP, MOST_S = 0.2, 50.0
MOST_EASED = 4


def of(env: TrafficSignal) -> Checks:
    """The delay is what counts; queues are the load; no vehicle may be made or lost, and all that files ask for come;
    signals have to reach traffic."""

    def residual(state: Any, step: Step, params: Any) -> dict[str, Array]:
        """Vehicles that came, less those that left and those that are more than before, over those there are; and the
        account of demand."""
        with jax.ensure_compile_time_eval():  # it is a number, and only a random run asks for it
            lost = undrawn(env)
        before = vehicles(env.network(state, params).roads, state.traffic).sum() + state.traffic.outside_veh.sum()
        info = step.info
        after = info["inside_veh"] + info["outside_veh"]
        return {
            "vehicles": (before + info["arrived_veh"] - info["left_veh"] - after) / jnp.maximum(after, 1.0),
            **residuals(env, state, info, params),
            "draws": jnp.float32(lost),
        }

    weights = zip(TERMS, env.config.reward.weights.vector, strict=True)
    return Checks(
        reward_terms=tuple(f"term_{name}" for name, weight in weights if weight),
        kpi={"delay_veh_s": -1.0},
        load=("queue_veh",),
        rules={
            "actuated": Actuated(jnp.float32(GAP), jnp.float32(MOST_S)),
            "max_pressure": MaxPressure(),
            "longest_queue": LongestQueue(),
        },
        residual=residual,
        plant=lambda state: state.traffic,
        quicker=_quicker(env),
        effort=1.0 / min(env.sizes.signals, MOST_EASED),
        exempt=_exempt(env),
    )


def _quicker(env: TrafficSignal) -> TrafficSignal | None:
    """The same with decisions twice as often, where a step has as many sub-steps."""
    signals, dt_s = env.config.signals, env.config.flow.dt_s
    half = (env.config.substeps // 2) * dt_s
    if half <= 0.0:
        return None
    return replace(env, config=replace(env.config, signals=replace(signals, decide_s=half)))


def _exempt(env: TrafficSignal) -> dict[str, str]:
    """Numbers that do nothing under this configuration, and entries that rest, with the reason."""
    config, space = env.config, env.observation_space
    found = {}
    for feature in space.features:
        for name in space.names[space.slice(feature.name)]:
            if feature.name.endswith(("outside", "halted", "profile", "blocked")):
                found[f"saturation/{name}"] = "there is nothing most of the time"
            if feature.name.endswith(("outside", "profile", "halted", "blocked")):
                found[f"obs_live/{name}"] = "there is no such approach or cell, or vehicles seldom stand so far back"
    swings = config.demand.pattern == "swinging"
    idle = ("steady_per_s",) if swings else ("low_per_s", "high_per_s", "swing_phase")
    found |= {f"param_live/networks.{name}": f"demand is {config.demand.pattern}" for name in idle}
    if all(low == high for network in env.descriptions for low, high in (d.swing for d in network.demand.values())):
        found["param_live/networks.swing_phase"] = "no demand swings"
    if config.flow.model != "arz" or config.flow.pressure_scale == 1.0:
        found["param_live/fading"] = "all want free speed, so speeds are those of their density and need not adapt"
    if config.demand.train_spread:
        found["eval_parity/level"] = "training draws more and less demand than the test has"
    if len(config.vehicles) == 1:
        found["param_live/share_spread"] = "there is one class of vehicles"
    if not any(link.turns for network in env.descriptions for link in network.links.values()):
        found["param_live/networks.roads.feeds"] = "no link leads to another"
    return found
