"""Evaluation by greedy episodes, for an environment that says nothing else of how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import pandas as pd

from vmax.data.splits import SPLITS
from vmax.envs.rollout import Episodes, Policy, greedy_episodes

Array = jax.Array
EPISODES = 100
SEED = 2**31 - 19
"""Of the keys of evaluations: no run can have it as its `seed`."""


def split_key(split: str) -> Array:
    """The key that the episodes of a split are drawn with: each split has its own, whatever the seed of the run.

    So the test episodes are others than those that the best policy was chosen on, and the same for all runs.
    """
    return jax.random.fold_in(jax.random.key(SEED), SPLITS.index(split))


def longest_episode(env: Any, max_episode_steps: int) -> int:
    """Steps after which an episode is cut: what the environment declares, else the setting."""
    return env.max_episode_steps or max_episode_steps


def split_episodes(env: Any, policy: Policy, params: Any, split: str, longest: int) -> Episodes:
    """The episodes of a split under a policy, cut after `longest` steps."""
    return greedy_episodes(env, policy, params, split_key(split), EPISODES, longest)


def figures_of(found: Episodes) -> dict[str, float]:
    """Key figures. The return of an episode that was cut is that of its steps so far."""
    return {
        "return_mean": float(found.returns.mean()),
        "return_std": float(found.returns.std()),
        "length_mean": float(found.lengths.mean()),
        "episodes_cut": int(found.cut.sum()),
    }


def cut_message(cut: int, longest: int) -> str:
    """What is said where episodes were cut."""
    return (
        f"{cut} of {EPISODES} episodes of the evaluation did not end and were cut after {longest:,} steps; their "
        "returns are those of the steps so far (evaluation.max_episode_steps, or what the environment declares)"
    )


def by_episodes(
    env: Any, learned: Mapping[str, Any], split: str, max_episode_steps: int
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The result of an evaluation on a split (`evaluation` of result.json), and a row for each policy and episode."""
    params, figures, rows = env.params(split), {}, []
    longest = longest_episode(env, max_episode_steps)
    for name, policy in learned.items():
        found = split_episodes(env, policy, params, split, longest)
        figures[name] = {**figures_of(found), "episodes": EPISODES}
        rows.append(
            pd.DataFrame(
                {
                    "policy": name,
                    "episode": range(EPISODES),
                    "return": found.returns,
                    "steps": found.lengths,
                    "cut": found.cut,
                }
            )
        )
    result = {"split": split, "start": None, "end": None, "max_episode_steps": longest, "policies": figures}
    return result, pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
