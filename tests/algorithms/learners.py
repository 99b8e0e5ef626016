"""Small learners and hand-written passes that the tests of this folder share."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.algorithms import make_algorithm
from vmax.algorithms.a2c import A2CConfig
from vmax.algorithms.algorithm import Batch, Spec
from vmax.algorithms.ppo import PPOConfig
from vmax.algorithms.sac import SACConfig
from vmax.algorithms.td3 import TD3Config
from vmax.networks.mlp import NetworkConfig
from vmax.spaces import Box, Feature

NETWORK = NetworkConfig("mlp", (16, 16), "relu", "none", "float32")
COMMON: dict[str, Any] = {
    "learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "learning_rate_schedule": "constant",
    "schedule_constant_share": 0.3,
    "adam_eps": 1e-8,
    "max_grad_norm": None,
    "discount": 0.9,
    "n_step": 1,
    "polyak": 0.05,
    "num_critics": 2,
    "post_decision_critic": False,
    "counterfactuals": 0,
    "slope_weight": 20.0,
    "counterfactual_actor": False,
    "average_actor": 0.9,
    "normalise_observations": False,
    "normalize_rewards": False,
}
SAC = SACConfig(
    name="sac", alpha_learning_rate=3e-3, target_entropy=None, initial_temperature=0.1, learn_temperature=True, **COMMON
)
NOISE = {"target_noise": 0.2, "target_noise_clip": 0.5, "exploration_noise": 0.2}
TD3 = TD3Config(name="td3", policy_delay=1, saturation_weight=0.0, **NOISE, **COMMON)
CONFIGS = {"sac": SAC, "td3": TD3}
ROLLOUTS: dict[str, Any] = {
    "learning_rate": 3e-3,
    "learning_rate_schedule": "constant",
    "schedule_constant_share": 0.0,
    "adam_eps": 1e-5,
    "max_grad_norm": 0.5,
    "discount": 0.9,
    "gae_lambda": 0.95,
    "value_weight": 0.5,
    "entropy_weight": 0.0,
    "distribution": "gaussian",
    "free_std": True,
    "initial_std": 1.0,
    "normalise_advantages": True,
    "normalise_observations": False,
    "normalize_rewards": False,
}
PPO = PPOConfig(name="ppo", clip_ratio=0.2, value_clip=None, epochs=4, minibatches=4, target_kl=None, **ROLLOUTS)
A2C = A2CConfig(name="a2c", **ROLLOUTS)
ON_POLICY = {"ppo": PPO, "a2c": A2C}


def make(name: str, network: NetworkConfig = NETWORK, **changes: Any) -> Any:
    return make_algorithm(replace({**CONFIGS, **ON_POLICY}[name], **changes), network)


def spec(observations: int = 3, actions: int = 2, **changes: Any) -> Spec:
    return Spec(Box((Feature("seen", size=observations),)), Box((Feature("done", size=actions),)), 100, **changes)


def batch(updates: int, samples: int, observations: int = 3, actions: int = 2, seed: int = 0) -> Batch:
    """Random transitions `[U, B]`; a third of them terminate."""
    rng = np.random.default_rng(seed)
    shape = (updates, samples)
    leaves = (
        rng.normal(size=(*shape, observations)),
        rng.uniform(-1, 1, (*shape, actions)),
        rng.normal(size=shape),
        0.9 * (rng.random(shape) > 1 / 3),
        rng.normal(size=(*shape, observations)),
    )
    observation, action, reward, discount, following = (jnp.asarray(leaf, jnp.float32) for leaf in leaves)
    return Batch(observation, action, reward, discount, following)


def passed(layers: Any, inputs: np.ndarray, member: int | None = None, head: str = "Dense_0") -> np.ndarray:
    """A float64 pass through a ReLU network's parameters, written out by hand."""

    def values(layer: Any, name: str) -> np.ndarray:
        leaf = np.asarray(layer[name], np.float64)
        return leaf if member is None else leaf[member]

    hidden = np.asarray(inputs, np.float64)
    for name in ("Dense_0", "Dense_1"):
        layer = layers["Torso_0"][name]
        hidden = np.maximum(hidden @ values(layer, "kernel") + values(layer, "bias"), 0.0)
    return hidden @ values(layers[head], "kernel") + values(layers[head], "bias")


def q_by_hand(critic: Any, observation: Any, action: Any) -> np.ndarray:
    """Q of both critics, `[2, B]`."""
    inputs = np.concatenate([np.asarray(observation), np.asarray(action)], axis=-1)
    return np.stack([passed(critic["params"]["members"], inputs, member)[:, 0] for member in range(2)])


def same(left: Any, right: Any, **tolerance: Any) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.allclose(a, b, **tolerance) for a, b in pairs)
