"""Which phantoms are trained on, chosen by and tested on, and what their pictures are like.

Phantom seeds of training, development and test never overlap, and the test seeds are the small ones that demos and
evaluations use.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.digest import digest_json
from voxlang.core.errors import ConfigError
from voxlang.volume.phantoms import FAMILIES

Split = Literal["train", "dev", "test"]
SEEDS: dict[str, range] = {"train": range(1000, 1_000_000), "dev": range(500, 600), "test": range(100)}
"""Phantom seeds of each split."""
HELD_OUT_FAMILIES = ("fish", "bottle")
"""Families that no training ever sees: development and test measure on them what an unknown object is worth."""


class SceneConfig(BaseModel):
    """Which pictures to make of which phantoms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Split = "train"
    """Which range of phantom seeds."""
    phantoms: dict[str, int] = {}
    """Phantoms of some families; the others get `per_family`."""
    per_family: int = Field(20, ge=0)
    """Phantoms of every family that `phantoms` does not name."""
    skip: int = Field(0, ge=0)
    """So many seeds of the split are left out at its beginning: folders then share no phantom."""
    views_per_phantom: int = Field(16, gt=0)
    """Pictures of each phantom, every one with its own look, camera, light and background."""
    size_px: int = Field(256, ge=16)
    """Width and height of a picture."""
    voxels: int | None = Field(None, ge=8)
    """Voxels along the longest edge of a phantom; None takes the family's own size."""
    cut: float = Field(0.0, ge=0, le=1)
    """Probability that a picture shows the phantom cut open."""
    partly: float = Field(0.0, ge=0, le=1)
    """Probability that a phantom is cut off by the field of view, as scans are."""
    scanner: float = Field(0.0, ge=0, le=1)
    """Probability that a phantom has a scanner's values: brittle bone, little contrast, blur, noise. Its pictures then
    all have looks that do not know it."""
    general_looks: float = Field(0.0, ge=0, le=1)
    """Probability that a picture's look does not know the object: "auto" or a preset, as for a user's own volume."""

    @property
    def key(self) -> str:
        """Names what decides a phantom's pictures, so that a folder does not mix two kinds."""
        names = {"views_per_phantom", "size_px", "voxels"}
        names |= {name for name in ("cut", "partly", "scanner", "general_looks") if getattr(self, name)}
        return digest_json(self.model_dump(include=names))


def families_of(split: Split) -> tuple[str, ...]:
    """The families of a split: training leaves out HELD_OUT_FAMILIES."""
    return tuple(f for f in FAMILIES if split != "train" or f not in HELD_OUT_FAMILIES)


def planned_scenes(config: SceneConfig) -> list[tuple[str, int]]:
    """(family, seed) of every phantom, families mixed in proportion, so that any beginning of the list is balanced.

    Raises:
        ConfigError: more phantoms of a family than the split has seeds, or a family that the split does not have.
    """
    families, seeds = families_of(config.split), SEEDS[config.split][config.skip :]
    strange = [f for f in config.phantoms if f not in families]
    if strange:
        raise ConfigError(
            f"families of the split {config.split}: {list(families)}",
            got=f"{strange}",
            where="SceneConfig.phantoms",
            do="name only these; HELD_OUT_FAMILIES are never trained on",
        )
    counts = {family: config.phantoms.get(family, config.per_family) for family in families}
    for family, count in counts.items():
        if count > len(seeds):
            raise ConfigError(
                f"at most {len(seeds)} phantoms of a family in the split {config.split}",
                got=f"{count} of {family}",
                where="SceneConfig.phantoms",
                do="ask for fewer",
            )
    placed = [((k + 0.5) / n, family, seeds[k]) for family, n in counts.items() for k in range(n)]
    return [(family, seed) for _, family, seed in sorted(placed)]
