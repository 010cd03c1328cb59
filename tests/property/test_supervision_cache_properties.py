"""Whatever is written is read back, whatever is changed is named, and no bytes do harm."""

from unittest import mock

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxlang.core.errors import CacheError
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import look_at
from voxlang.supervision.cache import read_cache, write_cache
from voxlang.supervision.plain_pickle import dump_plain, load_plain
from voxlang.supervision.types import Pieces, ViewTarget

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

names = st.text(min_size=1, max_size=20)
inputs = st.dictionaries(names, st.text(max_size=32), min_size=1, max_size=8)


@st.composite
def targets(draw):
    n, dim = draw(st.integers(0, 12)), draw(st.integers(1, 9))
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    index = draw(hnp.arrays(np.int16, (3, height, width), elements=st.integers(-1, n - 1)))
    vectors = draw(hnp.arrays(np.float16, (n, dim), elements=st.floats(-1, 1, width=16)))
    parents = draw(hnp.arrays(np.int16, n, elements=st.integers(-1, max(n - 1, -1))))
    levels = draw(hnp.arrays(np.int16, n, elements=st.integers(0, 2)))
    scores = draw(hnp.arrays(np.float32, n, elements=st.floats(0, 1, width=32)))
    position = np.array([draw(st.floats(1, 5)), draw(st.floats(-5, 5)), draw(st.floats(-5, 5))])
    camera = look_at(position, np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=30.0, width=width, height=height)
    encoder = EncoderId("open_clip", draw(names), "w", "p", dim)
    pieces = None
    if draw(st.booleans()):
        finer = draw(hnp.arrays(np.int16, (3, height, width), elements=st.integers(-1, n - 1)))
        pieces = Pieces(finer, vectors[::-1].copy(), levels[::-1].copy(), draw(st.floats(-1, 1)))
    return ViewTarget(camera, draw(names), index, vectors, levels, parents, scores, encoder, draw(names), pieces)


@given(views=st.lists(targets(), max_size=3), given_inputs=inputs)
@quick
def test_read_is_the_inverse_of_write(tmp_path, views, given_inputs):
    path = tmp_path / "cache.pkl"
    write_cache(path, views, inputs=given_inputs)
    for a, b in zip(read_cache(path, expected=given_inputs), views, strict=True):
        for name in ("mask_index", "vectors", "mask_level", "mask_parent", "mask_score"):
            ours, theirs = getattr(a, name), getattr(b, name)
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            assert ours.tobytes() == theirs.tobytes()
        assert (a.pieces is None) == (b.pieces is None)
        assert b.pieces is None or a.pieces.agreement == b.pieces.agreement
        for name in ("index", "vectors", "level") if b.pieces else ():
            assert getattr(a.pieces, name).tobytes() == getattr(b.pieces, name).tobytes()
        assert (a.transfer_id, a.encoder, a.key) == (b.transfer_id, b.encoder, b.key)
        assert a.camera.as_dict() == b.camera.as_dict()


@given(data=st.data(), given_inputs=inputs)
@quick
def test_any_changed_input_is_refused_by_name(tmp_path, data, given_inputs):
    path = tmp_path / "cache.pkl"
    write_cache(path, [], inputs=given_inputs)
    name = data.draw(st.sampled_from(sorted(given_inputs)))
    kind = data.draw(st.sampled_from(["changed", "gone", "new"]))
    now = dict(given_inputs)
    if kind == "gone":
        del now[name]
    elif kind == "new":
        name = name + "+"
        now[name] = given_inputs.get(name, "") + "x"
    else:
        now[name] += "x"
    try:
        read_cache(path, expected=now)
    except CacheError as error:
        assert f"changed: {name} was " in error.got and now.get(name, "not used") in error.got
    else:
        raise AssertionError(f"a cache with a {kind} {name!r} was read")
    assert read_cache(path, expected=None) == []


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(value=plain)
@quick
def test_plain_values_survive(value):
    assert load_plain(dump_plain(value), where="x") == value


def is_plain(value):
    if isinstance(value, dict):
        return all(is_plain(part) for item in value.items() for part in item)
    if isinstance(value, list | tuple):
        return all(is_plain(part) for part in value)
    return value is None or type(value) in (bool, int, float, str, bytes, np.ndarray)


def refused_or_plain(data):
    """Read bytes with os.system watched; anything but a plain value or a CacheError is a failure."""
    with mock.patch("os.system", side_effect=AssertionError("something was executed")):
        try:
            value = load_plain(data, where="x")
        except CacheError:
            return
    assert is_plain(value)


@given(data=st.binary(max_size=200))
@settings(max_examples=400, deadline=None)
def test_random_bytes_are_refused_or_plain(data):
    refused_or_plain(data)


OPCODES = st.lists(
    st.sampled_from(
        [bytes([b]) for b in b"NK)]}(.tuelasbR\x85\x86\x87\x88\x890aqhrjXBC\x80\x03\x00\x01"]
        + [b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy._core.multiarray\n_reconstruct\n", b"X\x02\x00\x00\x00f2"]
        + [b"K\x00\x85", b"C\x01b", b"cos\nsystem\n", b"X\x02\x00\x00\x00ls\x85", b"\x93", b"q\x00", b"h\x00", b"K\x03"]
    ),
    max_size=40,
)


@given(parts=OPCODES)
@settings(max_examples=600, deadline=None)
def test_random_programs_are_refused_or_plain(parts):
    refused_or_plain(b"\x80\x03" + b"".join(parts) + b".")


@given(data=st.data())
@quick
def test_flipped_bytes_of_a_real_cache_are_refused_or_harmless(tmp_path, data):
    path = tmp_path / "cache.pkl"
    view = data.draw(targets())
    write_cache(path, [view], inputs={"volume": "v"})
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    try:
        (back,) = read_cache(path, expected={"volume": "v"})
    except CacheError:
        return
    assert back.vectors.tobytes() == view.vectors.tobytes()
    assert back.mask_index.tobytes() == view.mask_index.tobytes()
