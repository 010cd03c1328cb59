"""Labelled renders of phantoms as training pictures: written once to a folder, read into memory.

Phantom seeds of training, development and test never overlap, and the test seeds are the small ones that demos and
evaluations use.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int16
from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.errors import ConfigError
from voxlang.segtrain.shapes import KINDS, LabelledPicture
from voxlang.volume.phantoms import FAMILIES
from voxlang.volume.types import PartTree, part_kind

Split = Literal["train", "dev", "test"]
SEEDS: dict[str, range] = {"train": range(1000, 1_000_000), "dev": range(500, 600), "test": range(100)}
"""Phantom seeds of each split."""
HELD_OUT_FAMILIES = ("fish", "bottle")
"""Families that no training ever sees: development and test measure on them what an unknown object is worth."""
_NONE = 255


class RenderConfig(BaseModel):
    """Which views to write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Split = "train"
    """Which range of phantom seeds."""
    phantoms: dict[str, int] = {}
    """Phantoms of some families; the others get `per_family`."""
    per_family: int = Field(20, ge=0)
    """Phantoms of every family that `phantoms` does not name."""
    views_per_phantom: int = Field(16, gt=0)
    """Pictures of each phantom, every one with its own look, camera, light and background."""
    cut: float = Field(0.0, ge=0, le=1)
    """Probability that a picture shows the phantom cut open."""
    partly: float = Field(0.0, ge=0, le=1)
    """Probability that a phantom is cut off by the field of view, as scans are."""
    scanner: float = Field(0.0, ge=0, le=1)
    """Probability that a phantom has a scanner's values (brittle bone, little contrast, blur, noise) and such looks."""
    general_looks: float = Field(0.0, ge=0, le=1)
    """Probability that a picture's look does not know the object: "auto" or a preset, as for a user's own volume."""
    skip: int = Field(0, ge=0)
    """So many seeds of the split are left out at its beginning: folders then share no phantom."""


def families_of(split: Split) -> tuple[str, ...]:
    """The families of a split: training leaves out HELD_OUT_FAMILIES."""
    return tuple(f for f in FAMILIES if split != "train" or f not in HELD_OUT_FAMILIES)


def planned_scenes(config: RenderConfig) -> list[tuple[str, int]]:
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
            where="RenderConfig.phantoms",
            do="name only these; HELD_OUT_FAMILIES are never trained on",
        )
    counts = {family: config.phantoms.get(family, config.per_family) for family in families}
    for family, count in counts.items():
        if count > len(seeds):
            raise ConfigError(
                f"at most {len(seeds)} phantoms of a family in the split {config.split}",
                got=f"{count} of {family}",
                where="RenderConfig.phantoms",
                do="ask for fewer",
            )
    placed = [((k + 0.5) / n, family, seeds[k]) for family, n in counts.items() for k in range(n)]
    return [(family, seed) for _, family, seed in sorted(placed)]


def write_renders(folder: Path | str, config: RenderConfig) -> list[Path]:
    """Write the views, one file per phantom; files that are there already are kept.

    Raises:
        ConfigError: more phantoms than seeds.
        ArtifactError: a file cannot be written.
    """
    from tqdm import tqdm

    from voxlang.scenes.buffer import BufferConfig, make_scenes, write_scenes

    folder = Path(folder) / config.split
    same = {"views_per_phantom", "cut", "partly", "scanner", "general_looks"}
    buffer = BufferConfig(**config.model_dump(include=same))
    paths = []
    for family, seed in tqdm(planned_scenes(config), unit="phantom", disable=not sys.stderr.isatty()):
        path = folder / f"scenes_{family}_{seed:07d}.npz"
        if not path.exists():
            write_scenes(path, make_scenes(buffer, family, seed), key=buffer.key)
        paths.append(path)
    return paths


def kind_table(family: str, tree: PartTree) -> Int16[np.ndarray, "256"]:
    """Number of the kind of each part id, in [1, KINDS); 0, nothing, for ids without a part.

    The number is a hash of the family and the kind: it stays the same whatever else is trained on, so that a training
    can go on with more families. Kinds that share a number are told apart by all else that a pixel shows.
    """
    table = np.zeros(256, np.int16)
    for part in tree:
        table[part.id] = 1 + zlib.crc32(f"{family}: {part_kind(part.name)}".encode()) % (KINDS - 1)
    return table


class RenderSource:
    """All views of a folder's training split in memory, a byte per pixel and level."""

    def __init__(
        self, folder: Path | str, split: Split = "train", *, shares: Mapping[str, float] | None = None
    ) -> None:
        from voxlang.scenes.buffer import read_scenes, some_scene_files

        folder = Path(folder) / split
        files = some_scene_files([folder])
        rgb, regions, self.families = [], [], []
        self._kind_of_id: list[np.ndarray] = []
        for file in files:
            scenes = read_scenes(file)
            self._kind_of_id += [kind_table(scenes.family, scenes.tree)] * len(scenes.rgb)
            rgb.append(scenes.rgb)
            regions.append(np.where(scenes.part_index < 0, _NONE, scenes.part_index).astype(np.uint8))
            self.families += [scenes.family] * len(scenes.rgb)
        self._rgb, self._regions = np.concatenate(rgb), np.concatenate(regions)
        self._shown = np.flatnonzero((self._regions[:, 2] != _NONE).mean((1, 2)) > 0.005)
        """Views that show at least something."""
        names = [self.families[int(j)] for j in self._shown]
        weight = np.array([(shares or {}).get(name, 1.0) / names.count(name) for name in names])
        self._chances = weight / weight.sum() if shares else np.full(len(names), 1 / max(len(names), 1))

    def __len__(self) -> int:
        return len(self._shown)

    def picture(self, i: int) -> LabelledPicture:
        """View `i` among those that show something."""
        j = self._shown[i]
        regions = self._regions[j].astype(np.int16)
        kinds = self._kind_of_id[j][self._regions[j]]
        return LabelledPicture(self._rgb[j], np.where(regions == _NONE, np.int16(-1), regions), kinds)

    def family(self, i: int) -> str:
        """Phantom family of view `i`."""
        return self.families[int(self._shown[i])]

    def draw(self, rng: np.random.Generator, step: int) -> LabelledPicture:
        """Any view; the step does not matter."""
        return self.picture(int(rng.choice(len(self), p=self._chances)))
