"""Transfer functions by name: our own presets, those of phantoms, and the resolution of what a user asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from voxlang.core.errors import TransferFunctionError
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.automatic import automatic_transfers
from voxlang.render.transfer import TransferFunction
from voxlang.render.transfer_files import read_transfers, transfer_from_paraview
from voxlang.volume.types import Volume


@dataclass(frozen=True)
class Preset:
    """A named transfer function in Hounsfield units or in normalised values."""

    shows: str
    """What it is for, in a few words."""
    units: Literal["HU", "normalised"]
    """What x means."""
    opacity: tuple[tuple[float | int, float | int], ...]
    """Rows (x, alpha)."""
    color: tuple[tuple[float | int, float | int, float | int, float | int], ...]
    """Rows (x, r, g, b)."""
    veil: bool = False
    """Opacities hold over 1 mm, for fog whose depth is physical; else over the mean voxel spacing, for surfaces."""


PRESETS: dict[str, Preset] = {
    "ct-skin": Preset(
        "the outer surface of a body in a CT",
        "HU",
        ((-1100, 0.0), (-650, 0.0), (-100, 0.7), (3000, 0.9)),
        ((-1100, 0.86, 0.64, 0.52), (-100, 0.90, 0.69, 0.57), (150, 0.93, 0.74, 0.62), (500, 0.96, 0.92, 0.84)),
    ),
    "ct-bone": Preset(
        "bones in a CT, everything else hidden",
        "HU",
        ((-1100, 0.0), (140, 0.0), (320, 0.55), (900, 0.9), (3000, 0.95)),
        (
            (-1100, 0.55, 0.36, 0.24),
            (140, 0.66, 0.45, 0.30),
            (320, 0.87, 0.76, 0.58),
            (700, 0.96, 0.92, 0.82),
            (1600, 1.0, 0.99, 0.96),
        ),
    ),
    "ct-soft-tissue": Preset(
        "muscles and organs with bones inside, fat as a veil",
        "HU",
        ((-1100, 0.0), (-10, 0.0), (25, 0.004), (60, 0.014), (110, 0.006), (160, 0.02), (320, 0.45), (3000, 0.9)),
        (
            (-1100, 0.85, 0.68, 0.45),
            (-20, 0.84, 0.62, 0.42),
            (20, 0.72, 0.32, 0.24),
            (70, 0.80, 0.30, 0.22),
            (150, 0.86, 0.48, 0.34),
            (300, 0.93, 0.84, 0.68),
            (900, 1.0, 0.98, 0.93),
        ),
        veil=True,
    ),
    "ct-vessels": Preset(
        "contrast-filled vessels and organs in red, bones in ivory",
        "HU",
        ((-1100, 0.0), (120, 0.0), (170, 0.3), (300, 0.6), (600, 0.8), (3000, 0.9)),
        (
            (-1100, 0.5, 0.05, 0.05),
            (120, 0.6, 0.08, 0.06),
            (210, 0.82, 0.13, 0.10),
            (270, 0.90, 0.42, 0.28),
            (350, 0.94, 0.84, 0.70),
            (1200, 1.0, 0.98, 0.93),
        ),
    ),
    "ct-lungs": Preset(
        "the air-filled tissue of the lungs with vessels and bones, without the air outside",
        "HU",
        ((-1100, 0.0), (-950, 0.0), (-870, 0.012), (-600, 0.012), (-480, 0.0), (150, 0.0), (350, 0.25), (3000, 0.6)),
        (
            (-1100, 0.45, 0.62, 0.80),
            (-860, 0.55, 0.72, 0.88),
            (-550, 0.92, 0.62, 0.60),
            (100, 0.85, 0.40, 0.35),
            (350, 0.94, 0.88, 0.76),
            (1200, 1.0, 0.98, 0.93),
        ),
        veil=True,
    ),
    "mri-head": Preset(
        "the surface of an MRI whose background is dark",
        "normalised",
        ((0.0, 0.0), (0.08, 0.0), (0.16, 0.5), (1.0, 0.85)),
        ((0.0, 0.72, 0.52, 0.44), (0.2, 0.87, 0.68, 0.58), (0.5, 0.93, 0.80, 0.70), (1.0, 0.98, 0.95, 0.90)),
    ),
    "mri-inside": Preset(
        "bright tissue of an MRI under a thin veil of the rest",
        "normalised",
        ((0.0, 0.0), (0.10, 0.0), (0.22, 0.02), (0.42, 0.03), (0.60, 0.20), (1.0, 0.6)),
        ((0, 0.35, 0.42, 0.6), (0.25, 0.45, 0.52, 0.7), (0.5, 0.85, 0.62, 0.5), (0.75, 0.95, 0.86, 0.74), (1, 1, 1, 1)),
    ),
    "surface": Preset(
        "the isosurface at half of the value range, in grey",
        "normalised",
        ((0.0, 0.0), (0.47, 0.0), (0.53, 0.8), (1.0, 0.9)),
        ((0.0, 0.82, 0.82, 0.84), (1.0, 0.92, 0.92, 0.93)),
    ),
}  # fmt: skip


AUTO_CT = ("ct-skin", "ct-soft-tissue", "ct-bone")
"""What "auto" means for a CT in Hounsfield units."""


def default_unit_distance(grid: VolumeGrid) -> float:
    """Mean voxel spacing: with it an alpha of 0.8 hides what lies two voxels behind, so bands look like surfaces."""
    return float(np.mean(grid.spacing_xyz))


def fitting_presets(volume: Volume) -> list[str]:
    """Names of the presets in the units of a volume: those in HU where its values may be such, else the others."""
    units = "HU" if may_be_hounsfield(volume) else "normalised"
    return sorted(name for name, preset in PRESETS.items() if preset.units == units)


def may_be_hounsfield(volume: Volume) -> bool:
    """Whether a volume's native values may be in Hounsfield units: some below -50 and some above 100."""
    lower, upper = volume.value_range
    return lower < -50.0 and upper > 100.0


