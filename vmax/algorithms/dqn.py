"""Deep Q-learning: the value of every choice, learned off-policy from the replay.

    a'   = argmax_a Q(s', a)  with `double`, else  argmax_a Q'(s', a);  of the choices that are allowed in s'
    y    = G + γ^k Q'(s', a')
    L    = mean h(y - Q(s, a)),   h: ½ δ², beyond `huber_delta` linear
    Q'  <- Q' + polyak (Q - Q') after every update, or Q' <- Q after every `target_every`

G and γ^k are the n-step return and its discount. While learning, a choice is random with the probability ε, which falls
evenly with the environment steps. With `dueling` Q = V + A - mean A. Source: Mnih et al. (2015), Human-level control
through deep reinforcement learning; van Hasselt et al. (2016), Double Q-learning; Wang et al. (2016), Dueling networks.

Several choices at once: their values add up, Q = Σ_c Q_c(s, a_c). One network reads the whole observation and values
every one of them. Where the environment says that the observation is as many blocks of equal build (`Spec.blocks`),
such as one for each signal, one network reads each block and all choices share it. Source: Sunehag et al. (2018),
Value-decomposition networks; Tavakoli et al. (2018), Action branching architectures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct

from vmax.algorithms import normaliser, settings
from vmax.algorithms.actor_critic import summarised
from vmax.algorithms.algorithm import TD_ERROR, Batch, Spec
from vmax.algorithms.memory import Recalled, as_samples, as_seen, recalled, weighted
from vmax.algorithms.optimiser import Schedule, Trainable, descend, polyak, rate_share, trainable
from vmax.counters import counted
from vmax.errors import UserError
from vmax.networks.heads import ChoiceValues
from vmax.networks.mlp import NetworkConfig
from vmax.networks.recurrent import init_memory, initial_carry, remember
from vmax.spaces import Discrete, choosable

Array = jax.Array
Key = jax.Array


@dataclass(frozen=True)
class DQNConfig:
    """What `algorithm=dqn` sets; the meaning of each stands in conf/algorithm/dqn.yaml."""

    name: Literal["dqn"]
    learning_rate: float
    learning_rate_schedule: Schedule
    schedule_constant_share: float
    adam_eps: float
    max_grad_norm: float | None
    discount: float
    n_step: int
    double: bool
    dueling: bool
    huber_delta: float | None
    polyak: float
    target_every: int | None
    epsilon_start: float
    epsilon_end: float
    epsilon_steps: int
    normalise_observations: bool
    normalize_rewards: bool

    def __post_init__(self) -> None:
        settings.check_ranges(self)


@struct.dataclass
class Hyper:
    """The numbers that change no shape, float32 scalars: a batch of them can be vmapped over."""

    learning_rate: Array
    schedule_constant_share: Array
    total_updates: Array
    adam_eps: Array
    max_grad_norm: Array
    discount: Array
    huber_delta: Array
    polyak: Array
    target_every: Array
    epsilon_start: Array
    epsilon_end: Array
    epsilon_steps: Array


@struct.dataclass
class State:
    """All that a DQN learner knows. `steps`: environment steps seen, at most 2^31 - 1; `updates` counts, both int32.

    `allowed`: which entries of an observation say what choices are allowed, `[C · P]`, int32; None: all are, always.
    `reward_scale`: of the discounted rewards so far, `[1]`; None: rewards are learned from as they are.
    """

    network: Trainable
    target: Any
    normaliser: normaliser.Normaliser | None
    reward_scale: normaliser.Normaliser | None
    allowed: Array | None
    hyper: Hyper
    steps: Array
    updates: Array


@struct.dataclass
class Policy:
    """What acting needs."""

    network: Any
    normaliser: normaliser.Normaliser | None
    allowed: Array | None
    epsilon: Array


@dataclass(frozen=True)
class DQN:
    """The learner: a config, a network and pure functions."""

    config: DQNConfig
    network: NetworkConfig
    on_policy = False

    @property
    def name(self) -> str:
        return self.config.name

    def init(self, key: Key, spec: Spec) -> State:
        """A random network; the target is a copy.

        Raises: UserError for continuous actions, or blocks that are not equal.
        """
        space, size = spec.action_space, spec.observation_space.size
        if not isinstance(space, Discrete):
            raise UserError("algorithm=dqn: needs choices; the actions of this environment are continuous")
        blocks = space.count if spec.blocks else 1
        if size % blocks:
            raise UserError(f"algorithm=dqn: an observation of {size} numbers is not {blocks} equal blocks")
        memory = init_memory(self.network, jax.random.fold_in(key, 1), size)
        seen, carry = jnp.zeros((1, size)), initial_carry(self.network, 1)
        remembered = remember(self.network, memory, seen[None], carry)[0]
        choices = (space.size,) if blocks == space.count else (space.count, space.size)
        block = jnp.zeros((1, size // blocks))
        head = self._head(choices).init(key, block, None if remembered is None else remembered[0])
        network = {**head, **memory}
        return State(
            network=trainable(network),
            target=jax.tree.map(jnp.copy, network),
            normaliser=normaliser.init(size) if self.config.normalise_observations else None,
            reward_scale=normaliser.init(1) if self.config.normalize_rewards else None,
            allowed=jnp.asarray(spec.allowed, jnp.int32) if spec.allowed else None,
            hyper=settings.numbers(Hyper, self.config, total_updates=spec.total_updates),
            steps=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
        )

    def initial_carry(self, batch: int) -> Any:
        """What an acting policy remembers before an episode, leaves `[batch, units]`; a feed-forward one nothing."""
        return initial_carry(self.network, batch)

    def observe(self, state: State, observation: Array, spec: Spec, discounted: Array | None = None) -> State:
        """Counts fresh observations `[N, D]` as steps, and takes them and the discounted rewards `[N]` into the running
        statistics, if there are any."""
        devices = 1 if spec.axis is None else jax.lax.psum(1, spec.axis)
        state = replace(state, steps=counted(state.steps, observation.shape[0] * devices))
        return normaliser.taken_in(state, observation, discounted, spec.axis)

    def epsilon(self, state: State) -> Array:
        """The probability of a random choice after the steps so far."""
        hyper = state.hyper
        left = jnp.maximum(1.0 - state.steps / jnp.maximum(hyper.epsilon_steps, 1.0), 0.0)
        return hyper.epsilon_end + left * (hyper.epsilon_start - hyper.epsilon_end)

    def policy(self, state: State, averaged: bool = False) -> Policy:
        """What `act` needs; there are no averaged parameters."""
        return Policy(state.network.params, state.normaliser, state.allowed, self.epsilon(state))

    def act(
        self, params: Policy, observation: Array, carry: Any, key: Key, explore: bool
    ) -> tuple[Array, Any, tuple[()]]:
        """`[N, D]` -> the best choices `[N]`, int32, or `[N, C]` of C at once; `explore`: random with probability ε."""
        seen = normaliser.normalise(params.normaliser, observation)
        memory, carry = remember(self.network, params.network, seen[None], carry)
        values = self._values(params.network, seen, None if memory is None else memory[0])
        may = self._allowed(params.allowed, observation, values)
        choice = jnp.argmax(jnp.where(may, values, -jnp.inf), axis=-1)
        if explore:
            whether_key, which_key = jax.random.split(key)
            drawn = jax.random.categorical(which_key, jnp.where(may, 0.0, -jnp.inf))
            choice = jnp.where(jax.random.uniform(whether_key, choice.shape) < params.epsilon, drawn, choice)
        choice = choice.astype(jnp.int32)
        return (choice[:, 0] if choice.shape[1] == 1 else choice), carry, ()

    def update(self, state: State, batch: Batch, key: Key, spec: Spec) -> tuple[State, dict[str, Array]]:
        """U updates on a batch `[U, B]` or on sequences `[U, L, B]`; metrics are means over updates and devices."""
        del key  # nothing here is drawn
        raw = batch.next_observation
        inputs = (as_seen(batch, state, jnp.ones(raw.shape[-1])), raw)
        state, metrics = jax.lax.scan(partial(self._step, spec), state, inputs)
        found = summarised(metrics, batch, state, spec.axis)
        return state, {**found, "epsilon": self.epsilon(state)}

    def _step(self, spec: Spec, state: State, inputs: tuple[Batch, Array]) -> tuple[State, dict[str, Array]]:
        """One update on a batch `[B]` or sequences `[L, B]`; `inputs` has the raw next observations beside it."""
        sequences, raw = inputs
        batch = as_samples(sequences, spec.axis)
        raw = raw.reshape(-1, raw.shape[-1])
        hyper, action = state.hyper, batch.action.reshape(len(batch.reward), -1).astype(jnp.int32)
        target = self._target(state, batch, raw)

        def loss_of(params: Any) -> tuple[Array, tuple[Array, Array]]:
            values = self._values(params, batch.observation, self._recall(params, batch).now)
            q = _of(values, action)
            error = target - q
            return jnp.mean(weighted(huber(error, hyper.huber_delta), batch.weight)), (q, error)

        (loss, (q, error)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.network.params)
        share = rate_share(
            self.config.learning_rate_schedule, state.updates, hyper.total_updates, hyper.schedule_constant_share
        )
        rate = share * hyper.learning_rate
        trained, norm = descend(state.network, gradient, rate, hyper.adam_eps, hyper.max_grad_norm, spec.axis)
        updates = state.updates + 1
        state = replace(state, network=trained, target=self._moved(state, trained.params, updates), updates=updates)
        metrics = {"critic_loss": loss, "q_mean": q.mean(), "q_max": q.max(), "td_error_mean": jnp.abs(error).mean()}
        metrics |= {"critic_grad_norm": norm, "learning_rate": rate}
        return state, metrics if batch.place is None else {**metrics, TD_ERROR: jnp.abs(error)}

    def _target(self, state: State, batch: Batch, raw: Array) -> Array:
        """y of samples, `[M]`; `raw` are their next observations as the world gives them."""
        seen = batch.next_observation
        values = self._values(state.target, seen, self._recall(state.target, batch).then)
        judged = values
        if self.config.double:
            params = state.network.params
            judged = self._values(params, seen, self._recall(params, batch).then)
        may = self._allowed(state.allowed, raw, values)
        best = jnp.argmax(jnp.where(may, judged, -jnp.inf), axis=-1)
        return batch.reward + batch.discount * _of(values, best)

    def _moved(self, state: State, params: Any, updates: Array) -> Any:
        """The target after an update: a little nearer or, with `target_every`, a copy now and then."""
        if self.config.target_every is None:
            return polyak(state.target, params, state.hyper.polyak)
        now = (updates % state.hyper.target_every.astype(jnp.int32)) == 0
        return jax.tree.map(partial(jnp.where, now), params, state.target)

    def _recall(self, params: Any, batch: Batch) -> Recalled:
        """What the network remembers at the samples `[M]` of sequences and at their successors."""
        if batch.history is None:
            return Recalled(None, None)
        return recalled(self.network, params, batch.history, batch.history.carry)

    def _head(self, choices: tuple[int, ...]) -> ChoiceValues:
        return ChoiceValues(self.network, choices, self.config.dueling)

    def _values(self, params: Any, seen: Array, memory: Array | None) -> Array:
        """Q of every choice, `[M, C, P]`, and all that is remembered is read with each block; see the top."""
        layers = params["params"]
        first = layers["Torso_0"]["Dense_0"]["kernel"].shape[0]
        block = first - (0 if memory is None else memory.shape[-1])
        blocks = seen.reshape(seen.shape[0], seen.shape[1] // block, block)
        if memory is not None:
            memory = jnp.broadcast_to(memory[:, None], (*blocks.shape[:2], memory.shape[-1]))
        choices = layers["advantage"]["bias"].shape
        values = self._head(choices).apply({"params": layers}, blocks, memory)
        return values.reshape(seen.shape[0], -1, choices[-1])  # pyright: ignore[reportAttributeAccessIssue]

    @staticmethod
    def _allowed(entries: Array | None, observation: Array, values: Array) -> Array:
        """Which choices are allowed, `[M, C, P]` bool, from observations as the world gives them."""
        if entries is None:
            return jnp.ones(values.shape, bool)
        return choosable(entries, observation, values.shape[-1])


def huber(error: Array, delta: Array) -> Array:
    """½ δ² up to `delta`, then delta (|δ| - delta / 2), elementwise; infinity: ½ δ² everywhere."""
    size = jnp.abs(error)
    near = jnp.minimum(size, delta)
    return near * (size - 0.5 * near)


def _of(values: Array, choice: Array) -> Array:
    """The values `[M, C, P]` of choices `[M, C]`, added up, `[M]`."""
    return jnp.take_along_axis(values, choice[..., None], axis=-1)[..., 0].sum(axis=-1)
