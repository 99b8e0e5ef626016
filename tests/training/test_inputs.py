"""Files that a run reads: found by their type, on record by content, read later as the run was started with them."""

import json
import re
import shutil
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import pytest

import vmax
from vmax import envs
from vmax.algorithms import REGISTRY as ALGORITHMS
from vmax.algorithms import config_class as algorithm_class
from vmax.commands import evaluate
from vmax.commands.export import export_run
from vmax.config import RunConfig, compose, to_mapping
from vmax.conversion import file_mark
from vmax.errors import UserError
from vmax.networks import REGISTRY as NETWORKS
from vmax.networks import config_class as network_class
from vmax.run_folder import RunFolder
from vmax.training import finish, inputs, loop, take_away
from vmax.training.warm_start import changed_since

SHIPPED = Path(envs.__file__).parent / "traffic_signal" / "networks" / "simple.yaml"
DONE = {"run": {"status": "completed", "reason": None}}
QUANTITIES = ("pv", "mall", "sessions", "carbon", "tariff", "pv_forecast", "mall_forecast", "exogenous.file")
SITE_FILES = tuple(f"env.data.files.{name}" for name in QUANTITIES)
SITE_COLUMNS = ("time", "pv", "load", "carbon", "tariff", "value", "arrival", "departure", "energy_kwh", "charger")
READ = (
    *("encoding", "sheet", "header_starts", "names", "missing_text", "where", "time_format", "timezone"),
    *("date_columns", "interval", "zone_marks", "period", "day_a_row", "begin"),
)
TEXTS = {
    *("name", "resume", "logging.project", "training.warmup_rule"),
    *("env.name", "env.data.timezone", "env.data.currency", "env.data.files.timezone", "env.tariff.currency"),
    *("env.data.columns.time", "env.data.columns.price", "env.data.columns.pv", "env.data.columns.imbalance"),
    *(f"env.data.columns.{name}" for name in ("reserve_up", "reserve_down", "forecast", "exogenous")),
    *("env.data.price_unit", "env.data.imbalance_unit", "env.data.reserve_unit"),
    *(f"env.data.more.{name}" for name in ("timezone", "price_unit", "imbalance_unit", "reserve_unit")),
    *(f"env.data.more.columns.{name}" for name in ("time", "price", "pv", "imbalance", "reserve_up", "reserve_down")),
    *("env.data.more.columns.forecast", "env.data.more.columns.exogenous", "env.observation.of_forecasts"),
    "env.data.files.exogenous.name",
    *(f"{place}.timezone" for place in SITE_FILES),
    *(f"{place}.columns.{name}" for place in SITE_FILES for name in SITE_COLUMNS),
    *(f"{place}.read.{name}" for place in ("env.data", "env.data.more", *SITE_FILES) for name in READ),
    *("env.data.train", "env.data.validation", "env.data.test"),  # two days each
    *("env.data.chargers.groups.name", "env.vehicles.name", "env.demand.level", "env.observation.features"),
}
"""Settings that are text and name no file that a run reads."""
FILES = {
    *("init_from", "env.network", "env.data.path"),
    *("env.data.format", "env.data.more.path", "env.data.more.format"),
    *(f"{place}{end}" for place in SITE_FILES for end in ("", ".path", ".format")),
}


def texts(hint, key):
    """Each text of a type: its key, and whether it is declared as a file."""
    if is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        for field in fields(hint):
            yield from texts(hints[field.name], f"{key}.{field.name}" if key else field.name)
    elif file_mark(hint) is not None or hint is str:
        yield key, hint is not str
    elif get_origin(hint) is Annotated:
        yield from texts(get_args(hint)[0], key)
    elif get_origin(hint) in (Union, types.UnionType, tuple):
        for arm in get_args(hint):
            yield from texts(arm, key)
    elif get_origin(hint) is not Literal:
        assert hint in (int, float, bool, type(None), Ellipsis) or key in ("algorithm", "env", "network", "exempt"), (
            key,
            hint,
        )


def test_every_text_of_the_configuration_is_declared_as_a_file_or_known_to_be_none():
    found = set(texts(RunConfig, ""))
    for group, registry, of in (
        ("env", envs.REGISTRY, envs.config_class),
        ("algorithm", ALGORITHMS, algorithm_class),
        ("network", NETWORKS, network_class),
    ):
        for name in registry:
            found |= set(texts(of(name), group))
    assert {key for key, declared in found if declared} == FILES
    assert {key for key, declared in found if not declared} == TEXTS


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder to work in, with the files of a microgrid: a tariff, and sessions of two chargers beside a note."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sessions").mkdir()
    for name in ("tariff.csv", "sessions/a.csv", "sessions/b.csv", "sessions/note.txt"):
        (tmp_path / name).write_text(f"{name}\n1\n")
    files = ["env.data.files.tariff=tariff.csv", "env.data.files.sessions=sessions"]
    return to_mapping(compose(["env=microgrid", "algorithm=sac", "init_from=other", *files]))


