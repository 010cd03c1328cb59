"""A folder of DICOM slices as one volume."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from voxlang.core.errors import VolumeError
from voxlang.volume.itk import check_header, file_reader, grid_of_image, run_itk
from voxlang.volume.native import NativeVolume, check_memory, check_size

_UNEVEN_TOLERANCE = 0.1
"""Largest deviation of a slice from its even place, as a part of the slice distance: scanners round positions."""
_ROUNDED_TOLERANCE = 0.01
"""Deviation up to which nothing is said; and that of slices sideways, over all of them."""


def read_dicom(folder: Path, *, spacing_xyz: tuple[float, float, float] | None = None) -> NativeVolume:
    """Read the DICOM series of a folder; of several, the one with the most slices, with a warning that names it.

    Raises:
        VolumeError: empty folder, no series in it, two largest series, one slice only, slices that are missing,
            repeated or shifted, slices of several sizes, no memory for it.
    """
    import SimpleITK as sitk

    where = str(folder)
    files = _largest_series(folder)
    if len(files) == 1:
        return _read_single(files[0], folder, spacing_xyz)
    slices = []
    for name in files:
        reader = file_reader(Path(name))
        slices.append(run_itk(reader.ReadImageInformation, where=name, reader=reader))
    sizes = sorted({tuple(int(n) for n in s.GetSize()[:2]) for s in slices})
    if len(sizes) > 1:
        raise VolumeError(
            "slices of one size",
            got=f"sizes {sizes} in one series",
            where=where,
            do="put the slices of one size into a folder of their own",
        )
    normal = np.asarray(slices[0].GetDirection(), np.float64).reshape(3, 3)[:, 2]
    _check_positions(np.asarray([s.GetOrigin() for s in slices], np.float64), normal, where=where)
    size = check_size((*sizes[0], len(files)), where=where, components=slices[0].GetNumberOfComponents())
    check_memory(size, itemsize=4, copies=2, where=where)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    image = run_itk(reader.Execute, where=where)
    check_size(image.GetSize(), where=where, components=image.GetNumberOfComponentsPerPixel())
    grid = grid_of_image(image, unit="mm", where=where, spacing_xyz=spacing_xyz)
    return NativeVolume(sitk.GetArrayFromImage(image), grid, folder.resolve().name)


def _largest_series(folder: Path) -> list[str]:
    import SimpleITK as sitk

    where = str(folder)
    entries = sorted(p.name for p in folder.iterdir())
    if not entries:
        raise VolumeError(
            "a folder with the slices of a DICOM series",
            got="an empty folder",
            where=where,
            do="check the path, or pass a volume file",
        )
    series = {}
    for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        series[uid] = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))
    if not series:
        some = ", ".join(entries[:4]) + ", ..." * (len(entries) > 4)
        raise VolumeError(
            "a folder with the slices of a DICOM series",
            got=f"no DICOM file among its {len(entries)} entries ({some})",
            where=where,
            do="pass the folder that holds the slices themselves, or one volume file",
        )
    counts = sorted(((len(files), uid) for uid, files in series.items()), reverse=True)
    listing = "; ".join(f"{uid}: {n} slices" for n, uid in counts)
    if len(counts) > 1 and counts[0][0] == counts[1][0]:
        raise VolumeError(
            "one DICOM series, or one that is larger than the others",
            got=f"{len(counts)} series ({listing})",
            where=where,
            do="put the series you want into a folder of its own",
        )
    if len(counts) > 1:
        warnings.warn(f"{where}: {len(counts)} DICOM series; the largest is read ({listing})", stacklevel=2)
    return series[counts[0][1]]


def _read_single(name: str, folder: Path, spacing_xyz: tuple[float, float, float] | None) -> NativeVolume:
    """A series of one file: an enhanced, multi-frame object (or a single slice, which the check refuses)."""
    import SimpleITK as sitk

    reader = file_reader(Path(name))
    header = run_itk(reader.ReadImageInformation, where=name, reader=reader)
    check_header(header, where=name)
    grid = grid_of_image(header, unit="mm", where=name, spacing_xyz=spacing_xyz)
    image = run_itk(reader.Execute, where=name)
    return NativeVolume(sitk.GetArrayFromImage(image), grid, folder.resolve().name)


def _check_positions(origins: np.ndarray, normal: np.ndarray, *, where: str) -> None:
    """Slices must lie evenly along their normal, none missing, none twice, none shifted sideways."""
    along = (origins - origins[0]) @ normal
    step = float(along[-1]) / (len(along) - 1)
    gaps = np.diff(along)
    typical = float(np.median(np.abs(gaps)))
    if typical <= 0 or (np.abs(gaps) < 1e-3 * typical).any():
        at = int(np.abs(gaps).argmin())
        raise VolumeError(
            "one slice at every position",
            got=f"slices {at} and {at + 1} (in order along the normal) at the same position, as in a time series",
            where=where,
            do="put the slices of one time step into a folder of their own",
        )
    beside = float(np.abs(along - step * np.arange(len(along))).max())
    if beside > _UNEVEN_TOLERANCE * typical:
        at = int(np.abs(np.abs(gaps) - typical).argmax())
        raise VolumeError(
            "evenly spaced slices",
            got=f"a gap of {abs(gaps[at]):.4g} mm between slices {at} and {at + 1}, where {typical:.4g} mm is usual",
            where=where,
            do="add the missing slices, or resample the series evenly and pass that",
        )
    if beside > _ROUNDED_TOLERANCE * typical:
        warnings.warn(
            f"{where}: slices lie up to {beside:.3g} mm beside even places, as rounded positions do; they are taken as "
            f"{abs(step):.6g} mm apart",
            stacklevel=2,
        )
    sideways = np.linalg.norm(origins - origins[0] - along[:, None] * normal, axis=1)
    if sideways.max() > _ROUNDED_TOLERANCE * typical * len(along):
        raise VolumeError(
            "slices stacked along their normal",
            got=f"slices shifted sideways by up to {sideways.max():.4g} mm (gantry tilt)",
            where=where,
            do="correct the tilt by resampling, and pass that",
        )
