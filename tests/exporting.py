"""Policies of fresh networks in small environments, to be exported: what an export does needs no training."""

from typing import Any

import jax
from small_bess import bess_on, wavy_prices

from vmax import make_env
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Spec
from vmax.config import compose, load
from vmax.evaluation.policies import Learned

NORMALISED = "algorithm.normalise_observations=true"


def policy(env: Any, *overrides: str, gain: float = 20.0) -> Learned:
    """A policy with random weights; its last layer is `gain` times as large, so that its actions fill [-1, 1]."""
    remembers = {"network=lstm", "network=gru"} & {*overrides}
    sizes = ("network.hidden=[16,16]", *(("network.units=8",) if remembers else ()))
    config = load(compose(["env=pendulum", *overrides, *sizes]))
    algorithm, spec = make_algorithm(config.algorithm, config.network), Spec(env.observation_space, env.action_space, 1)
    state = algorithm.init(jax.random.key(1), spec)
    seen = jax.random.normal(jax.random.key(2), (64, env.observation_space.size)) + 0.3
    weights = algorithm.policy(algorithm.observe(state, seen, spec), averaged=True)
    actor = weights.actor
    last = {**actor["params"]["mean"], "kernel": gain * actor["params"]["mean"]["kernel"]}
    actor = {**actor, "params": {**actor["params"], "mean": last}}
    return Learned(weights.replace(actor=actor), algorithm)


def pendulum() -> Any:
    return make_env("pendulum")


def battery(*overrides: str, env: str = "bess") -> Any:
    return bess_on(wavy_prices(), *overrides, env=env)
