"""Transfer functions in ParaView's JSON: read (with midpoints, sharpness and colour spaces) and write."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import TransferFunctionError
from voxlang.render.color_spaces import SPACES, colors_between, space_named
from voxlang.render.transfer import TransferFunction

Units = Literal["auto", "native", "normalised"]
PIECES = 64
"""Straight pieces that stand for a segment in a colour space other than RGB."""
SHARP_PIECES = 96
"""Straight pieces that stand for a segment with sharpness."""


def _refuse(expected: str, got: str, where: str, do: str) -> TransferFunctionError:
    return TransferFunctionError(expected, got=got, where=where, do=do)


def piecewise_value(s: np.ndarray, y0: float, y1: float, *, midpoint: float, sharpness: float) -> np.ndarray:
    """Value inside one segment of a VTK piecewise function, at fractions s in [0, 1] of its length.

    Source: the documented meaning of midpoint and sharpness in vtkPiecewiseFunction: the midpoint is where the mean of
    the two values is reached, sharpness 0 is linear, and towards 1 a Hermite curve nears a step.
    """
    midpoint = min(max(midpoint, 1e-5), 1.0 - 1e-5)
    t = np.where(s < midpoint, 0.5 * s / midpoint, 0.5 + 0.5 * (s - midpoint) / (1.0 - midpoint))
    if sharpness < 0.01:
        return y0 + (y1 - y0) * t
    power = 1.0 + 10.0 * sharpness
    t = np.where(t < 0.5, 0.5 * (2.0 * t) ** power, 1.0 - 0.5 * (2.0 * (1.0 - t)) ** power)
    slope = (1.0 - sharpness) * (y1 - y0)
    value = (
        (2 * t**3 - 3 * t**2 + 1) * y0
        + (-2 * t**3 + 3 * t**2) * y1
        + (t**3 - 2 * t**2 + t) * slope
        + (t**3 - t**2) * slope
    )
    return np.clip(value, min(y0, y1), max(y0, y1))


def _opacity_rows(entry: dict[str, Any], where: str) -> np.ndarray:
    """Rows (x, alpha) in the file's units, curved segments cut into straight pieces."""
    if "Points" in entry:
        key, width = "Points", 4
    elif "OpacityPoints" in entry:
        key, width = "OpacityPoints", 2
    else:
        raise _refuse(
            "opacity as Points (x, alpha, midpoint, sharpness) or OpacityPoints (x, alpha)",
            f"keys {sorted(entry)}",
            where,
            'export the preset with "Save Opacities" in ParaView, or add one of the two',
        )
    rows = _rows(entry[key], width, f"{where}, {key}")
    if width == 2:
        return rows
    out = [rows[0, :2]]
    for left, right in pairwise(rows):
        midpoint, sharpness = float(left[2]), float(left[3])
        if sharpness >= 0.01:
            s = np.linspace(0.0, 1.0, SHARP_PIECES + 1)[1:-1]
            y = piecewise_value(s, left[1], right[1], midpoint=midpoint, sharpness=sharpness)
            out += list(np.stack([left[0] + s * (right[0] - left[0]), y], -1))
        elif abs(midpoint - 0.5) > 1e-6:
            out.append(np.array([left[0] + midpoint * (right[0] - left[0]), 0.5 * (left[1] + right[1])]))
        out.append(right[:2])
    return np.asarray(out)


def _rows(flat: Any, width: int, where: str) -> np.ndarray:
    try:
        values = np.asarray(flat, np.float64).reshape(-1, width)
    except (ValueError, TypeError) as error:
        raise _refuse(
            f"a flat list of {width} numbers a point",
            f"{len(flat) if isinstance(flat, list) else type(flat).__name__}: {error}",
            where,
            "repair the list",
        ) from error
    if len(values) < 1 or not np.isfinite(values).all():
        raise _refuse("at least one point of finite numbers", f"{values.tolist()}", where, "repair the list")
    return values[np.argsort(values[:, 0], kind="stable")]


def _color_rows(entry: dict[str, Any], where: str) -> np.ndarray:
    """Rows (x, r, g, b) in the file's units; other colour spaces than RGB cut into straight pieces of RGB."""
    if "RGBPoints" not in entry:
        raise _refuse("colours as RGBPoints (x, r, g, b)", f"keys {sorted(entry)}", where, "add them")
    rows = _rows(entry["RGBPoints"], 4, f"{where}, RGBPoints")
    rows[:, 1:] = np.clip(rows[:, 1:], 0.0, 1.0)
    named = str(entry.get("ColorSpace", "RGB"))
    space = space_named(named)
    if space is None:
        raise _refuse(
            f"ColorSpace {', '.join(SPACES[:-1])} or {SPACES[-1]}",
            repr(named),
            where,
            "save the preset in one of these spaces",
        )
    if space == "RGB":
        return rows
    s = np.array([0.0, 1.0]) if space == "Step" else np.linspace(0.0, 1.0, PIECES + 1)[1:]
    out = [rows[:1]]
    for left, right in pairwise(rows):
        colors = colors_between(left[1:], right[1:], s, space, hue_wraps=bool(entry.get("HSVWrap", 0)))
        out.append(np.concatenate([(left[0] + s * (right[0] - left[0]))[:, None], colors], axis=-1))
    return np.concatenate(out)


