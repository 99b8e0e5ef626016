"""Malformed overrides by chance: one line that says what is wrong, or a run; never a traceback, nothing left behind."""

import random
import string
import sys
from types import ModuleType

import pytest
from invoking import invoker
from omegaconf import OmegaConf

from vmax.commands import train as command
from vmax.config import compose
from vmax.run_folder import RunFolder

VALUES = (
    *("", "null", "true", "-1", "0", "1e999", "nan", "-inf", "1.5", "abc", "1_000", "0x10", "[1,2", "[1,2]", "[]"),
    *("{a:1}", "{", "${seed}", "${oops}", "${oc.env:NOWHERE}", "'open", '"quoted"', "a=b", "a,b", "range(1,3)"),
    *("choice(1,2)", "?", "???", "../../etc", "🙂", "\t", "\\", "1 2", "None", "[[1],[2]]", "9" * 40, "x" * 5000),
)
PREFIXES = ("", "", "", "", "+", "++", "~")


def malformed(draw: random.Random, algorithm: str = "sac") -> str:
    """A setting that exists with a value that may not fit it, or one that does not exist, or no setting at all."""
    keys = sorted(flat(OmegaConf.to_container(compose([f"algorithm={algorithm}"]))))
    key, kind = draw.choice(keys), draw.random()
    if kind < 0.2:  # a slip of the pen
        place = draw.randrange(len(key))
        key = key[:place] + draw.choice([*string.ascii_lowercase, ".", ""]) + key[place + 1 :]
    elif kind < 0.3:
        return "".join(draw.choice(string.printable) for _ in range(draw.randrange(1, 12)))
    return f"{draw.choice(PREFIXES)}{key}={draw.choice(VALUES)}"


def flat(settings, prefix=""):
    """The keys of nested settings, groups among them."""
    for key, value in settings.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


@pytest.fixture
def invoke(monkeypatch, capsys, tmp_path):
    """The training command without its loop, in a folder of its own."""

    def play(config, folder, composed):
        RunFolder(folder).start(config.seed, {})
        return {"run": {"status": "completed", "reason": None, "best_validation_score": 0.0}}

    stub = ModuleType("vmax.training.loop")
    stub.train = play  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "vmax.training.loop", stub)
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    return invoker(monkeypatch, capsys, command.main)


def refused_in_one_line_or_accepted(invoke, tmp_path, override: str, algorithm: str = "sac") -> bool:
    before = {path for path in tmp_path.rglob("*")}
    status, _, err = invoke(f"algorithm={algorithm}", override, "checks=off")
    lines = err.strip().splitlines()
    assert status in (0, 2), f"{override!r}: {err}"
    if status == 2:
        assert len(lines) == 1 and lines[0].startswith("error: ") and "Traceback" not in err, f"{override!r}: {err}"
        left = [path for path in tmp_path.rglob("*") if path not in before and path.is_file()]
        assert left == [], f"{override!r} left {left}"
    return status == 2


@pytest.mark.parametrize(("seed", "algorithm"), [(0, "sac"), pytest.param(2, "ppo", marks=pytest.mark.slow)])
def test_malformed_overrides_are_refused_in_one_line(invoke, tmp_path, seed, algorithm):
    draw = random.Random(seed)
    refused = [
        refused_in_one_line_or_accepted(invoke, tmp_path, malformed(draw, algorithm), algorithm) for _ in range(10)
    ]
    assert sum(refused) >= 5  # most of them are wrong indeed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_malformed_overrides_are_refused_in_one_line(invoke, tmp_path, seed):
    draw = random.Random(seed)
    refused = [refused_in_one_line_or_accepted(invoke, tmp_path, malformed(draw)) for _ in range(20)]
    print(f"seed {seed}: {sum(refused)} of 20 refused, the others accepted")
