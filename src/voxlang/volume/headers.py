"""What headers say and SimpleITK does not: the unit of NRRD and MetaImage, and where legacy VTK and MRC files end."""

from __future__ import annotations

import math
import re
from pathlib import Path

from voxlang.core.errors import VolumeError

_UNIT_NAMES = {
    "mm": ("mm", "millimeter", "millimeters", "millimetre", "millimetres"),
    "um": ("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
    "nm": ("nm", "nanometer", "nanometers", "nanometre", "nanometres"),
    "cm": ("cm", "centimeter", "centimeters", "centimetre", "centimetres"),
    "m": ("m", "meter", "meters", "metre", "metres"),
}
_UNIT_OF_NAME = {name: unit for unit, names in _UNIT_NAMES.items() for name in names}
_HEADER_LIMIT = 1 << 16


def nrrd_unit(path: Path) -> str:
    """Unit of an NRRD file's world: its `space units`, "mm" when it gives spacings only, "voxel" when none.

    Raises:
        VolumeError: the axes have different units.
    """
    fields = {}
    for line in _head(path).split("\n"):
        if not line.strip():
            break
        key, colon, value = line.partition(":")
        if colon and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
    units = set(re.findall(r'"([^"]*)"', fields.get("space units", fields.get("units", "")))) - {"", "???"}
    if len(units) > 1:
        raise VolumeError(
            "one unit for all axes",
            got=f"space units {fields.get('space units', fields.get('units'))}",
            where=str(path),
            do="scale the space directions to one unit and correct the header",
        )
    if units:
        (unit,) = units
        return _UNIT_OF_NAME.get(unit.lower(), unit)
    given = fields.get("space directions", fields.get("spacings", ""))
    return "mm" if _has_number(given) else "voxel"


def metaimage_unit(path: Path) -> str:
    """Unit of a MetaImage file's world: "mm" when the header gives a spacing or size of voxels, else "voxel"."""
    head = _head(path).split("ElementDataFile")[0]
    return "mm" if re.search(r"^\s*Element(Spacing|Size)\s*=", head, re.MULTILINE) else "voxel"


def check_vtk_whole(path: Path, *, n_voxels: int, itemsize: int) -> None:
    """Refuse a legacy VTK file whose values end too early: SimpleITK would take what is missing from nowhere.

    Raises:
        VolumeError: fewer values than voxels.
    """
    head = _first_bytes(path)
    lines = re.search(rb"^SCALARS[^\n]*\n(LOOKUP_TABLE[^\n]*\n)?", head, re.MULTILINE | re.IGNORECASE)
    start = lines.end() if lines else 0
    if re.search(rb"^ASCII\s*$", head[:start], re.MULTILINE | re.IGNORECASE):
        _require_all(path, len(path.read_bytes()[start:].split()), n_voxels, "values")
    else:
        _require_all(path, path.stat().st_size - start, n_voxels * itemsize, "bytes")


def check_mrc_whole(path: Path, *, n_voxels: int, itemsize: int) -> None:
    """Refuse an MRC file whose values end too early: SimpleITK would take what is missing from nowhere.

    Source: the MRC2014 format, a header of 1024 bytes, of which word 24 is the length of a second one.

    Raises:
        VolumeError: fewer bytes than the voxels need.
    """
    head = _first_bytes(path)
    order = "big" if head[212:213] == b"\x11" else "little"
    second = int.from_bytes(head[92:96], order)
    _require_all(path, path.stat().st_size - 1024 - second, n_voxels * itemsize, "bytes")


def _require_all(path: Path, found: int, needed: int, what: str) -> None:
    if found < needed:
        raise VolumeError(
            f"{needed} {what} behind the header",
            got=str(max(found, 0)),
            where=str(path),
            do="copy or download the file again",
        )


def _head(path: Path) -> str:
    return _first_bytes(path).decode("utf-8", errors="replace").replace("\r\n", "\n")


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as f:
        return f.read(_HEADER_LIMIT)


def _has_number(text: str) -> bool:
    words = re.split(r"[\s(),]+", text)
    return any(word and _is_finite(word) for word in words)


def _is_finite(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
