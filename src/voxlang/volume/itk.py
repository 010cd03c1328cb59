"""The standard formats through SimpleITK: NRRD, MetaImage, NIfTI, one DICOM file, TIFF stack, legacy VTK, MRC.

World coordinates are SimpleITK's: LPS (x to the patient's left, y to the back, z to the head), whatever the file uses.
"""

from __future__ import annotations

import locale
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.core.errors import VolumeError
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.headers import check_mrc_whole, check_vtk_whole, metaimage_unit, nrrd_unit
from voxlang.volume.native import NativeVolume, check_memory, check_size, make_grid
from voxlang.volume.nifti import NiftiHeader, check_shear, check_whole, read_nifti_header

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
TIFF_SUFFIXES = (".tif", ".tiff")
VTK_SUFFIXES = (".vtk",)
"""VTK's legacy image data, in millimetres as .vti is taken."""
MRC_SUFFIXES = (".mrc", ".rec")
"""Electron microscopy's volumes, in angstrom."""

_COPIES = 2  # SimpleITK's buffer and the numpy array
_FORM_TOLERANCE = 1e-2  # of the spacing
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0])


def read_itk(path: Path, *, spacing_xyz: tuple[float, float, float] | None = None) -> NativeVolume:
    """Read one file that SimpleITK knows; header first, voxels only when the header is sound.

    Args:
        path: the file.
        spacing_xyz: goes before the spacing of the file; origin and direction stay.

    Raises:
        VolumeError: unreadable or cut file, 2D, 4D, several values per voxel, sheared axes, no memory for it.
    """
    import SimpleITK as sitk

    where, suffix = str(path), path.name.lower()
    nifti = read_nifti_header(path) if suffix.endswith(NIFTI_SUFFIXES) else None
    reader = file_reader(path)
    if nifti is not None:
        check_size(_without_trailing_ones(nifti.size), where=where)
        check_shear(nifti, where=where)
    header = run_itk(reader.ReadImageInformation, where=where, reader=reader)
    size = check_header(header, where=where)
    grid = _grid_of(path, header, size, spacing_xyz)
    if nifti is not None:
        if spacing_xyz is None:
            _warn_if_forms_disagree(nifti, grid, where=where)
        check_whole(path, nifti)
    if suffix.endswith(VTK_SUFFIXES):
        check_vtk_whole(path, n_voxels=grid.n_voxels, itemsize=_itemsize_of(header))
    elif suffix.endswith(MRC_SUFFIXES):
        check_mrc_whole(path, n_voxels=grid.n_voxels, itemsize=_itemsize_of(header))
    image = run_itk(reader.Execute, where=where)
    return NativeVolume(sitk.GetArrayFromImage(image), grid, _stem(path))


