"""From raw answers of the decoder to the masks that stay; the raw answers can be kept and filtered again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int16, Int64

from voxlang.core.errors import MaskError
from voxlang.masks.fast.grid import Crop, PointCounts
from voxlang.masks.fast.parameters import CLEANING_CUT, MaskParameters
from voxlang.masks.fast.resize import Patch, cut_out, draw, measure, whole_logits
from voxlang.masks.fast.suppress import near_crop_edge, suppress
from voxlang.masks.regions import clean_logits

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class RawMasks(NamedTuple):
    """What the decoder said to some prompts of one crop."""

    points: Float32[np.ndarray, "n 2"]
    """Prompts in pixels of the crop."""
    tokens: Int16[np.ndarray, "n"]
    """Which of several outputs gave each; -1 for the single one."""
    scores: Float32[np.ndarray, "n"]
    """Predicted IoU."""
    logits: Float[Tensor, "n mh mw"]
    """Low-resolution mask logits, where the model is."""


@dataclass(frozen=True, eq=False)
class KeptMasks:
    """Masks that passed the filters so far, in the picture's frame."""

    points: Float32[np.ndarray, "n 2"]
    """Prompts in pixels."""
    tokens: Int16[np.ndarray, "n"]
    """Which of several outputs gave each; -1 for the single one."""
    scores: Float32[np.ndarray, "n"]
    """Predicted IoU."""
    stability: Float32[np.ndarray, "n"]
    """IoU of the masks cut at threshold +offset and -offset."""
    areas: Int64[np.ndarray, "n"]
    """Pixels."""
    boxes: Float32[np.ndarray, "n 4"]
    """XYXY of the first and last pixel, both inside."""
    crops: list[Crop]
    """Where each mask was found."""
    patches: list[Patch]
    """Its low-resolution logits."""

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: np.ndarray) -> KeptMasks:
        """The masks at these places, in that order."""
        places = np.arange(len(self))[index]
        pick = lambda value: [value[i] for i in places] if isinstance(value, list) else value[places]
        return KeptMasks(*(pick(getattr(self, f.name)) for f in fields(self)))


def join(parts: Sequence[KeptMasks]) -> KeptMasks:
    """All masks in one, in order; of no parts, none."""
    if not parts:
        zeros = lambda *shape: np.zeros(shape, np.float32)
        none = np.zeros(0, np.int16)
        return KeptMasks(zeros(0, 2), none, zeros(0), zeros(0), np.zeros(0, np.int64), zeros(0, 4), [], [])
    glue = lambda values: list(chain(*values)) if isinstance(values[0], list) else np.concatenate(values)
    return KeptMasks(*(glue([getattr(p, f.name) for p in parts]) for f in fields(KeptMasks)))


def filter_masks(raw: RawMasks, crop: Crop, size: tuple[int, int], parameters: MaskParameters) -> KeptMasks:
    """Apply all filters that look at one mask at a time.

    Args:
        raw: masks of one crop.
        crop: where it lies.
        size: height and width of the picture.
        parameters: thresholds.
    """
    import torch

    p, logits = parameters, raw.logits
    if p.min_mask_region_area > 0 and len(logits):
        area = p.min_mask_region_area
        cleaned = clean_logits(logits.cpu().numpy(), max_hole=area, max_island=area, threshold=CLEANING_CUT)
        logits = torch.from_numpy(cleaned).to(logits.device)
    measures = measure(logits, crop.size, threshold=p.mask_threshold, offset=p.stability_score_offset)
    stability = measures.stability
    offset = np.array([crop.x0, crop.y0], np.float32)
    boxes = measures.boxes.astype(np.float32) + np.tile(offset, 2)
    stays = ~near_crop_edge(boxes, crop, size)
    if p.pred_iou_thresh > 0:
        stays &= raw.scores > np.float32(p.pred_iou_thresh)
    if p.stability_score_thresh > 0:
        stays &= stability >= np.float32(p.stability_score_thresh)
    index = np.flatnonzero(stays)
    return KeptMasks(
        raw.points[index] + offset,
        raw.tokens[index],
        raw.scores[index],
        stability[index],
        measures.area[index],
        boxes[index],
        [crop] * len(index),
        [cut_out(patch, p.lowest_cut) for patch in logits[torch.from_numpy(index)].cpu().numpy()],
    )


def distinct_in_crop(masks: KeptMasks, parameters: MaskParameters) -> KeptMasks:
    """Without duplicates by the box within one crop, best predicted IoU first."""
    return masks.select(suppress(masks.boxes, masks.scores, parameters.box_nms_thresh))