def started(mapping, path="run"):
    """The folder of a run that was started with this configuration."""
    folder = RunFolder(path)
    folder.save_config(inputs.placed(mapping), [])
    inputs.keep(folder, inputs.placed(mapping))
    return folder


def test_files_are_saved_with_their_full_paths_and_shipped_names_as_they_are(site, tmp_path):
    saved = started(site).composed()
    assert saved["env"]["data"]["files"]["tariff"] == str(tmp_path / "tariff.csv")
    assert saved["env"]["data"]["files"]["sessions"] == str(tmp_path / "sessions")
    assert saved["env"]["data"]["files"]["pv"] is None and saved["init_from"] == str(tmp_path / "other")
    traffic = to_mapping(compose(["env=traffic_signal", "algorithm=dqn", "env.network=[simple,a/town.yaml]"]))
    assert inputs.placed(traffic)["env"]["network"] == ["simple", str(tmp_path / "a" / "town.yaml")]
    again = compose(["env=traffic_signal", "algorithm=dqn", *inputs.placed_overrides(traffic)])
    assert inputs.placed(traffic)["env"] == to_mapping(again)["env"] and len(inputs.placed_overrides(traffic)) == 1


def test_what_files_hold_is_on_record_beside_a_copy(site, tmp_path):
    folder = started(site)
    record = json.loads((folder.inputs / "manifest.json").read_text())
    assert record.keys() == {"env.data.files.tariff", "env.data.files.sessions"}
    assert record["env.data.files.sessions"]["files"].keys() == {"sessions/a.csv", "sessions/b.csv"}
    kept = folder.inputs / "env.data.files.sessions" / "sessions"
    assert sorted(path.name for path in kept.iterdir()) == ["a.csv", "b.csv"]
    assert (folder.inputs / "env.data.files.tariff" / "tariff.csv").read_text() == "tariff.csv\n1\n"
    assert inputs.reading(folder) == inputs.Reading(folder.composed(), [])
    (folder.inputs / "mine.txt").write_text("keep")
    folder.discard_unstarted()
    assert [path.name for path in folder.path.rglob("*")] == ["inputs", "mine.txt"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda: Path("tariff.csv").write_text("2"),
            r"files.tariff=.*/tariff.csv: changed since the run was started \(",
        ),
        (
            lambda: Path("tariff.csv").unlink(),
            r"files.tariff=.*/tariff.csv: is gone since the run was started \(sha256",
        ),
        (lambda: Path("sessions/b.csv").write_text("2"), r"files.sessions=.*/sessions: sessions/b.csv changed since"),
        (lambda: Path("sessions/c.csv").touch(), r"sessions/c.csv changed since .* \(sha256 none then, e3b0c442 now\)"),
        (lambda: shutil.rmtree("sessions"), r"files.sessions=.*/sessions: is gone since the run was started"),
    ],
)
def test_a_file_that_changes_is_named_and_the_copy_is_read_in_its_place(site, tmp_path, change, told):
    folder = started(site)
    change()
    read = inputs.reading(folder)
    assert len(read.changes) == 1
    with pytest.raises(AssertionError):
        assert read.mapping == folder.composed()
    assert_line(read.changes[0], told + r".*; the run's copy run/inputs/env\.data\.files\..* is read")
    used = read.mapping["env"]["data"]["files"]
    moved = [name for name in ("tariff", "sessions") if used[name] != str(tmp_path / Path(used[name]).name)]
    assert len(moved) == 1 and Path(used[moved[0]]).exists() and str(folder.inputs) in used[moved[0]]
    current = inputs.reading(folder, files="current")
    assert current.mapping == folder.composed()
    assert_line(current.changes[0], told + r".*; it is read as it is now \(files=current\)")


def assert_line(text, pattern):
    assert re.search(pattern, text) and "\n" not in text, text


def test_what_has_another_form_is_left_to_whoever_says_what_is_wrong_with_it(site):
    for value in (3.5, "prices.csv", [1], {"files": {"tariff": ["tariff.csv"], "pv": True}}):
        wrong = {**site, "env": {**site["env"], "data": value}}
        assert inputs.placed(wrong)["env"]["data"] == value
    bess = to_mapping(compose(["env=bess", "algorithm=sac", "env.data.train=[a,b,c]", "env.data.path=7"]))
    assert inputs.placed(bess)["env"]["data"]["train"] == ["a", "b", "c"]
    assert inputs.placed(bess)["env"]["data"]["path"] == str(Path.cwd() / "7")


def test_what_is_no_input_does_not_count(site):
    folder = started(site)
    Path("sessions/note.txt").write_text("changed")
    assert inputs.reading(folder).changes == []


