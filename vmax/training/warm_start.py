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
from vmax.training.inputs import reading
from vmax.training.program import RunState
from vmax.training.run import Stages

OWN = ("hyper", "context", "updates")
"""Entries of a learner's state that are those of the new run."""


def networks_of(config: RunConfig, stages: Stages) -> Any:
    """The learner's state at the last checkpoint of the run that `init_from` names, on the devices of this one; None
    without it. All devices hold the same state: of a run on any number of them the first one's is taken.

    Raises UserError where it is no run, was another algorithm, or its networks have other shapes.
    """
    if config.init_from is None:
        return None
    folder = RunFolder.open(config.init_from)
    then, now = folder.composed()["algorithm"]["name"], config.algorithm.name
    if then != now:
        raise UserError(f"init_from={config.init_from}: was trained with algorithm={then}, this run has {now}")
    count = folder.record().get("hardware", {}).get("devices", devices.count())
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype, sharding=one), stages.shapes.learner
    )
    with folder.differences_told(devices.hardware()):
        restored = Checkpoints(folder.checkpoints).restore({"state": Part({"learner": shapes})})
    return devices.replicate(jax.tree.map(lambda x: x[0], restored.items["state"]["learner"]), devices.count())


def changed_since(config: RunConfig, folder: RunFolder, warm: bool) -> list[str]:
    """One line each for what is other now than when the run that is resumed, or that gave its networks (`warm`), was
    at work: code, packages, machine, files."""
    found = []
    if config.resume is not None:
        found += reading(folder).changes
        if other := folder.differences(devices.hardware()):
            found.append(f"resume={folder.path}: here: {', '.join(other)}; the run goes on, perhaps not bit for bit")
    if warm and (other := RunFolder(str(config.init_from)).differences(devices.hardware())):
        found.append(f"init_from={config.init_from}: here: {', '.join(other)}; its networks are taken as they are")
    return found


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
