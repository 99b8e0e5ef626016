"""Learners with memory: the loss over sequences against a loop of single steps, acting, and a cue to be remembered."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import NETWORK, make, passed, same, spec
from test_probes import SPEC as PROBE_SPEC
from test_probes import learn, played

from vmax.algorithms.algorithm import TD_ERROR
from vmax.algorithms.noise import shared
from vmax.envs.classic.probes import BEST_ACTION, RECALL_STEPS
from vmax.networks.recurrent import RecurrentConfig, initial_carry, remember
from vmax.replay import sequences
from vmax.replay.settings import SequenceConfig
from vmax.replay.transitions import Batch, History

KINDS = ("lstm", "gru")
NAMES = ("sac", "td3")
LENGTH, SAMPLES, UNITS = 5, 6, 8
SPEC = spec()
STILL = {"critic_learning_rate": 0.0, "average_actor": 0.0}
"""The critics stay as they are, so that the actor's loss is that of the first ones."""


def network(kind, **changes):
    return replace(RecurrentConfig(kind, (16, 16), "relu", "none", "float32", UNITS), **changes)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def through_cell(kind, layers, inputs, carry):
    """One step of a cell in float64, written out. LSTM: Hochreiter & Schmidhuber (1997); GRU: Cho et al. (2014)."""

    def gate(name, of, bias=True):
        layer = layers[name]
        return of @ np.asarray(layer["kernel"], float) + (np.asarray(layer["bias"], float) if bias else 0.0)

    if kind == "lstm":
        cell, hidden = carry
        i, f, o = (sigmoid(gate(f"i{g}", inputs, False) + gate(f"h{g}", hidden)) for g in "ifo")
        cell = f * cell + i * np.tanh(gate("ig", inputs, False) + gate("hg", hidden))
        hidden = o * np.tanh(cell)
        return (cell, hidden), hidden
    hidden = carry
    r, z = (sigmoid(gate(f"i{g}", inputs) + gate(f"h{g}", hidden, False)) for g in "rz")
    new = np.tanh(gate("in", inputs) + r * gate("hn", hidden))
    hidden = (1.0 - z) * new + z * hidden
    return hidden, hidden


def remembered(kind, layers, observations, carry):
    """`[L + 1, D]` -> `[L + 1, units]`, of one sequence."""
    outputs = []
    for seen in observations:
        carry, output = through_cell(kind, layers, seen, carry)
        outputs.append(output)
    return np.array(outputs)


def of(member, tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf[member], float), tree)


def batch(kind: str) -> tuple[Batch, History]:
    """One update on sequences of random lengths and weights, with padding that is no number one would want."""
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(1, LENGTH + 1, SAMPLES, 3)).astype(np.float32)
    size = np.array([5, 4, 3, 2, 1, 5])
    inside = np.arange(LENGTH)[:, None] < size
    carry = tuple(jnp.asarray(rng.normal(size=(1, SAMPLES, UNITS)), jnp.float32) for _ in range(2))
    successor = np.broadcast_to(np.arange(1, LENGTH + 1)[:, None], inside.shape)[None]
    leaves = {
        "observation": observation[:, :-1],
        "action": rng.uniform(-1, 1, (1, LENGTH, SAMPLES, 2)),
        "reward": np.where(inside, rng.normal(size=inside.shape), 1e3)[None],
        "discount": 0.9 * (rng.random((1, *inside.shape)) > 0.3),
        "next_observation": observation[:, 1:],
        "weight": (inside * np.linspace(0.5, 2.0, SAMPLES))[None],
    }
    start = carry if kind == "lstm" else carry[0]
    history = History(jnp.asarray(observation), start, jnp.asarray(successor, jnp.int32))
    batch: dict[str, Any] = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in leaves.items()}
    return Batch(**batch), history


def each_step(inputs):
    """Indices `(t, b)` of what is learned from."""
    return [(t, b) for b in range(SAMPLES) for t in range(LENGTH) if inputs.weight[0, t, b]]


