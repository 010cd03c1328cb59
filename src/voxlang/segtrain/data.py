"""Batches for training: pictures of several sources, prompts on them, and what the prompts should be answered with.

A batch is a pure function of (config, step, process, part of the step): a training that is stopped and resumed sees the
same pictures and prompts as one that is not.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32, Int64

from voxlang.core.errors import ConfigError
from voxlang.encoders.pixels import PIXEL_MEAN, PIXEL_STD
from voxlang.segtrain.config import SegTrainConfig, phase_at
from voxlang.segtrain.prompts import STRIDE, point_prompts, region_prompts, spread, target_regions
from voxlang.segtrain.shapes import SIDE, LabelledPicture, Stage, draw_picture

DENSE_POINTS = 32
"""Points of each picture at which the auxiliary head is asked, whatever the prompts are."""


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """What the auxiliary head learns from: the truth of every low-resolution pixel, taken at its centre."""

    cells: Int64[torch.Tensor, "b n"]
    """Flat indices of the low-resolution pixels at which the head is asked what belongs together with them."""
    regions: Int32[torch.Tensor, "b 3 q q"]
    """Region numbers of `prompts.target_regions`; -1 background."""
    kinds: Int64[torch.Tensor, "b 3 q q"]
    """What each pixel shows, on each level, as a number below KINDS; -1 unknown."""


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
    dense: DenseTruth
    """Truth for the auxiliary head."""
    refine: bool = False
    """Each prompt is answered once, and the answer, as a mask, with a click on its greatest error, is the prompt."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        move = lambda t: t.to(device, non_blocking=True)
        fields = (self.images, self.coords, self.labels, self.targets, self.weights, self.on_object)
        dense = DenseTruth(move(self.dense.cells), move(self.dense.regions), move(self.dense.kinds))
        return Batch(*map(move, fields), dense, self.refine)


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

            views = RenderSource(config.render_dir, shares=config.family_shares)
            if views.size_px != (SIDE, SIDE):
                raise ConfigError(
                    f"views of {SIDE}x{SIDE} pixels",
                    got="x".join(map(str, views.size_px)),
                    where=str(config.render_dir),
                    do="write them with the size_px that is the default",
                )
            sources[name] = views
        elif name == "images":
            from voxlang.segtrain.folders import FolderSource

            sources[name] = FolderSource(config.images, config.annotations, kept=config.window)
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
    style = rng.random() if phase.train_decoder else 1.0
    boxes = style < phase.box_fraction
    refine = not boxes and style < phase.box_fraction + phase.refine_fraction
    k = config.prompts_per_picture
    images, prompts, dense = [], [], []
    for _ in range(phase.pictures or config.pictures_per_step):
        name = names[int(rng.choice(len(names), p=shares / shares.sum()))]
        picture = sources[name].draw(rng, step)
        if rng.random() < phase.crop_fraction:
            picture = crop(picture, rng)
        picture = augment(shrink(picture, phase.side), rng)
        images.append(normalise(picture.rgb))
        if boxes or refine:
            prompts.append(region_prompts(picture, rng, k, box=boxes))
        else:
            prompts.append(point_prompts(picture, rng, k, background_fraction=phase.background_fraction))
        dense.append(dense_truth(picture, rng))
    coords, labels, targets, weights, on_object = (torch.stack(column) for column in zip(*prompts, strict=True))
    truth = DenseTruth(*(torch.stack(column) for column in zip(*dense, strict=True)))
    return Batch(torch.stack(images), coords, labels, targets, weights, on_object, truth, refine)


