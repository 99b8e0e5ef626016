"""What the benchmark of learning with memory counts and compares."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from vmax.commands import bench_memory, bench_torch
from vmax.commands.bench_memory import MemoryConfig

SMALL = MemoryConfig(repeats=1, observation=3, units=4, hidden=(5,), sequences=2, length=3, updates=1)


def test_operations_of_an_update_are_those_of_the_hand_count():
    # D = u = A = 1, head 2: 2 sequences of 1 step are R = 4 rows for a memory, M = 2 samples for a head.
    # A memory forward: 2 · 4 · (1 + 1) · 4 = 64, its weights 64, what it remembered 2 · 4 · 1 · 4 = 32.
    # Heads: actor 2-2-1 is 2 · 2 · (4 + 2) = 24, critic 3-2-1 is 2 · 2 · (6 + 2) = 32.
    target, critics, actor = (64 + 24) + 2 * (64 + 32), 2 * (64 + 64 + 32 + 3 * 32), 64 + 64 + 32 + 3 * 24
    first_critic = 64 + 2 * 32
    counted = bench_memory.lstm_td3_flops(1, 1, 1, (2,), 2, 1)
    assert counted == target + critics + actor + first_critic


def test_rates_and_share_follow_from_the_seconds(monkeypatch):
    seconds = {"gemm": 0.5, "lstm": 2.0}
    monkeypatch.setattr(bench_memory, "median_seconds", lambda calls, repeats: {name: seconds[name] for name in calls})
    config = replace(SMALL, updates=8)
    figures = bench_memory.memory_rates(config, 3)
    share = 4.0 * bench_memory.lstm_td3_flops(3, 1, 4, (5,), 2, 3) / (3 * 2 * 256**3 / 0.5)
    assert figures == {"lstm_updates_per_s": 4.0, "lstm_share_of_gemm": pytest.approx(share)}


def test_the_learner_learns_on_the_sequences_that_it_is_given():
    call = bench_memory.lstm_updates(SMALL)
    before = np.asarray(jax.tree.leaves(call.state[0].actor.params)[0])
    call()
    after = np.asarray(jax.tree.leaves(call.state[0].actor.params)[0])
    assert call.state[0].updates == 1 and np.isfinite(after).all() and (before != after).any()


def test_torch_does_the_same_maths():
    """Our weights in its network, our sequences: the losses of one update agree."""
    torch = pytest.importorskip("torch")
    algorithm, spec = bench_memory.learner(SMALL)
    state, batch = algorithm.init(jax.random.key(2), spec), bench_memory.sequences_of(SMALL)
    state = replace(state, hyper=replace(state.hyper, target_noise=0.0))
    theirs = bench_torch.TorchTD3(torch, SMALL, noise=0.0)

    def give(network, params, member):
        own = jax.tree.map(lambda leaf: np.asarray(leaf if member is None else leaf[member]), params)
        memory, head = own["memory"], own["params"] if member is None else own["params"]["members"]
        stacked = {f"{side}h": np.concatenate([memory[f"{side}{g}"]["kernel"].T for g in "ifgo"]) for side in "ih"}
        tensors = {"weight_ih_l0": stacked["ih"], "weight_hh_l0": stacked["hh"]}
        tensors["bias_hh_l0"] = np.concatenate([memory[f"h{g}"]["bias"] for g in "ifgo"])
        tensors["bias_ih_l0"] = np.zeros_like(tensors["bias_hh_l0"])
        network["memory"].load_state_dict({name: torch.tensor(value) for name, value in tensors.items()})
        layers = [head["Torso_0"]["Dense_0"], head["mean" if member is None else "Dense_0"]]
        for place, layer in zip((0, 2), layers, strict=True):
            network["head"][place].weight.data = torch.tensor(layer["kernel"].T.copy())
            network["head"][place].bias.data = torch.tensor(layer["bias"])

    give(theirs.actor, state.actor.params, None)
    for member, critic in enumerate(theirs.critics):
        give(critic, state.critic.params, member)
    theirs.synchronise()
    assert batch.history is not None
    told = [torch.tensor(np.asarray(leaf)) for leaf in (batch.history.observation, batch.action, batch.reward)]
    losses = theirs.update(told[0][0], told[1][0], told[2][0][..., None])
    _, metrics = algorithm.update(state, batch, jax.random.key(0), spec)
    assert losses == pytest.approx((float(metrics["critic_loss"]), float(metrics["actor_loss"])), rel=1e-4, abs=1e-6)
