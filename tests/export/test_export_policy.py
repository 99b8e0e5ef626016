import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import jax
import numpy as np
import pytest
from exporting import NORMALISED, battery, pendulum, policy
from unpickling import classes_unpickled

from vmax import make_env
from vmax.algorithms import make_algorithm
from vmax.algorithms.algorithm import Spec
from vmax.config import compose, load
from vmax.envs.natural import to_numbers
from vmax.errors import UserError
from vmax.evaluation.policies import Learned
from vmax.export import folder as folders
from vmax.export.folder import Course, difference, write_policy
from vmax.export.function import Source, from_stablehlo, to_stablehlo
from vmax.export.load import load_exported
from vmax.export.onnx import read_onnx, write_onnx
from vmax.export.rows import read_rows

ALWAYS = (("sac", "mlp"), ("td3", "gru"), ("ppo", "lstm"))
NETWORKS = [
    pytest.param(algorithm, network, marks=[pytest.mark.slow] * ((algorithm, network) not in ALWAYS))
    for algorithm in ("sac", "td3", "ppo")
    for network in ("mlp", "lstm", "gru")
]


def own_actions(env, learned, raw):
    """What vmax does in a course of raw observations `[T, N, D]`, step by step: `[T, N, A]`."""
    quantities = env.natural(env.params("train")).observation

    @jax.jit
    def act(row, carry):
        observation, key = to_numbers(quantities, row), jax.random.key(0)
        return learned.algorithm.act(learned.weights, observation, carry, key, explore=False)[:2]

    carry, actions = learned.algorithm.initial_carry(raw.shape[1]), []
    for row in raw:
        action, carry = act(row, carry)
        actions.append(np.asarray(action))
    return np.stack(actions)


def theirs(control, source, raw):
    carry, actions = source.fresh(raw.shape[1]), []
    for row in raw:
        action, units, carry = control(row, carry)
        np.testing.assert_allclose(units, 2.0 * np.asarray(action), atol=1e-6)  # Nm
        actions.append(np.asarray(action))
    return np.stack(actions)


def random_courses(env, batch=5):
    """Random raw observations within the bounds of the space, `[4, batch, D]`."""
    low, high = env.observation_space.low, env.observation_space.high
    return np.random.default_rng(0).uniform(low, high, (4, batch, len(low))).astype(np.float32)


@pytest.mark.parametrize(("algorithm", "network"), NETWORKS)
def test_the_stablehlo_file_acts_as_vmax_for_any_batch_and_carries_memory(algorithm, network):
    env = pendulum()
    learned = policy(env, f"algorithm={algorithm}", f"network={network}", NORMALISED)
    source = Source.of(env, learned)
    exported = from_stablehlo(to_stablehlo(source))
    assert set(exported.platforms) >= {"cpu", "cuda"}
    assert len(exported.in_avals) == 1 + {"mlp": 0, "gru": 1, "lstm": 2}[network]
    raw = random_courses(env)
    own = own_actions(env, learned, raw)
    assert np.ptp(own) > 0.1  # the policy does something
    np.testing.assert_allclose(theirs(jax.jit(exported.call), source, raw), own, atol=1e-6)
    np.testing.assert_allclose(theirs(jax.jit(exported.call), source, raw[:, :1]), own[:, :1], atol=1e-6)