def at_side(batch: Batch, side: int) -> Batch:
    """The same batch enlarged to the side that a model wants: pictures bilinearly, the truth by repeating its pixels.

    Raises:
        ConfigError: a side that is no multiple of the pictures'.
    """
    factor, rest = divmod(side, batch.images.shape[-1])
    if rest or factor == 0:
        raise ConfigError(
            f"a model whose image_size is a multiple of the pictures' {batch.images.shape[-1]} pixels",
            got=f"image_size {side}",
            where="the training recipe's model_yaml",
            do="set model.image_size to 256, 512 or 1024",
        )
    if factor == 1:
        return batch
    enlarge = torch.nn.functional.interpolate
    repeat = lambda x: x.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    q = batch.targets.shape[-1]
    row, column = batch.dense.cells // q, batch.dense.cells % q
    cells = (row * factor + factor // 2) * (q * factor) + column * factor + factor // 2
    return replace(
        batch,
        images=enlarge(batch.images, size=(side, side), mode="bilinear", align_corners=False),
        coords=batch.coords * factor,
        targets=repeat(batch.targets),
        dense=DenseTruth(cells, repeat(batch.dense.regions), repeat(batch.dense.kinds)),
    )


def dense_truth(picture: LabelledPicture, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """Cells [n], regions [3 q q], kinds [3 q q] of a picture; see `DenseTruth`. Half the cells lie on small things."""
    low = slice(STRIDE // 2, None, STRIDE)
    regions = target_regions(picture.regions)[:, low, low]
    flat = regions.reshape(3, -1)
    covered = np.flatnonzero(flat[2] >= 0)
    covered = covered if len(covered) else np.arange(flat.shape[1])
    half = DENSE_POINTS // 2
    cells = np.concatenate([spread(flat[0], covered, rng, half), spread(flat[1], covered, rng, DENSE_POINTS - half)])
    kinds = np.full(regions.shape, -1) if picture.kinds is None else picture.kinds[:, low, low].astype(np.int64)
    return torch.from_numpy(cells), torch.from_numpy(regions), torch.from_numpy(kinds)


def normalise(rgb: np.ndarray) -> torch.Tensor:
    """Bytes [h w 3] to the normalised float [3 h w] of SAM 2."""
    image = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    return (image - torch.tensor(PIXEL_MEAN)[:, None, None]) / torch.tensor(PIXEL_STD)[:, None, None]


def crop(picture: LabelledPicture, rng: np.random.Generator) -> LabelledPicture:
    """A square window of half to nearly all of the side around something that shows.

    What lies in the window keeps its pixels: a phase of half-size pictures sees details there as they will be at full
    size.
    """
    side = picture.rgb.shape[0]
    window = int(rng.integers(side // 2, side))
    shown = np.flatnonzero(picture.regions[2].ravel() >= 0)
    centre = int(rng.choice(shown)) if len(shown) else side * side // 2
    row, column = (int(np.clip(c - window // 2, 0, side - window)) for c in divmod(centre, side))
    rows, columns = slice(row, row + window), slice(column, column + window)
    kinds = None if picture.kinds is None else picture.kinds[:, rows, columns]
    return LabelledPicture(picture.rgb[rows, columns], picture.regions[:, rows, columns], kinds)


def shrink(picture: LabelledPicture, side: int) -> LabelledPicture:
    """The picture with `side` pixels along its edge: colours averaged (or interpolated), truth taken at centres."""
    if picture.rgb.shape[0] == side:
        return picture
    from PIL import Image

    rgb = np.asarray(Image.fromarray(picture.rgb).resize((side, side), Image.Resampling.BOX))
    at = ((np.arange(side) + 0.5) * picture.rgb.shape[0] / side).astype(int)
    truth = lambda planes: planes[:, at[:, None], at[None, :]]
    return LabelledPicture(rgb, truth(picture.regions), None if picture.kinds is None else truth(picture.kinds))


def augment(picture: LabelledPicture, rng: np.random.Generator) -> LabelledPicture:
    """Flip; sometimes turn by a right angle; sometimes swap colours; scale and shift them."""
    planes = [picture.rgb.transpose(2, 0, 1), picture.regions, picture.kinds]
    if rng.random() < 0.5:
        planes = [p if p is None else p[:, :, ::-1] for p in planes]
    turns = int(rng.integers(4)) if rng.random() < 0.3 else 0
    planes = [p if p is None else np.ascontiguousarray(np.rot90(p, turns, (1, 2))) for p in planes]
    rgb = planes[0].transpose(1, 2, 0)
    if rng.random() < 0.25:
        rgb = rgb[..., rng.permutation(3)]
    scale, shift = rng.uniform(0.75, 1.15, 3) * rng.uniform(0.85, 1.1), rng.uniform(-12, 12)
    table = np.clip(np.arange(256)[:, None] * scale + shift, 0, 255).astype(np.uint8)
    rgb = np.stack([table[rgb[..., c], c] for c in range(3)], -1) if rng.random() < 0.6 else rgb
    return LabelledPicture(np.ascontiguousarray(rgb), planes[1], planes[2])
