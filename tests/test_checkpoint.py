import asyncio
import gc
import json
import os
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vmax import checkpoint, devices
from vmax.checkpoint import Checkpoints, damage, disk_need
from vmax.errors import UserError
from vmax.files import DiskFull

N = devices.count()
PARAMS = {"kernel": jnp.arange(12.0).reshape(3, 4), "bias": jnp.zeros(4, jnp.bfloat16)}
STATE = {
    "params": devices.replicate(PARAMS, N),
    "optimiser": optax.adam(1e-3).init(PARAMS),
    "key": devices.replicate(jax.random.key(7), N),
    "count": jnp.int32(5),
    "flags": jnp.array([True, False]),
    "empty": (),
}
REPLAY = {"observation": jnp.ones((64, 3)), "pointer": jnp.int32(9)}


def scaled(factor):
    return jax.tree.map(lambda x: x * factor if x.dtype == jnp.float32 else x, STATE)


def bits(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    raw = [(path, jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x) for path, x in leaves]
    return {jax.tree_util.keystr(path): (x.dtype, x.shape, np.asarray(x).tobytes()) for path, x in raw}


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def store(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", keep=2, warn=warnings.append)


def data_file(store, name):
    """The largest file of a checkpoint's state: the arrays themselves."""
    files = (path for path in (store.directory / name / "state").rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def test_every_leaf_comes_back_bit_for_bit_with_its_place(store, warnings):
    store.save(100, {"state": STATE, "replay": REPLAY}, {"best": 0.5, "name": "x"})
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), STATE)
    restored = store.restore({"state": abstract, "replay": REPLAY})
    assert (restored.step, restored.meta) == (100, {"best": 0.5, "name": "x"})
    assert bits(restored.items["state"]) == bits(STATE) and bits(restored.items["replay"]) == bits(REPLAY)
    assert type(restored.items["state"]["optimiser"][0]) is type(STATE["optimiser"][0])
    assert restored.items["state"]["params"]["kernel"].sharding == devices.sharding()
    assert warnings == []


def test_items_are_restored_one_by_one_and_missing_ones_are_left_out(store):
    store.save(100, {"state": STATE}, {})
    assert store.restore({"state": STATE, "replay": REPLAY}).items.keys() == {"state"}


def test_the_latest_are_kept_and_the_best_as_of_each_of_them(store):
    for step in (100, 200, 300, 400):
        store.save(step, {"state": scaled(step)}, {})
        if step in (100, 300):
            store.save_best(step, {"state": scaled(step)}, {"score": step})
    assert store.steps() == [300, 400]
    assert store.best_steps() == [300]
    store.save_best(450, {"state": STATE}, {})
    assert store.best_steps() == [300, 450]
    assert store.restore({"state": STATE}, "best").step == 450
    store.discard_after(400)
    assert store.restore({"state": STATE}, "best").step == 300
    assert store.steps() == [300, 400]


def test_saving_a_step_again_replaces_it(store):
    store.save(100, {"state": STATE}, {"n": 1})
    store.save(100, {"state": scaled(2)}, {"n": 2})
    restored = store.restore({"state": STATE})
    assert restored.meta == {"n": 2} and bits(restored.items["state"]) == bits(scaled(2))


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [(flip, "is damaged (sha256 differs)"), (truncate, "bytes instead of"), (os.remove, "is missing")],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(store, warnings, harm, reason):
    store.save(100, {"state": STATE}, {})
    store.save(200, {"state": scaled(2)}, {})
    harm(data_file(store, "200"))
    restored = store.restore({"state": STATE})
    assert restored.step == 100 and bits(restored.items["state"]) == bits(STATE)
    assert len(warnings) == 1 and f"{store.directory / '200'}: " in warnings[0] and reason in warnings[0]


@pytest.mark.parametrize("content", [None, "", "[]", '{"files": '])
def test_a_checkpoint_without_its_manifest_is_passed_over(store, warnings, content):
    store.save(100, {"state": STATE}, {})
    store.save(200, {"state": STATE}, {})
    manifest = store.directory / "200" / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    assert store.restore({"state": STATE}).step == 100
    assert "manifest.json is missing or damaged" in warnings[0]


def test_changed_meta_data_are_damage_too(store):
    store.save(100, {"state": STATE}, {"score": 1})
    (store.directory / "100" / "meta.json").write_text('{"score": 9}')
    assert damage(store.directory / "100") == "meta.json has 12 bytes instead of 17"


def test_what_was_half_written_is_left_alone_until_it_is_swept(store, warnings):
    store.save(100, {"state": STATE}, {})
    shutil.copytree(store.directory / "100", store.directory / "200.tmp")
    assert store.restore({"state": STATE}).step == 100 and warnings == []
    assert (store.directory / "200.tmp").is_dir()  # another process may be writing it
    store.sweep()
    assert warnings == [f"checkpoint {store.directory / '200.tmp'}: half-written; removed"]
    assert sorted(path.name for path in store.directory.iterdir()) == ["100"]


def test_nothing_to_restore_is_the_users_to_know(store):
    with pytest.raises(UserError, match="holds no last checkpoint that can be read"):
        store.restore({"state": STATE})
    store.save(100, {"state": STATE}, {})
    flip(data_file(store, "100"))
    with pytest.raises(UserError, match=r"holds no last checkpoint that can be read \(damaged: 100\)"):
        store.restore({"state": STATE})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": jnp.float32(5)}, "state['count'] is int32[], this configuration needs float32[]"),
        ({"flags": jnp.zeros(3, bool)}, "state['flags'] is bool[2], this configuration needs bool[3]"),
        ({"extra": jnp.zeros(3)}, "state['extra'] is absent, this configuration needs float32[3]"),
        ({"key": jax.random.PRNGKey(0)}, f"state['key'] is key<fry>[{N}], this configuration needs uint32[2]"),
    ],
)
def test_another_structure_shape_or_dtype_is_refused_by_name(store, change, message):
    store.save(100, {"state": STATE}, {})
    with pytest.raises(UserError) as caught:
        store.restore({"state": {**STATE, **change}})
    assert str(caught.value) == f"checkpoint {store.directory / '100'}: {message}"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("RESOURCE_EXHAUSTED: write")])
