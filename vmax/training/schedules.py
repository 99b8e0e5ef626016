"""What a run's length decides besides its end: how many updates are counted, and the learning rates on the way."""

from __future__ import annotations

from typing import Any

from vmax import devices
from vmax.algorithms.optimiser import rate_share
from vmax.config import RunConfig
from vmax.counters import MOST
from vmax.errors import UserError


def total_updates(config: RunConfig) -> int:
    """The gradient updates of a whole run. Raises UserError for more than the learner can count."""
    t = config.training
    a_chunk = t.log_every // (t.num_envs * t.unroll) * t.updates_per_iteration
    updates = (config.planned_steps - t.warmup_steps) // t.log_every * a_chunk
    if updates > MOST:
        length = "total_steps" if t.schedule == "steps" else "training.epochs"
        most = t.warmup_steps + MOST // a_chunk * t.log_every
        raise UserError(
            f"{length}: {config.planned_steps} environment steps make {updates} updates; at most {MOST} can be "
            f"counted, those of {most} steps: lower {length} or training.updates_per_iteration"
        )
    return updates


def new_rate(config: RunConfig, learner: Any, hyper: Any, step: int) -> str | None:
    """What a resumed run is told where another length changes its learning rate at once; None where it does not.

    Args: the learner as it was saved, on all devices, and the numbers `hyper` that it goes on with.
    """
    schedule = getattr(config.algorithm, "learning_rate_schedule", None)
    if schedule != "linear":
        return None
    saved, going, updates = devices.fetch((learner.hyper, hyper, learner.updates))

    def rate(numbers: Any) -> float:
        share = rate_share("linear", updates, numbers.total_updates, numbers.schedule_constant_share)
        return float(numbers.learning_rate * share)

    then, now = rate(saved), rate(going)
    if abs(now - then) <= 1e-6 * max(now, then):
        return None
    return (
        f"the learning rate is {now:.3g} from step {step} on, not {then:.3g}: algorithm.learning_rate_schedule=linear "
        f"now ends at step {config.planned_steps}"
    )
