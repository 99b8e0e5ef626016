"""A run that begins with the networks of another one (`init_from`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax

from vmax import devices
from vmax.algorithms.optimiser import Trainable, trainable
from vmax.checkpoint import Checkpoints, Part
from vmax.config import RunConfig
from vmax.errors import UserError
from vmax.run_folder import RunFolder
from vmax.training.program import RunState
from vmax.training.run import Stages

OWN = ("hyper", "context", "updates")
"""Entries of a learner's state that are those of the new run."""


def networks_of(config: RunConfig, stages: Stages) -> Any:
    """The learner's state at the last checkpoint of the run that `init_from` names.

    Raises UserError where it is no run, was another algorithm, or its networks have other shapes.
    """
    assert config.init_from is not None
    folder = RunFolder.open(config.init_from)
    then, now = folder.composed()["algorithm"]["name"], config.algorithm.name
    if then != now:
        raise UserError(f"init_from={config.init_from}: was trained with algorithm={then}, this run has {now}")
    checkpoints = Checkpoints(folder.checkpoints)
    return checkpoints.restore({"state": Part({"learner": stages.shapes.learner})}).items["state"]["learner"]


def begin_with(state: RunState, learned: Any) -> RunState:
    """A fresh state with these networks: optimisers, schedules and settings stay those of the fresh one."""

    def taken(fresh: Any, learned: Any) -> Any:
        networks = jax.tree.map(
            lambda leaf: trainable(leaf.params) if isinstance(leaf, Trainable) else leaf,
            learned,
            is_leaf=lambda leaf: isinstance(leaf, Trainable),
        )
        return replace(networks, **{name: getattr(fresh, name) for name in OWN if hasattr(fresh, name)})

    return replace(state, learner=devices.parallel(taken, donate=())(state.learner, learned))