def test_a_full_disk_leaves_earlier_checkpoints_and_nothing_half_written(store, monkeypatch, error):
    store.save(100, {"state": STATE}, {})
    save_tree = checkpoint._save_tree

    def full_after_the_state(path, tree):
        if path.name == "replay":
            raise error
        save_tree(path, tree)

    monkeypatch.setattr(checkpoint, "_save_tree", full_after_the_state)
    with pytest.raises(DiskFull, match=r"200: no space left on the disk"):
        store.save(200, {"state": STATE, "replay": REPLAY}, {})
    assert sorted(path.name for path in store.directory.iterdir()) == ["100"]
    assert store.restore({"state": STATE}).step == 100


def test_what_cannot_fit_is_not_begun(store, monkeypatch):
    store.save(100, {"state": STATE}, {})
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(DiskFull, match=r"200: needs 0\.1 MiB, 0\.0 MiB are free; everything written earlier is intact"):
        store.save(200, {"state": STATE}, {})
    assert sorted(path.name for path in store.directory.iterdir()) == ["100"]


def test_another_error_while_saving_passes_through(store, monkeypatch):
    def broken(path, tree):
        raise RuntimeError("bug")

    monkeypatch.setattr(checkpoint, "_save_tree", broken)
    with pytest.raises(RuntimeError, match="bug"):
        store.save(200, {"state": STATE}, {})
    assert list(store.directory.iterdir()) == []


def test_the_manifest_lists_every_file(store):
    store.save(100, {"state": STATE}, {})
    folder = store.directory / "100"
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*listed, "manifest.json"}


def test_disk_need_counts_the_kept_ones_and_the_one_in_the_making():
    items = {"state": {"a": jnp.zeros(10), "k": jax.random.key(0)}, "replay": jnp.zeros(100, bool)}
    beside = 3 * 4096 + 2 * 65536  # three arrays in two items
    assert disk_need(items, {"policy": jnp.zeros(3)}, keep=2) == 3 * (48 + 100 + beside + 12 + 4096 + 65536)


def test_a_checkpoint_takes_no_more_of_the_disk_than_was_asked_for(store):
    items = {"state": STATE, "replay": REPLAY, "policy": PARAMS}
    store.save(100, items, {})
    taken = sum(path.stat().st_blocks * 512 for path in (store.directory / "100").rglob("*"))
    assert taken <= checkpoint.disk_bytes(items)


@pytest.mark.parametrize(("number", "shown"), [(28, False), (5, True)])
def test_a_traceback_of_orbax_is_shown_unless_it_says_once_more_that_the_disk_is_full(caplog, number, shown):
    async def write():
        raise OSError(number, "nobody will ask for this")

    loop = asyncio.new_event_loop()
    task = loop.create_task(write())
    loop.run_until_complete(asyncio.sleep(0.0))
    loop.close()
    del task
    gc.collect()
    assert ("never retrieved" in caplog.text) == shown
