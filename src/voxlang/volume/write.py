"""Volumes out: label maps, scalar maps and volumes on the grid they came in on, as NRRD or NIfTI."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, Shaped

from voxlang.core.artifacts import atomic_path, read_json, write_json
from voxlang.core.errors import VolumeError
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.nrrd import segment_keys, write_nrrd
from voxlang.volume.read import LARGEST_LABEL, suffix_of
from voxlang.volume.types import Volume

SUFFIXES = (".nrrd", ".nii", ".nii.gz")
"""What the writers write."""

POSITION_TOLERANCE = 1e-6
"""A written file whose numbers differ from the grid's by more than this is announced by a warning."""

_NAMES_KIND = "label-names"
_WHOLE_SPAN = 65536.0
_BLUR_TOLERANCE = 1e-5  # of the range: the rounding of float32 that is let pass
_MM_PER_UNIT = {"mm": 1.0, "voxel": 1.0, "um": 1e-3, "nm": 1e-6, "cm": 10.0, "m": 1e3}


def save_label_map(
    path: Path | str,
    labels: Integer[np.ndarray, "z y x"],
    grid: VolumeGrid,
    *,
    names: Mapping[int, str] | None = None,
) -> None:
    """Write labels as uint16, atomically.

    Args:
        path: .nrrd, .nii or .nii.gz.
        labels: 0 is background, at most 65535.
        grid: the input's own grid.
        names: names of the labels; they go into `<path>.json` and, for NRRD, into 3D Slicer's segment keys.

    Raises:
        VolumeError: another suffix, another shape than the grid's, labels that do not fit.
    """
    path = Path(path)
    lowest, highest = int(labels.min()), int(labels.max())
    wrong_names = [label for label in names or {} if not 1 <= label <= LARGEST_LABEL]
    if lowest < 0 or highest > LARGEST_LABEL or wrong_names:
        raise VolumeError(
            f"labels from 0 to {LARGEST_LABEL}, names for labels from 1",
            got=f"labels from {lowest} to {highest}, names for {wrong_names or 'none outside'}",
            where=str(path),
            do="renumber the labels",
        )
    sidecar = names_path(path)
    if sidecar.is_file() and read_json(sidecar).get("kind") == _NAMES_KIND:
        sidecar.unlink()  # the names of a former label map must not outlive it
    keys = segment_keys(labels, names) if names else None
    _save(path, labels.astype(np.uint16), grid, keys)
    if names:
        rows = {str(label): name for label, name in sorted(names.items())}
        write_json(sidecar, {"schema": 1, "kind": _NAMES_KIND, "names": rows})


def load_label_names(path: Path | str) -> dict[int, str]:
    """Names that `save_label_map` wrote beside a label map; empty when it wrote none.

    Raises:
        ArtifactError: the file beside it is not valid JSON.
        VolumeError: it is JSON of something else.
    """
    sidecar = names_path(Path(path))
    if not sidecar.is_file():
        return {}
    value = read_json(sidecar)
    if not isinstance(value, dict) or value.get("kind") != _NAMES_KIND or value.get("schema") != 1:
        raise VolumeError(
            f"a file of kind {_NAMES_KIND}, schema 1",
            got=f"{value.get('kind')} schema {value.get('schema')}" if isinstance(value, dict) else "no JSON object",
            where=str(sidecar),
            do="delete it, or save the label map again",
        )
    return {int(label): name for label, name in value["names"].items()}


def names_path(path: Path) -> Path:
    """The file beside a label map that holds its names."""
    return path.with_name(path.name + ".json")


def save_scalar_map(path: Path | str, values: Float[np.ndarray, "z y x"], grid: VolumeGrid) -> None:
    """Write a map of finite numbers (a relevancy, a probability) as float32, atomically.

    Raises:
        VolumeError: another suffix, another shape than the grid's, NaN or infinite values.
    """
    path = Path(path)
    if not np.isfinite(values).all():
        raise VolumeError(
            "finite values",
            got=f"{int((~np.isfinite(values)).sum())} NaN or infinite voxels",
            where=str(path),
            do="correct the map before it is saved",
        )
    _save(path, values.astype(np.float32), grid, None)