def preset_transfer(name: str, volume: Volume) -> TransferFunction:
    """A preset in the values of a volume.

    Raises:
        TransferFunctionError: unknown name, or a preset in HU for a volume whose values are none.
    """
    key = name.strip().lower()
    if key not in PRESETS:
        raise TransferFunctionError(
            f"a preset out of {sorted(PRESETS)}", got=repr(name), where="preset_transfer", do="use one of these names"
        )
    preset = PRESETS[key]
    if preset.units == "HU" and not may_be_hounsfield(volume):
        lower, upper = volume.value_range
        raise TransferFunctionError(
            f"a CT in Hounsfield units (values below -50 and above 100) for {key!r}",
            got=f"values from {lower:g} to {upper:g}",
            where=f"preset {key!r} on volume {volume.name!r}",
            do='use "auto", a preset in normalised values or a file with its own units',
        )
    hu = preset.units == "HU"
    return transfer_from_paraview(
        {
            "Name": key,
            "OpacityPoints": [v for row in preset.opacity for v in row],
            "RGBPoints": [v for row in preset.color for v in row],
        },
        value_range=volume.value_range,
        unit_distance=1.0 if preset.veil and volume.grid.unit == "mm" else default_unit_distance(volume.grid),
        units="native" if hu else "normalised",
        where=f"preset {key!r}",
    )


def is_hounsfield(volume: Volume) -> bool:
    """Whether a volume's native values look like a CT in Hounsfield units: air around -1000 on the faces of its box."""
    lower, upper = volume.value_range
    v = volume.values
    faces = np.concatenate([f.reshape(-1) for f in (v[:, 0], v[:, -1], v[:, :, 0], v[:, :, -1])])
    air = lower + float(np.median(faces)) * (upper - lower)
    return upper > 300.0 and -1300.0 <= air <= -800.0


@runtime_checkable
class MaterialBand(Protocol):
    """A band of normalised values with a look."""

    value_low: float
    value_high: float
    rgb: tuple[float, float, float]
    alpha: float


@runtime_checkable
class NamedBands(Protocol):
    """A named set of bands, as phantoms carry them."""

    name: str
    materials: tuple[MaterialBand, ...]


