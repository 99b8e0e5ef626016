"""Traffic signals at junctions: every few seconds a phase for each signal; traffic flows, queues and spills back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.environment import Checks, Plain, Step
from vmax.envs.traffic_signal import actions, checks, observation
from vmax.envs.traffic_signal.arrays import Network, Sizes, build, check_cfl, stack
from vmax.envs.traffic_signal.capacity import Capacities
from vmax.envs.traffic_signal.demand import Arrivals, Drawn, draws
from vmax.envs.traffic_signal.flow import JAMMED, Flow, Passed, Traffic
from vmax.envs.traffic_signal.measures import Measures, measure, pressure, vehicles
from vmax.envs.traffic_signal.network import Description, find
from vmax.envs.traffic_signal.network_file import read
from vmax.envs.traffic_signal.settings import TERMS, TrafficSignalConfig
from vmax.envs.traffic_signal.signals import Signals, gates, request, tick
from vmax.envs.traffic_signal.state import INFO, Start, State, TrafficParams
from vmax.envs.traffic_signal.trials import TrafficTrials
from vmax.errors import UserError
from vmax.spaces import Box, Discrete, Feature

Array = jax.Array
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class TrafficSignal(Plain):
    """Signals of a network of roads. The action is a choice for each of J signals, `[J]` (one signal, or all as one: a
    number)."""

    config: TrafficSignalConfig

    # --- what there is ----------------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        _ = self.observation_space, self.action_space  # what files and features have wrong is told at once

    @property
    def name(self) -> str:
        return self.config.name

    @cached_property
    def descriptions(self) -> tuple[Description, ...]:
        """The networks as their files say. Raises UserError."""
        found = tuple(read(find(name)) for name in self.config.networks)
        flow = self.config.flow
        check_cfl(found, self.config.vehicles, flow.dx_m, flow.dt_s, self.flow.model.fastest_wave())
        for network in found:
            if not network.signals:
                raise UserError(f"env.network={network.name}: has no signals, so there is nothing to decide")
        return tuple(self.capacities.kept(network) for network in found)

    @cached_property
    def capacities(self) -> Capacities:
        """What links carry."""
        return Capacities(self.flow.model, self.config.vehicles, self.config.flow.dx_m, self.config.flow.dt_s)

    @cached_property
    def sizes(self) -> Sizes:
        """What networks are padded to."""
        return Sizes.of(self.descriptions, self.config.flow.dx_m)

    @cached_property
    def flow(self) -> Flow:
        """Traffic flow by the model that is set."""
        return Flow(self.config.flow.made(self.config.vehicles), self.config.flow.fifo)

    @cached_property
    def arrivals(self) -> Arrivals:
        """How vehicles arrive."""
        demand = self.config.demand
        level = max(*demand.levels, *demand.train_levels, *self.config.episode.other_levels)
        count = draws(self.descriptions, level, max(demand.by_hour), self.config.flow.dt_s)
        return Arrivals(demand.pattern, demand.period_s, demand.by_hour, demand.poisson, count)

    @cached_property
    def approaches(self) -> observation.Approaches:
        """The approaches of signals, as many as the signal with the most has."""
        each = [{link for p in s.phases.values() for link in p} for n in self.descriptions for s in n.signals.values()]
        return observation.Approaches(max(len(links) for links in each))

    @cached_property
    def observation_space(self) -> Box:
        wanted, sizes = self.config.observation, self.sizes
        for name in wanted.features:
            if name not in observation.FEATURES:
                raise UserError(
                    f"env.observation.features: no feature {name!r}; allowed: {', '.join(observation.FEATURES)}"
                )
        return Box(
            observation.features(wanted.features, self.signal_names, self.approaches.count, sizes.phases, wanted.groups)
        )

    @cached_property
    def signal_names(self) -> tuple[str, ...]:
        """What the signals are called; of several networks, by number."""
        if len(self.descriptions) == 1:
            return tuple(self.descriptions[0].signals)
        return tuple(f"signal_{j}" for j in range(self.sizes.signals))

    @cached_property
    def action_space(self) -> Discrete:
        signals = [s for n in self.descriptions for s in n.signals.values()]
        alike = {tuple(s.phases) for s in signals}
        names = alike.pop() if len(alike) == 1 else tuple(f"phase_{p}" for p in range(self.sizes.phases))
        return actions.space(self.config.signals.action, names, self.sizes.signals)

    @property
    def trials(self) -> TrafficTrials:
        """How policies are judged: by the delay over demand seeds."""
        return TrafficTrials(self)

    @property
    def allowed(self) -> tuple[str, ...]:
        """The features that say which phases may be asked for; none where they are not observed, or not asked for."""
        if self.config.signals.action != "phase":
            return ()
        return tuple(f.name for f in self.observation_space.features if f.name.endswith("allowed"))

    @property
    def blocks(self) -> bool:
        """Of each signal the same features, one signal after the other."""
        return True

    @property
    def info_space(self) -> tuple[Feature, ...]:
        return INFO

    @property
    def dt_h(self) -> float:
        """Hours between decisions."""
        return self.config.signals.decide_s / 3600.0

    @property
    def episode_steps(self) -> int:
        """Decisions of a whole episode."""
        return round(self.config.episode.minutes * 60.0 / self.config.signals.decide_s)

    @property
    def warm_up_steps(self) -> int:
        """Decisions before anything is counted."""
        return round(self.config.episode.warm_up_minutes * 60.0 / self.config.signals.decide_s)

    @property
    def min_episode_steps(self) -> int:
        return max(1, round(self.config.episode.shortest_share * self.episode_steps))

    @property
    def checks(self) -> Checks:
        """What the checks before training are told: see `vmax.envs.traffic_signal.checks`."""
        return checks.of(self)

    def params(self, split: str) -> TrafficParams:
        """Networks and numbers of `train`, `validation` or `test`; splits differ in their demand seeds."""
        config = self.config
        tau = np.array([kind.tau_s for kind in config.vehicles])
        steepness = [self.capacities.steepness(n) for n in self.descriptions]
        fitted = any((steep > 1.0).any() for steep in steepness)
        networks = [
            build(n, self.sizes, config.vehicles, config.flow.dx_m, steep if fitted else None)
            for n, steep in zip(self.descriptions, steepness, strict=True)
        ]
        return TrafficParams(
            networks=stack(networks),
            fading=jnp.asarray(np.exp(-config.flow.dt_s / tau), jnp.float32),
            level=jnp.asarray(config.demand.train_levels if split == "train" else config.demand.levels, jnp.float32),
            shares=jnp.asarray(config.demand.shares, jnp.float32),
            share_spread=jnp.float32(config.demand.share_spread),
            weights=jnp.asarray(config.reward.weights.vector, jnp.float32),
            scale_veh=jnp.float32(config.reward.scale_veh),
            split=jnp.int32(SPLITS.index(split)),
        )

    def network(self, state: State, params: TrafficParams) -> Network:
        """The arrays of the state's network."""
        if len(self.descriptions) == 1:
            return jax.tree.map(lambda leaf: leaf[0], params.networks)
        return jax.tree.map(lambda leaf: leaf[state.which], params.networks)

    # --- what happens -----------------------------------------------------------------------------------------------

    def reset(self, key: Array, params: TrafficParams, start: Start | None = None) -> tuple[State, Array]:
        """Empty roads. The demand of the episode, its network and its length are drawn; or a named start.

        Episodes of training last from `shortest_share` of an episode to a whole one, so that environments side by side
        do not all begin at once.
        """
        if start is None:
            which_key, length_key, demand_key = jax.random.split(key, 3)
            which = jax.random.randint(which_key, (), 0, len(self.descriptions))
            length = jax.random.randint(length_key, (), self.min_episode_steps, self.episode_steps + 1)
            start = Start(jnp.int32(0), which, jnp.int32(0), length)
        else:
            demand_key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), params.split), start.seed)
        nothing = jnp.zeros(self.sizes.links)
        state = State(
            traffic=self.flow.empty(jax.tree.map(lambda leaf: leaf[0], params.networks).roads),
            signals=Signals.fresh(jnp.zeros(self.sizes.signals, jnp.int32)),
            drawn=self._draw(demand_key, params),
            which=start.which,
            time=start.time,
            end=start.end,
            delay_veh_s=nothing,
            through_veh=nothing,
        )
        return state, self.observe(state, params)

    def _draw(self, key: Array, params: TrafficParams) -> Drawn:
        """What an episode draws of its demand."""
        level_key, phase_key, hour_key, share_key, arrival_key = jax.random.split(key, 5)
        spread = params.share_spread * jax.random.uniform(share_key, (), minval=-1.0, maxval=1.0)
        last = jnp.clip(params.shares[-1] + spread, 0.0, 1.0)
        rest = params.shares[:-1] / jnp.maximum(params.shares[:-1].sum(), 1e-9) * (1.0 - last)
        shares = jnp.append(rest, last) if len(params.shares) > 1 else params.shares
        return Drawn(
            level=jax.random.uniform(level_key, (), minval=params.level[0], maxval=params.level[1]),
            phase=jax.random.uniform(phase_key, ()),
            hour=jax.random.uniform(hour_key, (), maxval=24.0),
            shares=shares,
            key=arrival_key,
        )

    def step(self, key: Array, state: State, action: Array, params: TrafficParams) -> tuple[State, Step]:
        """The seconds until the next decision. Reward: minus the weighted terms, in vehicles, over `scale_veh`."""
        del key  # who comes follows from the episode's own key, whatever signals do
        network = self.network(state, params)
        wish = self.wish(action, state, network)
        signals = request(state.signals, wish, network.phases, self.config.signals.timing)
        arriving = self.arrivals.of_step(network, state.drawn, state.time, self.config.substeps, self.config.flow.dt_s)
        traffic, signals, passed, delays = self._flow(network, state.traffic, signals, arriving, params)
        before = self.measures(network, state.traffic)
        after = self.measures(network, traffic)
        counted = (state.time >= self.warm_up_steps).astype(jnp.float32)
        delay_veh_s = state.delay_veh_s + counted * delays
        through_veh = state.through_veh + counted * passed.through_veh
        info = self._told(network, before, after, signals, state, passed, delays, arriving.sum(), params)
        controlled = network.green.sum(axis=(0, 1)) > 0.0
        by_approach = jnp.where(controlled, delay_veh_s / jnp.maximum(through_veh, 1.0), 0.0)
        info["max_approach_delay_s"] = by_approach.max()
        state = state.replace(  # pyright: ignore[reportAttributeAccessIssue]
            traffic=traffic,
            signals=signals,
            time=state.time + 1,
            delay_veh_s=delay_veh_s,
            through_veh=through_veh,
        )
        return state, Step(
            observation=self.observe(state, params),
            reward=sum(info[f"term_{name}"] for name in TERMS),  # pyright: ignore[reportArgumentType]
            terminated=jnp.array(False),
            truncated=state.time >= state.end,
            info=info,
        )

    def wish(self, action: Array, state: State, network: Network) -> Array:
        """The phases that an action wishes for, `[J]`."""
        return actions.decode(self.config.signals.action, action, state.signals.phase, network.phases)

    def _flow(
        self, network: Network, traffic: Traffic, signals: Signals, arriving: Array, params: TrafficParams
    ) -> tuple[Traffic, Signals, Passed, Array]:
        """The sub-steps until the next decision, `arriving` `[S, K, L]`: what they moved in all, and the delay on each
        link, `[L]`."""
        dt_s, roads = self.config.flow.dt_s, network.roads

        def one(carry: tuple[Traffic, Signals], arriving_veh: Array) -> tuple[tuple[Traffic, Signals], Any]:
            traffic, signals = carry
            gate = gates(signals, network.green, network.unsignalled)
            inside = vehicles(roads, traffic).sum(axis=(0, 2))
            traffic, passed = self.flow.step(roads, traffic, gate, arriving_veh, params.fading, dt_s)
            delay = (inside + traffic.outside_veh.sum(axis=0)) * dt_s - passed.free_veh_s
            return (traffic, tick(signals, dt_s)), (passed, delay)

        (traffic, signals), (passed, delay) = jax.lax.scan(one, (traffic, signals), arriving)
        total = jax.tree.map(lambda leaf: leaf.sum(axis=0), (passed, delay))
        return traffic, signals, total[0], total[1]

    def _told(
        self,
        network: Network,
        before: Measures,
        after: Measures,
        signals: Signals,
        state: State,
        passed: Passed,
        delays: Array,
        arrived: Array,
        params: TrafficParams,
    ) -> dict[str, Array]:
        """The info of a step, the reward's terms among it."""
        decide_s = self.config.signals.decide_s
        outside, inside = after.outside_veh.sum(), after.count_veh.sum()
        queue = after.halted_veh.sum() + outside
        left = passed.left_veh.sum()
        switches = (signals.switches - state.signals.switches).sum()
        controlled = network.green.sum(axis=(0, 1)) > 0.0
        pressures = jnp.where(controlled, pressure(network.roads, after), 0.0)
        terms = jnp.stack([-delays.sum() / decide_s, -queue, -jnp.abs(pressures).sum(), left, -switches])
        fed = (network.roads.source == 0.0) & (network.roads.cells.sum(axis=1) > 0.0)
        return {
            "delay_veh_s": delays.sum(),
            "inside_veh": inside,
            "outside_veh": outside,
            "queue_veh": queue,
            "arrived_veh": arrived,
            "left_veh": left,
            "stopped_veh": passed.stopped_veh.sum(),
            "free_flow_veh_s": passed.free_veh_s.sum(),
            "spillback_s": (fed & (after.first >= JAMMED)).sum() * decide_s,
            "switches": switches,
            **{f"term_{name}": params.weights[i] * terms[i] / params.scale_veh for i, name in enumerate(TERMS)},
        }

    def measures(self, network: Network, traffic: Traffic) -> Measures:
        """What is seen of links."""
        return measure(network.roads, traffic, self.flow.speed(network.roads, traffic))

    def observe(self, state: State, params: TrafficParams) -> Array:
        """The observation `[D]`: a block for each signal."""
        network = self.network(state, params)
        index, there = self.approaches.of(network)
        return observation.observe(
            observation.View(
                network=network,
                measures=self.measures(network, state.traffic),
                by_cell=vehicles(network.roads, state.traffic),
                signals=state.signals,
                timing=self.config.signals.timing,
                index=index,
                there=there,
                groups=self.config.observation.groups,
                hour=state.drawn.hour + state.time * self.dt_h,
            ),
            self.config.observation.features,
        )
