from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from vmax.conversion import build
from vmax.errors import UserError
from vmax.spaces import Number


@dataclass(frozen=True)
class Inner:
    power_mw: Number
    mode: Literal["error", "interpolate"]


@dataclass(frozen=True)
class Outer:
    steps: int
    rate: float
    label: str | None
    flag: bool
    hidden: tuple[int, ...]
    window: tuple[str, str] | None
    days: Annotated[tuple[str, ...], "days such as [mon,tue]"] | None
    inner: Inner
    more: Inner | None


GOOD: dict[str, Any] = {
    "steps": 5,
    "rate": 0.5,
    "label": None,
    "flag": True,
    "hidden": [64, 64],
    "window": None,
    "days": None,
    "inner": {"power_mw": 1.5, "mode": "error"},
    "more": None,
}


def changed(**values):
    return build(Outer, {**GOOD, **values}, "env")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"steps": 1e6}, 1_000_000),
        ({"steps": "1e6"}, 1_000_000),
        ({"steps": 1_000_000}, 1_000_000),
        ({"rate": 1}, 1.0),
        ({"rate": "3e-4"}, 3e-4),
        ({"label": "x"}, "x"),
        ({"label": 2024}, "2024"),
        ({"hidden": []}, ()),
        ({"days": ["mon"]}, ("mon",)),
        ({"window": ["2019-01-01", "2022-12-31"]}, ("2019-01-01", "2022-12-31")),
        ({"inner": {"power_mw": [1, 2.5], "mode": "interpolate"}}, Inner((1.0, 2.5), "interpolate")),
        ({"more": {"power_mw": 2, "mode": "error"}}, Inner(2.0, "error")),
    ],
)
def test_values_are_converted_to_their_type(values, expected):
    found = getattr(changed(**values), next(iter(values)))
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1.5}, "env.steps=1.5: must be a whole number"),
        ({"steps": None}, "env.steps=null: must be a whole number"),
        ({"steps": True}, "env.steps=true: must be a whole number"),
        ({"rate": "abc"}, "env.rate=abc: must be a number"),
        ({"rate": float("nan")}, "env.rate=nan: must be a number"),
        ({"rate": float("inf")}, "env.rate=inf: must be a number"),
        ({"flag": 1}, "env.flag=1: must be true or false"),
        ({"label": [1]}, "env.label=[1]: must be text or null"),
        ({"hidden": 64}, "env.hidden=64: must be a list [a,b,...] (each a whole number)"),
        ({"hidden": [64, 1.5]}, "env.hidden[1]=1.5: must be a whole number"),
        ({"window": ["2019"]}, "env.window=[2019]: must be a list [a,b] (each text) or null"),
        ({"days": 5}, "env.days=5: must be days such as [mon,tue] or null"),
        ({"inner": 3}, "env.inner=3: must be a group of keys (power_mw, mode)"),
        ({"inner": {"power_mw": 1.0}}, "env.inner.mode: missing; must be one of error, interpolate"),
        (
            {"inner": {"power_mw": 1.0, "mode": "mend"}},
            "env.inner.mode=mend: must be one of error, interpolate",
        ),
        (
            {"inner": {"power_mw": [2, 1], "mode": "error"}},
            "env.inner.power_mw=[2,1]: must be a number, or a range [low, high] with low <= high",
        ),
        ({"more": {"power_mw": "much", "mode": "error"}}, "env.more.power_mw=much: must be a number, or a range"),
        ({"ratee": 1}, "env.ratee: unknown; did you mean env.rate? (see --cfg job)"),
        ({"zzz": 1}, "env.zzz: unknown (see --cfg job)"),
        ({"inner": {**GOOD["inner"], "pwr": 1}}, "env.inner.pwr: unknown; did you mean env.inner.power_mw?"),
    ],
)
def test_a_mistake_is_one_line_with_key_value_and_what_is_allowed(values, message):
    with pytest.raises(UserError) as caught:
        changed(**values)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
