"""Digests, errors and levels."""

import hashlib
import inspect
import pickle

import numpy as np
import pytest
import torch

from voxlang.core import errors
from voxlang.core.device import device_of
from voxlang.core.digest import digest_array, digest_bytes, digest_file, digest_json
from voxlang.core.errors import ConfigError, VolumeError, VoxlangError
from voxlang.core.levels import LEVELS, Level, level_from_name


def test_digest_of_bytes_is_blake2b_of_16_bytes():
    assert digest_bytes(b"abc") == hashlib.blake2b(b"abc", digest_size=16).hexdigest()


def test_digest_of_an_array_ignores_strides_but_not_type_shape_or_values():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert digest_array(array) == digest_array(np.asfortranarray(array))
    assert digest_array(array) == digest_array(np.repeat(array, 2, axis=2)[:, :, ::2])
    others = [array.astype(np.float64), array.reshape(4, 3, 2), array + 1, array.transpose(2, 1, 0)]
    assert len({digest_array(a) for a in [array, *others]}) == 5


def test_digest_of_json_ignores_the_order_of_keys_only():
    assert digest_json({"a": 1, "b": [1, 2]}) == digest_json({"b": [1, 2], "a": 1})
    assert digest_json({"a": [1, 2]}) != digest_json({"a": [2, 1]})


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    data = bytes(range(256)) * 40000
    (tmp_path / "x").write_bytes(data)
    assert len(data) > 2 * (1 << 22)
    assert digest_file(tmp_path / "x") == digest_bytes(data)


def test_message_has_its_four_parts_in_order():
    error = VolumeError("8 bytes", got="7 bytes", where="load_raw(a.raw)", do="pass size_xyz=(7, 1, 1)")
    assert str(error) == "Expected 8 bytes; got 7 bytes. In: load_raw(a.raw). Do: pass size_xyz=(7, 1, 1)."


ERRORS = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, VoxlangError)]


@pytest.mark.parametrize("cls", ERRORS)
def test_every_error_survives_a_process_boundary(cls):
    error = cls("a", got="b", where="c", do="d")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is cls
    assert (back.expected, back.got, back.where, back.do) == ("a", "b", "c", "d")
    assert str(back) == str(error)


def test_there_are_errors_for_every_room():
    assert len(ERRORS) >= 12


def test_levels_are_the_indices_of_the_level_axis():
    assert [(level.label, level.letter, int(level)) for level in LEVELS] == [
        ("small", "s", 0),
        ("part", "p", 1),
        ("whole", "w", 2),
    ]


@pytest.mark.parametrize(("name", "level"), [("small", 0), ("P", 1), (" Whole ", 2), ("w", 2), ("PART", 1)])
def test_level_of_a_name(name, level):
    assert level_from_name(name) is Level(level)


def test_unknown_level_lists_the_choices():
    with pytest.raises(ConfigError, match=r"small, part or whole .* got 'medium'"):
        level_from_name("medium")


def test_devices():
    assert device_of("cpu") == torch.device("cpu") == device_of(torch.device("cpu"))
    assert device_of("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConfigError, match=r"auto, cpu, cuda or cuda:N.*'gpu'"):
        device_of("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_cuda_device_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match=r"none that torch can see.*embed.device=cuda:0"):
        device_of("cuda:0", where="embed.device")
