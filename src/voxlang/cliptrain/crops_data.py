"""Crops of labelled views: cut once per phantom, kept on disk, drawn in balanced batches."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int16, UInt8

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig, CropsConfig
from voxlang.cliptrain.found_masks import Region, mask_generator_of, regions_of_masks
from voxlang.cliptrain.masks_noise import imperfect, junk_mask, one_piece, overlap
from voxlang.core.artifacts import atomic_path
from voxlang.core.digest import digest_json
from voxlang.core.levels import LEVELS
from voxlang.embed.crops import CROP_POLICIES, mask_crops
from voxlang.embed.settings import CropPolicy
from voxlang.masks.settings import OBJECT_OPACITY
from voxlang.masks.types import MaskGenerator
from voxlang.scenes.buffer import StoredScenes, read_scenes, some_scene_files
from voxlang.volume.types import PartTree

SAME_REGION = 0.8
"""Parts of other levels that share this IoU with a crop's true mask in its view are right for the crop as well."""


@dataclass(frozen=True, eq=False)
class Crops:
    """The crops of one phantom."""

    images: UInt8[np.ndarray, "n s s 3"]
    """Square pictures."""
    parts: Int16[np.ndarray, "n 3"]
    """Part ids that are right for a crop, -1 where there are fewer; all -1 for junk."""
    view: Int16[np.ndarray, "n"]
    """View that a crop was cut from."""
    level: Int16[np.ndarray, "n"]
    """Level of its mask, -1 for junk."""
    tree: PartTree
    """What the ids mean."""
    family: str
    """Phantom family."""
    seed: int
    """Phantom seed."""

    def __len__(self) -> int:
        return len(self.images)


def cut_crops(
    scenes: StoredScenes,
    config: CropsConfig,
    *,
    policies: Sequence[CropPolicy] = (),
    generator: MaskGenerator | None = None,
) -> Crops:
    """Crops of the parts seen in each view.

    Args:
        scenes: views of one phantom.
        config: how to cut.
        policies: for evaluation, each mask cut by all of these, one after the other, and no junk: true masks as they
            are, or with a generator all that it finds and that stands for a part.
        generator: cut the masks it finds in the first `found_views` as well, at most `found_per_view` of those that
            stand for a part.
    """
    rng = np.random.default_rng([config.seed, scenes.seed, zlib.crc32(scenes.family.encode())])
    images, cuts, views = [], [], []
    for view, (rgb, index) in enumerate(zip(scenes.rgb, scenes.part_index, strict=True)):
        regions = _regions(index, config.min_area_px)
        found: list[tuple[Region, np.ndarray]] = []
        if generator is not None and view < config.found_views:
            shown = scenes.opacity[view] > 255 * OBJECT_OPACITY
            masks = generator.generate(rgb, foreground=shown).all_dense()
            masks = masks[masks.sum(axis=(1, 2)) >= config.min_area_px]
            found = [(r, m) for r, m in zip(regions_of_masks(masks, regions), masks, strict=True) if r is not None]
        if policies:
            whole = found if generator else regions.items()
            here = [_Cut(mask, region, policy) for region, mask in whole for policy in policies]
        else:
            here = [*_true_cuts(index, regions, config, rng), *_junk_cuts(index, regions, config, rng)]
            here += _found_cuts(found, config, rng)
        images.append(_cut(rgb, [c.mask for c in here], [c.policy for c in here], config.size_px))
        cuts += [(c.region, _same_regions(c.region, regions)) for c in here]
        views += [view] * len(here)
    return Crops(
        np.concatenate([np.zeros((0, config.size_px, config.size_px, 3), np.uint8), *images]),
        np.asarray([[region[1], *same, -1, -1][:3] for region, same in cuts], np.int16).reshape(-1, 3),
        np.asarray(views, np.int16),
        np.asarray([region[0] for region, _ in cuts], np.int16),
        scenes.tree,
        scenes.family,
        scenes.seed,
    )


@dataclass(frozen=True, eq=False)
class _Cut:
    """One crop to be made of a view."""

    mask: np.ndarray
    region: Region
    """What it shows; JUNK for no part."""
    policy: CropPolicy


JUNK: Region = (-1, -1)


def _regions(index: Int16[np.ndarray, "3 h w"], min_area_px: int) -> dict[Region, np.ndarray]:
    """The true masks of a view by level and part."""
    masks = {(int(level), int(i)): index[level] == i for level in LEVELS for i in np.unique(index[level]) if i >= 0}
    return {region: mask for region, mask in masks.items() if mask.sum() >= min_area_px}


def _same_regions(region: Region, regions: dict[Region, np.ndarray]) -> list[int]:
    """Other parts whose region in the view is the same."""
    if region == JUNK:
        return []
    own = regions[region]
    return [i for (_, i), mask in regions.items() if i != region[1] and overlap(own, mask) >= SAME_REGION]


def _true_cuts(
    index: Int16[np.ndarray, "3 h w"], regions: dict[Region, np.ndarray], config: CropsConfig, rng: np.random.Generator
) -> list[_Cut]:
    """True masks, most of them spoilt."""
    keys = list(regions)
    if len(keys) > config.per_view:
        keys = [keys[i] for i in sorted(rng.choice(len(keys), config.per_view, replace=False))]
    cuts = []
    for level, part in keys:
        mask = regions[level, part]
        if rng.random() < config.one_piece:
            mask = one_piece(mask, rng, min_area_px=config.min_area_px)
        if rng.random() < config.imperfect:
            others = (index[2] >= 0) & (index[level] != part)
            mask = imperfect(mask, others, rng, min_area_px=config.min_area_px)
        cuts.append(_Cut(mask, (level, part), _policy(rng, config.other_policies)))
    return cuts


