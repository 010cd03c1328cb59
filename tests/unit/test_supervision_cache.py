"""The cache: identity, staleness by name, damage, size, resume, and pickles that want to do harm."""

import builtins
import os
import pickle
import pickletools
import zlib

import numpy as np
import pytest

from voxlang.core.errors import CacheError
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import look_at
from voxlang.supervision.cache import cache_path, changed_inputs, read_cache, read_header, write_cache
from voxlang.supervision.plain_pickle import dump_plain, load_plain
from voxlang.supervision.types import ViewTarget
from voxlang.supervision.view_store import ViewStore

INPUTS = {"volume": "v1", "transfer functions": "t1", "cameras": "c1", "resolution": "13x9", "encoder": "e1"}


def make_target(rng, *, n=5, height=9, width=13, dim=6, angle=0.3):
    camera = look_at(
        np.array([3 * np.cos(angle), 3 * np.sin(angle), 1.0]),
        np.zeros(3),
        up_world=(0.0, 0.0, 1.0),
        fov_y_deg=35.0,
        width=width,
        height=height,
    )
    vectors = rng.normal(size=(n, dim))
    return ViewTarget(
        camera,
        "transfer",
        rng.integers(-1, n, (3, height, width)).astype(np.int16),
        (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16),
        rng.integers(0, 3, n).astype(np.int16),
        np.full(n, -1, np.int16),
        rng.random(n).astype(np.float32),
        EncoderId("open_clip", "tiny", "w", "p", dim),
        "key",
    )