def save_volume(path: Path | str, volume: Volume) -> None:
    """Write a volume in native units, atomically.

    A volume that came from whole numbers over a range of at most 65536 (CT, MRI, 8 and 16 bit data) is written as
    whole numbers in the smallest type that holds them, bit for bit as it came; any other as float32, or as float64
    where the values lie so far from zero that float32 would blur them.

    Raises:
        VolumeError: another suffix.
    """
    _save(Path(path), _native(volume), volume.grid, None)


def _native(volume: Volume) -> Shaped[np.ndarray, "z y x"]:
    lower, upper = volume.value_range
    span = upper - lower
    blurred = max(abs(lower), abs(upper)) * 2.0**-24 > span * _BLUR_TOLERANCE
    out = np.empty(volume.values.shape, np.float64 if blurred else np.float32)
    whole = span <= _WHOLE_SPAN and lower == np.rint(lower) and upper == np.rint(upper)
    for z in range(out.shape[0]):
        native = lower + volume.values[z].astype(np.float64) * span
        whole = whole and bool(np.abs(native - np.rint(native)).max() <= span * 2.0**-24)  # half a step of float32 at 1
        out[z] = native
    if not whole:
        return out
    for name in ("uint8", "int8", "uint16", "int16", "uint32", "int32"):
        limits = np.iinfo(name)
        if limits.min <= lower and upper <= limits.max:
            whole_values = np.empty(out.shape, name)
            for z in range(out.shape[0]):
                whole_values[z] = np.rint(lower + volume.values[z].astype(np.float64) * span)
            return whole_values
    return out


def _save(path: Path, values: np.ndarray, grid: VolumeGrid, keys: Mapping[str, str] | None) -> None:
    where, suffix = str(path), suffix_of(path)
    if suffix not in SUFFIXES:
        raise VolumeError(
            f"a suffix out of {', '.join(SUFFIXES)}", got=repr(suffix), where=where, do="give the file such a name"
        )
    if values.shape != grid.shape_zyx:
        raise VolumeError(
            f"voxels of shape {grid.shape_zyx} (z, y, x) for size_xyz={grid.size_xyz}",
            got=f"shape {values.shape}",
            where=where,
            do="bring the map onto the input's grid first",
        )
    with atomic_path(path) as temporary:
        if suffix == ".nrrd":
            write_nrrd(temporary, values, grid, keys=keys)
        else:
            _write_nifti(temporary, values, grid, where=where)


def _write_nifti(path: Path, values: np.ndarray, grid: VolumeGrid, *, where: str) -> None:
    """NIfTI-1 through SimpleITK, which writes sform and qform alike; both are float32 and in millimetres."""
    import SimpleITK as sitk

    if max(grid.size_xyz) > np.iinfo(np.int16).max:
        raise VolumeError(
            f"sizes of at most {np.iinfo(np.int16).max}, the limit of NIfTI-1",
            got=f"size_xyz={grid.size_xyz}",
            where=where,
            do="save as .nrrd",
        )
    if grid.unit not in _MM_PER_UNIT:
        raise VolumeError(
            f"a unit out of {', '.join(_MM_PER_UNIT)}, which NIfTI can be given in millimetres",
            got=repr(grid.unit),
            where=where,
            do="save as .nrrd",
        )
    scale = _MM_PER_UNIT[grid.unit]
    image = sitk.GetImageFromArray(values)
    image.SetSpacing([s * scale for s in grid.spacing_xyz])
    image.SetOrigin([v * scale for v in grid.origin_xyz])
    image.SetDirection(np.asarray(grid.direction).ravel().tolist())
    sitk.WriteImage(image, str(path), True)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    deviations = {
        name: float(np.abs(np.asarray(got) - np.asarray(wanted)).max())
        for name, got, wanted in (
            ("spacing", reader.GetSpacing(), image.GetSpacing()),
            ("origin", reader.GetOrigin(), image.GetOrigin()),
            ("direction", reader.GetDirection(), image.GetDirection()),
        )
    }
    if max(deviations.values()) > POSITION_TOLERANCE:
        listing = ", ".join(f"{name} by {value:.1e}" for name, value in deviations.items())
        warnings.warn(
            f"{where}: NIfTI keeps positions as float32, which moves {listing}; .nrrd keeps them in full", stacklevel=2
        )