def recalled(kind, history, layers, blank):
    """What is remembered along every sequence, `[B, L + 1, units]`: from its carry, or from nothing."""
    told = []
    for b in range(SAMPLES):
        carry = jax.tree.map(lambda leaf, b=b: np.asarray(leaf[0, b], float) * (not blank), history.carry)
        told.append(remembered(kind, layers, np.asarray(history.observation[0, :, b], float), carry))
    return np.array(told)


def q(critic, memories, member, seen, done, memory):
    inputs = np.concatenate([seen, done, memories[member][memory]])[None]
    return passed(critic["params"]["members"], inputs, member)[0, 0]


def action_of(name, actor, seen, memory, noise):
    """Action and log-probability; SAC's `a = tanh(μ + σ ε)` with the density of Haarnoja et al., appendix C."""
    inputs = np.concatenate([seen, memory])[None]
    mean = passed(actor["params"], inputs, head="mean")[0]
    if name == "td3":
        return np.tanh(mean), 0.0
    log_std = -1.5 + 3.5 * np.tanh(passed(actor["params"], inputs, head="spread")[0])
    action = np.tanh(mean + np.exp(log_std) * noise)
    density = -0.5 * noise**2 - log_std - 0.5 * np.log(2 * np.pi) - np.log(1.0 - action**2)
    return action, density.sum()


@cache
def updated(name, kind):
    """A learner, its first state, and its update, compiled."""
    changes = {"target_noise": 0.0} if name == "td3" else {}
    algorithm = make(name, network(kind), **STILL, **changes)
    state = algorithm.init(jax.random.key(3), SPEC)
    # weights that matter: first heads are nearly zero
    bigger = lambda tree: jax.tree.map(lambda leaf: 2.0 * leaf + 0.02, tree)  # noqa: E731
    state = replace(state, actor=replace(state.actor, params=bigger(state.actor.params)))
    state = replace(state, target_critic=bigger(state.target_critic))
    if name == "td3":
        state = replace(state, target_actor=bigger(bigger(state.target_actor)))
    return algorithm, state, jax.jit(lambda state, inputs: algorithm.update(state, inputs, jax.random.key(5), SPEC))


EACH = [
    pytest.param(name, kind, marks=[pytest.mark.slow] * ((name, kind) != ("td3", "lstm")))
    for name in NAMES
    for kind in KINDS
]


