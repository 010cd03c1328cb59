"""A volume as its file holds it, and the checks that every format shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from jaxtyping import Float32, Shaped

from voxlang.core.errors import VolumeError
from voxlang.geometry.grid import IDENTITY_DIRECTION, VolumeGrid
from voxlang.volume.types import Volume

WORKING_BYTES_PER_VOXEL = 8
"""What loading needs beside the file's own values: the float32 result, masks and part of the next stage."""

_CGROUP = Path("/sys/fs/cgroup")
_ORTHONORMAL_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class NativeVolume:
    """Scalar voxels in the type of the file, on the file's grid."""

    values: Shaped[np.ndarray, "z y x"]
    """Integers or floats of any width and byte order, in native units."""
    grid: VolumeGrid
    """Where the voxels lie."""
    name: str
    """Short name, from the file or folder."""


def available_memory() -> int:
    """Bytes that this process may still take: the machine's, or the container's where that is less."""
    available = int(psutil.virtual_memory().available)
    limit, used, stat = _CGROUP / "memory.max", _CGROUP / "memory.current", _CGROUP / "memory.stat"
    if limit.is_file() and used.is_file() and stat.is_file() and (text := limit.read_text().strip()) != "max":
        rows = dict(row.split() for row in stat.read_text().splitlines())
        available = min(available, int(text) - int(used.read_text()) + int(rows.get("inactive_file", 0)))
    return max(available, 0)


def check_memory(size_xyz: Sequence[int], *, itemsize: int, copies: int, where: str) -> None:
    """Refuse a volume that does not fit into memory, before any voxel is read.

    Args:
        size_xyz: voxels along x, y, z.
        itemsize: bytes of one voxel in the file's type.
        copies: how many arrays of the file's type the reader holds at once.
        where: the file, for the message.

    Raises:
        VolumeError: voxels x (copies x itemsize + 8) bytes are more than what is available.
    """
    n_voxels = int(np.prod([int(n) for n in size_xyz], dtype=object))
    needed, available = n_voxels * (copies * itemsize + WORKING_BYTES_PER_VOXEL), available_memory()
    if needed > available:
        raise VolumeError(
            f"a volume that fits into the available memory of {available / 2**30:.2f} GiB",
            got=f"size_xyz={tuple(int(n) for n in size_xyz)}, {n_voxels} voxels, which need {needed / 2**30:.2f} GiB",
            where=where,
            do="crop or downsample the volume, or use a machine with more memory",
        )


def check_size(size: Sequence[int], *, where: str, components: int = 1) -> tuple[int, int, int]:
    """The three sizes (x, y, z) of a scalar volume; anything that is not a scalar volume is refused.

    Raises:
        VolumeError: several values per voxel, 2D, 4D, or sizes that are not positive.
    """
    sizes = tuple(int(n) for n in size)
    if components != 1:
        raise VolumeError(
            "one scalar per voxel",
            got=f"{components} values per voxel (a colour, vector or complex volume) of size {sizes}",
            where=where,
            do="extract one channel, or convert to grey values, and pass that",
        )
    if any(n < 1 for n in sizes):
        raise VolumeError(
            "positive sizes",
            got=f"sizes {sizes} (x, y, z)",
            where=where,
            do="correct the sizes in the header or on the command line",
        )
    if len(sizes) > 3:
        raise VolumeError(
            "a 3D volume",
            got=f"{len(sizes)}D data of size {sizes}",
            where=where,
            do="extract one time step or channel as a 3D file and pass that",
        )
    if len(sizes) < 3 or min(sizes) < 2:
        raise VolumeError(
            "a 3D volume with at least 2 voxels along x, y and z",
            got=f"2D data of size {sizes}" if len(sizes) < 3 or sorted(sizes)[1] > 1 else f"size {sizes}",
            where=where,
            do="pass the whole stack of slices; for DICOM pass the folder of the series",
        )
    return sizes[0], sizes[1], sizes[2]


def make_grid(
    size_xyz: tuple[int, int, int],
    spacing_xyz: Sequence[float],
    origin_xyz: Sequence[float] = (0.0, 0.0, 0.0),
    direction: Sequence[Sequence[float]] = IDENTITY_DIRECTION,
    *,
    unit: str,
    where: str,
) -> VolumeGrid:
    """A grid from the numbers of a file or of the command line, with errors that name it.

    Raises:
        VolumeError: spacing that is not positive, a sheared or singular direction, an origin that is not finite.
    """
    spacing = tuple(float(s) for s in spacing_xyz)
    if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise VolumeError(
            "three positive spacings",
            got=f"spacing_xyz={spacing}",
            where=where,
            do="correct the header, or pass spacing_xyz",
        )
    matrix = np.asarray(direction, dtype=np.float64) + 0.0  # turns -0.0 into 0.0: one grid, one digest
    if matrix.shape != (3, 3) or not np.allclose(matrix.T @ matrix, np.eye(3), atol=_ORTHONORMAL_TOLERANCE):
        raise VolumeError(
            "axes at right angles (an orthonormal direction)",
            got=f"direction {np.round(matrix, 6).tolist()}, which shears the volume",
            where=where,
            do="resample the volume onto a grid without shear and pass that",
        )
    origin = tuple(float(v) + 0.0 for v in origin_xyz)
    if not all(np.isfinite(origin)):
        raise VolumeError("a finite origin", got=f"origin_xyz={origin}", where=where, do="correct the header")
    rows = tuple((float(a), float(b), float(c)) for a, b, c in matrix)
    return VolumeGrid(size_xyz, spacing, origin, rows, unit)


def normalised_volume(native: NativeVolume, *, where: str) -> Volume:
    """The volume on [0, 1]: value = (native - lowest) / (highest - lowest), in float64, stored as float32.

    Raises:
        VolumeError: NaN or infinite voxels, or a volume of one value only.
    """
    values = native.values
    _check_finite(values, where=where)
    lowest, highest = values.min(), values.max()
    lower, upper = float(lowest), float(highest)
    if not lower < upper or not np.isfinite(upper - lower):
        raise VolumeError(
            "a volume with at least two different values" if lower >= upper else "a range that float64 can hold",
            got=f"{lowest} in every voxel" if lower >= upper else f"values from {lower:g} to {upper:g}",
            where=where,
            do="check that this is the right file and, for .raw, the right type and byte order",
        )
    return Volume(_normalised(values, lower, upper), native.grid, (lower, upper), native.name)


def _normalised(values: np.ndarray, lower: float, upper: float) -> Float32[np.ndarray, "z y x"]:
    out = np.empty(values.shape, np.float32)
    for z in range(values.shape[0]):  # slice by slice, so that the float64 copy stays small
        out[z] = (values[z].astype(np.float64) - lower) / (upper - lower)
    return out


def _check_finite(values: np.ndarray, *, where: str) -> None:
    if values.dtype.kind != "f":
        return
    n_nan = n_inf = 0
    first: tuple[int, int, int] | None = None
    for z in range(values.shape[0]):
        if (finite := np.isfinite(values[z])).all():
            continue
        if first is None:
            y, x = np.argwhere(~finite)[0].tolist()
            first = (x, y, z)
        nan = int(np.isnan(values[z]).sum())
        n_nan, n_inf = n_nan + nan, n_inf + int((~finite).sum()) - nan
    if first is not None:
        raise VolumeError(
            "finite values",
            got=f"{n_nan} NaN and {n_inf} infinite of {values.size} voxels, the first at index {first} (x, y, z)",
            where=where,
            do="replace them, for example by the value of air, and save the volume again",
        )
