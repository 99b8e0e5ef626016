"""Rules with numbers, tuned on training years by the weighted objectives."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from vmax.envs.microgrid.rules import ConstantTargets, TimeOfUse
from vmax.envs.microgrid.settings import TERMS
from vmax.envs.microgrid.state import Start

if TYPE_CHECKING:
    from vmax.envs.microgrid.environment import Microgrid

YEARS = 2
"""Training years on which the rules are tuned."""
TARGETS_KW = (0.0, 100.0, 150.0, 200.0, 250.0, 300.0, 400.0)
HOURS = (1.0, 2.0, 4.0, 6.0, 9.0)


def constant_targets(env: Microgrid) -> ConstantTargets:
    """The rule with the best pair of import targets."""
    peak, other = _tuned(env)["constant_targets"]
    return ConstantTargets(jnp.float32(peak), jnp.float32(other))


def time_of_use(env: Microgrid) -> TimeOfUse:
    """The rule with the best number of hours."""
    return TimeOfUse(jnp.float32(_tuned(env)["time_of_use"][0]))


def tuned_rules(env: Microgrid) -> dict[str, Any]:
    """What was chosen, for the record."""
    found = _tuned(env)
    peak, other = found["constant_targets"]
    return {
        "constant_targets": {"peak_kw": peak, "offpeak_kw": other},
        "time_of_use": {"hours": found["time_of_use"][0]},
    }


@lru_cache(maxsize=8)
def _tuned(env: Microgrid) -> dict[str, tuple[float, ...]]:
    pairs = [(peak, other) for peak, other in product(TARGETS_KW, TARGETS_KW) if peak <= other]
    peaks, others = (jnp.asarray(column, jnp.float32) for column in zip(*pairs, strict=True))
    targets = _objectives(env, ConstantTargets(peaks, others))
    hours = _objectives(env, TimeOfUse(jnp.asarray(HOURS, jnp.float32)))
    return {
        "constant_targets": pairs[int(np.argmin(targets))],
        "time_of_use": (HOURS[int(np.argmin(hours))],),
    }


def _objectives(env: Microgrid, rules: Any) -> np.ndarray:
    """The weighted objectives of many settings of a rule, `[K]`, over the first training years, or all stretches of
    training weeks, in one program."""
    params = env.params("train")
    starts = env.assessment.starts(params, "train", 1)
    if params.data.blocks is None:
        starts = jax.tree.map(lambda leaf: leaf[:YEARS], starts)
    length = int(np.max(np.asarray(starts.end) - np.asarray(starts.time)))

    def one(rule: Any, start: Start, params: Any) -> jax.Array:
        state, _ = env.reset(jax.random.key(0), params, start)

        def advance(loop: Any, _: None) -> tuple[Any, None]:
            state, total = loop
            lanes = jax.tree.map(lambda leaf: leaf[None], state)
            action, _ = rule.act(env, lanes, None, params, (), None)
            following, step = env.step(jax.random.key(0), state, action[0], params)
            goes_on = state.time < start.end
            total = total + jnp.where(goes_on, sum(step.info[f"term_{name}"] for name in TERMS), 0.0)
            return (jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), following, state), total), None

        (state, total), _ = jax.lax.scan(advance, (state, jnp.zeros(())), None, length=length)
        worth = params.valued.stored_worth(params.valued.weights, params.battery.eta_discharge)
        return total - state.soc * env.config.battery.capacity_kwh * worth

    over_lanes = jax.vmap(one, in_axes=(None, 0, None))
    run = jax.jit(jax.vmap(over_lanes, in_axes=(0, None, None)))
    return np.asarray(run(rules, starts, params), np.float64).sum(axis=1)