def distinct_in_picture(masks: KeptMasks, parameters: MaskParameters) -> KeptMasks:
    """Without duplicates by the box between crops, smallest crop first."""
    areas = np.array([(c.x1 - c.x0) * (c.y1 - c.y0) for c in masks.crops], np.float32)
    return masks.select(suppress(masks.boxes, np.float32(1) / areas, parameters.crop_nms_thresh))


def draw_mask(
    masks: KeptMasks, i: int, low_size: tuple[int, int], size: tuple[int, int], threshold: float
) -> Bool[np.ndarray, "h w"]:
    """Mask `i` at the picture's size."""
    crop = masks.crops[i]
    inside = draw(masks.patches[i], low_size, crop.size, threshold=threshold)
    if crop.size == size:
        return inside
    mask = np.zeros(size, bool)
    mask[crop.y0 : crop.y1, crop.x0 : crop.x1] = inside
    return mask


@dataclass(frozen=True, eq=False)
class CropCandidates:
    """All answers of one crop whose predicted IoU is above the floor."""

    crop: Crop
    """Where it lies."""
    points: Float32[np.ndarray, "n 2"]
    """Prompts in pixels of the crop."""
    tokens: Int16[np.ndarray, "n"]
    """Which of several outputs gave each; -1 for the single one."""
    scores: Float32[np.ndarray, "n"]
    """Predicted IoU."""
    patches: list[Patch]
    """Low-resolution logits above the floor's lowest cut."""


def crop_candidates(crop: Crop, answers: Iterable[RawMasks], lowest_cut: float) -> CropCandidates:
    """Keep all answers of a crop."""
    points, tokens, scores = [np.zeros((0, 2), np.float32)], [np.zeros(0, np.int16)], [np.zeros(0, np.float32)]
    patches: list[Patch] = []
    for raw in answers:
        points.append(raw.points)
        tokens.append(raw.tokens)
        scores.append(raw.scores)
        patches += [cut_out(logits, lowest_cut) for logits in raw.logits.cpu().numpy()]
    return CropCandidates(crop, np.concatenate(points), np.concatenate(tokens), np.concatenate(scores), patches)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Raw answers for a picture: other thresholds are a matter of filtering, not of asking the model again."""

    size: tuple[int, int]
    """Height and width of the picture."""
    low_size: tuple[int, int]
    """Height and width of the low-resolution logits."""
    counts: PointCounts
    """Points asked and skipped."""
    floor: MaskParameters
    """Parameters of the collection: what lies below its thresholds was not kept."""
    crops: list[CropCandidates]

    def __len__(self) -> int:
        return sum(len(c.scores) for c in self.crops)

    def check(self, parameters: MaskParameters) -> None:
        """Refuse parameters that would need answers that are not here.

        Raises:
            MaskError: a lower threshold than that of the collection, or other questions.
        """
        questions = ("points_per_side", "crop_n_layers", "crop_overlap_ratio", "crop_n_points_downscale_factor")
        questions += ("use_m2m", "multimask_output")
        p, floor = parameters, self.floor
        wrong = [
            f"{name}={getattr(p, name)} (asked with {getattr(floor, name)})"
            for name in questions
            if getattr(p, name) != getattr(floor, name)
        ]
        if max(p.pred_iou_thresh, 0) < max(floor.pred_iou_thresh, 0):
            wrong.append(f"pred_iou_thresh={p.pred_iou_thresh} (kept from {floor.pred_iou_thresh})")
        if p.lowest_cut < floor.lowest_cut:
            wrong.append(f"logits down to {p.lowest_cut} (kept from {floor.lowest_cut})")
        if wrong:
            raise MaskError(
                "parameters that the kept answers cover",
                got=", ".join(wrong),
                where="Candidates",
                do="collect again with lower thresholds, or generate",
            )

    def batches(self, crop: CropCandidates, n: int = 64) -> Iterator[RawMasks]:
        """The answers of a crop with their logits put back in place."""
        import torch

        for start in range(0, len(crop.scores), n):
            part = slice(start, start + n)
            logits = [whole_logits(patch, self.low_size, self.floor.lowest_cut - 1) for patch in crop.patches[part]]
            numbers = crop.points[part], crop.tokens[part], crop.scores[part]
            yield RawMasks(*numbers, torch.from_numpy(np.stack(logits)))
