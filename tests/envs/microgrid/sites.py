"""Microgrid environments for tests: few sockets, two years of each split, and what is set otherwise."""

import jax
import jax.numpy as jnp
import numpy as np

import vmax
from vmax.envs.microgrid.state import Start
from vmax.envs.rollout import Record, rollout

SMALL = (
    *("env.data.train_years=2", "env.data.validation_years=1", "env.data.test_years=1", "env.data.step_minutes=60"),
    "env.data.chargers.groups=[{name:motos,sockets:3,power_kw:2.0,limit_kw:6.0},"
    "{name:mototaxis,sockets:1,power_kw:3.0,limit_kw:3.0}]",
    *("env.data.chargers.limit_kw=9.0", "env.data.chargers.annual_kwh=14000.0"),
)


def site(*overrides: str, name: str = "microgrid"):
    return vmax.make_env(name, [*SMALL, *overrides])


def days(env, count: int, first_day: int = 0, years: int = 1) -> Start:
    """Starts of some days from the middle charge on."""
    first = first_day * env.steps_per_day
    battery = env.config.battery
    return Start(
        year=jnp.arange(years, dtype=jnp.int32),
        time=jnp.full(years, first, jnp.int32),
        end=jnp.full(years, first + count * env.steps_per_day, jnp.int32),
        soc=jnp.full(years, 0.5 * (battery.soc_min + battery.soc_max)),
    )


def told(env, policy, starts, split: str = "test") -> dict[str, np.ndarray]:
    """The info of a rollout, float64 `[T, L]`."""
    params = env.params(split)
    policy = policy.course(env, params, starts) if hasattr(policy, "course") else policy
    record: Record = rollout(env, policy, params, starts)
    return {name: np.asarray(values, np.float64) for name, values in record.info.items()}


def random_run(env, steps: int, seed: int = 0):
    """States, actions and steps of one environment under random actions, from a drawn start."""
    params = env.params("train")

    def one(state, key):
        act_key, step_key = jax.random.split(key)
        action = jax.random.uniform(act_key, (env.action_space.size,), minval=-1.0, maxval=1.0)
        following, step = env.step(step_key, state, action, params)
        return following, (state, action, step)

    reset_key, run_key = jax.random.split(jax.random.key(seed))
    state, _ = env.reset(reset_key, params)
    return jax.lax.scan(one, state, jax.random.split(run_key, steps))[1]
