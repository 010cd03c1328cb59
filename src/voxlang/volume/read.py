"""Volumes in: any file or folder that holds one scalar volume, by its suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt16

from voxlang.core.errors import VolumeError
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.dicom import read_dicom
from voxlang.volume.itk import (
    META_SUFFIXES,
    MRC_SUFFIXES,
    NIFTI_SUFFIXES,
    NRRD_SUFFIXES,
    TIFF_SUFFIXES,
    VTK_SUFFIXES,
    read_itk,
)
from voxlang.volume.native import NativeVolume, normalised_volume
from voxlang.volume.raw import read_npy, read_raw
from voxlang.volume.types import Volume
from voxlang.volume.vti import read_vti

_READERS: dict[str, Callable[..., NativeVolume]] = {
    **dict.fromkeys((*NRRD_SUFFIXES, *META_SUFFIXES, *NIFTI_SUFFIXES, *TIFF_SUFFIXES, ".dcm"), read_itk),
    **dict.fromkeys((*VTK_SUFFIXES, *MRC_SUFFIXES), read_itk),
    ".npy": read_npy,
    ".vti": read_vti,
}
SUFFIXES = (".raw", *_READERS)
"""What `load_volume` reads, besides folders of DICOM slices."""

LARGEST_LABEL = 65535


def load_volume(
    path: Path | str,
    *,
    size_xyz: tuple[int, int, int] | None = None,
    dtype: str | None = None,
    endian: str = "little",
    spacing_xyz: tuple[float, float, float] | None = None,
) -> Volume:
    """Read a scalar volume and normalise it: value = (native - lowest) / (highest - lowest).

    Args:
        path: a file with one of `SUFFIXES` (.npy holds [z, y, x]), or a folder of DICOM slices.
        size_xyz: voxels along x, y, z; for files without a header, when the name does not say.
        dtype: voxel type, with `size_xyz`; a file of any other suffix is then read as .raw is.
        endian: "little" or "big", for files without a header.
        spacing_xyz: millimetres between voxel centres; goes before what the file says.

    Returns:
        The volume on the file's own grid; world axes are LPS for the medical formats. The unit is "voxel" when neither
        the file nor `spacing_xyz` gives a spacing.

    Raises:
        VolumeError: no such file, unknown suffix, unreadable or cut file, wrong number of bytes, 2D, 4D, several values
            per voxel, sheared axes, NaN or infinite voxels, one value throughout, or too little memory.
    """
    path = Path(path)
    native = _read_native(path, size_xyz, dtype, endian, spacing_xyz)
    return normalised_volume(native, where=str(path))


def load_labels(
    path: Path | str,
    *,
    size_xyz: tuple[int, int, int] | None = None,
    dtype: str | None = None,
    endian: str = "little",
    spacing_xyz: tuple[float, float, float] | None = None,
) -> tuple[UInt16[np.ndarray, "z y x"], VolumeGrid]:
    """Read a label map: whole numbers from 0 to 65535, as they are. Arguments as for `load_volume`.

    Returns:
        The labels and the file's grid. Whole numbers stored as floats are accepted.

    Raises:
        VolumeError: fractions, NaN, negative or too large labels, and whatever `load_volume` refuses in a file.
    """
    path = Path(path)
    native = _read_native(path, size_xyz, dtype, endian, spacing_xyz)
    values = native.values
    if values.dtype.kind == "f":
        whole = values == np.rint(values)  # False for NaN
        if not whole.all():
            z, y, x = np.argwhere(~whole)[0].tolist()
            raise VolumeError(
                "labels that are whole numbers",
                got=f"{int((~whole).sum())} other values, the first {values[z, y, x]!s} at index {(x, y, z)} (x, y, z)",
                where=str(path),
                do="pass the label map and not the scan, and resample labels by nearest neighbour",
            )
    lowest, highest = float(values.min()), float(values.max())
    if lowest < 0 or highest > LARGEST_LABEL:
        raise VolumeError(
            f"labels from 0 to {LARGEST_LABEL}",
            got=f"labels from {lowest:g} to {highest:g}",
            where=str(path),
            do="renumber the labels, with 0 as background",
        )
    return np.ascontiguousarray(values.astype(np.uint16)), native.grid


def _read_native(
    path: Path,
    size_xyz: tuple[int, int, int] | None,
    dtype: str | None,
    endian: str,
    spacing_xyz: tuple[float, float, float] | None,
) -> NativeVolume:
    where = str(path)
    if not path.exists():
        raise VolumeError("a volume", got="no such file or folder", where=where, do=_similar(path))
    if path.is_dir():
        return read_dicom(path, spacing_xyz=spacing_xyz)
    suffix = suffix_of(path)
    if path.stat().st_size == 0:
        raise VolumeError("a volume", got="a file of 0 bytes", where=where, do="copy or download the file again")
    if suffix in _READERS:
        if size_xyz is not None or dtype is not None:
            raise VolumeError(
                "size_xyz and dtype for files without a header only",
                got=f"size_xyz={size_xyz}, dtype={dtype} for {suffix}",
                where=where,
                do="leave them out: the file has them in its header",
            )
        return _READERS[suffix](path, spacing_xyz=spacing_xyz)
    if suffix == ".raw" or (size_xyz is not None and dtype is not None):
        return read_raw(path, size_xyz=size_xyz, dtype=dtype, endian=endian, spacing_xyz=spacing_xyz)
    raise VolumeError(
        f"a folder of DICOM slices or a suffix out of {', '.join(SUFFIXES)}",
        got=f"the suffix {suffix!r}",
        where=where,
        do="convert the volume to NRRD or NIfTI, or pass size_xyz and dtype if it is nothing but voxels",
    )


def suffix_of(path: Path) -> str:
    """Suffix in lower case; .nii.gz counts as one."""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f"check the path: {path.parent} is not a folder either"
    there = sorted(p.name for p in path.parent.iterdir() if p.is_dir() or suffix_of(p) in SUFFIXES)
    return f"check the path; {path.parent} holds {', '.join(there[:6]) or 'no volume'}{', ...' * (len(there) > 6)}"
