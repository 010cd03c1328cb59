"""What SimpleITK does not tell about a NIfTI file: whether its voxels are all there, and whether its axes are sheared.

SimpleITK reads a cut .nii.gz without a word (the missing voxels come out as zeros), and falls back to the qform where
the sform is sheared. Both are looked at here, in the 348 bytes of the header.

Source: nifti1.h, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxlang.core.errors import VolumeError

HEADER_BYTES = 348
_NIFTI2_HEADER_BYTES = 540
_GZIP_MAGIC = b"\x1f\x8b"
_SHEAR_TOLERANCE = 1e-4
_MM_PER_UNIT_CODE = {1: 1e3, 2: 1.0, 3: 1e-3}  # metre, millimetre, micrometre; 0 is unknown


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 header that the checks need."""

    size: tuple[int, ...]
    """Sizes along all axes of the file, x first."""
    bits_per_voxel: int
    """Bits of one voxel, all its components together."""
    data_offset: int
    """Byte at which the voxels begin."""
    qform_code: int
    """> 0 when the quaternion gives the position."""
    sform_code: int
    """> 0 when `sform` gives the position."""
    sform: tuple[tuple[float, ...], ...]
    """Three rows of the affine, index to world, RAS, in the file's unit."""
    mm_per_unit: float
    """Millimetres per unit of the file; SimpleITK's world is in millimetres."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the whole file, not compressed."""
        return self.data_offset + int(np.prod(self.size, dtype=object)) * self.bits_per_voxel // 8


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read the header of a .nii or .nii.gz file.

    Raises:
        VolumeError: not NIfTI-1, or cut inside the header.
    """
    where = str(path)
    try:
        with _open(path) as f:
            data = f.read(HEADER_BYTES)
    except (EOFError, OSError, zlib.error) as error:
        raise _cut(where, f"a gzip stream that breaks off inside the header ({error})") from error
    if len(data) < HEADER_BYTES:
        raise _cut(where, f"{len(data)} bytes")
    for order in "<>":
        (header_size,) = struct.unpack_from(order + "i", data, 0)
        if header_size == HEADER_BYTES:
            n_axes, *dim = struct.unpack_from(order + "8h", data, 40)
            (bits,) = struct.unpack_from(order + "h", data, 72)
            (offset,) = struct.unpack_from(order + "f", data, 108)
            qform_code, sform_code = struct.unpack_from(order + "2h", data, 252)
            rows = tuple(struct.unpack_from(order + "4f", data, 280 + 16 * row) for row in range(3))
            mm_per_unit = _MM_PER_UNIT_CODE.get(data[123] & 7, 1.0)
            size = tuple(dim[: max(0, min(n_axes, 7))])
            return NiftiHeader(size, bits, int(offset), qform_code, sform_code, rows, mm_per_unit)
        if header_size == _NIFTI2_HEADER_BYTES:
            raise VolumeError(
                "a NIfTI-1 file",
                got="NIfTI-2",
                where=where,
                do="convert it to NIfTI-1 (nibabel: Nifti1Image.from_image) or NRRD and pass that",
            )
    raise VolumeError(
        "a NIfTI-1 header, which begins with the number 348",
        got=f"the bytes {data[:4]!r}",
        where=where,
        do="check that the file is NIfTI and was copied whole",
    )


def check_shear(header: NiftiHeader, *, where: str) -> None:
    """Refuse an sform whose axes do not stand at right angles.

    Raises:
        VolumeError: the sform is in force and sheared or singular.
    """
    if header.sform_code <= 0:
        return
    matrix = np.asarray(header.sform, np.float64)[:, :3]
    lengths = np.linalg.norm(matrix, axis=0)
    if np.isfinite(matrix).all() and (lengths > 0).all():
        axes = matrix / lengths
        if np.abs(axes.T @ axes - np.eye(3)).max() <= _SHEAR_TOLERANCE:
            return
    or_clear = ", or clear the sform if the qform is right (nibabel: set_sform(None, 0))" if header.qform_code else ""
    raise VolumeError(
        "an affine without shear",
        got=f"the sform {np.round(matrix, 6).tolist()}, whose axes are not at right angles",
        where=where,
        do=f"resample the volume onto a grid without shear{or_clear}",
    )


def check_whole(path: Path, header: NiftiHeader) -> None:
    """Refuse a file that ends before its last voxel; a .nii.gz is unpacked once for this, piece by piece.

    Raises:
        VolumeError: fewer bytes than the header announces, or a broken gzip stream.
    """
    n_bytes = 0
    try:
        with _open(path) as f:
            while piece := f.read1(1 << 20):
                n_bytes += len(piece)
    except (EOFError, OSError, zlib.error) as error:
        raise _cut(str(path), f"a gzip stream that breaks off after {n_bytes} of {header.n_bytes} bytes") from error
    if n_bytes < header.n_bytes:
        raise _cut(str(path), f"{n_bytes} of {header.n_bytes} bytes")


def _open(path: Path):
    with path.open("rb") as f:
        packed = f.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")


def _cut(where: str, got: str) -> VolumeError:
    return VolumeError("a whole NIfTI file", got=got, where=where, do="copy or download the file again")