def _normalise(rows: np.ndarray, lower: float, upper: float) -> np.ndarray:
    """Knots over [0, 1] of a piecewise linear function over native values; cut at 0 and 1."""
    x = (rows[:, 0] - lower) / (upper - lower)
    inside = (x >= 0.0) & (x <= 1.0)
    knots = [np.concatenate([x[inside, None], rows[inside, 1:]], -1)]
    for end, there in ((0.0, (x == 0.0).any()), (1.0, (x == 1.0).any())):
        if not there:
            row = np.array([[end, *(np.interp(end, x, column) for column in rows[:, 1:].T)]])
            knots = [row, *knots] if end == 0.0 else [*knots, row]
    return np.clip(np.concatenate(knots), 0.0, 1.0)


def transfer_from_paraview(
    entry: dict[str, Any],
    *,
    value_range: tuple[float, float],
    unit_distance: float,
    units: Units = "auto",
    where: str = "preset",
) -> TransferFunction:
    """One preset of a ParaView JSON file.

    Args:
        entry: object with `RGBPoints` and `Points` or `OpacityPoints`; `Name`, `ColorSpace` and
            `ScalarOpacityUnitDistance` are read when there.
        value_range: native values of 0 and 1 of the volume.
        unit_distance: world length of the opacities when the entry does not say.
        units: what x means; "auto" takes normalised when all points lie within [0, 1] and the volume's range is wider
            than 1.5, else native.
        where: for messages.

    Raises:
        TransferFunctionError: missing or broken lists, unknown colour space.
    """
    opacity, color = _opacity_rows(entry, where), _color_rows(entry, where)
    lower, upper = value_range
    if units == "auto":
        x = np.concatenate([opacity[:, 0], color[:, 0]])
        units = "normalised" if x.min() >= 0.0 and x.max() <= 1.0 and upper - lower > 1.5 else "native"
    if units == "normalised":
        lower, upper = 0.0, 1.0
    distance = entry.get("ScalarOpacityUnitDistance", unit_distance)
    if not isinstance(distance, int | float):
        raise _refuse("ScalarOpacityUnitDistance as a number", repr(distance), where, "correct it, or leave it out")
    knots = (_normalise(rows, lower, upper) for rows in (color, opacity))
    return TransferFunction(*knots, float(distance), str(entry.get("Name", "transfer")))


def _entries(node: Any, where: str) -> list[dict[str, Any]]:
    """All presets of a file, groups (`Children`) flattened."""
    if isinstance(node, dict) and "Children" in node:
        return _entries(node["Children"], where)
    if isinstance(node, dict):
        return [node]
    if isinstance(node, list):
        return [entry for child in node for entry in _entries(child, where)]
    raise _refuse(
        "a list of presets (JSON objects)", type(node).__name__, where, "export the preset from ParaView as JSON"
    )


def read_transfers(
    path: Path | str,
    *,
    value_range: tuple[float, float],
    unit_distance: float,
    units: Units = "auto",
    name: str | None = None,
) -> list[TransferFunction]:
    """All presets of a ParaView JSON file, or the one with a name; see `transfer_from_paraview`.

    Raises:
        TransferFunctionError: no such file, no JSON, no preset of that name, or a broken one.
    """
    path = Path(path)
    if not path.is_file():
        raise _refuse("a ParaView JSON file", "no file", str(path), "correct the path")
    try:
        entries = _entries(json.loads(path.read_text(encoding="utf-8-sig")), str(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _refuse("JSON", str(error), str(path), "export the preset from ParaView again") from error
    if name is not None:
        chosen = [e for e in entries if str(e.get("Name", "")).lower() == name.lower()]
        if not chosen:
            names = sorted(str(e.get("Name", "")) for e in entries)
            raise _refuse(f"a preset out of {names}", repr(name), str(path), "use one of these names")
        entries = chosen
    return [
        transfer_from_paraview(
            e, value_range=value_range, unit_distance=unit_distance, units=units, where=f"{path} {e.get('Name', '')!r}"
        )
        for e in entries
    ]


def paraview_entry(transfer: TransferFunction, *, value_range: tuple[float, float]) -> dict[str, Any]:
    """A preset as ParaView writes it, x in native values; (0, 1) as the range keeps it normalised."""
    lower, upper = value_range

    def native(x: float) -> float:
        return float(lower + x * (upper - lower))

    points = [v for x, a in transfer.opacity_knots for v in (native(x), float(a), 0.5, 0.0)]
    colors = [v for x, *rgb in transfer.color_knots for v in (native(x), *map(float, rgb))]
    return {
        "ColorSpace": "RGB",
        "Name": transfer.name,
        "Points": points,
        "RGBPoints": colors,
        "ScalarOpacityUnitDistance": transfer.unit_distance,
    }


def write_transfers(path: Path | str, transfers: list[TransferFunction], *, value_range: tuple[float, float]) -> None:
    """Write presets that ParaView's "Import" reads and `read_transfers` gives back."""
    text = json.dumps([paraview_entry(t, value_range=value_range) for t in transfers], indent=1)
    with atomic_path(Path(path)) as temporary:
        Path(temporary).write_text(text + "\n", encoding="utf-8")
