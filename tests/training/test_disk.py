"""Runs on a disk of their own, a few hundred KiB of memory: one that fills up, and one that nobody may write to.

The disk is mounted in a namespace of the process that runs there, which Linux grants to root and, on most machines, to
everybody.
"""

import random
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import tiny

from vmax.run_folder import RunFolder

WHOLE = ("evaluation.plots=true", "export=true", "report=true")
"""What a run writes at its end beside figures: plots, the policy as a file, a page."""


@cache
def may_mount() -> bool:
    asked = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    try:
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = [
    pytest.mark.slow,  # what a full disk means to each kind of file is tested where it is written
    pytest.mark.skipif(
        not may_mount(),
        reason="needs a namespace with a disk of its own (unshare -rm; mount), which is not allowed here",
    ),
]


def on_disk(disk: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in a namespace in which `disk` is a mount point, free to be mounted."""
    disk.mkdir(exist_ok=True)
    call = ["unshare", "-rm", "sh", "-ec", script]
    return subprocess.run(
        call, capture_output=True, text=True, env=tiny.environment(), timeout=300, cwd=disk.parent, check=False
    )


def train(*overrides: str) -> str:
    return shlex.join([sys.executable, str(tiny.SCRIPT), *overrides])


def filled(tmp_path: Path, size_kib: int, settings: tuple[str, ...]) -> str:
    """Trains on a disk of this size until it ends; then there is room and the run is gone on with, or begun, and
    copied to `tmp_path / "run"`. Returns what the first try said; checks what it left."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    script = f"""
        mount -t tmpfs -o size={size_kib}k none {disk}
        if {train(*settings, f"hydra.run.dir={disk}/run")} > said.txt 2>&1; then echo 0; else echo $?; fi > status.txt
        if [ -d {disk}/run ]; then cp -a {disk}/run {kept}; fi
        mount -o remount,size=1g {disk}
        if [ -e {disk}/run/result.json ] && grep -q '"status": "completed"' {disk}/run/run.json; then :
        elif [ -e {disk}/run/run.json ]; then {train(f"resume={disk}/run")}
        else {train(*settings, f"hydra.run.dir={disk}/run")}; fi
        cp -a {disk}/run run
    """
    done = on_disk(disk, script)
    said = (tmp_path / "said.txt").read_text()
    assert done.returncode == 0, (said, done.stdout, done.stderr)
    assert "Traceback" not in said, said
    record = RunFolder(kept).record()
    assert not [path for path in kept.rglob("*.tmp*") if path.is_file()]
    if (tmp_path / "status.txt").read_text().strip() == "0":
        assert record["status"] == "completed"
        return said
    last = said.splitlines()[-1]
    assert last.startswith("error: ") and last.endswith("everything written earlier is intact"), said
    assert record.get("status", "failed") in ("failed", "running")
    return said


@pytest.mark.parametrize(("tries", "settings"), [(1, ()), (20, WHOLE)], ids=["figures", "whole"])
def test_a_run_that_fills_its_disk_says_so_and_loses_nothing(tmp_path, tries, settings):
    settings = (*tiny.PENDULUM, *settings)
    tiny.run(*settings, f"hydra.run.dir={tmp_path / 'untouched'}")
    need = sum(path.stat().st_blocks // 2 for path in (tmp_path / "untouched").rglob("*"))
    full = 0
    for number in range(tries):
        place = tmp_path / str(number)
        place.mkdir()
        size = max(16, round(need * min(0.9, ((number + random.random()) / tries)) ** 2))
        said = filled(place, size, settings)
        full += "everything written earlier is intact" in said
        print(f"{size} of {need} KiB: {said.splitlines()[-1]}")
        tiny.assert_same_run(tmp_path / "untouched", place / "run")
    assert full >= max(1, tries // 2)


REFUSALS = {
    "train a new run": ("train.py", *tiny.PENDULUM, "hydra.run.dir=disk/new"),
    "go on with one": ("train.py", "resume=disk/run", "total_steps=2000"),
    "evaluate": ("evaluate.py", "run=disk/run", "split=validation"),
    "export": ("export.py", "run=disk/run"),
    "report": ("report.py", "runs=disk/run"),
    "compare": ("compare.py", *tiny.PENDULUM, "compare.folder=disk/comparison"),
    "act": ("act.py", "policy=run/policy", "csv=run/policy/example.csv", "out=disk/actions.csv"),
    "check": ("check.py", "env=pendulum", "hydra.run.dir=disk/checks"),
}


def test_a_disk_that_may_not_be_written_to_is_one_line(tmp_path):
    tiny.run(*tiny.PENDULUM, "export=true", f"hydra.run.dir={tmp_path / 'run'}")
    calls = [
        f"{shlex.join([sys.executable, str(tiny.SCRIPT.with_name(script)), *overrides])} > {number}.txt 2>&1 "
        f"&& echo 0 >> {number}.txt || echo $? >> {number}.txt"
        for number, (script, *overrides) in enumerate(REFUSALS.values())
    ]
    remounted = "mount -t tmpfs -o size=64m none disk; cp -a run disk/run; mount -o remount,ro disk"
    done = on_disk(tmp_path / "disk", "\n".join([remounted, *calls]))
    assert done.returncode == 0, done.stderr
    for number, command in enumerate(REFUSALS):
        *said, status = (tmp_path / f"{number}.txt").read_text().splitlines()
        assert status == "2" and said[-1].startswith("error: ") and "Traceback" not in said[0], (command, said)
        assert "disk/" in said[-1] and ("written" in said[-1]), (command, said)
        print(f"{command}: {said[-1]}")
