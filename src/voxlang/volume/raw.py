"""Arrays without a header of their own: .raw files by name or by given sizes, and .npy."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from voxlang.core.errors import VolumeError
from voxlang.volume.native import NativeVolume, check_memory, check_size, make_grid

RAW_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Voxel types of .raw files, as Open SciVis names spell them."""

_NPY_MAGIC = b"\x93NUMPY"
_NAME = re.compile(r"(?P<name>.+)_(?P<x>\d+)x(?P<y>\d+)x(?P<z>\d+)_(?P<dtype>[A-Za-z]+\d+)$")


def read_raw(
    path: Path,
    *,
    size_xyz: tuple[int, int, int] | None = None,
    dtype: str | None = None,
    endian: str = "little",
    spacing_xyz: tuple[float, float, float] | None = None,
) -> NativeVolume:
    """Read a file that is nothing but voxels, x fastest.

    Args:
        path: the file; a name such as `bonsai_256x256x128_uint8.raw` gives sizes and type.
        size_xyz: voxels along x, y, z; given, it goes before the name.
        dtype: one of RAW_DTYPES; given, it goes before the name.
        endian: "little" or "big".
        spacing_xyz: millimetres between voxel centres; None leaves unit "voxel".

    Raises:
        VolumeError: sizes or type not known, another number of bytes than they need, no memory for it.

    Source: the naming convention of the Open Scientific Visualization Datasets (klacansky.com/open-scivis-datasets).
    """
    where = str(path)
    named = _NAME.match(path.name.removesuffix(path.suffix))
    if named:
        size_xyz = size_xyz or (int(named["x"]), int(named["y"]), int(named["z"]))
        dtype = dtype or named["dtype"].lower()
    if size_xyz is None or dtype is None:
        raise VolumeError(
            f"a name such as {path.stem}_256x256x128_uint8{path.suffix}, or both size_xyz and dtype",
            got=f"the name {path.name!r}, size_xyz={size_xyz}, dtype={dtype}",
            where=where,
            do=_header_beside(path) or "pass --volume.size-xyz X Y Z and --volume.dtype TYPE, or rename the file",
        )
    if dtype not in RAW_DTYPES:
        raise VolumeError(
            f"a dtype out of {', '.join(RAW_DTYPES)}", got=repr(dtype), where=where, do="pass one of these as dtype"
        )
    if endian not in ("little", "big"):
        raise VolumeError('endian "little" or "big"', got=repr(endian), where=where, do="pass one of these as endian")
    size = check_size(size_xyz, where=where)
    voxel = np.dtype(dtype).newbyteorder("<" if endian == "little" else ">")
    n_bytes, needed = path.stat().st_size, int(np.prod(size, dtype=object)) * voxel.itemsize
    if n_bytes != needed:
        raise VolumeError(
            f"{needed} bytes for size_xyz={size} of {dtype}",
            got=f"a file of {n_bytes} bytes",
            where=where,
            do=fitting_choices(n_bytes, size, dtype),
        )
    check_memory(size, itemsize=voxel.itemsize, copies=1, where=where)
    grid = make_grid(size, spacing_xyz or (1.0, 1.0, 1.0), unit="mm" if spacing_xyz else "voxel", where=where)
    values = np.fromfile(path, dtype=voxel).reshape(grid.shape_zyx)
    return NativeVolume(values, grid, named["name"] if named else path.stem)


def read_npy(path: Path, *, spacing_xyz: tuple[float, float, float] | None = None) -> NativeVolume:
    """Read a numpy array [z, y, x].

    Raises:
        VolumeError: not a .npy file, cut short, objects or complex numbers in it, not 3D, no memory for it.
    """
    where = str(path)
    with path.open("rb") as f:
        magic = f.read(len(_NPY_MAGIC))
    if magic != _NPY_MAGIC:
        raise VolumeError(
            f"a .npy file, which begins with {_NPY_MAGIC!r}",
            got=repr(magic),
            where=where,
            do="write it with numpy.save",
        )
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise VolumeError(
            "a whole .npy file with an array [z, y, x] of numbers",
            got=" ".join(str(error).split()).rstrip("."),
            where=where,
            do="write it again with numpy.save",
        ) from error
    if mapped.dtype.kind not in "uif":
        raise VolumeError(
            "integers or floats", got=f"dtype {mapped.dtype}", where=where, do="convert the array and save it again"
        )
    size = check_size(mapped.shape[::-1], where=where)
    check_memory(size, itemsize=mapped.dtype.itemsize, copies=1, where=where)
    grid = make_grid(size, spacing_xyz or (1.0, 1.0, 1.0), unit="mm" if spacing_xyz else "voxel", where=where)
    return NativeVolume(np.array(mapped, order="C"), grid, path.stem)


def fitting_choices(n_bytes: int, size_xyz: tuple[int, int, int], dtype: str) -> str:
    """What to pass instead, for a .raw file of `n_bytes` that is not of these sizes and type."""
    n_voxels, itemsize = int(np.prod(size_xyz, dtype=object)), np.dtype(dtype).itemsize
    choices = []
    if types := [t for t in RAW_DTYPES if np.dtype(t).itemsize * n_voxels == n_bytes]:
        choices.append(f"pass dtype={' or '.join(types)} for these sizes")
    if n_bytes % itemsize == 0:
        found = n_bytes // itemsize
        sizes = []
        for axis in (2, 1, 0):
            others = n_voxels // size_xyz[axis]
            if found % others == 0 and found // others > 1:
                sizes.append(tuple(found // others if a == axis else n for a, n in enumerate(size_xyz)))
        edge = round(found ** (1 / 3))
        if edge > 1 and edge**3 == found:
            sizes.append((edge, edge, edge))
        choices += [f"pass size_xyz={size} for {dtype}" for size in dict.fromkeys(sizes)]
    extra = n_bytes - n_voxels * itemsize
    if not choices and 0 < extra < 65536:
        choices.append(f"cut off a header of {extra} bytes if the file begins with one")
    if not choices:
        return f"pass sizes and a dtype that make {n_bytes} bytes, or copy the file again if it was cut short"
    return ", or ".join(choices)


def _header_beside(path: Path) -> str | None:
    for suffix in (".nhdr", ".mhd"):
        if path.with_suffix(suffix).is_file():
            return f"pass {path.with_suffix(suffix).name}, the header beside it"
    return None
