"""A scene: named parts painted with shapes of materials, in painter's order, free of any grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from voxlang.core.levels import Level
from voxlang.volume.phantoms.language import Distance, Number, Shape, rotation, union
from voxlang.volume.phantoms.types import Appearance, MaterialLook
from voxlang.volume.types import Part, PartTree


@dataclass(frozen=True)
class Material:
    """What fills a shape, in native units."""

    name: str
    """Noun for the legend: "bone", "leaf"."""
    value: Number
    """Mean native value, e.g. HU."""
    rgb: tuple[float, float, float]
    """Natural colour."""
    texture: Number = 0.0
    """Standard deviation of the smooth density texture, native units."""
    grain: Number = 8.0
    """Wavelength of the texture in mm."""
    band: Number = 0.0
    """Half width of the band that shows it, native units; 0 chooses 2.5 standard deviations of texture and noise."""


@dataclass(frozen=True)
class Paint:
    """One stroke: where, what, and which part it becomes."""

    shape: Shape
    material: Material | None
    """None keeps the density: the stroke only names what is there."""
    part: int
    keep: tuple[int, ...] = ()
    """Parts that this stroke leaves as they are."""
    inside: tuple[int, ...] = ()
    """If given, only voxels of these parts change."""


@dataclass(frozen=True)
class Field:
    """A stroke that is no object: a scalar field everywhere, and the parts that its values make."""

    values: Distance
    """(x, y, z) arrays in mm -> native values."""
    levels: tuple[tuple[Number, int], ...]
    """(value, part), ascending: where the field reaches a value, the part begins."""


@dataclass
class Scene:
    """Collects parts and strokes; a family function fills one. Units are mm, +z is up, +x is the object's left."""

    rng: np.random.Generator
    air: Material
    """What is everywhere before the first stroke."""
    native_range: tuple[float, float]
    """Native values of 0 and 1."""
    noise: Number
    """Standard deviation of the acquisition noise, native units."""
    bias: Number = 0.0
    """Relative amplitude of a smooth multiplicative bias field, as in MRI."""
    parts: list[Part] = field(default_factory=list)
    strokes: list[Paint | Field] = field(default_factory=list)
    appearances: list[Appearance] = field(default_factory=list)
    pose: np.ndarray = field(default_factory=lambda: np.eye(4))
    """World from object, 4x4, a similarity."""

    def whole(self, name: str, synonyms: Sequence[str], attributes: Sequence[str] = ()) -> int:
        """Declare a part on the level WHOLE, without a parent; returns its id."""
        return self._declare(name, Level.WHOLE, None, synonyms, attributes)

    def part(self, name: str, parent: int | None, synonyms: Sequence[str], attributes: Sequence[str] = ()) -> int:
        """Declare a part on the level PART; returns its id."""
        return self._declare(name, Level.PART, parent, synonyms, attributes)

    def small(self, name: str, parent: int, synonyms: Sequence[str], attributes: Sequence[str] = ()) -> int:
        """Declare a part on the level SMALL; returns its id."""
        return self._declare(name, Level.SMALL, parent, synonyms, attributes)

    def _declare(
        self, name: str, level: Level, parent: int | None, synonyms: Sequence[str], attributes: Sequence[str]
    ) -> int:
        self.parts.append(Part(len(self.parts) + 1, name, level, parent, tuple(synonyms), tuple(attributes)))
        return len(self.parts)

    def paint(
        self,
        shape: Shape | Sequence[Shape],
        part: int,
        material: Material | None,
        *,
        keep: Sequence[int] = (),
        inside: Sequence[int] = (),
    ) -> None:
        """Fill a shape (or a union of several) with a material and name it; later strokes cover earlier ones.

        Without a material the density stays, and the shape only names what is there.
        """
        whole = shape if isinstance(shape, Shape) else union(shape)
        self.strokes.append(Paint(whole, material, part, tuple(keep), tuple(inside)))

    def carve(self, shape: Shape | Sequence[Shape], *, inside: Sequence[int] = ()) -> None:
        """Make a cavity of air that belongs to no part."""
        self.paint(shape, 0, self.air, inside=inside)

    def pour(self, values: Distance, levels: Sequence[tuple[Number, int]]) -> None:
        """Set all density to a scalar field; from each of its (ascending) levels on, voxels belong to a part."""
        self.strokes.append(Field(values, tuple(levels)))

    def tree(self) -> PartTree:
        """The parts declared so far."""
        return PartTree(tuple(self.parts))

    def placed(self, *, yaw_deg: Number, tilt_deg: Number, scale: Number, jitter: Number) -> None:
        """Draw the pose: turn about +z, lean, size and shift.

        Args:
            yaw_deg: largest turn about the vertical.
            tilt_deg: largest lean about x and about y.
            scale: largest relative change of size, downwards.
            jitter: largest shift in mm per axis.
        """
        turn = rotation(
            *(self.rng.uniform(-tilt_deg, tilt_deg, 2).tolist()), float(self.rng.uniform(-yaw_deg, yaw_deg))
        )
        self.pose = np.eye(4)
        self.pose[:3, :3] = turn * self.rng.uniform(1.0 - scale, 1.0)
        self.pose[:3, 3] = self.rng.uniform(-jitter, jitter, 3)

    def show(self, name: str, looks: Sequence[tuple[Material, Number]], *, shading: bool = True) -> None:
        """Add an appearance: materials with their opacities, colours jittered; materials left out are hidden."""
        by_value = sorted(looks, key=lambda look: look[0].value)
        bands = [self._band(m) for m, _ in by_value]
        for i in range(len(bands) - 1):
            if bands[i][1] > bands[i + 1][0]:
                middle = (bands[i][1] + bands[i + 1][0]) / 2
                bands[i], bands[i + 1] = (bands[i][0], middle), (middle, bands[i + 1][1])
        rows = []
        for (material, alpha), (low, high) in zip(by_value, bands, strict=True):
            rgb = np.clip(np.asarray(material.rgb) * self.rng.uniform(0.88, 1.12) + self.rng.normal(0, 0.018, 3), 0, 1)
            rows.append(MaterialLook(low, high, tuple(rgb.tolist()), alpha, material.name))
        self.appearances.append(Appearance(name, tuple(rows), shading))

    def _band(self, m: Material) -> tuple[float, float]:
        half = m.band or 2.5 * float(np.hypot(m.texture, self.noise))
        lower, upper = self.native_range
        low, high = ((v - lower) / (upper - lower) for v in (m.value - half, m.value + half))
        return float(np.clip(low, 0, 0.999)), float(np.clip(high, 0.001, 1))

    def varied(self, material: Material, spread: Number) -> Material:
        """The material with its mean moved by up to +-spread native units."""
        return replace(material, value=material.value + float(self.rng.uniform(-spread, spread)))