def file_reader(path: Path) -> Any:
    """A SimpleITK reader of one file, with nothing read yet."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    return reader


def run_itk(step: Any, *, where: str, reader: Any = None) -> Any:
    """Run one step of SimpleITK; its exceptions become ours. Returns the step's result, or `reader` when given.

    The process keeps its locale: SimpleITK 2.5 leaves it at "C" once it has met a legacy VTK file, and from then on
    every text file that is opened without an encoding would be read as ASCII.

    Raises:
        VolumeError: with SimpleITK's own reason in it.
    """
    before = locale.setlocale(locale.LC_ALL)
    try:
        result = step()
    except RuntimeError as error:
        raise VolumeError(
            "a volume that SimpleITK can read",
            got=f"SimpleITK's message: {_reason(error)}",
            where=where,
            do="check that the file is whole, that its content is what its suffix says, and that a detached data "
            "file lies where the header points",
        ) from error
    finally:
        locale.setlocale(locale.LC_ALL, before)
    return result if reader is None else reader


def check_header(header: Any, *, where: str) -> tuple[int, int, int]:
    """Sizes (x, y, z) out of a SimpleITK header (reader or image), checked, with memory for the voxels.

    Raises:
        VolumeError: not a scalar volume, or no memory for it.
    """
    import SimpleITK as sitk

    pixel = sitk.GetPixelIDValueAsString(header.GetPixelID())
    components = header.GetNumberOfComponents() if hasattr(header, "GetNumberOfComponents") else 1
    size = check_size(header.GetSize(), where=where, components=2 if "complex" in pixel else components)
    check_memory(size, itemsize=_itemsize_of(header), copies=_COPIES, where=where)
    return size


def _itemsize_of(header: Any) -> int:
    """Bytes of a voxel in a SimpleITK header (reader or image); 8 where its type does not say."""
    import SimpleITK as sitk

    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(header.GetPixelID()))
    return int(bits[1]) // 8 if bits else 8


def grid_of_image(header: Any, *, unit: str, where: str, spacing_xyz: tuple[float, ...] | None = None) -> VolumeGrid:
    """The grid of a 3D SimpleITK header (reader or image)."""
    direction = np.asarray(header.GetDirection(), np.float64).reshape(3, 3)
    size_x, size_y, size_z = (int(n) for n in header.GetSize())
    return make_grid(
        (size_x, size_y, size_z),
        spacing_xyz or header.GetSpacing(),
        header.GetOrigin(),
        direction.tolist(),
        unit="mm" if spacing_xyz and unit == "voxel" else unit,
        where=where,
    )


def _grid_of(
    path: Path, header: Any, size: tuple[int, int, int], spacing_xyz: tuple[float, float, float] | None
) -> VolumeGrid:
    where, name = str(path), path.name.lower()
    if name.endswith(TIFF_SUFFIXES):
        _check_tiff_pages(path, size)
        if spacing_xyz is None:
            warnings.warn(
                f"{path}: TIFF does not say how far apart its slices are; every spacing is taken as 1 voxel "
                "(pass spacing_xyz to give it in mm)",
                stacklevel=2,
            )
        return make_grid(size, spacing_xyz or (1.0, 1.0, 1.0), unit="mm" if spacing_xyz else "voxel", where=where)
    unit = "mm"
    if name.endswith(NRRD_SUFFIXES):
        unit = nrrd_unit(path)
    elif name.endswith(META_SUFFIXES):
        unit = metaimage_unit(path)
    elif name.endswith(MRC_SUFFIXES):
        unit = "angstrom"
    return grid_of_image(header, unit=unit, where=where, spacing_xyz=spacing_xyz)


def _warn_if_forms_disagree(header: NiftiHeader, grid: VolumeGrid, *, where: str) -> None:
    if header.sform_code <= 0:
        return
    theirs = np.asarray(header.sform, np.float64) * header.mm_per_unit
    ours = _RAS_FROM_LPS @ grid.world_from_index[:3]
    if np.abs(theirs - ours).max() > _FORM_TOLERANCE * min(grid.spacing_xyz):
        warnings.warn(
            f"{where}: sform and qform place the voxels differently; SimpleITK's choice is used, "
            f"spacing {grid.spacing_xyz}, origin {grid.origin_xyz} (clear the form that is wrong)",
            stacklevel=2,
        )


def _check_tiff_pages(path: Path, size: tuple[int, int, int]) -> None:
    """Refuse a TIFF whose chain of pages points beyond the end of the file: libtiff then returns fewer slices."""
    n_bytes = path.stat().st_size
    with path.open("rb") as f:
        head = f.read(8)
        order = "little" if head[:2] == b"II" else "big"
        if int.from_bytes(head[2:4], order) != 42:  # BigTIFF: left to libtiff
            return
        offset, n_pages = int.from_bytes(head[4:8], order), 0
        while 0 < offset <= n_bytes - 2 and n_pages <= size[2]:
            f.seek(offset)
            n_entries = int.from_bytes(f.read(2), order)
            f.seek(offset + 2 + 12 * n_entries)
            n_pages, offset = n_pages + 1, int.from_bytes(f.read(4), order)
    if offset > n_bytes - 2:
        raise VolumeError(
            "a whole TIFF file",
            got=f"{n_bytes} bytes, while slice {n_pages + 1} should begin at byte {offset}",
            where=str(path),
            do="copy or download the file again",
        )


def _without_trailing_ones(size: tuple[int, ...]) -> tuple[int, ...]:
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    return size


def _stem(path: Path) -> str:
    name = path.name[:-3] if path.name.lower().endswith(".nii.gz") else path.name
    return name.rsplit(".", 1)[0]


def _reason(error: RuntimeError) -> str:
    text = str(error)
    for mark in ("ITK ERROR:", "sitk::ERROR:", "itk::ERROR:"):
        if mark in text:
            text = text.split(mark, 1)[1]
            break
    text = re.sub(r"\(0x[0-9a-f]+\)", "", text)
    return " ".join(text.split()).rstrip(". ")