@pytest.mark.parametrize(("algorithm", "network"), NETWORKS)
def test_the_onnx_file_acts_as_vmax_for_any_batch_and_carries_memory(algorithm, network, tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    env = pendulum()
    learned = policy(env, f"algorithm={algorithm}", f"network={network}", NORMALISED)
    source = Source.of(env, learned)
    write_onnx(source, tmp_path / "policy.onnx")
    control = read_onnx(tmp_path / "policy.onnx")
    raw = random_courses(env)
    own = own_actions(env, learned, raw)
    np.testing.assert_allclose(theirs(control, source, raw), own, atol=1e-5)
    np.testing.assert_allclose(theirs(control, source, raw[:, :1]), own[:, :1], atol=1e-5)


def test_the_onnx_file_of_a_battery_with_bids_agrees_in_mw(tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    env = battery("env.reserve.product=symmetric", "env.observation.features=[soc,price_mean,price_scale]")
    source = Source.of(env, policy(env))
    write_onnx(source, tmp_path / "policy.onnx")
    control = read_onnx(tmp_path / "policy.onnx")
    raw = np.random.default_rng(0).uniform([0.1, -3.0, 5.0], [0.9, 3.0, 60.0], (64, 3)).astype(np.float32)
    assert control is not None
    for theirs_, own in zip(control(raw, ())[:2], source.controller()(raw, ())[:2], strict=True):  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(theirs_, own, atol=1e-5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A recurrent policy of the battery, as a folder."""
    env = battery("env.observation.features=[soc,price_mean,price_scale,price_level,price_maxima,calendar]")
    folder = tmp_path_factory.mktemp("run") / "policy"
    assert (
        write_policy(folder, env, policy(env, "network=lstm"), {"env": "bess", "kpis": {"capture": 0.5}}, "stablehlo")
        == []
    )
    return folder


def test_the_card_says_what_goes_in_and_comes_out_and_where_it_is_from(exported):
    card = json.loads((exported / "card.json").read_text(encoding="utf-8"))
    columns = {column["name"]: column for column in card["observation"]}
    assert (columns["soc"]["unit"], round(columns["soc"]["low"], 2), round(columns["soc"]["high"], 2)) == (
        "capacity",
        0.1,
        0.9,
    )
    assert (columns["price_scale"]["unit"], columns["price_scale"]["high"]) == ("EUR/MWh", None)
    assert all(c["seen"][0] <= c["seen"][1] and c["meaning"] for c in columns.values())
    assert [(c["name"], c["unit"]) for c in card["action"] + card["units"]] == [
        ("action_power", "1"),
        ("power_mw", "MW"),
    ]
    assert card["carry"] == [8, 8] and card["kpis"] == {"capture": 0.5}
    assert card["data"]["utc"]["train"] == ["2023-01-01T00:00:00", "2023-02-10T23:00:00"]
    assert card["versions"]["jax"] and card["check"]["differences"]["policy.stablehlo"] <= 1e-5
    for name, file in card["files"].items():
        assert file == {
            "bytes": (exported / name).stat().st_size,
            "sha256": sha256((exported / name).read_bytes()).hexdigest(),
        }
    assert {*card["files"], "card.json"} == {path.name for path in exported.iterdir()}
    assert [path.name for path in exported.parent.iterdir()] == ["policy"]


def test_act_py_alone_gives_the_actions_that_vmax_gives(exported):
    loaded = load_exported(exported)
    rows = read_rows(exported / "example.csv", loaded.columns)
    assert rows.episodes is not None and len(set(rows.episodes)) == 2
    expected = loaded.act(rows.raw, rows.episodes)
    hidden = "import runpy, sys; sys.modules.update(vmax=None, flax=None)"
    alone = f"{hidden}; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
    call = [sys.executable, "-c", alone, str(exported / "act.py"), str(exported / "example.csv")]
    printed = subprocess.run(
        call, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": ""}
    ).stdout
    header, *lines = printed.splitlines()
    assert header == "action_power,power_mw" and len(lines) == len(expected) == 48
    np.testing.assert_allclose([[float(x) for x in line.split(",")] for line in lines], expected, atol=1e-6)
    assert np.abs(loaded.act(rows.raw) - expected)[24:].max() > 1e-3  # the second episode begins anew


def test_files_that_act_otherwise_are_refused_and_the_folder_of_before_stays(tmp_path, monkeypatch):
    env, run = pendulum(), folders._course
    learned, folder = policy(env), tmp_path / "policy"
    write_policy(folder, env, learned, {}, "stablehlo")
    before = (folder / "card.json").read_text()

    def shifted(*arguments):
        course = run(*arguments)
        return replace(course, action=course.action + 0.1)

    monkeypatch.setattr(folders, "_course", shifted)
    with pytest.raises(UserError, match=r"policy\.stablehlo acts otherwise than vmax: actions differ by 0\.1"):
        write_policy(folder, env, learned, {}, "stablehlo")
    assert (folder / "card.json").read_text() == before and [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_steps_after_the_end_of_an_episode_do_not_count():
    env = pendulum()
    source = Source.of(env, policy(env))
    raw = random_courses(env, batch=2)
    action = own_actions(env, source.policy, raw)
    action[2:, 1] += 1.0
    written = jax.jit(source.controller())
    assert difference("x", written, source, Course(raw, action, np.array([4, 2]))) <= 1e-6
    with pytest.raises(UserError, match="differ by 1"):
        difference("x", written, source, Course(raw, action, np.array([4, 3])))


def chooser(network):
    """A policy of fresh networks whose two choices on the pole are about as frequent."""
    env = make_env("cartpole")
    config = load(compose(["env=cartpole", "algorithm=ppo", f"network={network}", NORMALISED]))
    algorithm, spec = make_algorithm(config.algorithm, config.network), Spec(env.observation_space, env.action_space, 1)
    return env, Learned(algorithm.policy(algorithm.init(jax.random.key(4), spec)), algorithm)


@pytest.mark.parametrize("network", ["mlp", "lstm"])
def test_a_policy_of_choices_gives_their_numbers_and_the_card_names_them(tmp_path, network):
    env, learned = chooser(network)
    write_policy(tmp_path / "policy", env, learned, {}, "stablehlo")
    loaded = load_exported(tmp_path / "policy")
    (action,), (units,) = loaded.card["action"], loaded.card["units"]
    assert action["choices"] == ["push_left", "push_right"] and (action["low"], action["high"]) == (0, 1)
    assert units["meaning"] == "0: push_left, 1: push_right" and loaded.answers == ["action_choice", "choice"]
    rows = read_rows(tmp_path / "policy" / "example.csv", loaded.columns)
    assert rows.episodes is not None
    told = loaded.act(rows.raw, rows.episodes)
    assert set(told[:, 0]) == {0.0, 1.0} and np.array_equal(told[:, 0], told[:, 1])
    act = jax.jit(lambda row, carry: learned.algorithm.act(learned.weights, row, carry, jax.random.key(0), False)[:2])
    carry, expected = learned.algorithm.initial_carry(1), []
    for row, episode, before in zip(rows.raw, rows.episodes, [rows.episodes[0], *rows.episodes], strict=False):
        carry = carry if episode == before else learned.algorithm.initial_carry(1)
        choice, carry = act(row[None], carry)
        assert choice.dtype == np.int32 and choice.shape == (1,)
        expected.append(int(choice[0]))
    assert told[:, 0].tolist() == expected


def test_the_onnx_file_gives_the_same_choices(tmp_path):
    pytest.importorskip("jax2onnx", reason="the extra `onnx` is not installed")
    pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")
    env, learned = chooser("mlp")
    source = Source.of(env, learned)
    write_onnx(source, tmp_path / "policy.onnx")
    control = read_onnx(tmp_path / "policy.onnx")
    raw = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    assert control is not None
    action, units, _ = control(raw, ())  # pyright: ignore[reportArgumentType]
    assert np.array_equal(action, source.controller()(raw, ())[0]) and np.array_equal(action, units)  # pyright: ignore[reportArgumentType]


def test_another_choice_in_many_steps_is_refused():
    env, learned = chooser("mlp")
    source = Source.of(env, learned)
    course = folders._course(env, source)
    written = jax.jit(source.controller())
    assert difference("x", written, source, course) == 0.0
    with pytest.raises(UserError, match="x acts otherwise than vmax: in 1 of the steps, over 0.002"):
        difference("x", written, source, replace(course, action=1 - course.action))


def test_onnx_without_its_extra_is_one_clear_line(monkeypatch, tmp_path):
    monkeypatch.setattr("vmax.export.onnx.find_spec", lambda name: None)
    env = pendulum()
    with pytest.raises(UserError, match="format=onnx: jax2onnx is not installed; pip install"):
        write_policy(tmp_path / "policy", env, policy(env), {}, "onnx")
    assert list(tmp_path.iterdir()) == []


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def put(folder: Path, data: bytes) -> None:
    """Exchanges the policy for other bytes, with the checksum in the card."""
    (folder / "policy.stablehlo").write_bytes(data)
    card = json.loads((folder / "card.json").read_text())
    card["files"]["policy.stablehlo"]["sha256"] = sha256(data).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


@pytest.fixture
def written(tmp_path):
    env = pendulum()
    write_policy(tmp_path / "policy", env, policy(env), {}, "stablehlo")
    return tmp_path / "policy"


def test_damage_of_every_kind_is_named(written):
    data, card = (written / "policy.stablehlo").read_bytes(), (written / "card.json").read_text()
    flipped = bytes([*data[:500], data[500] ^ 1, *data[501:]])
    for content, message in ((flipped, "damaged or exchanged: sha256"), (data[:-1], "damaged or exchanged: sha256")):
        (written / "policy.stablehlo").write_bytes(content)
        with pytest.raises(UserError, match=message):
            load_exported(written)
    (written / "policy.stablehlo").unlink()
    with pytest.raises(UserError, match="is missing; export the policy again"):
        load_exported(written)
    for content, message in (
        ("{", "damaged or no card"),
        ("[]", "damaged or no card"),
        ("{}", "damaged or no card"),
        (card.replace('"format": 1', '"format": 99'), "format 99 is unknown"),
    ):
        (written / "card.json").write_text(content)
        with pytest.raises(UserError, match=message):
            load_exported(written)
    with pytest.raises(UserError, match="is no exported policy"):
        load_exported(written.parent)


def test_nothing_is_unpickled_and_a_pickle_in_its_place_is_refused(written, tmp_path):
    with classes_unpickled() as found:
        pickle.loads(pickle.dumps(Bomb(tmp_path / "proof")))
    assert found and (tmp_path / "proof").is_dir()  # the test can tell
    with classes_unpickled() as found:
        load_exported(written).act(np.zeros((1, 3)))
        put(written, pickle.dumps(Bomb(tmp_path / "boom")))
        with pytest.raises(UserError, match="no exported function"):
            load_exported(written)
        put(written, b"")
        with pytest.raises(UserError, match="no exported function"):
            load_exported(written)
    assert found == [] and not (tmp_path / "boom").exists()
