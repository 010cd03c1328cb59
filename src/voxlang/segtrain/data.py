"""Batches for training: pictures of several sources, prompts on them, and what the prompts should be answered with.

A batch is a pure function of (config, step, process, part of the step): a training that is stopped and resumed sees the
same pictures and prompts as one that is not.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, Int32

from voxlang.core.errors import ConfigError
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig, phase_at
from voxlang.segtrain.shapes import LabelledPicture, Stage, draw_picture

STRIDE = 4
"""Pixels of the picture per pixel of the low-resolution masks."""
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
_SMALLEST_PX = 12


@dataclass(frozen=True, eq=False)
class Batch:
    """Pictures with k prompts each, and the four masks that each prompt asks for."""

    images: Float32[torch.Tensor, "b 3 s s"]
    """Normalised as SAM 2 wants it."""
    coords: Float32[torch.Tensor, "b k p 2"]
    """Prompt points (u, v) in pixels, corner of the picture at 0; a box is its two corners."""
    labels: Int32[torch.Tensor, "b k p"]
    """1 for a point, 2 and 3 for the corners of a box."""
    targets: Float32[torch.Tensor, "b k 4 q q"]
    """Coverage in [0, 1] at a quarter of the resolution, of: single-mask answer, small, part, whole."""
    weights: Float32[torch.Tensor, "b k 4"]
    """1 where the target is known; 0 where the answer of this token is free."""
    on_object: Bool[torch.Tensor, "b k"]
    """False for prompts on empty background: their IoU is 0 and their masks are free."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        fields = (self.images, self.coords, self.labels, self.targets, self.weights, self.on_object)
        return Batch(*(t.to(device, non_blocking=True) for t in fields))


@runtime_checkable
class PictureSource(Protocol):
    """Numbered pictures."""

    def draw(self, rng: np.random.Generator, step: int) -> LabelledPicture:
        """A picture for this step."""


class ShapeSource:
    """Generated shapes with a sliding window of pictures in reach: drawing one costs more than turning one around."""

    def __init__(self, stage: Stage, *, seed: int, window: int, new_per_step: float) -> None:
        self._stage: Stage = stage
        self._seed, self._window, self._new_per_step = seed, window, new_per_step
        self._kept: OrderedDict[int, LabelledPicture] = OrderedDict()

    def draw(self, rng: np.random.Generator, step: int) -> LabelledPicture:
        """A picture from the window that ends at this step; the newest ones are preferred to fill it."""
        newest = int((step + 1) * self._new_per_step)
        index = int(rng.integers(max(0, newest - self._window), newest + 1))
        if index not in self._kept:
            number = (self._seed, 0 if self._stage == "simple" else 1, index)
            self._kept[index] = draw_picture(np.random.default_rng(number), self._stage)
            while len(self._kept) > self._window:
                self._kept.popitem(last=False)
        return self._kept[index]


def make_sources(config: SegTrainConfig) -> dict[str, PictureSource]:
    """The sources that the phases of a recipe name.

    Raises:
        ConfigError: a phase wants renders and the recipe names no folder of them.
    """
    names = {name for phase in config.phases for name, share in phase.sources.items() if share > 0}
    sources: dict[str, PictureSource] = {}
    for name in sorted(names):
        if name == "renders":
            if config.render_dir is None:
                raise ConfigError(
                    "render_dir, the folder of rendered views",
                    got="none",
                    where="the training recipe",
                    do="write views with `python training/render_views.py` and set render_dir",
                )
            from voxlang.segtrain.renders import RenderSource

            sources[name] = RenderSource(config.render_dir, shares=config.family_shares)
        else:
            stage: Stage = "simple" if name == "shapes-simple" else "full"
            sources[name] = ShapeSource(stage, seed=config.seed, window=config.window, new_per_step=config.new_per_step)
    return sources


def make_batch(
    config: SegTrainConfig, sources: dict[str, PictureSource], step: int, *, rank: int = 0, part: int = 0
) -> Batch:
    """The batch of one step, process and part of an accumulated step."""
    phase, _ = phase_at(config, step)
    rng = np.random.default_rng((config.seed, 7, step, rank, part))
    names = [name for name, share in phase.sources.items() if share > 0]
    shares = np.array([phase.sources[name] for name in names])
    boxes = phase.train_decoder and rng.random() < phase.box_fraction
    images, prompts = [], []
    for _ in range(config.pictures_per_step):
        name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        picture = augment(sources[name].draw(rng, step), rng)
        images.append(normalise(picture.rgb))
        k = config.prompts_per_picture
        prompts.append(box_prompts(picture, rng, k) if boxes else point_prompts(picture, rng, k, phase))
    coords, labels, targets, weights, on_object = (torch.stack(column) for column in zip(*prompts, strict=True))
    return Batch(torch.stack(images), coords, labels, targets, weights, on_object)


def normalise(rgb: np.ndarray) -> torch.Tensor:
    """Bytes [h w 3] to the normalised float [3 h w] of SAM 2."""
    image = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    return (image - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]


