"""The cache of view targets: one pickle of builtins and numpy arrays, keyed by the digest of every input.

    {"magic", "schema", "n_views", "inputs": {name: digest}, "views": [
        {"camera", "transfer_id", "encoder", "key", "height", "width", "index_zlib", "vectors", "level", "parent",
         "score", "checksum"}, ...]}

A view that a dense tower looked at holds "piece_index_zlib", "piece_vectors", "piece_level" and "piece_agreement" too.

An index map of three levels at 512x512 is 1.5 MB as int16; compressed it is some tens of kB.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.core.artifacts import write_bytes
from voxlang.core.digest import digest_bytes, digest_json
from voxlang.core.errors import CacheError, GeometryError
from voxlang.core.levels import LEVELS
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import Camera
from voxlang.supervision.plain_pickle import dump_plain, load_plain
from voxlang.supervision.types import Pieces, ViewTarget

MAGIC = "voxlang view cache"
SCHEMA = 1
LARGEST_SIDE_PX = 16384
"""A view larger than this is taken for a damaged file."""


@dataclass(frozen=True)
class CacheHeader:
    """What a cache says about itself."""

    n_views: int
    """Number of views."""
    inputs: dict[str, str]
    """Digest of every input by name: volume, cameras, encoder, thresholds, ..."""


def cache_path(folder: Path | str, n_views: int) -> Path:
    """Where the cache of a run with this many views lies."""
    return Path(folder) / f"sam_cache_{n_views}views.pkl"


def write_cache(path: Path | str, targets: Sequence[ViewTarget], *, inputs: dict[str, str]) -> None:
    """Write all views of a run into one file, atomically.

    Args:
        path: usually `cache_path(folder, n)`.
        targets: one per view, in order.
        inputs: digest of everything the views depend on, by a name that a user understands.
    """
    payload = {
        "magic": MAGIC,
        "schema": SCHEMA,
        "n_views": len(targets),
        "inputs": {str(k): str(v) for k, v in inputs.items()},
        "views": [_encoded(t) for t in targets],
    }
    write_bytes(path, dump_plain(payload))


def read_cache(path: Path | str, *, expected: dict[str, str] | None) -> list[ViewTarget]:
    """Read the views of a cache that was made from exactly these inputs.

    Args:
        path: a file of `write_cache`.
        expected: digests of the present inputs; None reads the cache whatever it was made from (for statistics).

    Raises:
        CacheError: no file; stale (names every input that changed, with both digests); cut short, damaged, foreign,
            of another schema; or unsafe, in which case nothing of it was executed.
    """
    payload = _payload(Path(path))
    header = _header(payload, str(path))
    if expected is not None:
        require_same_inputs(header.inputs, expected, where=str(path))
    return [_decoded(view, f"{path}, view {i}") for i, view in enumerate(payload["views"])]


def read_header(path: Path | str) -> CacheHeader:
    """What a cache was made from, whatever it was.

    Raises:
        CacheError: as `read_cache`.
    """
    return _header(_payload(Path(path)), str(path))


def changed_inputs(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """Inputs whose digests differ: name -> (before, now), None where one side does not know the input."""
    names = [*now, *(k for k in before if k not in now)]
    return {k: (before.get(k), now.get(k)) for k in names if before.get(k) != now.get(k)}


def require_same_inputs(before: Mapping[str, str], now: Mapping[str, str], *, where: str) -> None:
    """Raise a CacheError that names every input that changed, with its old and new digest."""
    changed = changed_inputs(before, now)
    if changed:
        listed = "; ".join(f"{k} was {a or 'not recorded'}, is {b or 'not used'}" for k, (a, b) in changed.items())
        raise CacheError(
            "a cache made from the present inputs",
            got=f"a stale one, changed: {listed}",
            where=where,
            do=f"delete it to compute the views again, or go back to the former {', '.join(changed)}",
        )


def _payload(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CacheError("a view cache", got="no file", where=str(path), do="run main.py --mode=stage2 first")
    payload = load_plain(path.read_bytes(), where=str(path))
    if not isinstance(payload, dict) or payload.get("magic") != MAGIC or payload.get("schema") != SCHEMA:
        named = isinstance(payload, dict) and payload.get("magic") == MAGIC
        raise CacheError(
            f"a view cache of schema {SCHEMA}",
            got=f"schema {payload.get('schema')!r}" if named else "a pickle without our header",
            where=str(path),
            do="delete the file and run stage 2 again",
        )
    return payload


def _header(payload: dict[str, Any], where: str) -> CacheHeader:
    n_views, inputs, views = (payload.get(k) for k in ("n_views", "inputs", "views"))
    digests = isinstance(inputs, dict) and all(isinstance(v, str) for kv in inputs.items() for v in kv)
    if not digests or not isinstance(views, list) or type(n_views) is not int or n_views != len(views):
        got = f"{n_views!r} views announced, {len(views) if isinstance(views, list) else 'no'} views there"
        raise _damaged(got, where)
    return CacheHeader(n_views, inputs)


def _encoded(target: ViewTarget) -> dict[str, Any]:
    """One view as builtins and numpy arrays."""
    view = {
        "camera": target.camera.as_dict(),
        "transfer_id": target.transfer_id,
        "encoder": target.encoder.as_dict(),
        "key": target.key,
        "height": target.camera.height,
        "width": target.camera.width,
        "index_zlib": zlib.compress(np.ascontiguousarray(target.mask_index, "<i2").tobytes(), 6),
        "vectors": np.ascontiguousarray(target.vectors, "<f2"),
        "level": np.ascontiguousarray(target.mask_level, "<i2"),
        "parent": np.ascontiguousarray(target.mask_parent, "<i2"),
        "score": np.ascontiguousarray(target.mask_score, "<f4"),
    }
    if target.pieces is not None:
        view |= {
            "piece_index_zlib": zlib.compress(np.ascontiguousarray(target.pieces.index, "<i2").tobytes(), 6),
            "piece_vectors": np.ascontiguousarray(target.pieces.vectors, "<f2"),
            "piece_level": np.ascontiguousarray(target.pieces.level, "<i2"),
            "piece_agreement": float(target.pieces.agreement),
        }
    return view | {"checksum": _checksum(view)}


_KINDS: dict[str, type] = {
    "camera": dict,
    "transfer_id": str,
    "encoder": dict,
    "key": str,
    "height": int,
    "width": int,
    "index_zlib": bytes,
    "vectors": np.ndarray,
    "level": np.ndarray,
    "parent": np.ndarray,
    "score": np.ndarray,
}
_PIECE_KINDS: dict[str, type] = {
    "piece_index_zlib": bytes,
    "piece_vectors": np.ndarray,
    "piece_level": np.ndarray,
    "piece_agreement": float,
}
_ARRAYS = {
    "vectors": (2, "<f2"),
    "level": (1, "<i2"),
    "parent": (1, "<i2"),
    "score": (1, "<f4"),
    "piece_vectors": (2, "<f2"),
    "piece_level": (1, "<i2"),
}


def _checksum(view: dict[str, Any]) -> str:
    """Digest of every field, so that a flipped bit does not pass for a vector."""
    arrays = {k: [list(view[k].shape), digest_bytes(view[k].tobytes())] for k in _ARRAYS if k in view}
    plain = {k: view[k] for k in _KINDS if k not in _ARRAYS and k != "index_zlib"}
    content: dict[str, Any] = {"arrays": arrays, "plain": plain, "index": digest_bytes(view["index_zlib"])}
    if "piece_index_zlib" in view:
        content["pieces"] = [digest_bytes(view["piece_index_zlib"]), view["piece_agreement"]]
    return digest_json(content)


def _decoded(view: Any, where: str) -> ViewTarget:
    """The inverse of `_encoded`; nothing is believed before it is checked."""
    fields = {k: type(v) for k, v in view.items()} if isinstance(view, dict) else {}
    if fields not in (_KINDS | {"checksum": str}, _KINDS | _PIECE_KINDS | {"checksum": str}):
        raise _damaged("a view with other fields", where)
    for name, (ndim, dtype) in _ARRAYS.items():
        if name in view and (view[name].ndim != ndim or view[name].dtype != np.dtype(dtype)):
            raise _damaged(f"{name} of type {view[name].dtype} and {view[name].ndim} dimensions", where)
    try:
        if _checksum(view) != view["checksum"]:
            raise _damaged("a checksum that does not fit the content", where)
        camera, encoder = Camera.from_dict(view["camera"]), EncoderId.from_dict(view["encoder"])
        shapes, kinds = (camera.K.shape, camera.T_world_camera.shape), [type(v) for v in view["encoder"].values()]
        if shapes != ((3, 3), (4, 4)) or not all(kind in (str, int) for kind in kinds):
            raise ValueError(f"a camera of shapes {shapes} or an encoder of {kinds}")
        index = _index_maps(view, "index_zlib", camera)
        pieces = None
        if "piece_index_zlib" in view:
            index_of_pieces = _index_maps(view, "piece_index_zlib", camera)
            pieces = Pieces(index_of_pieces, view["piece_vectors"], view["piece_level"], view["piece_agreement"])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, GeometryError, zlib.error) as error:
        raise _damaged(f"{type(error).__name__}: {error}", where) from error
    n, parent, level = len(view["vectors"]), view["parent"], view["level"]
    rows = {len(parent), len(level), len(view["score"]), n}
    if len(rows) > 1 or encoder.dim != view["vectors"].shape[1] or not np.isin(level, list(map(int, LEVELS))).all():
        raise _damaged(f"tables of {sorted(rows)} rows, vectors of {view['vectors'].shape[1]} numbers", where)
    if parent.min(initial=-1) < -1 or parent.max(initial=-1) >= n:
        raise _damaged("a parent out of range", where)
    if pieces is not None and (
        pieces.vectors.shape[1] != encoder.dim or not np.isin(pieces.level, list(map(int, LEVELS))).all()
    ):
        raise _damaged(f"pieces with vectors of {pieces.vectors.shape[1]} numbers", where)
    return ViewTarget(
        camera, view["transfer_id"], index, view["vectors"], level, parent, view["score"], encoder, view["key"], pieces
    )


def _index_maps(view: dict[str, Any], name: str, camera: Camera) -> np.ndarray:
    height, width = view["height"], view["width"]
    if (height, width) != (camera.height, camera.width) or max(height, width) > LARGEST_SIDE_PX:
        raise ValueError(f"maps of {width}x{height} for a camera of {camera.width}x{camera.height}")
    wanted = 2 * len(LEVELS) * height * width
    inflate = zlib.decompressobj()
    data = inflate.decompress(view[name], wanted + 1)
    if len(data) != wanted or inflate.unconsumed_tail:
        raise ValueError(f"index maps of at least {len(data)} bytes instead of {wanted}")
    return np.frombuffer(data, "<i2").reshape(len(LEVELS), height, width).astype(np.int16)


def _damaged(what: str, where: str) -> CacheError:
    return CacheError("a whole view cache", got=what, where=where, do="delete the file and run stage 2 again")
