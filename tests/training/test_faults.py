"""Runs that are killed again and again, with every registered algorithm, equal one that nobody touched."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import tiny

import vmax
from vmax.algorithms import REGISTRY
from vmax.errors import UserError
from vmax.run_folder import RunFolder

LONGER = ("total_steps=6000", "training.eval_every=1200", "checkpoint.every=300")
"""58 chunks, with a checkpoint after every third."""


def run_of(algorithm: str) -> list[str]:
    return [*tiny.pendulum(algorithm), *LONGER]


def saved(folder: Path) -> int:
    """The step of the last checkpoint; 0 before the first."""
    names = (path.name for path in folder.glob("checkpoints/*"))
    return max((int(name) for name in names if name.isdigit()), default=0)


def killed_after_progress(process: subprocess.Popen[str], folder: Path, wait_s: float) -> bool:
    """Kills a run so many seconds after its next checkpoint; False where it was done before."""
    before = saved(folder)
    while process.poll() is None and saved(folder) <= before:
        time.sleep(0.005)
    time.sleep(wait_s)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow  # test_loop.py kills a run of SAC
@pytest.mark.parametrize("kills", [1, 20])
@pytest.mark.parametrize("algorithm", REGISTRY)
def test_a_run_killed_at_random_moments_equals_one_that_was_not(tmp_path, algorithm, kills):
    tiny.run(*run_of(algorithm), f"hydra.run.dir={tmp_path / 'untouched'}")
    folder, survived = tmp_path / "killed", 0
    for number in range(kills):
        if number == 0:
            process = tiny.start(*run_of(algorithm), f"hydra.run.dir={folder}")
        else:
            process = tiny.start(f"resume={folder}")
        if not killed_after_progress(process, folder, random.uniform(0.0, 0.15)):
            break
        survived += 1
        assert RunFolder(folder).record()["status"] == "running"
    print(f"{algorithm}: killed {survived} times, last at checkpoint {saved(folder)}")
    assert survived >= min(kills, 5)
    if RunFolder(folder).record()["status"] != "completed":
        tiny.run(f"resume={folder}")
    tiny.assert_same_run(tmp_path / "untouched", folder)


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untouched") / "run"
    vmax.train(list(tiny.PENDULUM), str(folder))
    return folder


@pytest.mark.slow  # test_loop.py flips a bit of the largest one
@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed"])
def test_damage_to_any_file_of_the_last_checkpoint_is_named_and_the_one_before_is_used(
    untouched, tmp_path, capsys, damage
):
    files = sorted((untouched / "checkpoints" / "1000" / "state").rglob("*"))
    for path in random.sample([path for path in files if path.is_file() and path.stat().st_size], 2):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(untouched, folder)
        (folder / "result.json").unlink()
        broken = folder / path.relative_to(untouched)
        content = bytearray(broken.read_bytes())
        if damage == "removed":
            broken.unlink()
        elif damage == "truncated":
            broken.write_bytes(content[: len(content) // 2])
        else:
            content[random.randrange(len(content))] ^= 1 << random.randrange(8)
            broken.write_bytes(content)
        RunFolder(folder).start(3, {})
        vmax.train([f"resume={folder}"])
        said = capsys.readouterr().out
        assert f"checkpoint {folder / 'checkpoints' / '1000'}: " in said and "it is passed over" in said
        tiny.assert_same_run(untouched, folder)


def both(*overrides: str) -> list[tuple[int, str]]:
    """Exit status and output of two runs that are started in the same moment."""
    processes = [tiny.start(*overrides), tiny.start(*overrides)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    return sorted(zip((process.returncode for process in processes), outputs, strict=True))


@pytest.mark.slow
def test_two_runs_that_start_in_the_same_moment_do_not_meet(tmp_path):
    tiny.run(*tiny.PENDULUM, f"hydra.run.dir={tmp_path / 'alone'}")
    one, other = both(*tiny.PENDULUM, f"hydra.run.dir={tmp_path / 'shared'}")
    assert one[0] == 0 and other[0] == 2
    assert other[1].splitlines()[-1].startswith(f"error: hydra.run.dir={tmp_path / 'shared'}: ")
    assert "at work in this folder" in other[1] or "holds a run" in other[1]
    tiny.assert_same_run(tmp_path / "alone", tmp_path / "shared")


@pytest.mark.slow
def test_two_processes_do_not_go_on_with_the_same_run(tmp_path):
    folder = tmp_path / "run"
    tiny.run(*tiny.PENDULUM, f"hydra.run.dir={folder}")
    process = tiny.start(f"resume={folder}", "total_steps=40000")
    while process.poll() is None and saved(folder) <= 1000:
        time.sleep(0.005)
    with pytest.raises(UserError, match="another process is at work in this folder"):
        vmax.train([f"resume={folder}", "total_steps=50000"])
    process.send_signal(signal.SIGTERM)
    assert "go on with resume=" in process.communicate(timeout=300)[0]
    vmax.train([f"resume={folder}", f"total_steps={saved(folder) + 100}"])


@pytest.mark.slow
def test_runs_without_a_folder_of_their_own_get_one_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [status for status, _ in both(*tiny.PENDULUM)] == [0, 0]
    assert len(list(tmp_path.glob("outputs/*/*/result.json"))) == 2
