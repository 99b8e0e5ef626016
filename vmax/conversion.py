"""From plain YAML values to typed, frozen dataclasses: strictly, and with one clear line for each mistake."""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import SequenceMatcher
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from vmax.errors import UserError
from vmax.spaces import Number


@dataclass(frozen=True)
class InputFile:
    """Marks a setting, in its annotation, as the path of a file that a run reads, or of a folder of such files.

    `shipped()`: names that are no paths, since they come with vmax. `within`: which files of a folder are read, as a
    glob. `recorded`: whether a run keeps what the file held (`vmax.training.inputs`).
    """

    shipped: Callable[[], Collection[str]] = tuple
    within: str = "*"
    recorded: bool = True


DataFile = Annotated[str, "the path of a file", InputFile()]
"""A setting that names a file which a run reads."""
NOUNS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def build(cls: Any, mapping: Any, path: str = "") -> Any:
    """The dataclass `cls` from a mapping that has exactly its fields.

    Args:
      cls: a dataclass; nested dataclasses, `X | None`, Literal, bool, int, float, str, tuples, `Number` and Any, or
        these as `Annotated[X, "what is allowed, in words"]`.
      mapping: the values; whole floats and texts such as "1e6" count as whole numbers. A class with a static method
        `filled(mapping, path)` is built from what that gives.
      path: where the mapping stands in the configuration, for the messages (`env.battery`).

    Raises: UserError that names the full key, the value found and what is allowed.
    """
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)]
    if not isinstance(mapping, Mapping):
        raise UserError(f"{path}={show(mapping)}: must be a group of keys ({', '.join(names)})")
    if (filled := getattr(cls, "filled", None)) is not None:
        mapping = filled(mapping, path)
    for key in mapping:
        if key not in names:
            raise unknown_key(_join(path, str(key)), [_join(path, name) for name in names])
    for name in names:
        if name not in mapping:
            raise UserError(f"{_join(path, name)}: missing; must be {describe(hints[name])}")
    return cls(**{name: convert(hints[name], mapping[name], _join(path, name)) for name in names})


def convert(hint: Any, value: Any, path: str) -> Any:
    """One value as the type `hint`. Raises UserError that names the path, the value and what is allowed."""
    if hint is Any:
        return value
    arms = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for arm in arms:
        if is_dataclass(arm) and isinstance(arm, type) and (len(arms) == 1 or isinstance(value, Mapping)):
            return build(arm, value, path)
        try:
            converted = _convert_plain(arm, value, path)
        except (TypeError, ValueError):
            continue
        if hint == Number and isinstance(converted, tuple) and converted[0] > converted[1]:
            break
        return converted
    raise UserError(f"{path}={show(value)}: must be {describe(hint)}")


def _convert_plain(hint: Any, value: Any, path: str) -> Any:
    """One value as a plain type; raises TypeError or ValueError where it cannot be."""
    if get_origin(hint) is Annotated:
        return _convert_plain(get_args(hint)[0], value, path)
    if get_origin(hint) is Literal:
        return get_args(hint)[get_args(hint).index(value)]
    if get_origin(hint) is tuple:
        return _convert_list(get_args(hint), value, path)
    if hint is type(None) or hint is bool:
        if not isinstance(value, hint):
            raise TypeError
        return value
    if isinstance(value, bool) or value is None or not isinstance(value, int | float | str):
        raise TypeError
    if hint is str:
        return str(value)
    number = value if isinstance(value, int) else float(value)
    if not math.isfinite(number) or (hint is int and number != int(number)):
        raise ValueError
    return hint(number)


