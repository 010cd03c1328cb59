"""Content digests: the identity of arrays, files and settings (BLAKE2b, 16 bytes, hex)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

_SIZE = 16


def digest_bytes(data: bytes | memoryview) -> str:
    """Hex digest of raw bytes."""
    return hashlib.blake2b(data, digest_size=_SIZE).hexdigest()


def digest_array(array: np.ndarray) -> str:
    """Hex digest of an array's dtype, shape and values; equal arrays have equal digests whatever their strides."""
    h = hashlib.blake2b(digest_size=_SIZE)
    h.update(f"{array.dtype.str}{array.shape}".encode())
    h.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return h.hexdigest()


def digest_json(value: Any) -> str:
    """Hex digest of a JSON-able value, independent of key order."""
    return digest_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def digest_file(path: Path | str) -> str:
    """Hex digest of a file's bytes, read in chunks of 4 MiB."""
    h = hashlib.blake2b(digest_size=_SIZE)
    with Path(path).open("rb") as f:
        while chunk := f.read(1 << 22):
            h.update(chunk)
    return h.hexdigest()