@pytest.mark.parametrize(("name", "kind"), EACH)
def test_losses_over_sequences_are_those_of_a_loop_over_their_steps(name, kind):
    _, state, update = updated(name, kind)
    inputs, history = batch(kind)
    place = jnp.zeros((1, LENGTH + 1, SAMPLES), jnp.int32)  # priorities want to know the errors
    _, metrics = update(state, replace(inputs, history=history, place=place))
    shape = (1, 2, LENGTH, SAMPLES, 2)
    noise = np.asarray(shared(jax.random.normal, jax.random.split(jax.random.key(5))[0], shape, None, 3)[0], float)
    actor = state.actor.params
    behaviour = actor if name == "sac" else state.target_actor
    temperature = 0.1 if name == "sac" else 0.0
    mine, theirs = (recalled(kind, history, tree["memory"], False) for tree in (actor, behaviour))
    online, target = (
        [recalled(kind, history, of(i, tree["memory"]), True) for i in range(2)]
        for tree in (state.critic.params, state.target_critic)
    )
    errors, climbed, steps = [], [], each_step(inputs)
    for t, b in steps:
        seen, after = (np.asarray(leaf[0, t, b], float) for leaf in (inputs.observation, inputs.next_observation))
        action, density = action_of(name, behaviour, after, theirs[b, t + 1], noise[0, t, b])
        value = min(q(state.target_critic, target, i, after, action, (b, t + 1)) for i in range(2))
        y = float(inputs.reward[0, t, b] + inputs.discount[0, t, b] * (value - temperature * density))
        done = np.asarray(inputs.action[0, t, b], float)
        errors.append([q(state.critic.params, online, i, seen, done, (b, t)) - y for i in range(2)])
        action, density = action_of(name, actor, seen, mine[b, t], noise[1, t, b])
        values = [q(state.critic.params, online, i, seen, action, (b, t)) for i in range(2)]
        climbed.append(temperature * density - (min(values) if name == "sac" else values[0]))
    assert inputs.weight is not None
    weights = [float(inputs.weight[0, t, b]) for t, b in steps]
    loss = 0.5 * np.average(np.square(errors), axis=0, weights=weights).sum()
    assert np.isclose(metrics["critic_loss"], loss, rtol=1e-4)
    assert np.isclose(metrics["actor_loss"], np.average(climbed, weights=weights), rtol=1e-4)
    told = [metrics[TD_ERROR][0, t, b] for t, b in steps]
    assert np.allclose(told, np.abs(errors).mean(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing_and_memories_learn(name):
    _, state, update = updated(name, "lstm")
    alone, history = batch("lstm")
    inputs = replace(alone, history=history)
    learned, metrics = update(state, inputs)
    padded = inputs.weight == 0.0
    other = replace(
        inputs,
        reward=jnp.where(padded, -7.0, inputs.reward),
        action=jnp.where(padded[..., None], 0.3, inputs.action),
        observation=jnp.where(padded[..., None], 5.0, inputs.observation),
        next_observation=jnp.where(padded[..., None], 5.0, inputs.next_observation),
    )
    again, same_metrics = update(state, other)
    assert {k: float(v) for k, v in metrics.items()} == {k: float(v) for k, v in same_metrics.items()}
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (learned, again)), strict=True))
    before, after = state.actor.params["memory"], learned.actor.params["memory"]
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True))
    moments = jax.tree.leaves(learned.critic.moments.mu["memory"])
    assert all(np.abs(moment).max() > 0 for moment in moments)  # their rate is 0 here, their gradient is not


@pytest.mark.parametrize("kind", KINDS)
def test_acting_step_by_step_remembers_what_a_pass_over_the_sequence_does(kind):
    algorithm, state, _ = updated("td3", kind)
    _, history = batch(kind)
    policy, carry = algorithm.policy(state), jax.tree.map(lambda leaf: leaf[0], history.carry)
    mine = recalled(kind, history, state.actor.params["memory"], False)
    for t in range(LENGTH):
        seen = history.observation[0, t]
        action, carry, _ = algorithm.act(policy, seen, carry, jax.random.key(0), explore=False)
        expected = [action_of("td3", state.actor.params, np.asarray(seen[b]), mine[b, t], 0)[0] for b in range(SAMPLES)]
        assert np.allclose(action, expected, atol=1e-5)
    blank = algorithm.initial_carry(4)
    assert all(leaf.shape == (4, UNITS) and not leaf.any() for leaf in jax.tree.leaves(blank))


def test_a_memory_is_wiped_where_another_episode_begins():
    config, (_, history) = network("lstm"), batch("lstm")
    variables = updated("td3", "lstm")[1].actor.params
    seen, carry = history.observation[0], jax.tree.map(lambda leaf: leaf[0], history.carry)
    first = jnp.zeros(seen.shape[:2], bool).at[2].set(True)
    through, after = remember(config, variables, seen, carry, first)
    before, _ = remember(config, variables, seen[:2], carry)
    anew, end = remember(config, variables, seen[2:], initial_carry(config, SAMPLES))
    assert before is not None and anew is not None
    assert same(through, jnp.concatenate([before, anew]), atol=1e-6) and same(after, end, atol=1e-6)