def _convert_list(items: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    """A list as `tuple[T, ...]` or, with a fixed length, `tuple[A, B]`."""
    if not isinstance(value, list | tuple):
        raise TypeError
    hints = [items[0]] * len(value) if items[-1] is Ellipsis else list(items)
    if len(hints) != len(value):
        raise ValueError
    return tuple(convert(hint, item, f"{path}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True)))


def with_files(cls: Any, mapping: Any, change: Callable[[str, str, InputFile], str], path: str = "") -> Any:
    """The mapping with each path of an `InputFile` in it exchanged for `change(key, value, mark)`.

    The paths of a list are numbered: `env.network.0`. What has not the form of the dataclass `cls` stays as it is:
    `build` says what is wrong with it.
    """
    if not isinstance(mapping, Mapping):
        return mapping
    hints = get_type_hints(cls, include_extras=True)
    return {
        name: _with_files(hints[name], value, change, _join(path, str(name))) if name in hints else value
        for name, value in mapping.items()
    }


def _with_files(hint: Any, value: Any, change: Callable[[str, str, InputFile], str], key: str) -> Any:
    """The same for one value of the type `hint`."""
    for arm in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        if is_dataclass(arm) and isinstance(value, Mapping):
            return with_files(arm, value, change, key)
        if get_origin(arm) is tuple and isinstance(value, list | tuple):
            inner = get_args(arm)
            kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
            if len(kinds) != len(value):
                return value
            each = enumerate(zip(kinds, value, strict=True))
            return [_with_files(kind, item, change, f"{key}.{number}") for number, (kind, item) in each]
        mark = file_mark(arm)
        if mark is not None and isinstance(value, str | int | float) and not isinstance(value, bool):
            return value if str(value) in mark.shipped() else change(key, str(value), mark)
    return value


def file_mark(hint: Any) -> InputFile | None:
    """The mark of a type that is one path of a file."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, InputFile)), None)


def describe(hint: Any) -> str:
    """What a type allows, in words."""
    if hint == Number:
        return "a number, or a range [low, high] with low <= high"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(describe(arm) for arm in get_args(hint))
    if get_origin(hint) is Annotated:
        return get_args(hint)[1]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(show(choice) for choice in get_args(hint))}"
    if get_origin(hint) is tuple:
        items = get_args(hint)
        form = "[a,b,...]" if items[-1] is Ellipsis else f"[{','.join('abcdefgh'[: len(items)])}]"
        return f"a list {form} (each {describe(items[0])})"
    return "a group of keys" if is_dataclass(hint) else NOUNS.get(hint, "a value")


def unknown_key(key: str, known: Iterable[str]) -> UserError:
    """The error for a key that does not exist, with the nearest of the `known` ones where one is near."""
    score, nearest = max(((_likeness(key, candidate), candidate) for candidate in known), default=(0.0, ""))
    hint = f"; did you mean {nearest}?" if score >= 0.55 else ""
    return UserError(f"{key}: unknown{hint} (see --cfg job)")


def _likeness(key: str, candidate: str) -> float:
    """How likely `candidate` was meant: same last part, an abbreviation of it, or a slip of a few letters; 0 to 2."""
    part, other = key.rpartition(".")[2], candidate.rpartition(".")[2]
    letters = iter(other)
    abbreviated = len(part) > 1 and part[0] == other[:1] and all(letter in letters for letter in part)
    slip = SequenceMatcher(None, part, other).ratio()
    whole = SequenceMatcher(None, key, candidate).ratio()
    return max(slip, 0.6 if abbreviated else 0.0) + 0.01 * whole


def show(value: Any) -> str:
    """A value as one would type it in an override."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(show(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{show(item)}" for key, item in value.items()) + "}"
    return str(value)


def as_override(value: Any) -> str:
    """A value as Hydra reads it in an override: as JSON, but for the names of keys, which it takes unquoted alone."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{escaped_key(str(key))}: {as_override(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_override, value))}]"
    return json.dumps(value, ensure_ascii=False)


def escaped_key(key: str) -> str:
    """A key of a group of keys as Hydra reads it in an override."""
    return re.sub(r"([\\(){}\[\]:=,\s])", r"\\\1", key)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
