"""How good the masks are, against the truth of labelled pictures: prompted by points, and automatic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int

from voxlang.core.levels import LEVELS
from voxlang.segtrain.data import normalise
from voxlang.segtrain.model import answer_prompts
from voxlang.segtrain.prompts import target_regions
from voxlang.segtrain.shapes import LabelledPicture

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from voxlang.masks.sam_generator import SamGenerator
    from voxlang.masks.types import MaskSet

MIN_SHARE = 0.005
"""Regions below this share of the picture are not counted."""


@dataclass(frozen=True, eq=False)
class PointAnswers:
    """What the model said to one point in each true region."""

    level: Int[np.ndarray, "n"]
    """Level of the region that was asked for."""
    iou: Float[np.ndarray, "n 3"]
    """IoU of the three masks with that region."""
    best_fit: Float[np.ndarray, "n 3"]
    """IoU of the three masks with the true region at the point, of any level, that each fits best."""
    predicted: Float[np.ndarray, "n 3"]
    """IoU that the model predicts for its masks."""
    stability: Float[np.ndarray, "n 3"]
    """Stability of the masks at offset 1."""


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
def ask_regions(
    sam: SAM2Base, pictures: Sequence[LabelledPicture], *, rng: np.random.Generator, min_share: float = MIN_SHARE
) -> PointAnswers:
    """Ask for each true region by one random point inside it, at the model's own resolution.

    IoU is measured on masks enlarged to the size of the picture, as sam2's predictor does.
    """
    parts = []
    for picture in pictures:
        regions = true_regions(picture, min_share=min_share)
        if not regions:
            continue
        points = np.stack([_point_inside(mask, rng) for _, mask in regions])
        logits, predicted = ask_points(sam, picture, points)
        masks = (logits > 0).numpy()
        truth = target_regions(picture.regions)
        iou = np.array([[_iou(m, mask) for m in masks[i]] for i, (_, mask) in enumerate(regions)])
        best_fit = np.array(
            [
                [max(_iou(m, level == level[int(v), int(u)]) for level in truth) for m in masks[i]]
                for i, (u, v) in enumerate(points)
            ]
        )
        level = np.array([level for level, _ in regions])
        parts.append(PointAnswers(level, iou, best_fit, predicted.numpy(), stability_of(logits)))
    if not parts:
        return PointAnswers(np.zeros(0, int), *(np.zeros((0, 3)) for _ in range(4)))
    return PointAnswers(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(PointAnswers)))


def point_scores(answers: PointAnswers) -> list[PointScore]:
    """Means per level; levels without a region are left out."""
    scores = []
    for level in LEVELS:
        rows = np.flatnonzero(answers.level == level)
        if not len(rows):
            continue
        iou, predicted = answers.iou[rows], answers.predicted[rows]
        chosen = predicted.argmax(axis=1)
        scores.append(
            PointScore(
                level.label,
                best_iou=float(iou.max(axis=1).mean()),
                own_iou=float(iou[:, level].mean()),
                chosen_iou=float(answers.best_fit[rows, chosen].mean()),
                calibration_error=float(np.abs(predicted[:, level] - iou[:, level]).mean()),
                stable=float((answers.stability[rows, level] >= 0.92).mean()),
                regions=len(rows),
            )
        )
    return scores


def score_points(
    sam: SAM2Base, pictures: Sequence[LabelledPicture], *, rng: np.random.Generator, min_share: float = MIN_SHARE
) -> list[PointScore]:
    """`point_scores` of `ask_regions`."""
    return point_scores(ask_regions(sam, pictures, rng=rng, min_share=min_share))


@torch.no_grad()
def ask_points(
    sam: SAM2Base, picture: LabelledPicture, points: Float[np.ndarray, "k 2"]
) -> tuple[Float[torch.Tensor, "k 3 h w"], Float[torch.Tensor, "k 3"]]:
    """Logits (at the size of the picture) and predicted IoU of the three masks of each point (u, v)."""
    image = normalise(picture.rgb)[None].to(sam.device)
    coords = torch.from_numpy(points.astype(np.float32))[None, :, None].to(sam.device)
    coords = coords * (sam.image_size / image.shape[-1])
    labels = torch.ones(coords.shape[:3], dtype=torch.int32, device=sam.device)
    seen = F.interpolate(image, size=(sam.image_size,) * 2, mode="bilinear", align_corners=False)
    features = list(sam.image_encoder(seen)["backbone_fpn"])
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
    found, seconds = [], []
    for picture in pictures:
        started = time.monotonic()
        found.append(generator.generate(picture.rgb))
        seconds.append(time.monotonic() - started)
    return score_masks(found, pictures, seconds=float(np.median(seconds)), min_share=min_share)


def score_masks(
    mask_sets: Sequence[MaskSet],
    pictures: Sequence[LabelledPicture],
    *,
    seconds: float = float("nan"),
    min_share: float = MIN_SHARE,
) -> AutomaticScore:
    """Look for every true region among the masks of its picture; `seconds` is handed on."""
    best: list[float] = []
    levels: list[int] = []
    counts, empty = [], []
    for mask_set, picture in zip(mask_sets, pictures, strict=True):
        masks = mask_set.all_dense()
        background = picture.regions[2] < 0
        counts.append(len(masks))
        empty.append(sum(bool((m & background).sum() > 0.5 * m.sum()) for m in masks))
        for level, mask in true_regions(picture, min_share=min_share):
            best.append(max((_iou(m, mask) for m in masks), default=0.0))
            levels.append(level)
    iou, at = np.array(best), np.array(levels)
    recall = lambda rows, least: float((iou[rows] >= least).mean()) if rows.any() else float("nan")
    every = np.ones(len(iou), bool)
    return AutomaticScore(
        recall(every, 0.5),
        recall(every, 0.75),
        {level.label: recall(at == level, 0.5) for level in LEVELS},
        float(np.mean(counts)),
        float(np.mean(empty)),
        seconds,
        len(iou),
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
