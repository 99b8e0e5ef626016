"""Rules that set signals: the marks that a learned policy has to pass. All decide when a policy does, and as often.

A rule is a pytree whose numbers are leaves, with the contract of every policy that is evaluated
(`vmax.envs.rollout.Policy`). It names a phase for each signal; the signal's clock ignores what is not allowed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import struct

from vmax.envs.traffic_signal.actions import encode
from vmax.envs.traffic_signal.arrays import Network
from vmax.envs.traffic_signal.measures import Measures, pressure
from vmax.envs.traffic_signal.plans import Plan
from vmax.envs.traffic_signal.signals import Timing

if TYPE_CHECKING:
    from vmax.envs.traffic_signal.environment import TrafficSignal
    from vmax.envs.traffic_signal.state import State

Array = jax.Array


@struct.dataclass
class Scene:
    """What a rule reads of one network: its arrays, what is seen of links, the state, a key, seconds to the next
    decision."""

    network: Network
    measures: Measures
    state: State
    key: Array
    decide_s: float = struct.field(pytree_node=False)

    def by_phase(self, values: Array) -> Array:
        """Sum of values of links `[L]` over those that a phase gives green to, `[J, P]`; -infinity: no such phase."""
        return jnp.where(self.network.phases > 0.0, self.network.green @ values, -jnp.inf)

    def most_by_phase(self, values: Array) -> Array:
        """The largest of the values of those links, which are at least 0, `[J, P]`."""
        return (self.network.green * values).max(axis=2)

    def following(self) -> Array:
        """The phase after the present one, `[J]`."""
        count = jnp.maximum(self.network.phases.sum(axis=1).astype(jnp.int32), 1)
        return (self.state.signals.phase + 1) % count

    def at_phase(self, values: Array) -> Array:
        """Values `[J, P]` of the present phases, `[J]`."""
        return jnp.take_along_axis(values, self.state.signals.phase[:, None], axis=1)[:, 0]


class Rule(ABC):
    """What rules share. `memory` is of one network."""

    @abstractmethod
    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        """The phase of each signal, `[J]`, and what is remembered."""

    def begin(self, env: TrafficSignal) -> Any:
        """What is remembered at the beginning of an episode."""
        return ()

    def initial(self, env: TrafficSignal, params: Any, starts: Any) -> Any:
        """The memory of L lanes."""
        lanes = len(jax.tree.leaves(starts)[0])
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (lanes, *leaf.shape)), self.begin(env))

    def act(
        self, env: TrafficSignal, states: Any, observation: Array, params: Any, carry: Any, key: Array
    ) -> tuple[Array, Any]:
        """Choices of L lanes, `[L]` of one signal, else `[L, J]`."""

        def one(state: State, memory: Any, key: Array) -> tuple[Array, Any]:
            network = env.network(state, params)
            scene = Scene(network, env.measures(network, state.traffic), state, key, env.config.signals.decide_s)
            wish, memory = self.wish(scene, memory)
            return encode(env.config.signals.action, wish, state.signals.phase, network.phases), memory

        return jax.vmap(one)(states, carry, jax.random.split(key, len(observation)))


@struct.dataclass
class Constant(Rule):
    """Always the first phase: as long as the most green lets it."""

    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        return jnp.zeros_like(scene.state.signals.phase), memory


@struct.dataclass
class Random(Rule):
    """Any phase, evenly."""

    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        logits = jnp.where(scene.network.phases > 0.0, 0.0, -jnp.inf)
        return jax.random.categorical(scene.key, logits), memory


@struct.dataclass
class FixedTime(Rule):
    """Plans by the clock, of M networks: greens `[M, J, P]`, offsets `[M, J]`, seconds; and the clearance."""

    green_s: Array
    offset_s: Array
    clearance_s: Array

    @classmethod
    def of(cls, plans: list[list[Plan]], timing: Timing) -> FixedTime:
        """From the plans of each network's signals; signals and phases that are not there have no green."""
        signals, phases = max(map(len, plans)), max(len(p.green_s) for n in plans for p in n)
        green, offset = jnp.zeros((len(plans), signals, phases)), jnp.zeros((len(plans), signals))
        for m, network in enumerate(plans):
            for j, plan in enumerate(network):
                green = green.at[m, j, : len(plan.green_s)].set(jnp.asarray(plan.green_s))
                offset = offset.at[m, j].set(plan.offset_s)
        return cls(green, offset, jnp.float32(timing.clearance_s))

    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        green, offset = self.green_s[scene.state.which], self.offset_s[scene.state.which]
        lasts = jnp.where(green > 0.0, green + self.clearance_s, 0.0)  # the clearance before a green, and it
        ends = jnp.cumsum(lasts, axis=1)
        now = jnp.mod(scene.state.time * scene.decide_s - offset, jnp.maximum(ends[:, -1], 1.0))
        return (now[:, None] >= ends).sum(axis=1).astype(jnp.int32) % green.shape[1], memory


