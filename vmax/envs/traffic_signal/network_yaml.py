"""YAML whose values are all text, as they are written: `010`, `1_0`, `1e3`, `on` and `2024-01-01` are names like any
other. What is a number is for its reader to say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml


class _AsText(yaml.SafeLoader):
    """Nothing is guessed from how a value looks; only merge keys (`<<`) keep their meaning."""


_MERGE = "tag:yaml.org,2002:merge"
_AsText.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [resolver for resolver in resolvers if resolver[0] == _MERGE])
}


def load(text: str) -> Any:
    """Mappings, lists and text; empty values are empty text. Raises yaml.YAMLError."""
    return yaml.load(text, _AsText)


def repeated(text: str) -> Iterator[tuple[str, int, int]]:
    """Keys that one mapping has twice: the place such as `links.a`, and both lines. Raises yaml.YAMLError."""
    root = yaml.compose(text, _AsText)
    return iter(()) if root is None else _repeated(root, "", set())


def _repeated(node: Any, where: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    if id(node) in seen:  # an alias: what it stands for was looked at in its own place
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            yield from _repeated(entry, where, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            line, place = key.start_mark.line + 1, f"{where}.{key.value}".strip(".")
            if key.value in lines:
                yield place, lines[key.value], line
            lines[key.value] = line
            yield from _repeated(value, place, seen)


def values_below(text: str, key: str) -> list[Any]:
    """The values of a mapping at the top, one for each time that a name stands there, in order. Raises
    yaml.YAMLError."""
    root, loader = yaml.compose(text, _AsText), _AsText("")
    found = next(value for name, value in root.value if name.value == key)
    return [loader.construct_document(value) for _, value in found.value]
