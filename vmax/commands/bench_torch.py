"""TD3 with `torch.nn.LSTM`, as one would write it in PyTorch: the same maths and sizes as `bench_memory.lstm_updates`.

Actor and each critic have an LSTM of their own that reads the observations and a head of linear layers that reads the
observation, for critics the action, and what the LSTM remembers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from vmax.commands.bench_memory import MemoryConfig

DISCOUNT, POLYAK, AVERAGE, RATE = 0.99, 0.01, 0.999, 1e-3
NOISE, NOISE_CLIP = 0.2, 0.5


def network(torch: Any, config: MemoryConfig, actions: int, outputs: int) -> Any:
    """An LSTM and a head that reads observation, `actions` numbers and memory: a `ModuleDict`."""
    widths = (config.observation + actions + config.units, *config.hidden)
    layers = [layer for i, o in pairwise(widths) for layer in (torch.nn.Linear(i, o), torch.nn.ReLU())]
    head = torch.nn.Sequential(*layers, torch.nn.Linear(widths[-1], outputs))
    return torch.nn.ModuleDict({"memory": torch.nn.LSTM(config.observation, config.units), "head": head})


def recall(network: Any, seen: Any) -> Any:
    """What a network's LSTM remembers along sequences, `[L + 1, B, units]`."""
    return network["memory"](seen)[0]


class TorchTD3:
    """The learner; a call makes `updates` updates on sequences that were drawn beforehand."""

    def __init__(self, torch: Any, config: MemoryConfig, noise: float = NOISE) -> None:
        self.torch, self.updates, self.noise = torch, config.updates, noise
        torch.manual_seed(0)
        self.actor, self.target_actor, self.averaged_actor = (network(torch, config, 0, 1) for _ in range(3))
        self.critics, self.target_critics = (
            torch.nn.ModuleList([network(torch, config, 1, 1) for _ in range(2)]) for _ in range(2)
        )
        self.synchronise()
        self.actor_step = torch.optim.Adam(self.actor.parameters(), lr=RATE)
        self.critic_step = torch.optim.Adam(self.critics.parameters(), lr=RATE)
        shape = (config.updates, config.length, config.sequences)
        self.seen = torch.randn(shape[0], shape[1] + 1, shape[2], config.observation)
        self.done, self.reward = 2.0 * torch.rand(*shape, 1) - 1.0, torch.randn(*shape, 1)

    def synchronise(self) -> None:
        """Targets and the averaged actor become copies."""
        self.target_actor.load_state_dict(self.actor.state_dict())
        self.averaged_actor.load_state_dict(self.actor.state_dict())
        self.target_critics.load_state_dict(self.critics.state_dict())

    def __call__(self) -> None:
        for update in range(self.updates):
            self.update(self.seen[update], self.done[update], self.reward[update])

    def update(self, seen: Any, done: Any, reward: Any) -> tuple[float, float]:
        """One update on sequences `[L + 1, B, D]`, `[L, B, 1]`, `[L, B, 1]`; returns the losses."""
        torch = self.torch
        before, after = seen[:-1], seen[1:]
        with torch.no_grad():
            noise = torch.clamp(self.noise * torch.randn_like(done), -NOISE_CLIP, NOISE_CLIP)
            action = self.act(self.target_actor, after, recall(self.target_actor, seen)[1:])
            action = torch.clamp(action + noise, -1.0, 1.0)
            following = [self.value(one, after, action, recall(one, seen)[1:]) for one in self.target_critics]
            target = reward + DISCOUNT * torch.minimum(*following)
        taken = [self.value(one, before, done, recall(one, seen)[:-1]) for one in self.critics]
        loss = 0.5 * torch.stack([torch.nn.functional.mse_loss(values, target) for values in taken]).sum()
        self.critic_step.zero_grad()
        loss.backward()
        self.critic_step.step()
        first = self.critics[0].requires_grad_(False)
        action = self.act(self.actor, before, recall(self.actor, seen)[:-1])
        actor_loss = -self.value(first, before, action, recall(first, seen)[:-1]).mean()
        self.actor_step.zero_grad()
        actor_loss.backward()
        self.actor_step.step()
        first.requires_grad_(True)
        self.follow(self.target_actor, self.actor, POLYAK)
        self.follow(self.target_critics, self.critics, POLYAK)
        self.follow(self.averaged_actor, self.actor, 1.0 - AVERAGE)
        return float(loss.detach()), float(actor_loss.detach())

    def act(self, actor: Any, seen: Any, memory: Any) -> Any:
        return self.torch.tanh(actor["head"](self.torch.cat([seen, memory], -1)))

    def value(self, critic: Any, seen: Any, done: Any, memory: Any) -> Any:
        return critic["head"](self.torch.cat([seen, done, memory], -1))

    def follow(self, target: Any, online: Any, rate: float) -> None:
        with self.torch.no_grad():
            self.torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), rate)