def augment(picture: LabelledPicture, rng: np.random.Generator) -> LabelledPicture:
    """Flip, turn by a right angle, swap and scale colours, scale and shift brightness."""
    rgb, regions = picture.rgb, picture.regions
    if rng.random() < 0.5:
        rgb, regions = rgb[:, ::-1], regions[:, :, ::-1]
    turns = int(rng.integers(4))
    rgb, regions = np.rot90(rgb, turns, (0, 1)), np.rot90(regions, turns, (1, 2))
    if rng.random() < 0.5:
        rgb = rgb[..., rng.permutation(3)]
    scale, shift = rng.uniform(0.75, 1.15, 3) * rng.uniform(0.85, 1.1), rng.uniform(-12, 12)
    table = np.clip(np.arange(256)[:, None] * scale + shift, 0, 255).astype(np.uint8)
    rgb = np.stack([table[rgb[..., c], c] for c in range(3)], -1) if rng.random() < 0.6 else rgb
    return LabelledPicture(np.ascontiguousarray(rgb), np.ascontiguousarray(regions))


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
    picture: LabelledPicture, rng: np.random.Generator, k: int, phase: PhaseConfig
) -> tuple[torch.Tensor, ...]:
    """Points: some on background, a third on small things, a third spread over parts, the others anywhere on objects.

    Returns coords [k 1 2], labels [k 1], targets [k 4 q q], weights [k 4], on_object [k].
    """
    regions = target_regions(picture.regions)
    covered = np.flatnonzero(regions[2] >= 0)
    empty = np.flatnonzero(regions[2] < 0)
    n_empty = rng.binomial(k, phase.background_fraction) if len(empty) else 0
    n_empty = k if len(covered) == 0 else n_empty
    n_third = (k - n_empty) // 3
    flat = regions.reshape(3, -1)
    small = np.flatnonzero((flat[0] != flat[1] + 40_000) & (flat[0] >= 0))
    chosen = [rng.choice(empty, n_empty)] if n_empty else []
    if n_third:
        chosen.append(_spread(flat[0], small if len(small) else covered, rng, n_third))
        chosen.append(_spread(flat[1], covered, rng, n_third))
    n_left = k - n_empty - 2 * n_third
    if n_left:
        chosen.append(rng.choice(covered, n_left))
    index = np.concatenate(chosen)
    side = regions.shape[-1]
    coords = np.stack([index % side, index // side], -1) + rng.random((k, 2))
    numbers = flat[:, index].T
    targets = _coverage(regions, numbers)
    targets = torch.cat([targets[:, 1:2], targets], 1)
    on_object = torch.from_numpy(numbers[:, 2] >= 0)
    return (
        torch.from_numpy(coords.astype(np.float32))[:, None],
        torch.ones(k, 1, dtype=torch.int32),
        targets,
        torch.ones(k, 4),
        on_object,
    )


def box_prompts(picture: LabelledPicture, rng: np.random.Generator, k: int) -> tuple[torch.Tensor, ...]:
    """Boxes around regions of any level, their corners shaken by up to 8 % of the side.

    The single-mask answer and the answer of the region's own level are known; the other tokens are free. A region that
    fills several levels is known on all of them.
    """
    regions = target_regions(picture.regions)
    side = regions.shape[-1]
    points, _, _, _, _ = point_prompts(picture, rng, k, _ON_OBJECTS)
    column, row = points[:, 0].numpy().astype(int).T
    level = rng.integers(3, size=k)
    numbers = regions[:, row, column].T
    targets = _coverage(regions, numbers)
    coords = np.zeros((k, 2, 2), np.float32)
    weights = torch.zeros(k, 4)
    chosen = torch.zeros_like(targets[:, :1])
    for i in range(k):
        mask = regions[level[i]] == numbers[i, level[i]]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float32)
        shake = rng.uniform(-0.08, 0.08, (2, 2)) * (box[1] - box[0])
        coords[i] = np.clip(box + shake, 0, side)
        chosen[i, 0] = targets[i, level[i]]
        weights[i, 0] = weights[i, 1 + level[i]] = 1
    same = (targets - chosen).abs().flatten(2).amax(-1) == 0
    weights[:, 1:] = torch.maximum(weights[:, 1:], same.float())
    on_object = torch.from_numpy(numbers[:, 2] >= 0)
    labels = torch.tensor([2, 3], dtype=torch.int32).expand(k, 2).contiguous()
    return torch.from_numpy(coords), labels, torch.cat([chosen, targets], 1), weights, on_object


_ON_OBJECTS = PhaseConfig(
    name="boxes", steps=1, sources={}, learning_rate=1.0, final_learning_rate=1.0, background_fraction=0.0
)


def _spread(numbers: np.ndarray, among: np.ndarray, rng: np.random.Generator, n: int) -> np.ndarray:
    """Pixels among the given ones, each region with the same chance whatever its size."""
    order = among[np.argsort(numbers[among], kind="stable")]
    _, start, count = np.unique(numbers[order], return_index=True, return_counts=True)
    region = rng.integers(len(start), size=n)
    return order[start[region] + (rng.random(n) * count[region]).astype(int)]


def _coverage(regions: np.ndarray, numbers: np.ndarray) -> torch.Tensor:
    """Share of each low-resolution pixel that has the prompt's number, per level: float [k 3 q q]."""
    maps, wanted = torch.from_numpy(regions), torch.from_numpy(numbers)
    equal = (maps[None] == wanted[:, :, None, None]).float()
    return torch.nn.functional.avg_pool2d(equal, STRIDE)
