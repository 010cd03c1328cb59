"""Labelled views for the dense tower: what every place shows on each level, drawn so that small things count too."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Int64, UInt8

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.core.levels import LEVELS
from voxlang.embed.dense_tower import STRIDE
from voxlang.scenes.buffer import StoredScenes, read_scenes, some_scene_files
from voxlang.supervision.types import filled_levels
from voxlang.volume.types import PartTree

_KEPT = 2
"""Truth is kept of every second pixel in both directions: enough for half-size pictures and windows."""


@dataclass(frozen=True, eq=False)
class PlaceBatch:
    """Some pictures, and some of their places with what they show."""

    pictures: UInt8[np.ndarray, "b s s 3"]
    """Square pictures."""
    picture: Int64[np.ndarray, "k"]
    """Picture of each place."""
    place: Int64[np.ndarray, "k"]
    """Its flat index in the grid of places."""
    level: Int64[np.ndarray, "k"]
    """Level asked about."""
    concept: Int64[np.ndarray, "k"]
    """Row of the concept table."""


class LabelledViews:
    """Views with their truth, in memory."""

    def __init__(self, phantoms: Iterable[StoredScenes]) -> None:
        scenes = [_Phantom.of(s) for s in phantoms]
        self.table = ConceptTable((s.family, s.tree) for s in scenes)
        self.rgb: UInt8[np.ndarray, "n h w 3"] = np.concatenate([s.rgb for s in scenes])
        self.family = [s.family for s in scenes for _ in s.rgb]
        self._concepts = np.concatenate([_concepts(s, self.table) for s in scenes])
        shown = np.flatnonzero((self._concepts[:, -1] >= 0).mean((1, 2)) > 0.005)
        count = {family: sum(self.family[i] == family for i in shown) for family in set(self.family)}
        self._shown, weight = shown, np.array([1.0 / count[self.family[i]] for i in shown])
        self._chances = weight / weight.sum()
        seen = [np.bincount(self._concepts[:, level].ravel() + 1, minlength=len(self.table) + 1) for level in LEVELS]
        frequency = np.stack(seen)[:, 1:] / max(len(self.rgb), 1)
        self._weight = (frequency + 1.0) ** -0.5

    def concepts(self, i: int, side: int) -> Int16[np.ndarray, "3 q q"]:
        """What the places of view `i`, shown with `side` pixels along its edge, show; -1 nothing."""
        return _at_centres(self._concepts[i], side // STRIDE)

    def draw(self, rng: np.random.Generator, *, pictures: int, side: int, places: int, window: float) -> PlaceBatch:
        """Pictures, families alike, and about `places` places of each level among them, rare concepts more often.

        Args:
            rng: random numbers.
            pictures: how many.
            side: their edge in pixels.
            places: of each level, over all pictures.
            window: share of pictures that show a window of the view only, of 0.6 to 1 of its edge.
        """
        shown, picture, place, level, concept, chance = [], [], [], [], [], []
        for b, i in enumerate(rng.choice(self._shown, pictures, p=self._chances)):
            rgb, truth = self.rgb[i], self._concepts[i]
            if rng.random() < window:
                rgb, truth = _window(rgb, truth, rng)
            shown.append(_resized(rgb, side))
            truth = _at_centres(truth, side // STRIDE)
            at_level, at = np.nonzero(truth.reshape(len(LEVELS), -1) >= 0)
            what = truth.reshape(len(LEVELS), -1)[at_level, at].astype(np.int64)
            picture.append(np.full(len(at), b))
            place.append(at)
            level.append(at_level)
            concept.append(what)
            chance.append(self._weight[at_level, what])
        columns = [np.concatenate(c) for c in (picture, place, level, concept)]
        chances = np.concatenate(chance)
        kept = []
        for one in LEVELS:
            here = np.flatnonzero(columns[2] == one)
            few = min(places, len(here))
            kept.append(here[rng.choice(len(here), few, replace=False, p=chances[here] / chances[here].sum())])
        rows = np.concatenate(kept)
        return PlaceBatch(np.stack(shown), *(c[rows] for c in columns))


def read_views(folders: Sequence[str | Path]) -> LabelledViews:
    """All views of some folders.

    Raises:
        ConfigError: no views there.
    """
    from tqdm import tqdm

    files = some_scene_files(folders)
    return LabelledViews(read_scenes(file) for file in tqdm(files, desc="views", disable=not sys.stderr.isatty()))


@dataclass(frozen=True, eq=False)
class _Phantom:
    """A phantom's views with truth at every second pixel."""

    rgb: UInt8[np.ndarray, "n h w 3"]
    part_index: Int16[np.ndarray, "n 3 p p"]
    tree: PartTree
    family: str

    @staticmethod
    def of(scenes: StoredScenes) -> _Phantom:
        index = scenes.part_index[:, :, _KEPT // 2 :: _KEPT, _KEPT // 2 :: _KEPT]
        return _Phantom(scenes.rgb, index.copy(), scenes.tree, scenes.family)


def _concepts(scenes: _Phantom, table: ConceptTable) -> Int16[np.ndarray, "n 3 p p"]:
    """Concept of each pixel and level; what has no parts is its own part, as in the lifting of masks."""
    row = np.full(max(p.id for p in scenes.tree) + 2, -1, np.int16)
    for part in scenes.tree:
        row[part.id] = table.index(scenes.family, part)
    return np.stack([filled_levels(view) for view in row[scenes.part_index]])


def _window(
    rgb: UInt8[np.ndarray, "h w 3"], truth: Int16[np.ndarray, "3 p p"], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square window around something that is shown."""
    side = truth.shape[-1]
    edge = int(rng.integers(round(0.6 * side), side + 1))
    centre = divmod(int(rng.choice(np.flatnonzero(truth[-1].ravel() >= 0))), side)
    row, column = (int(np.clip(c - edge // 2, 0, side - edge)) for c in centre)
    scale = rgb.shape[0] // side
    rows, columns = (slice(scale * a, scale * (a + edge)) for a in (row, column))
    return rgb[rows, columns], truth[:, row : row + edge, column : column + edge]


def _resized(rgb: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "s s 3"]:
    from PIL import Image

    if rgb.shape[0] == side:
        return rgb
    way = Image.Resampling.BOX if rgb.shape[0] > side else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize((side, side), way))


def _at_centres(truth: Int16[np.ndarray, "3 p p"], q: int) -> Int16[np.ndarray, "3 q q"]:
    at = ((np.arange(q) + 0.5) * truth.shape[-1] / q).astype(int)
    return truth[:, at[:, None], at[None, :]]