def transfer_from_appearance(
    appearance: NamedBands, grid: VolumeGrid, *, ramp: float = 0.25, max_ramp: float = 0.012
) -> TransferFunction:
    """Bands of a phantom's appearance as a transfer function.

    Each band has its own constant colour; colours switch at once in the middle of the gap between two bands (where
    nothing shows), so that no mixed colour ever appears. Opacity ramps up and down inside the band's ends.

    Args:
        appearance: bands of normalised values; overlaps are cut in their middle, alpha 0 hides a band.
        grid: gives the unit distance, `default_unit_distance`.
        ramp: length of each ramp as a share of the band.
        max_ramp: upper limit of a ramp in normalised values.

    Raises:
        TransferFunctionError: no bands.
    """
    bands = sorted((m for m in appearance.materials if m.alpha > 0), key=lambda m: (m.value_low, m.value_high))
    if not bands:
        raise TransferFunctionError(
            "at least one visible band",
            got="none",
            where=f"appearance {appearance.name!r}",
            do="give a material an alpha above 0",
        )
    low = [float(m.value_low) for m in bands]
    high = [float(m.value_high) for m in bands]
    switches = []
    for i in range(len(bands) - 1):
        middle = 0.5 * (high[i] + low[i + 1])
        if high[i] > low[i + 1]:
            middle = min(max(middle, low[i]), max(high[i + 1], low[i]))
            high[i] = low[i + 1] = middle
        switches.append(middle)
    color, opacity = [], [(0.0, 0.0)]
    for i, m in enumerate(bands):
        start = switches[i - 1] if i else 0.0
        end = switches[i] if i < len(switches) else 1.0
        color += [(start, *m.rgb), (end, *m.rgb)]
        edge = min(ramp * (high[i] - low[i]), max_ramp)
        left = 0.0 if low[i] > 0.0 else m.alpha
        right = 0.0 if high[i] < 1.0 else m.alpha
        opacity += [(low[i], left), (low[i] + edge, m.alpha), (high[i] - edge, m.alpha), (high[i], right)]
    opacity.append((1.0, opacity[-1][1]))
    if low[0] <= 0.0:
        opacity.pop(0)
    return TransferFunction(
        np.clip(np.asarray(color, np.float64), 0.0, 1.0),
        np.clip(np.asarray(opacity, np.float64), 0.0, 1.0),
        default_unit_distance(grid),
        appearance.name,
    )


def resolve_transfers(specs: Sequence[str], volume: Volume) -> list[TransferFunction]:
    """The transfer functions that a user asked for.

    Args:
        specs: each "auto" (three: surface, contents and dense, from the histogram, or the presets AUTO_CT for a CT in
            Hounsfield units), "auto:N" (the first N of them), a preset's name, a ParaView JSON file, or FILE.json#NAME
            for one preset of a file.
        volume: gives value range, spacing and histogram.

    Raises:
        TransferFunctionError: something that is none of these (the choices are listed).
    """
    found: list[TransferFunction] = []
    for spec in specs:
        key = spec.strip()
        path, _, name = key.partition("#")
        count = key[5:] or "3" if key.lower().startswith("auto:") else "3"
        if key.lower() == "auto" or key.lower().startswith("auto:"):
            if count not in ("1", "2", "3"):
                raise TransferFunctionError(
                    "auto:1, auto:2 or auto:3", got=repr(spec), where="transfer functions", do="use one of these"
                )
            if is_hounsfield(volume):
                found += [preset_transfer(p, volume) for p in AUTO_CT[: int(count)]]
            else:
                found += automatic_transfers(volume, n=int(count))
        elif key.lower() in PRESETS:
            found.append(preset_transfer(key, volume))
        elif path.lower().endswith(".json") or Path(path).is_file():
            found += read_transfers(
                path,
                value_range=volume.value_range,
                unit_distance=default_unit_distance(volume.grid),
                name=name or None,
            )
        else:
            raise TransferFunctionError(
                f'"auto", "auto:1" to "auto:3", a ParaView .json file, or a preset out of {sorted(PRESETS)}',
                got=repr(spec),
                where="transfer functions",
                do="use one of these",
            )
    if not found:
        raise TransferFunctionError(
            "at least one transfer function", got="none", where="transfer functions", do='pass "auto"'
        )
    return found