def assert_same(a, b):
    assert a.camera.digest == b.camera.digest and a.camera.up_world == b.camera.up_world
    assert (a.transfer_id, a.encoder, a.key) == (b.transfer_id, b.encoder, b.key)
    for name in ("mask_index", "vectors", "mask_level", "mask_parent", "mask_score"):
        ours, theirs = getattr(a, name), getattr(b, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def cache(tmp_path, rng):
    targets = [make_target(rng, n=n, angle=n) for n in (5, 0, 9)]
    path = cache_path(tmp_path, 3)
    write_cache(path, targets, inputs=INPUTS)
    return path, targets


def test_what_is_written_is_read(cache):
    path, targets = cache
    assert path.name == "sam_cache_3views.pkl"
    for a, b in zip(read_cache(path, expected=INPUTS), targets, strict=True):
        assert_same(a, b)
    assert read_header(path).inputs == INPUTS and read_header(path).n_views == 3


def test_it_is_an_ordinary_pickle_of_builtins_and_arrays(cache):
    path, targets = cache
    names = {a for op, a, _ in pickletools.genops(path.read_bytes()) if op.name == "GLOBAL"}
    assert names == {"numpy._core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    plain = pickle.loads(path.read_bytes())
    assert plain["inputs"] == INPUTS
    maps = np.frombuffer(zlib.decompress(plain["views"][0]["index_zlib"]), "<i2").reshape(3, 9, 13)
    np.testing.assert_array_equal(maps, targets[0].mask_index)


@pytest.mark.parametrize("name", INPUTS)
def test_a_stale_cache_names_what_changed(cache, name):
    path, _ = cache
    with pytest.raises(CacheError) as caught:
        read_cache(path, expected=INPUTS | {name: "new"})
    assert f"changed: {name} was {INPUTS[name]}, is new" in caught.value.got
    assert all(other not in caught.value.got for other in INPUTS if other != name)


def test_inputs_that_came_or_went_are_named(cache):
    path, _ = cache
    with pytest.raises(CacheError, match="sam weights was not recorded, is s1"):
        read_cache(path, expected=INPUTS | {"sam weights": "s1"})
    with pytest.raises(CacheError, match="encoder was e1, is not used"):
        read_cache(path, expected={k: v for k, v in INPUTS.items() if k != "encoder"})
    assert changed_inputs({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == {
        "b": ("2", "3"),
        "c": (None, "4"),
        "a": ("1", None),
    }
    assert len(read_cache(path, expected=None)) == 3


def test_a_missing_file(tmp_path):
    with pytest.raises(CacheError, match="mode=stage2"):
        read_cache(tmp_path / "none.pkl", expected=None)


def test_cut_at_any_byte(cache):
    path, _ = cache
    data = path.read_bytes()
    for length in [*range(40), *range(40, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(CacheError):
            read_cache(path, expected=INPUTS)
    path.write_bytes(data + b"more")
    with pytest.raises(CacheError, match="4 bytes after the end"):
        read_cache(path, expected=INPUTS)


def rewritten(path, change):
    payload = pickle.loads(path.read_bytes())
    change(payload)
    path.write_bytes(pickle.dumps(payload, protocol=3))
    return path


def no_parent_in_range(payload):
    payload["views"][0]["parent"] = np.full(5, 7, np.int16)


def larger_than_its_camera(payload):
    payload["views"][0]["height"] = 10


def zip_bomb(payload):
    payload["views"][0]["index_zlib"] = zlib.compress(bytes(10**7))


CHANGES = {
    "magic": lambda p: p.update(magic="other"),
    "schema": lambda p: p.update(schema=2),
    "count": lambda p: p.update(n_views=4),
    "view missing": lambda p: p["views"].pop(),
    "no inputs": lambda p: p.pop("inputs"),
    "inputs of numbers": lambda p: p.update(inputs={"volume": 3}),
    "field missing": lambda p: p["views"][0].pop("level"),
    "vectors of doubles": lambda p: p["views"][0].update(vectors=p["views"][0]["vectors"].astype(np.float64)),
    "flipped vector": lambda p: p["views"][0]["vectors"].__setitem__((0, 0), 0.123),
    "flipped score": lambda p: p["views"][0]["score"].__setitem__(0, 0.5),
    "parent": no_parent_in_range,
    "height": larger_than_its_camera,
    "bomb": zip_bomb,
    "camera": lambda p: p["views"][0]["camera"].update(K=[[1.0]]),
    "encoder": lambda p: p["views"][0]["encoder"].update(extra=1),
    "a list": lambda p: p["views"].__setitem__(0, [1, 2]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_damaged_or_foreign_content(cache, name):
    path, _ = cache
    with pytest.raises(CacheError):
        read_cache(rewritten(path, CHANGES[name]), expected=INPUTS)


@pytest.mark.parametrize("name", [n for n in CHANGES if not n.startswith("flipped")])
def test_content_is_checked_even_where_the_checksum_was_repaired(cache, name, monkeypatch):
    path, _ = cache
    monkeypatch.setattr("voxlang.supervision.cache._checksum", lambda view: view["checksum"])
    with pytest.raises(CacheError):
        read_cache(rewritten(path, CHANGES[name]), expected=INPUTS)


def test_512_pixels_square_with_a_hundred_masks_is_far_below_two_megabytes(tmp_path, rng):
    """Blobs with ragged edges, as automatic masks have them: 100 masks, 512 numbers a vector."""
    n, size = 100, 512
    v, u = np.mgrid[0:size, 0:size].astype(np.float32)
    index = np.full((3, size, size), -1, np.int16)
    for i in range(n):
        cy, cx, radius = *rng.uniform(40, 470, 2), (90, 40, 15)[2 - i % 3]
        angle = np.arctan2(v - cy, u - cx)
        ragged = radius * (1 + 0.15 * np.sin(7 * angle + i) + 0.08 * np.sin(31 * angle)) + rng.normal(
            0, 1.0, (size, size)
        )
        index[i % 3][np.hypot(v - cy, u - cx) < ragged] = i
    whole = make_target(rng, n=n, height=size, width=size, dim=512)
    target = ViewTarget(
        whole.camera,
        "t",
        index,
        whole.vectors,
        whole.mask_level,
        whole.mask_parent,
        whole.mask_score,
        whole.encoder,
        "k",
    )
    write_cache(tmp_path / "c.pkl", [target], inputs=INPUTS)
    assert (tmp_path / "c.pkl").stat().st_size < 250_000
    assert_same(read_cache(tmp_path / "c.pkl", expected=INPUTS)[0], target)


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def harmful(marker):
    touch = f"touch {marker}"
    write = f"open({str(marker)!r}, 'w').close()"
    system = Harm(os.system, touch)
    yield "system", system
    yield "eval", Harm(builtins.eval, write)
    yield "exec", Harm(builtins.exec, write)
    yield "nested", {"magic": "voxlang view cache", "views": [{"vectors": [system]}], "inputs": {}}
    yield "as a key", {Harm(builtins.eval, f"{write} or 1"): 1}
    yield "object array", np.array([system], dtype=object)
    yield "open", Harm(builtins.open, str(marker), "w")
    yield "class", Harm


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_harmful_pickles_are_refused_before_anything_runs(tmp_path, protocol):
    marker, path = tmp_path / "marker", tmp_path / "c.pkl"
    for name, value in harmful(marker):
        path.write_bytes(pickle.dumps(value, protocol=protocol))
        for read in (lambda: read_cache(path, expected=None), lambda: read_header(path)):
            with pytest.raises(CacheError, match="nothing of the file was executed"):
                read()
            assert not marker.exists(), name
    assert pickle.loads(pickle.dumps(Harm(builtins.eval, "40 + 2"))) == 42, "these pickles do run in the plain reader"


HAND_WRITTEN = {
    "numpy's own loader": b"\x80\x03cnumpy\nload\nX\x01\x00\x00\x00x\x85R.",
    "a name with a dot": b"\x80\x03cnumpy\nndarray.__class__\n.",
    "a name put together": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "old style instance": b"(S'ls'\nios\nsystem\n.",
    "extension registry": b"\x80\x03\x82\x01.",
    "persistent id": b"\x80\x03X\x01\x00\x00\x00xQ.",
    "a huge memo slot": b"\x80\x03Nr\xff\xff\xff\x7f.",
}
MALFORMED = {
    "state for a name": b"\x80\x03cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",
    "attributes for a name": b"\x80\x03cnumpy\ndtype\nN}X\x04\x00\x00\x00codeK\x01s\x86b.",
    "ndarray called": b"\x80\x03cnumpy\nndarray\n)R.",
    "a loose name": b"\x80\x03cnumpy\ndtype\n.",
    "objects in an array": b"\x80\x03cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R.",
    "reduce of a number": b"\x80\x03K\x01)R.",
    "an empty stack": b"\x80\x03.",
    "a list as a key": b"\x80\x03}]K\x01s.",
    "a list in itself": b"\x80\x03]q\x00h\x00a.",
    "an unknown memo slot": b"\x80\x03h\x07.",
    "nothing": b"",
}


@pytest.mark.parametrize("name", [*HAND_WRITTEN, *MALFORMED])
def test_hand_written_programs_are_refused(name):
    unsafe = name in HAND_WRITTEN
    with pytest.raises(CacheError, match="nothing of the file was executed" if unsafe else "whole view cache"):
        load_plain((HAND_WRITTEN | MALFORMED)[name], where="x")


def test_plain_pickles_keep_arrays_of_any_shape_and_order():
    value = {
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 7), np.float16),
        "columns": np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
        "bits": np.array([[True, False]]),
        "plain": [1, -(2**70), 1.5, None, True, "é", b"\x00", (), (1, (2,)), {"a": []}],
    }
    back = load_plain(dump_plain(value), where="x")
    assert back["plain"] == value["plain"]
    for name in ("scalar", "empty", "columns", "bits"):
        assert back[name].dtype == value[name].dtype and back[name].shape == value[name].shape
        np.testing.assert_array_equal(back[name], value[name])
        assert back[name].flags.writeable


@pytest.mark.parametrize("value", [{1, 2}, 1j, np.array(["text"]), np.array([None]), np.float64(1.0), Harm, range(3)])
def test_other_values_are_not_written(value):
    with pytest.raises(CacheError):
        dump_plain([value])


def test_views_survive_a_kill_and_become_one_cache(tmp_path, rng):
    targets = [make_target(rng, n=n) for n in (3, 4, 5)]
    store = ViewStore(tmp_path, INPUTS)
    assert store.get(0) is None and store.done() == []
    store.put(0, targets[0])
    store.put(2, targets[2])
    again = ViewStore(tmp_path, dict(INPUTS))
    assert again.done() == [0, 2] and again.get(1) is None
    assert_same(again.get(2), targets[2])
    with pytest.raises(CacheError, match=r"no views \[1\]"):
        again.assemble(cache_path(tmp_path, 3), 3)
    again.put(1, targets[1])
    for a, b in zip(again.assemble(cache_path(tmp_path, 3), 3), targets, strict=True):
        assert_same(a, b)
    for a, b in zip(read_cache(cache_path(tmp_path, 3), expected=INPUTS), targets, strict=True):
        assert_same(a, b)
    assert [p.name for p in tmp_path.iterdir()] == ["sam_cache_3views.pkl"], "single views are gone"


def test_views_of_other_inputs_or_places_are_not_taken(tmp_path, rng):
    store = ViewStore(tmp_path, INPUTS)
    store.put(0, make_target(rng))
    assert ViewStore(tmp_path, INPUTS | {"cameras": "c2"}).get(0) is None
    store.path(0).rename(store.path(1))
    with pytest.raises(CacheError, match="view was 0, is 1"):
        store.get(1)
    store.path(1).write_bytes(b"\x80\x03")
    with pytest.raises(CacheError, match="delete the file"):
        store.get(1)
