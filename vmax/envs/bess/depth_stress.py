"""What the wear models say of a depth, a charge, a temperature or a time: pure formulas, each with its source.

They work on NumPy arrays in float64 as on JAX arrays in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = Any

KELVIN = 273.15
SECONDS_PER_H = 3600.0
SMALLEST_DEPTH = 1e-6
"""Depths below it are rounding: they stress nothing."""


def bucket_stress(depth: Array, limits: Array, stress: Array) -> Array:
    """z(DOD): `stress[i]` of the first of the ascending `limits` that `depth` does not exceed, else the last, `[...]`.

    A depth within 1e-6 of a limit counts as not beyond it, as a charge in float32 is rounded.
    Source: Cardo-Miota, Beltran, Ayuso, Segarra-Tamarit & Pérez (2025), Applied Energy 388, 125561, eqs. 16-20.
    """
    return stress[(depth[..., None] > limits + SMALLEST_DEPTH).sum(-1)]


def bucket_cost_eur(power_mw: Array, dt_h: float, stress: Array, cycle_cost_eur_per_mwh: Array) -> Array:
    """|p| · Δt · z(DOD) · C_cyc / 2: half of a cycle's price is paid going in, half going out. Source: ibid."""
    return abs(power_mw) * dt_h * stress * cycle_cost_eur_per_mwh / 2.0


def power_law(depth: Array, share: Array, exponent: Array) -> Array:
    """Share of the cycle life that one full cycle takes: Φ(δ) = a · δ^b.

    Source: Xu, Zhao, Zheng, Litvinov & Kirschen (2018), Factoring the Cycle Aging Cost of Batteries Participating in
    Electricity Markets, IEEE Trans. Power Systems 33(2): a = 5.24e-4, b = 2.03 (3,000 cycles of 80 %).
    """
    return share * depth**exponent


def xu_cycle(k: Mapping[str, Array], depth: Array, mean_soc: Array, temperature_c: Array) -> Array:
    """Stress of one full cycle, f_c = S_δ(δ) · S_σ(σ) · S_T(T), with S_δ = 1 / (kδ1 · δ^kδ2 + kδ3).

    `k`: the constants of `XuConfig`. Source: Xu, Oudalov, Ulbig, Andersson & Kirschen (2018), Modeling of Lithium-Ion
    Battery Degradation for Cell Life Assessment, IEEE Trans. Smart Grid 9(2).
    """
    moved = depth > SMALLEST_DEPTH
    xp = _library(depth)
    s_delta = 1.0 / (k["k_delta1"] * xp.where(moved, depth, 1.0) ** k["k_delta2"] + k["k_delta3"])
    return xp.where(moved, s_delta, 0.0) * _xu_soc(k, mean_soc) * _xu_temperature(k, temperature_c)


def xu_calendar(k: Mapping[str, Array], hours: Array, soc: Array, temperature_c: Array) -> Array:
    """Stress of time at a charge, f_t = k_t · t · S_σ(σ) · S_T(T). Source: ibid.

    The source takes the mean charge of the whole life; over steps the charge of each is taken, which is a little more
    where the charge swings (4.6 % for a swing over the whole capacity).
    """
    seconds = hours * SECONDS_PER_H
    return k["k_time_per_s"] * seconds * _xu_soc(k, soc) * _xu_temperature(k, temperature_c)


def xu_life(k: Mapping[str, Array], stress: Array) -> Array:
    """Share of capacity lost, L(f) = 1 − α·exp(−β·f) − (1 − α)·exp(−f): an early film, then wear. Source: ibid."""
    film, expm1 = k["film_share"], _library(stress).expm1
    return -film * expm1(-k["film_rate"] * stress) - (1.0 - film) * expm1(-stress)


def xu_life_added(k: Mapping[str, Array], stress: Array, added: Array) -> Array:
    """L(f + Δf) − L(f), without the cancellation of the difference."""
    film, rate, xp = k["film_share"], k["film_rate"], _library(added)
    early = film * xp.exp(-rate * stress) * xp.expm1(-rate * added)
    return -early - (1.0 - film) * xp.exp(-stress) * xp.expm1(-added)


def _xu_soc(k: Mapping[str, Array], soc: Array) -> Array:
    """S_σ = exp(kσ · (σ − σ_ref))."""
    return _library(soc).exp(k["k_soc"] * (soc - k["soc_reference"]))


def _xu_temperature(k: Mapping[str, Array], temperature_c: Array) -> Array:
    """S_T = exp(k_T · (T − T_ref) · T_ref / T), the ratio in K."""
    ratio = (k["temperature_reference_c"] + KELVIN) / (temperature_c + KELVIN)
    return _library(temperature_c).exp(k["k_temperature"] * (temperature_c - k["temperature_reference_c"]) * ratio)


def _library(value: Array) -> Any:
    return jnp if isinstance(value, jax.Array) else np
