"""The command `check` as from a shell, and the checks that a training run starts with."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from invoking import invoker

from vmax.checks import registry
from vmax.checks.finding import Finding
from vmax.commands import check, train
from vmax.run_folder import RunFolder

FINE = Finding("finite", "ranges", "PASS", 0.0, "values", "FAIL > 0", "", "", {})
WARNED = replace(FINE, id="headroom", status="WARN", value=0.01, hint="look at the rules")
FAILED = replace(FINE, id="leak", status="FAIL", value=2.0, hint="look at the future")


@pytest.fixture
def findings(monkeypatch, tmp_path):
    """What the checks find, and how often they are run; the cache is a folder of the test's own."""
    found, calls = [FINE, WARNED], []

    def run_checks(env, sizes, thresholds, shipped, seed, exempt, scaling=None):
        calls.append((env.name, thresholds, seed))
        return found

    monkeypatch.setattr(registry, "run_checks", run_checks)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VMAX_COMPILATION_CACHE", "on")
    monkeypatch.setenv("VMAX_REMEMBER", "on")
    monkeypatch.chdir(tmp_path)
    return found, calls


@pytest.fixture
def invoke(monkeypatch, capsys):
    return invoker(monkeypatch, capsys, check.main, "env=pendulum", "hydra.run.dir=out")


@pytest.fixture
def invoke_training(monkeypatch, capsys):
    def loop(config, folder, composed):
        RunFolder(folder).start(config.seed, {})
        return {"run": {"status": "completed", "reason": None, "best_validation_score": 0.5}}

    stub = ModuleType("vmax.training.loop")
    stub.train = loop  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "vmax.training.loop", stub)
    return invoker(monkeypatch, capsys, train.main, "env=pendulum")


def test_the_command_prints_the_table_and_writes_the_file(invoke, findings):
    status, out, err = invoke("thresholds.headroom.warn_below=0.2", "seed=5")
    assert (status, err) == (0, "") and "1 PASS, 1 WARN" in out and "look at the rules" in out
    written = json.loads(Path("out/checks.json").read_text())
    assert (written["env"], written["seed"], written["outcome"]) == ("pendulum", 5, "warn: headroom")
    name, thresholds, seed = findings[1][0]
    assert (name, thresholds["headroom"]["warn_below"], seed) == ("pendulum", 0.2, 5)


def test_a_failed_check_is_status_one_with_the_file_written(invoke, findings):
    findings[0].append(FAILED)
    status, out, err = invoke()
    assert (status, err) == (1, "") and "look at the future" in out
    assert json.loads(Path("out/checks.json").read_text())["outcome"] == "fail: leak; warn: headroom"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["env=pendulm"], "error: env=pendulm: unknown; available:"),
        (["thresholds.finit.fail_above=1"], "error: thresholds.finit"),
        (["thresholds.finite.fail_above=x"], "error: thresholds.finite.fail_above=x: must be a number\n"),
        (["sizes.lanes=1"], "error: sizes.lanes=1: must be at least 2\n"),
        (["seed=-1"], "error: seed=-1: must be from 0 to 2147483647\n"),
        (["env.max_steps=0"], "error: env.max_steps=0: must be at least 1\n"),
    ],
)
def test_a_mistake_is_one_line_status_two_and_no_file(invoke, findings, arguments, message):
    status, out, err = invoke(*arguments)
    assert (status, out) == (2, "") and err.startswith(message) and err.count("\n") == 1
    assert not Path("out").exists() and findings[1] == []


def test_training_is_preceded_by_checks_that_are_remembered(invoke_training, findings):
    status, out, _ = invoke_training("hydra.run.dir=one")
    assert status == 0 and "checks: warn: headroom\n" in out
    assert RunFolder("one").record()["checks"] == RunFolder("one").checked() == "warn: headroom"
    assert json.loads(Path("one/checks.json").read_text())["checks"][1]["id"] == "headroom"
    assert "(as before)" in invoke_training("hydra.run.dir=two", "algorithm=td3", "seed=7")[1]
    assert len(findings[1]) == 1 and RunFolder("two").record()["checks"] == "warn: headroom"
    invoke_training("hydra.run.dir=three", "env.max_steps=50")
    assert len(findings[1]) == 2


def test_a_failed_check_stops_training_in_one_line_and_is_not_remembered(invoke_training, findings):
    findings[0].append(FAILED)
    for calls in (1, 2):
        status, out, err = invoke_training("hydra.run.dir=one")
        assert status == 2 and err.count("\n") == 1 and len(findings[1]) == calls
        assert err == (
            "error: checks: leak failed; see scripts/check.py env=pendulum. To leave one out: exempt={leak: REASON}; "
            "all: checks=off\n"
        )
        assert "look at the future" in out and not Path("one").exists()


def test_one_check_is_left_out_with_its_reason_which_the_run_records(invoke_training, findings):
    assert invoke_training("hydra.run.dir=one", "exempt={timescale: it is slow, param_live/g: one planet}")[0] == 0
    assert RunFolder("one").record()["checks"] == "warn: headroom; exempt: timescale, param_live/g"
    written = json.loads(Path("one/checks.json").read_text())
    assert written["exempt"] == {"timescale": "it is slow", "param_live/g": "one planet"}
    assert RunFolder("one").composed()["exempt"] == written["exempt"]
    assert invoke_training("hydra.run.dir=two", "exempt={timescale: it is slow}")[0] == 0 and len(findings[1]) == 2
    status, _, err = invoke_training("hydra.run.dir=three", "exempt={timescael: it is slow}")
    assert status == 2 and err.startswith("error: exempt: timescael: is no check; there are pytree, retrace, ")


def test_the_command_leaves_a_check_out_as_well(invoke, findings):
    assert "exempt: leak: known\n" in invoke("exempt={leak: known}")[1]
    assert json.loads(Path("out/checks.json").read_text())["exempt"] == {"leak": "known"}


def test_checks_can_be_left_out(invoke_training, findings):
    assert invoke_training("hydra.run.dir=one", "checks=off")[0] == 0
    assert findings[1] == [] and RunFolder("one").record()["checks"] == "off"
    assert not Path("one/checks.json").exists()
    message = "error: checks=maybe: must be one of on, off\n"
    assert invoke_training("hydra.run.dir=two", "checks=maybe")[2] == message
