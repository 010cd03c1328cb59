"""What a phantom is: a volume, its truth, and the ways of showing it."""

from __future__ import annotations

from dataclasses import dataclass

from voxlang.core.errors import VolumeError
from voxlang.volume.types import LabelVolume, Volume


@dataclass(frozen=True)
class MaterialLook:
    """How one band of normalised values is shown."""

    value_low: float
    """Lower end of the band, normalised value in [0, 1]."""
    value_high: float
    """Upper end of the band, normalised value in [0, 1], above `value_low`."""
    rgb: tuple[float, float, float]
    """Colour in [0, 1]."""
    alpha: float
    """Opacity over one voxel in [0, 1]; 0 hides the material."""
    name: str
    """What the band holds: "bone", "leaf"."""

    def __post_init__(self) -> None:
        numbers = (self.value_low, self.value_high, *self.rgb, self.alpha)
        if not (all(0.0 <= v <= 1.0 for v in numbers) and self.value_low < self.value_high):
            raise VolumeError(
                "a band low < high, a colour and an opacity, all in [0, 1]",
                got=f"{self}",
                where="MaterialLook",
                do="normalise the values and clip the colours",
            )


@dataclass(frozen=True)
class Appearance:
    """One way of showing a phantom: bands in ascending order of value, one per visible material."""

    name: str
    """What it shows: "surface", "contents", "bones"."""
    materials: tuple[MaterialLook, ...]
    """Ascending in value; values outside all bands are empty."""
    shading: bool
    """Whether gradient shading suits it."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A procedural object with its complete truth."""

    volume: Volume
    """What a scanner would see; world +z is up, and +x is the object's left for animals and people (LPS)."""
    labels: LabelVolume
    """The deepest part at every voxel, with the part tree."""
    appearances: tuple[Appearance, ...]
    """At least three ways of showing it; the first is the outer surface in natural colours."""
    family: str
    """Name in FAMILIES."""
    seed: int
    """The same family and seed are the same object at every size and spacing."""
    demo_prompts: tuple[str, ...]
    """4-8 part names that make good queries."""

    @property
    def caption_nouns(self) -> dict[int, tuple[str, ...]]:
        """Name and synonyms by part id; repeated parts lose their number ("leaf cluster 3" -> "leaf cluster")."""
        return {p.id: tuple(dict.fromkeys((p.name.rstrip("0123456789 "), *p.synonyms))) for p in self.labels.tree}
