"""How good the masks are, against the truth of labelled pictures: prompted by points, and automatic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float

from voxlang.core.levels import LEVELS
from voxlang.segtrain.data import normalise
from voxlang.segtrain.model import answer_prompts
from voxlang.segtrain.prompts import target_regions
from voxlang.segtrain.shapes import LabelledPicture

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from voxlang.masks.generate import SamGenerator

MIN_SHARE = 0.005
"""Regions below this share of the picture are not counted."""


@dataclass(frozen=True)
class PointScore:
    """Answers to one point in each true region of a level."""

    level: str
    """small, part or whole."""
    best_iou: float
    """Mean IoU of the best of the three masks, what an oracle would choose."""
    own_iou: float
    """Mean IoU of the mask whose token stands for the level."""
    chosen_iou: float
    """Mean over prompts of the IoU of the mask with the greatest predicted IoU, with the region of any level that it
    fits best."""
    calibration_error: float
    """Mean distance between the predicted and the true IoU of the own token."""
    stable: float
    """Share of own masks with stability at offset 1 of at least 0.92."""
    regions: int
    """How many regions were asked for."""


@dataclass(frozen=True)
class AutomaticScore:
    """Automatic masks against all true regions of all levels."""

    recall_50: float
    """Share of true regions that some mask fits with IoU of at least 0.5."""
    recall_75: float
    """The same at 0.75."""
    recall_50_by_level: dict[str, float]
    """Recall at 0.5 per level; nan where no region was seen."""
    masks_per_picture: float
    """Mean number of masks."""
    background_masks: float
    """Mean number of masks per picture that lie mostly (over half) on empty background."""
    seconds_per_picture: float
    """Median time of the generator."""
    regions: int
    """How many regions were looked for."""


def true_regions(
    picture: LabelledPicture, *, min_share: float = MIN_SHARE
) -> list[tuple[int, Bool[np.ndarray, "h w"]]]:
    """(level, mask) of every visible region of at least the share of the picture.

    Small regions are connected pieces, as in training; a level that only repeats the one below or above is not listed.
    """
    maps = target_regions(picture.regions)
    found = []
    for level in LEVELS:
        own = maps[level]
        numbers, counts = np.unique(own[own >= 0], return_counts=True)
        for number, count in zip(numbers, counts, strict=True):
            repeats = (level == 0 and number >= 40_000) or (level == 1 and number >= 20_000)
            if not repeats and count >= min_share * own.size:
                found.append((int(level), own == number))
    return found


@torch.no_grad()
def score_points(
    sam: SAM2Base, pictures: Sequence[LabelledPicture], *, rng: np.random.Generator, min_share: float = MIN_SHARE
) -> list[PointScore]:
    """Ask for each true region by one random point inside it, at the model's own resolution.

    IoU is measured on masks enlarged to the size of the picture, as sam2's predictor does.
    """
    rows: dict[int, list[np.ndarray]] = {int(level): [] for level in LEVELS}
    for picture in pictures:
        regions = true_regions(picture, min_share=min_share)
        if not regions:
            continue
        points = np.stack([_point_inside(mask, rng) for _, mask in regions])
        logits, predicted = ask_points(sam, picture, points)
        masks, stability = (logits > 0).numpy(), stability_of(logits)
        truth = target_regions(picture.regions)
        for i, (level, mask) in enumerate(regions):
            iou = np.array([_iou(m, mask) for m in masks[i]])
            column, row = points[i].astype(int)
            chosen = int(predicted[i].argmax())
            any_level = max(_iou(masks[i, chosen], truth[m] == truth[m, row, column]) for m in range(3))
            error = abs(float(predicted[i, level]) - iou[level])
            rows[level].append(np.array([iou.max(), iou[level], any_level, error, stability[i, level] >= 0.92]))
    return [
        PointScore(level.label, *(float(v) for v in np.mean(rows[level], axis=0)), len(rows[level]))
        for level in LEVELS
        if rows[level]
    ]


@torch.no_grad()
def ask_points(
    sam: SAM2Base, picture: LabelledPicture, points: Float[np.ndarray, "k 2"]
) -> tuple[Float[torch.Tensor, "k 3 h w"], Float[torch.Tensor, "k 3"]]:
    """Logits (at the size of the picture) and predicted IoU of the three masks of each point (u, v)."""
    image = normalise(picture.rgb)[None].to(sam.device)
    coords = torch.from_numpy(points.astype(np.float32))[None, :, None].to(sam.device)
    labels = torch.ones(coords.shape[:3], dtype=torch.int32, device=sam.device)
    features = list(sam.image_encoder(image)["backbone_fpn"])
    answers = answer_prompts(sam, features, coords, labels)
    large = F.interpolate(answers.logits[0, :, 1:].float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
    return large.cpu(), answers.predicted_iou[0, :, 1:].float().cpu()


def stability_of(logits: Float[torch.Tensor, "k 3 h w"], offset: float = 1.0) -> np.ndarray:
    """IoU of the masks cut at +offset and −offset; 1 where both are empty."""
    inner, outer = (logits > offset).sum((-1, -2)), (logits > -offset).sum((-1, -2))
    return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0).numpy()


def score_automatic(
    generator: SamGenerator, pictures: Sequence[LabelledPicture], *, min_share: float = MIN_SHARE
) -> AutomaticScore:
    """Run the automatic generator on each picture and look for every true region among its masks."""
    import time

    best: list[float] = []
    levels: list[int] = []
    counts, empty, seconds = [], [], []
    for picture in pictures:
        started = time.monotonic()
        masks = generator.generate(picture.rgb).all_dense()
        seconds.append(time.monotonic() - started)
        background = picture.regions[2] < 0
        counts.append(len(masks))
        empty.append(sum(bool((m & background).sum() > 0.5 * m.sum()) for m in masks))
        for level, mask in true_regions(picture, min_share=min_share):
            best.append(max((_iou(m, mask) for m in masks), default=0.0))
            levels.append(level)
    found, at = np.array(best), np.array(levels)
    by_level = {
        level.label: float((found[at == level] >= 0.5).mean()) if (at == level).any() else float("nan")
        for level in LEVELS
    }
    return AutomaticScore(
        float((found >= 0.5).mean()) if len(found) else float("nan"),
        float((found >= 0.75).mean()) if len(found) else float("nan"),
        by_level,
        float(np.mean(counts)),
        float(np.mean(empty)),
        float(np.median(seconds)),
        len(found),
    )


def as_rows(points: Sequence[PointScore], automatic: AutomaticScore | None) -> dict[str, Any]:
    """The scores as plain JSON-able values."""
    return {
        "points": [asdict(score) for score in points],
        "automatic": None if automatic is None else asdict(automatic),
    }


def _point_inside(mask: Bool[np.ndarray, "h w"], rng: np.random.Generator) -> np.ndarray:
    index = int(rng.choice(np.flatnonzero(mask)))
    return np.array([index % mask.shape[1], index // mask.shape[1]]) + rng.random(2)


def _iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
