import json
import os
from datetime import UTC, datetime
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from vmax import run_folder
from vmax.errors import UserError
from vmax.files import DiskFull, append_jsonl, atomic, is_disk_full, write_csv, write_json, write_text
from vmax.run_folder import RunFolder, differences, git_revision, read_metrics, versions


def test_json_is_strict_and_knows_arrays_times_and_paths(tmp_path):
    value = {
        "nan": float("nan"),
        "inf": [np.float32("inf"), 1.5],
        "array": np.array([1.0, np.nan]),
        "jax": jnp.int32(3),
        "int": np.int64(2**40),
        "flag": np.bool_(True),
        "when": datetime(2024, 1, 1, tzinfo=UTC),
        "path": Path("a/b"),
        "none": None,
        2024: "€",
    }
    write_json(tmp_path / "x.json", value)
    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert read == {
        "nan": None,
        "inf": [None, 1.5],
        "array": [1.0, None],
        "jax": 3,
        "int": 2**40,
        "flag": True,
        "when": "2024-01-01T00:00:00+00:00",
        "path": "a/b",
        "none": None,
        "2024": "€",
    }


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def fail_midway():
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError("midway")

    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_told_with_the_place(tmp_path, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"run\.json: no space left"):
        write_json(tmp_path / "run.json", {})
    assert list(tmp_path.iterdir()) == []


def test_the_faces_of_a_full_disk():
    assert is_disk_full(ValueError("RESOURCE_EXHAUSTED: write failed"))
    assert is_disk_full(OSError(28, "x")) and not is_disk_full(OSError(2, "No such file"))
    wrapped = RuntimeError("while saving")
    wrapped.__cause__ = OSError(28, "x")
    assert is_disk_full(wrapped)