@pytest.mark.parametrize(("name", "counterfactuals"), [pytest.param("sac", 1, marks=pytest.mark.slow), ("td3", 0)])
def test_two_devices_with_half_the_sequences_each_do_what_one_does(name, counterfactuals):
    def moved(observation, action, context):
        return action[0], observation.at[2].add(action[1])

    (inputs, history), key = batch("lstm"), jax.random.key(4)
    offering = spec(post_decision=moved, controlled=((2, -1.0, 1.0),))
    options = {"post_decision_critic": bool(counterfactuals), "counterfactuals": counterfactuals}
    algorithm = make(name, network("lstm"), max_grad_norm=0.3, **options)
    state = jax.jit(lambda key: algorithm.init(key, offering))(jax.random.key(0))
    one = jax.jit(lambda s: algorithm.update(s, replace(inputs, history=history), key, offering))(state)
    half = SAMPLES // 2  # the sequences of the first are longer
    carries = jax.tree.map(lambda x: jnp.stack([x[:, :half], x[:, half:]]), history.carry)
    halves, histories = jax.tree.map(
        lambda x: jnp.stack([x[:, :, :half], x[:, :, half:]]), (inputs, replace(history, carry=()))
    )
    halves = replace(halves, history=replace(histories, carry=carries))
    on_each = replace(offering, axis="device")
    shared_out = jax.vmap(lambda part: algorithm.update(state, part, key, on_each), axis_name="device")
    two = jax.jit(shared_out)(halves)
    assert same(one, jax.tree.map(lambda leaf: leaf[0], two), rtol=1e-4, atol=1e-5)


def test_a_memory_does_not_read_what_counterfactuals_move():
    def post_decision(observation, action, context):
        return jnp.float32(0.0), jnp.concatenate([observation[:2], action[:1]])

    world = spec(actions=1, post_decision=post_decision, controlled=((2, -1.0, 1.0),))
    algorithm = make("td3", network("lstm"), post_decision_critic=True, counterfactuals=1)
    policy = algorithm.policy(algorithm.init(jax.random.key(0), world))
    assert np.array_equal(policy.watched, [1.0, 1.0, 0.0])
    carries = [
        algorithm.act(policy, jnp.array([[0.3, 0.2, charge]]), algorithm.initial_carry(1), jax.random.key(0), False)[1]
        for charge in (-1.0, 1.0)
    ]
    assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, carries), strict=True))


@cache
def taught(name, kind):
    """Greedy actions at the last step of `memory`, for the cues -1 and 1, after learning from random play."""
    config = SequenceConfig(length=RECALL_STEPS, kind="episode", stride=1, burn_in=0)
    changes = {"initial_temperature": 1e-6, "learn_temperature": False} if name == "sac" else {}
    algorithm = make(name, network(kind), average_actor=0.0, **changes)
    block = played("memory")
    steps, envs = block[2].shape
    start = algorithm.initial_carry(envs)
    carries = jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape)), start)

    @jax.jit
    def run():
        replay = sequences.init(config, envs * steps, envs, jnp.zeros(1), jnp.zeros(1), start, 1)
        observation, action, reward, *ends, final = block
        replay = sequences.add(replay, observation, action, reward, ends[0], ends[1], final, carries)
        inputs = sequences.sample(replay, jax.random.key(2), 600, 32, 1, 0.9)
        state = algorithm.init(jax.random.key(3), PROBE_SPEC)
        state, _ = algorithm.update(state, inputs, jax.random.key(4), PROBE_SPEC)
        carry, action = algorithm.initial_carry(2), None
        for seen in [jnp.array([[-1.0], [1.0]]), *[jnp.zeros((2, 1))] * (RECALL_STEPS - 1)]:
            action, carry, _ = algorithm.act(algorithm.policy(state), seen, carry, jax.random.key(5), False)
        return action

    return np.asarray(run())[:, 0]


@pytest.mark.parametrize(("name", "kind"), [pytest.param("sac", "lstm", marks=pytest.mark.slow), ("td3", "gru")])
def test_a_cue_of_the_first_step_decides_the_last_action(name, kind):
    assert np.allclose(taught(name, kind), [-BEST_ACTION, BEST_ACTION], atol=0.15)


def test_without_memory_the_cue_is_lost():
    _, actions = learn("td3")(played("memory"))
    assert NETWORK.name == "mlp" and abs(actions[1, 0]) < 0.3  # the last step looks alike after either cue