def test_a_changed_file_without_a_copy_is_refused(site, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_COPIED_BYTES", 16)
    folder = started(site)
    assert [path.name for path in folder.inputs.iterdir() if path.is_dir()] == ["env.data.files.tariff"]
    Path("sessions/a.csv").write_text("2")
    with pytest.raises(
        UserError, match=r"sessions/a.csv changed .* and was too large for a copy in run; put it back, or"
    ):
        inputs.reading(folder, remedy=", or else")
    assert len(inputs.reading(folder, files="current").changes) == 1


def test_a_copy_that_is_damaged_is_not_read(site):
    folder = started(site)
    Path("tariff.csv").write_text("2")
    (folder.inputs / "env.data.files.tariff" / "tariff.csv").write_text("3")
    with pytest.raises(UserError, match=r"tariff.csv: changed .* and has no whole copy in run; put it back"):
        inputs.reading(folder)


def test_a_run_from_before_files_were_on_record_reads_them_as_they_are(site):
    folder = started(site)
    shutil.rmtree(folder.inputs)
    Path("tariff.csv").unlink()
    assert inputs.reading(folder) == inputs.Reading(folder.composed(), [])


@pytest.fixture
def town(tmp_path, monkeypatch):
    """A run on a network that was named by a relative path and whose demand has tripled since; we are elsewhere."""
    shutil.copy(SHIPPED, tmp_path / "town.yaml")
    monkeypatch.chdir(tmp_path)
    folder = started(to_mapping(compose(["env=traffic_signal", "algorithm=dqn", "env.network=town.yaml"])))
    (tmp_path / "town.yaml").write_text(SHIPPED.read_text().replace("per_h: 720", "per_h: 860"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return RunFolder(tmp_path / folder.path)


def demand_per_h(config):
    return envs.make(config.env).descriptions[0].demand["west_in"].per_h


@pytest.mark.parametrize(
    ("files", "per_h", "place", "told"),
    [
        ("recorded", 720, "test", "the run's copy {folder}/inputs/env.network/town.yaml is read"),
        ("current", 860, "test-best-current_files", "it is read as it is now (files=current)"),
    ],
)
def test_an_evaluation_says_which_network_it_reads(town, monkeypatch, capsys, files, per_h, place, told):
    read = []
    monkeypatch.setattr(evaluate, "_evaluate", lambda *given: read.append(given))
    evaluate.evaluate_run(town.path, files=files)
    ((_, config, _, _, _, target, changes),) = read
    assert (demand_per_h(config), target) == (per_h, town.evaluation(place))
    begins = f"warning: env.network={town.path.parent}/town.yaml: changed since the run was started (sha256 "
    out = capsys.readouterr().out
    assert out.startswith(begins) and out.endswith(f"; {told.format(folder=town.path)}\n") and out.count("\n") == 1
    assert changes == [out.removeprefix("warning: ").rstrip()]


def test_an_export_reads_the_network_of_the_run_and_says_so(town, monkeypatch, capsys):
    read = []
    monkeypatch.setattr(finish, "restore_policy", lambda folder, config, which: read.append(config) or (None, 0, None))
    monkeypatch.setattr(take_away, "take_away", lambda *given: None)
    export_run(town.path)
    assert demand_per_h(read[0]) == 720 and capsys.readouterr().out.startswith("warning: env.network=")


def test_a_resume_goes_on_with_the_network_of_the_run_and_keeps_its_settings(town, monkeypatch):
    went_on = []
    monkeypatch.setattr(loop, "train", lambda config, path, composed: went_on.append((config, composed)) or DONE)
    before = town.config.read_text()
    vmax.train([f"resume={town.path}"])
    config, composed = went_on[0]
    assert demand_per_h(config) == 720 and composed.env.network == str(town.path.parent / "town.yaml")
    assert before == town.config.read_text()
    (line,) = changed_since(config, town, warm=False)
    assert_line(line, r"^env.network=.*/town.yaml: changed since the run was started .* the run's copy .* is read$")
    shutil.rmtree(town.inputs / "env.network")
    with pytest.raises(
        UserError, match=r"changed .* no whole copy in .*; put it back, or begin a new run with its net"
    ):
        vmax.train([f"resume={town.path}"])
    assert len(went_on) == 1


def test_files_in_lists_and_with_settings_of_their_own_are_placed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    where = r"read: {where: {Area\ \(x\): B}}"
    further = f"env.data.more=[{{path: pv.csv, format: pvgis, columns: {{pv: P}}}},{{path: q.csv, {where}}}]"
    battery = ["env=bess_pv", "algorithm=sac", "env.data.path=p.csv", "env.data.format=mine.yaml", further]
    overrides = inputs.placed_overrides(to_mapping(compose(battery)))
    placed_data = to_mapping(compose([*battery, *overrides]))["env"]["data"]
    assert placed_data["path"] == str(tmp_path / "p.csv") and placed_data["format"] == str(tmp_path / "mine.yaml")
    first, second = placed_data["more"]
    assert first == {"path": str(tmp_path / "pv.csv"), "format": "pvgis", "columns": {"pv": "P"}}
    assert second == {"path": str(tmp_path / "q.csv"), "read": {"where": {"Area (x)": "B"}}}
    site = ["env=microgrid", "algorithm=sac", "env.data.files.mall={path: load.csv, format: pymgrid}"]
    overrides = inputs.placed_overrides(to_mapping(compose(site)))
    files = to_mapping(compose([*site, *overrides]))["env"]["data"]["files"]
    assert files["mall"] == {"path": str(tmp_path / "load.csv"), "format": "pymgrid"}