def _junk_cuts(
    index: Int16[np.ndarray, "3 h w"], regions: dict[Region, np.ndarray], config: CropsConfig, rng: np.random.Generator
) -> list[_Cut]:
    """Masks of no part."""
    masks = [junk_mask(index[2] >= 0, rng) for _ in range(int(rng.poisson(config.junk_per_view)))]
    masks = [m for m in masks if m.sum() >= config.min_area_px]
    known = lambda mask: max((overlap(mask, other) for other in regions.values()), default=0.0)
    return [_Cut(mask, JUNK, "masked") for mask in masks if known(mask) < 0.3]


def _found_cuts(found: list[tuple[Region, np.ndarray]], config: CropsConfig, rng: np.random.Generator) -> list[_Cut]:
    """Some of the masks that were found in a view and stand for a part."""
    kept = [found[i] for i in sorted(rng.permutation(len(found))[: config.found_per_view])]
    return [_Cut(mask, region, _policy(rng, config.other_policies)) for region, mask in kept]


def _policy(rng: np.random.Generator, others: float) -> CropPolicy:
    return CROP_POLICIES[int(rng.choice(3, p=(1.0 - others, others / 2, others / 2)))]


def _cut(rgb: np.ndarray, masks: list[np.ndarray], policies: list[CropPolicy], size: int) -> np.ndarray:
    out = np.zeros((len(masks), size, size, 3), np.uint8)
    for policy in set(policies):
        rows = [i for i, p in enumerate(policies) if p == policy]
        crops = mask_crops(rgb, np.stack([masks[i] for i in rows]), policy=policy, size=size)
        out[rows] = np.round(crops * 255.0).astype(np.uint8)
    return out


def stored_crops(
    scene_path: Path, folder: Path | str, config: CropsConfig, *, generator: MaskGenerator | None = None
) -> Crops:
    """Crops of one scenes file, cut now or read from the folder."""
    stat = scene_path.stat()
    masks = generator.id if generator else None
    key = digest_json([config.model_dump(mode="json"), masks, scene_path.name, stat.st_size])[:12]
    path = Path(folder) / f"{scene_path.stem}_{key}.npz"
    if not path.is_file():
        crops = cut_crops(read_scenes(scene_path), config, generator=generator)
        header = {"family": crops.family, "seed": crops.seed, "tree": crops.tree.as_list()}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                header=np.frombuffer(json.dumps(header).encode(), np.uint8),
                images=crops.images,
                parts=crops.parts,
                view=crops.view,
                level=crops.level,
            )
    with np.load(path, allow_pickle=False) as data:
        header = json.loads(bytes(data["header"]))
        return Crops(
            data["images"],
            data["parts"],
            data["view"],
            data["level"],
            PartTree.from_list(header["tree"]),
            header["family"],
            int(header["seed"]),
        )


def load_crops(config: ClipTrainConfig) -> list[Crops]:
    """Crops of all phantoms in the render folders.

    Raises:
        ConfigError: no views there.
    """
    from tqdm import tqdm

    bar = tqdm(some_scene_files(config.render_dirs), desc="crops", unit="phantom", disable=not sys.stderr.isatty())
    generator = mask_generator_of(config.crops)
    return [stored_crops(f, config.crops_dir, config.crops, generator=generator) for f in bar]


class CropPool:
    """All crops in memory with their concepts."""

    def __init__(
        self, crops: list[Crops], table: ConceptTable, *, bonsai_share: float, image_size: int | None = None
    ) -> None:
        self.images = np.concatenate([resized(c.images, image_size or c.images.shape[1]) for c in crops])
        self.concepts: Int[np.ndarray, "n 3"] = np.full((len(self.images), 3), -1, np.int64)
        self.sided = np.zeros(len(self.images), bool)
        """Crops whose name says left or right: mirroring them would lie."""
        families, start = [], 0
        for phantom in crops:
            families += [phantom.family] * len(phantom)
            for row, ids in enumerate(phantom.parts, start=start):
                for k, part in enumerate(phantom.tree[int(i)] for i in ids if i >= 0):
                    self.concepts[row, k] = table.index(phantom.family, part)
                    self.sided[row] |= "left" in part.name or "right" in part.name
            start += len(phantom)
        self.weights = _weights(np.array(families), self.concepts[:, 0], bonsai_share)

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, rng: np.random.Generator, count: int) -> Int[np.ndarray, "b"]:
        """Rows of a batch: families by share, rare concepts more often than their number."""
        return rng.choice(len(self), count, p=self.weights)


def resized(images: UInt8[np.ndarray, "n s s 3"], size: int) -> UInt8[np.ndarray, "n t t 3"]:
    """Pictures at another size, bilinear with antialiasing; unchanged when the size is already right."""
    if images.shape[1] == size:
        return images
    import torch

    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _weights(families: np.ndarray, concept: np.ndarray, bonsai_share: float) -> np.ndarray:
    """Probability of each crop: the family's share, spread over its concepts by the root of their number."""
    weights = np.zeros(len(families))
    names = sorted(set(families.tolist()))
    others = [n for n in names if n != "bonsai"]
    for name in names:
        share = bonsai_share if name == "bonsai" else (1.0 - bonsai_share) / max(1, len(others))
        rows = np.flatnonzero(families == name)
        counts = np.bincount(concept[rows] + 1)
        mass = 1.0 / np.sqrt(counts[concept[rows] + 1])
        weights[rows] = share * mass / mass.sum()
    return weights / weights.sum()