@struct.dataclass
class Actuated(Rule):
    """Keeps green while vehicles come: until the road before the stop line is thinner than `gap` (share of jam density)
    or green has lasted `most_s`; then the next phase for which somebody waits. Nobody waits: green stays."""

    gap: Array
    most_s: Array

    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        signals = scene.state.signals
        comes = scene.at_phase(scene.most_by_phase(scene.measures.near)) > self.gap
        waits = scene.most_by_phase(scene.measures.count_veh + scene.measures.outside_veh) > 0.5
        count = scene.network.phases.shape[1]
        ahead = (signals.phase[:, None] + 1 + jnp.arange(count - 1)) % count
        called = jnp.take_along_axis(waits & (scene.network.phases > 0.0), ahead, axis=1)
        next_one = jnp.take_along_axis(ahead, jnp.argmax(called, axis=1)[:, None], axis=1)[:, 0]
        keep = (comes & (signals.green_s < self.most_s)) | ~called.any(axis=1)
        return jnp.where(keep, signals.phase, next_one), memory


@struct.dataclass
class MaxPressure(Rule):
    """The phase with the largest pressure, weighted by saturation flow. Source: Varaiya (2013)."""

    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        roads = scene.network.roads
        per_s = roads.saturation * roads.holds_veh.min(axis=0)
        return _argmax(scene.by_phase(per_s * pressure(roads, scene.measures)), scene), memory


@struct.dataclass
class LongestQueue(Rule):
    """The phase for which most vehicles stand, those outside too."""

    def wish(self, scene: Scene, memory: Any) -> tuple[Array, Any]:
        return _argmax(scene.by_phase(scene.measures.halted_veh + scene.measures.outside_veh), scene), memory


@struct.dataclass
class SelfOrganising(Rule):
    """SOTL: a signal changes when vehicles times seconds before its red have come to `theta`, but not while a few
    vehicles (at most `platoon_veh`) are about to pass. Source: Gershenson (2005); Cools et al. (2008)."""

    theta: Array
    platoon_veh: Array

    def begin(self, env: TrafficSignal) -> Array:
        return jnp.zeros(env.sizes.signals)

    def wish(self, scene: Scene, memory: Array) -> tuple[Array, Array]:
        there = scene.by_phase(scene.measures.count_veh + scene.measures.outside_veh)
        present = jnp.arange(there.shape[1]) == scene.state.signals.phase[:, None]
        waiting = jnp.where(present | jnp.isinf(there), 0.0, there)
        memory = memory + waiting.sum(axis=1) * scene.decide_s
        roads = scene.network.roads
        passing = scene.at_phase(scene.network.green @ (scene.measures.near * 3.0 * roads.holds_veh.min(axis=0)))
        few = (passing > 0.5) & (passing <= self.platoon_veh)
        change = (memory >= self.theta) & ~few
        wish = jnp.where(change, jnp.argmax(waiting, axis=1), scene.state.signals.phase)
        return wish, jnp.where(change, 0.0, memory)


def _argmax(values: Array, scene: Scene) -> Array:
    """The phase with the largest value; the present one where it is as large."""
    best = jnp.argmax(values, axis=1)
    return jnp.where(scene.at_phase(values) >= values.max(axis=1), scene.state.signals.phase, best)
