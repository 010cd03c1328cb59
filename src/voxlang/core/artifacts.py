"""Files of ours: written whole or not at all, and self-describing.

An artifact is a safetensors file whose metadata holds one JSON object
``{"schema": 1, "kind": ..., **fields}``. A reader that meets another schema or kind refuses.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.core.errors import ArtifactError

SCHEMA = 1
_FULL_BELOW_BYTES = 1 << 16
"""Room on a disk below which a writer's own error is taken for that of a full disk."""


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it onto `path` only when the block ends without an error.

    The suffix is kept, so that writers which choose a format by suffix do the right thing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = "".join(path.suffixes[-2:])
    fd, name = tempfile.mkstemp(prefix=f".{path.name.split('.')[0]}-", suffix=suffix, dir=path.parent)
    os.close(fd)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as f:
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except Exception as error:
        if not isinstance(error, OSError) and shutil.disk_usage(path.parent).free < _FULL_BELOW_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Read JSON; a missing or broken file is an ArtifactError that names it."""
    path = Path(path)
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError("a JSON file", got="no file", where=str(path), do="run the stage that writes it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            "valid JSON", got=str(error), where=str(path), do="delete the file and run the stage again"
        ) from error


def write_artifact(path: Path | str, kind: str, *, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and one JSON description into a safetensors file, atomically.

    Args:
        path: target, by custom `*.safetensors`.
        kind: what the file is, e.g. "scalar-field"; the reader asks for it by name.
        tensors: numpy arrays.
        meta: JSON-able description (settings, digests, grid, versions).
    """
    from safetensors.numpy import save_file

    header = json.dumps({"schema": SCHEMA, "kind": kind, **meta}, sort_keys=True)
    with atomic_path(path) as temporary:
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, temporary, metadata={"voxlang": header})


def read_artifact(path: Path | str, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a file of `write_artifact`; returns (tensors, meta).

    Raises:
        ArtifactError: no such file, not ours, cut short, another schema, or another kind.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    where = str(path)
    if not path.is_file():
        raise ArtifactError(f"a {kind} file", got="no file", where=where, do="run the stage that writes it")
    try:
        with safe_open(path, framework="np") as f:
            header = json.loads((f.metadata() or {}).get("voxlang", "null"))
            tensors = {k: f.get_tensor(k) for k in f.keys()}  # noqa: SIM118  safe_open is no mapping
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ArtifactError(
            "a whole safetensors file", got=str(error), where=where, do="delete it and run the stage again"
        ) from error
    if header is None or header.get("schema") != SCHEMA or header.get("kind") != kind:
        got = "a file without our header" if header is None else f"{header.get('kind')} schema {header.get('schema')}"
        raise ArtifactError(
            f"a {kind} file of schema {SCHEMA}",
            got=got,
            where=where,
            do="run the stage that writes it again, or pass the file that it wrote",
        )
    return tensors, header
