"""The battery of `env=bess` once more, as one would write it in vectorised NumPy: a yardstick for the compiled one."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from vmax.envs.bess.observation import SCALE_REFERENCE_EUR
from vmax.envs.bess.scenarios import row_of


class NumpyBattery:
    """N batteries on known prices: step, default observation, reward with its shaping, auto-reset, episode statistics.

    Attributes: `time`, `soc`, `factor`, `left` (steps to the end), `episode_return`, `episode_length`, each `[N]`.
    """

    def __init__(self, env: Any, num_envs: int, seed: int = 0) -> None:
        """For an environment that `offered` accepts."""
        params = env.params("train")
        scenarios, scales = params.scenarios, params.scales
        self.site = {name: np.float32(value) for name, value in params.site.numbers.items()}
        self.price, self.spread, self.mean = (
            np.asarray(getattr(scenarios, name), np.float32)
            for name in ("price_eur_per_mwh", "spread_eur_per_mwh", "mean_eur_per_mwh")
        )
        self.table, self.first = np.asarray(params.table), int(params.table_first)
        self.starts = np.asarray(scenarios.starts)
        self.scale = {name: np.float32(scales[name]) for name in ("price_mean", "price_scale")}
        self.band, self.full = env.config.action.dead_band, env.config.action.full_band
        self.log_factor, self.start_soc = np.asarray(params.log_factor), np.asarray(params.start_soc)
        self.steps, self.dt_h, self.random = env.episode_steps, np.float32(env.dt_h), np.random.default_rng(seed)
        self.time, self.left, self.episode_length = (np.zeros(num_envs, np.int32) for _ in range(3))
        self.soc, self.factor, self.episode_return = (np.zeros(num_envs, np.float32) for _ in range(3))
        self.reset(np.ones(num_envs, bool))

    def reset(self, done: np.ndarray) -> None:
        """Fresh draws of start, charge and price factor where `done`, `[N]`."""
        count = int(done.sum())
        if count:
            self.time[done] = self.random.choice(self.starts, count)
            self.soc[done] = self.random.uniform(self.start_soc[0], self.start_soc[1], count)
            self.factor[done] = np.exp(self.random.uniform(self.log_factor[0], self.log_factor[1], count))
            self.left[done] = self.steps
            self.episode_return[done], self.episode_length[done] = 0.0, 0

    def observe(self) -> np.ndarray:
        """`[N, D]`, the features in the order of `env=bess`: the battery's own, then those of the table."""
        row, site = row_of(self.time, self.dt_h), self.site
        spread = self.factor * self.spread[row]
        own = (
            2.0 * (self.soc - site["soc_min"]) / (site["soc_max"] - site["soc_min"]) - 1.0,
            np.arcsinh(self.factor * self.mean[row] / spread) / self.scale["price_mean"],
            np.arcsinh(np.float32(SCALE_REFERENCE_EUR) / spread) / self.scale["price_scale"],
        )
        return np.concatenate([np.stack(own, axis=1), self.table[self.time - self.first]], axis=1)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions `[N]` -> (the next observation to act on `[N, D]`, reward `[N]`); what ends starts anew."""
        site, dt_h, row = self.site, self.dt_h, row_of(self.time, self.dt_h)
        price, mark = self.factor * self.price[row], self.factor * self.mean[row]
        size = np.clip((np.abs(action) - self.band) / (1.0 - self.band - self.full), 0.0, 1.0)
        request = np.sign(action) * size * site["power_mw"]
        room = np.maximum(site["soc_max"] - self.soc, 0.0) * site["capacity_mwh"] / dt_h
        stored = np.maximum(self.soc - site["soc_min"], 0.0) * site["capacity_mwh"] / dt_h
        charge = np.clip(-request, 0.0, np.minimum(site["power_mw"], room / site["eta_charge"]))
        discharge = np.clip(request, 0.0, np.minimum(site["power_mw"], stored * site["eta_discharge"]))
        moved = (charge * site["eta_charge"] - discharge / site["eta_discharge"]) * dt_h
        soc = np.clip(self.soc + moved / site["capacity_mwh"], site["soc_min"], site["soc_max"])
        money = (discharge - charge) * price - (discharge + charge) * site["wear_eur_per_mwh"]
        shaping = mark * (soc - self.soc) * site["capacity_mwh"]
        reward = (money * dt_h + shaping) / (self.factor * self.spread[row] * site["power_mw"])
        self.soc, self.time, self.left = soc, self.time + 1, self.left - 1
        self.episode_return, self.episode_length = self.episode_return + reward, self.episode_length + 1
        self.reset(self.left <= 0)
        return self.observe(), reward


def offered(env: Any) -> bool:
    """Whether the yardstick is this environment: `bess` on known prices without fees, ranges and losses of its own."""
    config: Any = env.config
    if env.name != "bess" or config.information != "day_ahead" or env.ranged or env.has_pv:
        return False
    site, own = vars(config.battery) | vars(config.plant), ("soc", "price_mean", "price_scale")
    if config.battery.compat_power_limit:
        return False
    limits = (config.plant.import_limit_mw, config.plant.export_limit_mw)
    unlimited = all(limit is None or limit >= config.battery.power_mw for limit in limits)
    plain = unlimited and not any(site[n] for n in site if n.endswith(("fee_eur_per_mwh", "loss", "discharge_per_h")))
    unshifted = config.augmentation.price_shift_eur_per_mwh == (0.0, 0.0)
    signed = config.action.mode == "signed"
    return plain and unshifted and signed and config.reward.shaping == "mark" and env.features[:3] == own


def numpy_steps_per_s(env: Any, num_envs: int, environment_steps: int, repeats: int) -> float:
    """Steps per second of `num_envs` batteries in NumPy with uniformly random actions; the median of some calls."""
    battery, random = NumpyBattery(env, num_envs), np.random.default_rng(1)
    length, seconds = max(1, environment_steps // num_envs), []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        for _ in range(length):
            battery.step(random.uniform(-1.0, 1.0, num_envs).astype(np.float32))
        seconds.append(time.perf_counter() - started)
    return length * num_envs / float(np.median(seconds[1:]))
