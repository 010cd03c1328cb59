"""Labelled renders of phantoms as training pictures, read into memory."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from voxlang.scenes.buffer import read_scenes, some_scene_files
from voxlang.scenes.plan import Split
from voxlang.segtrain.shapes import KINDS, LabelledPicture
from voxlang.volume.types import PartTree, part_kind

_NONE = 255


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

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the views."""
        return self._rgb.shape[1:3]

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
