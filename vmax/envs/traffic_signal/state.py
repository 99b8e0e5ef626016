"""What the environment carries from step to step, where an episode begins, and what a step tells."""

from __future__ import annotations

import jax
from flax import struct

from vmax.envs.traffic_signal.arrays import Network
from vmax.envs.traffic_signal.demand import Drawn
from vmax.envs.traffic_signal.flow import Traffic
from vmax.envs.traffic_signal.settings import TERMS
from vmax.envs.traffic_signal.signals import Signals
from vmax.spaces import Feature

Array = jax.Array


@struct.dataclass
class TrafficParams:
    """Data and numbers of a split.

    Attributes:
      networks: of all networks, leaves `[M, ...]`.
      fading: exp(-dt / τ) of each class, `[K]`.
      level: the least and the greatest level of demand, `[2]`.
      shares: the classes' shares of demand, `[K]`; `share_spread`: by how much the last one's is drawn around it.
      weights: of the reward's terms, `[5]`.
      scale_veh: what the reward is divided by.
      split: a number of the split, so that no two have a demand seed in common.
    """

    networks: Network
    fading: Array
    level: Array
    shares: Array
    share_spread: Array
    weights: Array
    scale_veh: Array
    split: Array


@struct.dataclass
class State:
    """One network. `time`: decisions so far; `end`: the one at which looking stops; `which`: of the networks.

    `delay_veh_s`, `through_veh`: by link since the warm-up, `[L]`.
    """

    traffic: Traffic
    signals: Signals
    drawn: Drawn
    which: Array
    time: Array
    end: Array
    delay_veh_s: Array
    through_veh: Array


@struct.dataclass
class Start:
    """A named start: the demand seed, the network, the first decision and the one at which looking stops."""

    seed: Array
    which: Array
    time: Array
    end: Array


MANY = 1e6
INFO = (
    Feature("delay_veh_s", "vehicle s", -1.0, MANY),
    Feature("inside_veh", "vehicles", 0.0, MANY),
    Feature("outside_veh", "vehicles", 0.0, MANY),
    Feature("queue_veh", "vehicles", 0.0, MANY),
    Feature("arrived_veh", "vehicles", 0.0, MANY),
    Feature("left_veh", "vehicles", 0.0, MANY),
    Feature("stopped_veh", "vehicles", 0.0, MANY),
    Feature("free_flow_veh_s", "vehicle s", 0.0, MANY),
    Feature("max_approach_delay_s", "s", 0.0, MANY),
    Feature("spillback_s", "link s", 0.0, MANY),
    Feature("switches", "1", 0.0, MANY),
    *(Feature(f"term_{name}", "1", -MANY, MANY) for name in TERMS),
)
