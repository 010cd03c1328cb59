"""Artifacts are written whole or not at all, and a reader refuses what is not ours."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from voxlang.core.artifacts import (
    atomic_path,
    read_artifact,
    read_json,
    write_artifact,
    write_bytes,
    write_json,
    write_text,
)
from voxlang.core.errors import ArtifactError


def test_round_trip_keeps_dtype_shape_values_and_meta(tmp_path, rng):
    tensors = {"a": rng.normal(size=(3, 4, 5)).astype(np.float32), "b": np.arange(6, dtype=np.uint16).reshape(2, 3).T}
    write_artifact(tmp_path / "x.safetensors", "thing", tensors=tensors, meta={"config": {"n": 2}})
    back, meta = read_artifact(tmp_path / "x.safetensors", "thing")
    assert meta == {"schema": 1, "kind": "thing", "config": {"n": 2}}
    for name, array in tensors.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_error_in_the_block_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "value.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["value.txt"]


def test_killed_writer_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "value.bin"
    write_bytes(path, b"old" * 1000)
    code = (
        "import sys, time\n"
        "from voxlang.core.artifacts import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    with temporary.open('wb') as f:\n"
        "        f.write(b'new' * 100); f.flush(); print('half', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait(timeout=10)
    writer.stdout.close()
    assert path.read_bytes() == b"old" * 1000
    write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"


def test_readers_never_see_half_a_file(tmp_path):
    path = tmp_path / "value.json"
    code = (
        "import sys\n"
        "from voxlang.core.artifacts import write_json\n"
        "for i in range(200): write_json(sys.argv[1], [i] * 5000)\n"
    )
    write_json(path, [-1] * 5000)
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
    seen, deadline = set(), time.monotonic() + 30
    while writer.poll() is None and time.monotonic() < deadline:
        values = read_json(path)
        assert len(values) == 5000
        assert len(set(values)) == 1
        seen.add(values[0])
    assert writer.wait(timeout=10) == 0
    assert len(seen) > 1


def test_double_suffix_is_kept_for_writers_that_choose_by_it(tmp_path):
    with atomic_path(tmp_path / "labels.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
    assert (tmp_path / "labels.nii.gz").read_bytes() == b"x"


def test_parent_folders_are_made(tmp_path):
    write_json(tmp_path / "a" / "b" / "c.json", {"ü": 1})
    assert read_json(tmp_path / "a" / "b" / "c.json") == {"ü": 1}


def test_missing_and_broken_json_name_the_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"no file.*absent\.json"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text('{"a": ')
    with pytest.raises(ArtifactError, match=r"broken\.json"):
        read_json(tmp_path / "broken.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ArtifactError, match=r"latin\.json"):
        read_json(tmp_path / "latin.json")


def test_missing_artifact(tmp_path):
    with pytest.raises(ArtifactError, match="no file"):
        read_artifact(tmp_path / "absent.safetensors", "thing")


@pytest.mark.parametrize("keep", [0, 4, 40, -5])
def test_truncated_artifact_is_refused(tmp_path, keep):
    path = tmp_path / "x.safetensors"
    write_artifact(path, "thing", tensors={"a": np.arange(100.0)}, meta={})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="whole safetensors file"):
        read_artifact(path, "thing")


def test_foreign_kind_and_foreign_file_are_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    write_artifact(path, "scalar-field", tensors={"a": np.zeros(2)}, meta={})
    with pytest.raises(ArtifactError, match="got scalar-field schema 1"):
        read_artifact(path, "semantic-field")
    save_file({"a": np.zeros(2)}, path)
    with pytest.raises(ArtifactError, match="without our header"):
        read_artifact(path, "scalar-field")


def test_foreign_schema_is_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    header = json.dumps({"schema": 99, "kind": "thing"})
    save_file({"a": np.zeros(2)}, path, metadata={"voxlang": header})
    with pytest.raises(ArtifactError, match="thing file of schema 1; got thing schema 99"):
        read_artifact(path, "thing")