def test_a_run_is_started_resumed_and_finished(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.save_config({"seed": 3, "resume": "x"}, ["seed=3"])
    folder.start(3, {"threads": 2}, disk_need_bytes=10)
    first = folder.record()
    assert (first["status"], first["seed"], first["ended"], first["resumed"]) == ("running", 3, None, [])
    assert first["hardware"] == {"threads": 2} and first["versions"]["jax"] and first["disk_need_bytes"] == 10
    folder.finish("interrupted", "SIGTERM")
    assert folder.record()["status"] == "interrupted" and folder.record()["reason"] == "SIGTERM"
    again = RunFolder.open(tmp_path / "run")
    assert again.composed() == {"seed": 3, "resume": None} and again.given_overrides() == ["seed=3"]
    again.start(3, {"threads": 2})
    resumed = again.record()
    assert resumed["started"] == first["started"] and len(resumed["resumed"]) == 1
    assert resumed["status"] == "running" and resumed["reason"] is None
    again.finish("completed", gradient_updates=5)
    assert again.record()["status"] == "completed" and again.record()["gradient_updates"] == 5


def test_each_process_is_on_record_with_what_it_worked_with(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    assert folder.differences({}) == []
    monkeypatch.setattr(run_folder, "git_revision", lambda: "a" * 40)
    folder.start(3, {"threads": 2, "processor": "A", "cores": 4})
    assert folder.differences({"threads": 2, "processor": "A", "cores": 8}) == []  # as many threads: all the same
    monkeypatch.setattr(run_folder, "git_revision", lambda: "b" * 40 + "+")
    there = {"threads": 4, "processor": "B", "cores": 4}
    named = ["git bbbbbbbbbbbb+ (was aaaaaaaaaaaa)", "processor B (was A)", "threads 4 (was 2)"]
    assert folder.differences(there) == named
    folder.start(3, there, step=100)
    record = folder.record()
    assert folder.differences(there) == [] and record["git"] == "a" * 40 and record["hardware"]["threads"] == 2
    assert [(part["step"], part["git"][0], part["hardware"]["threads"]) for part in record["history"]] == [
        (0, "a", 2),
        (100, "b", 4),
    ]
    assert differences(*record["history"]) == named and record["resumed"] == [record["history"][1]["started"]]
    monkeypatch.setattr(run_folder, "git_revision", lambda: "c" * 40)
    refused = pytest.raises(UserError, match=r"^state.x is absent; here: git cccccccccccc \(was bbbbbbbbbbbb\+\)$")
    with refused, folder.differences_told(there):
        raise UserError("state.x is absent")


def test_a_run_from_before_processes_were_on_record_is_compared_with_its_last(tmp_path):
    folder = RunFolder(tmp_path)
    then = {**versions(), "jax": "0.4.0"}
    write_json(folder.run_json, {"started": "then", "versions": then, "hardware": {}, "git": git_revision()})
    (only,) = folder.differences({"threads": 2})
    assert only == f"jax {versions()['jax']} (was 0.4.0)"
    folder.start(3, {"threads": 2}, step=7)
    assert [part["versions"]["jax"] for part in folder.record()["history"]] == ["0.4.0", versions()["jax"]]
    assert folder.record()["started"] == "then"


def test_a_new_run_does_not_go_into_another_ones_folder(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save_config({"seed": 3}, [])
    with pytest.raises(UserError, match=r"holds a run; go on with resume="):
        folder.save_config({"seed": 4}, [])
    folder.save_config({"seed": 4}, [], new=False)
    assert folder.composed()["seed"] == 4


def test_a_run_that_never_started_is_taken_back_but_not_what_was_there_before(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    folder = RunFolder(tmp_path)
    folder.save_config({"seed": 3}, [])
    folder.discard_unstarted()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    fresh = RunFolder(tmp_path / "run")
    fresh.save_config({"seed": 3}, [])
    fresh.discard_unstarted()
    assert not fresh.path.exists()
    fresh.save_config({"seed": 3}, [])
    fresh.start(3, {})
    fresh.discard_unstarted()
    assert fresh.composed()["seed"] == 3


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is no run folder \(\.hydra/config\.yaml is missing\)"):
        RunFolder.open(tmp_path)


def test_cut_back_removes_later_rows_torn_rows_and_later_log_lines(tmp_path):
    folder = RunFolder(tmp_path)
    write_csv(folder.metrics, ["step", "loss"], [[100, 1.0], [200, ""], [300, 3.0]])
    with folder.metrics.open("a") as file:
        file.write("400,4.")
    folder.append_log("step=100")
    at_checkpoint = folder.log_bytes()
    folder.append_log("step=300")
    assert read_metrics(folder.metrics)[1][-1] == ["300", "3.0"]
    folder.cut_back(200, at_checkpoint)
    assert folder.metrics.read_text() == "step,loss\n100,1.0\n200,\n"
    assert folder.log.read_text().endswith("step=100\n") and "step=300" not in folder.log.read_text()


def test_cut_back_removes_later_and_torn_lines_of_json_and_later_days_of_seasons(tmp_path):
    folder = RunFolder(tmp_path)
    for path in (folder.metrics_jsonl, folder.days):
        append_jsonl(path, [{"step": step, "x": step / 3} for step in (100, 200, 200, 300, 400)])
    with folder.days.open("a") as file:
        file.write('{"step": 500, "x')
    for step in (100, 200, 1000):
        write_csv(folder.season_days(step), ["season"], [["winter"]])
    folder.cut_back(400, 0)
    assert [json.loads(line)["step"] for line in folder.days.read_text().splitlines()] == [100, 200, 200, 300, 400]
    folder.cut_back(200, 0)
    for path in (folder.metrics_jsonl, folder.days):
        assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [100, 200, 200]
    assert folder.season_steps() == [100, 200]


def test_cut_back_of_an_empty_run_does_nothing(tmp_path):
    RunFolder(tmp_path).cut_back(0, 0)
    assert list(tmp_path.iterdir()) == []


def test_the_revision_of_an_installed_package_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "vmax" / "run_folder.py"))
    assert run_folder.git_revision() is None
