"""Prompts on a picture, and what they should be answered with: points, boxes, and masks that a click corrects."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int16, Int32

from voxlang.segtrain.shapes import LabelledPicture

STRIDE = 4
"""Pixels of the picture per pixel of the low-resolution masks."""
_SMALLEST_PX = 12


def target_regions(regions: Int16[np.ndarray, "3 h w"]) -> Int32[np.ndarray, "3 h w"]:
    """What a point asks for on each level, as numbers: pixels with the same number make one mask.

    Small: the connected piece (8-neighbours) of the small region at the point, or the part where there is none, or
    where the piece has fewer than 12 pixels. Part: all that is visible of the part, or of the whole where there is
    none. Whole: all that is visible of the whole. -1 is background on every level.
    """
    from skimage.measure import label

    small, part, whole = regions.astype(np.int32)
    part = np.where((part < 0) & (whole >= 0), whole + 20_000, part)
    pieces = label(small, background=-1, connectivity=2)
    sizes = np.bincount(pieces.ravel())
    real = (pieces > 0) & (sizes[pieces] >= _SMALLEST_PX)
    part_or_none = np.where(part >= 0, part + 40_000, -1)
    return np.stack([np.where(real, pieces, part_or_none), part, whole]).astype(np.int32)


def point_prompts(
    picture: LabelledPicture, rng: np.random.Generator, k: int, *, background_fraction: float
) -> tuple[torch.Tensor, ...]:
    """Points: some on background, a third on small things, a third spread over parts, the others anywhere on objects.

    Returns coords [k 1 2], labels [k 1], targets [k 4 q q], weights [k 4], on_object [k].
    """
    regions = target_regions(picture.regions)
    covered = np.flatnonzero(regions[2] >= 0)
    empty = np.flatnonzero(regions[2] < 0)
    n_empty = rng.binomial(k, background_fraction) if len(empty) else 0
    n_empty = k if len(covered) == 0 else n_empty
    n_third = (k - n_empty) // 3
    flat = regions.reshape(3, -1)
    small = np.flatnonzero((flat[0] != flat[1] + 40_000) & (flat[0] >= 0))
    chosen = [rng.choice(empty, n_empty)] if n_empty else []
    if n_third:
        chosen.append(spread(flat[0], small if len(small) else covered, rng, n_third))
        chosen.append(spread(flat[1], covered, rng, n_third))
    n_left = k - n_empty - 2 * n_third
    if n_left:
        chosen.append(rng.choice(covered, n_left))
    index = np.concatenate(chosen)
    side = regions.shape[-1]
    coords = np.stack([index % side, index // side], -1) + rng.random((k, 2))
    numbers = flat[:, index].T
    targets = coverage(regions, numbers)
    targets = torch.cat([targets[:, 1:2], targets], 1)
    on_object = torch.from_numpy(numbers[:, 2] >= 0)
    return (
        torch.from_numpy(coords.astype(np.float32))[:, None],
        torch.ones(k, 1, dtype=torch.int32),
        targets,
        torch.ones(k, 4),
        on_object,
    )


def region_prompts(
    picture: LabelledPicture, rng: np.random.Generator, k: int, *, box: bool
) -> tuple[torch.Tensor, ...]:
    """Prompts that mean one region of a known level: its box, with corners shaken by up to 8 % of the side, or a point.

    The single-mask answer and the answer of the region's own level are known; the other tokens are free. A region that
    fills several levels is known on all of them. Returns what `point_prompts` returns; a box is two coordinates.
    """
    regions = target_regions(picture.regions)
    side = regions.shape[-1]
    points, labels, _, _, _ = point_prompts(picture, rng, k, background_fraction=0.0)
    column, row = points[:, 0].numpy().astype(int).T
    level = rng.integers(3, size=k)
    numbers = regions[:, row, column].T
    targets = coverage(regions, numbers)
    chosen = targets[torch.arange(k), torch.from_numpy(level)][:, None]
    same = (targets - chosen).abs().flatten(2).amax(-1) == 0
    weights = torch.cat([torch.ones(k, 1), same.float()], 1)
    on_object = torch.from_numpy(numbers[:, 2] >= 0)
    if box:
        coords = np.zeros((k, 2, 2), np.float32)
        for i in range(k):
            mask = regions[level[i]] == numbers[i, level[i]]
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float32)
            shake = rng.uniform(-0.08, 0.08, (2, 2)) * (corners[1] - corners[0])
            coords[i] = np.clip(corners + shake, 0, side)
        points, labels = torch.from_numpy(coords), torch.tensor([2, 3], dtype=torch.int32).expand(k, 2).contiguous()
    return points, labels, torch.cat([chosen, targets], 1), weights, on_object


def spread(numbers: np.ndarray, among: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """Pixels among the given ones, each region with the same chance whatever its size."""
    order = among[np.argsort(numbers[among], kind="stable")]
    _, start, count = np.unique(numbers[order], return_index=True, return_counts=True)
    region = rng.integers(len(start), size=n)
    return order[start[region] + (rng.random(n) * count[region]).astype(int)]


def coverage(regions: np.ndarray, numbers: np.ndarray) -> torch.Tensor:
    """Share of each low-resolution pixel that has the prompt's number, per level: float [k 3 q q]."""
    maps, wanted = torch.from_numpy(regions), torch.from_numpy(numbers)
    equal = (maps[None] == wanted[:, :, None, None]).float()
    return torch.nn.functional.avg_pool2d(equal, STRIDE)
