"""What the program of a function shows before it runs: calls of the host, and random numbers from keys of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

RANDOM = ("random_", "threefry", "rng_")
"""How the primitives begin that make or use keys."""


def callbacks(jaxpr: Any) -> list[str]:
    """Names of the primitives that call the host, in a program and all that it contains."""
    return primitives(jaxpr, lambda name: "callback" in name or name in ("infeed", "outfeed"))


def primitives(jaxpr: Any, wanted: Callable[[str], bool]) -> list[str]:
    """Names of the primitives that are wanted, in a program and all that it contains."""
    found = []
    for equation in jaxpr.eqns:
        found += [equation.primitive.name] * wanted(equation.primitive.name)
        for inner in _inside(equation):
            found += primitives(inner, wanted)
    return found


def draws(function: Callable[..., Any], sources: int, *given: Any) -> tuple[bool, bool]:
    """Whether a function draws random numbers, and whether it makes or uses a key that does not come from its first
    `sources` arguments."""
    program = jax.make_jaxpr(function)(*given).jaxpr
    count = len(jax.tree.leaves(given[:sources]))
    known, drawn, foreign = set(program.invars[:count]), False, False
    for equation in program.eqns:
        follows = any(not isinstance(variable, Literal) and variable in known for variable in equation.invars)
        if follows:
            known.update(equation.outvars)
        if _random(equation.primitive.name) or any(primitives(inner, _random) for inner in _inside(equation)):
            drawn, foreign = True, foreign or not follows
    return drawn, foreign


def _random(name: str) -> bool:
    return name.startswith(RANDOM)


def _inside(equation: Any) -> list[Any]:
    """The programs that an equation contains."""
    values = jax.tree.leaves(list(equation.params.values()), is_leaf=_is_program)
    return [getattr(value, "jaxpr", value) for value in values if _is_program(value)]


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns")
