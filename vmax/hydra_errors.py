"""Hydra's and OmegaConf's errors as one line each, in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vmax.conversion import unknown_key

Compose = Callable[[list[str]], DictConfig]
HYDRA_ERRORS = (HydraException, OmegaConfBaseException, ValueError)


def explain(
    error: BaseException,
    overrides: Sequence[str] = (),
    compose: Compose | None = None,
) -> str:
    """What went wrong, in one line.

    Args:
      error: raised by Hydra or OmegaConf.
      overrides: those that were being composed.
      compose: composes the overrides given to it; called without the offending one to learn which keys there are.
    """
    text = str(error) or str(error.__cause__)
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read ({_first_line(text)}); write key=value, and quote special characters"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error.missing_cfg_file, error.options or ())
    if match := re.match(r"Ambiguous value for argument '([^']+)'", text):
        return f"{match[1]}: several values need --multirun; a list is written key=[a,b]"
    if match := re.match(r"Could not override '([^']+)'", text):
        return _unknown_override(match[1], overrides, compose)
    if match := re.match(r"Could not (?:append|delete)[^']*'([^']+)'", text):
        return f"{match[1]}: {_first_line(text)}"
    if text.startswith("Config group override must be") or re.search(r"\$\{(env|algorithm)\}", text):
        return f"{_offender(overrides, compose)}: must be the name of a choice (see --help)"
    return _first_line(text)


def _offender(overrides: Sequence[str], compose: Compose | None) -> str:
    """The first override that cannot be composed by itself."""
    for override in overrides:
        try:
            _ = compose([override]) if compose else None
        except HYDRA_ERRORS:
            return override
    return " ".join(overrides)


def _unknown_choice(path: str, options: Sequence[str]) -> str:
    group, _, choice = path.rpartition("/")
    if not group:
        return f"--config-name={choice}: no such configuration"
    available = ", ".join(sorted(options)) or "none"
    return f"{group}={choice}: unknown; available: {available}"


def _unknown_override(key: str, overrides: Sequence[str], compose: Compose | None) -> str:
    """The nearest known key, found in what the other overrides compose to."""
    known: list[str] = []
    for rest in ([override for override in overrides if override.partition("=")[0] != key], []):
        try:
            known = known or (keys(compose(rest)) if compose else [])
        except HYDRA_ERRORS:
            continue
    return str(unknown_key(key, known))


def keys(config: Any, path: str = "") -> list[str]:
    """All full keys of a configuration, groups included."""
    plain = OmegaConf.to_container(config, resolve=False) if OmegaConf.is_config(config) else config
    if not isinstance(plain, dict):
        return []
    found = []
    for name, value in plain.items():
        full = f"{path}.{name}" if path else str(name)
        found += [full, *keys(value, full)]
    return found


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "unknown error").rstrip(".")
