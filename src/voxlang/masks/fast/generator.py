"""The automatic mask generator: the answers of `SAM2AutomaticMaskGenerator`, sooner."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from voxlang.masks.fast.ask import ask_points
from voxlang.masks.fast.candidates import (
    Candidates,
    KeptMasks,
    RawMasks,
    crop_candidates,
    distinct_in_crop,
    distinct_in_picture,
    draw_mask,
    filter_masks,
    join,
)
from voxlang.masks.fast.decoder import FastDecoder
from voxlang.masks.fast.encode import encode_pictures
from voxlang.masks.fast.grid import Crop, PointCounts, count_points, crops_of, grid_of_layer, points_on_foreground
from voxlang.masks.fast.parameters import MaskParameters
from voxlang.masks.fast.rle import coco_rle, uncompressed_rle
from voxlang.masks.fast.speed import SpeedSettings, compile_parts, reduced_precision

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

Picture = UInt8[np.ndarray, "h w 3"]
Foreground = Bool[np.ndarray, "h w"]
EXACT = SpeedSettings()


@dataclass(frozen=True, eq=False)
class FoundMasks:
    """All masks of one picture."""

    masks: KeptMasks
    """Their numbers and low-resolution logits."""
    size: tuple[int, int]
    """Height and width of the picture."""
    low_size: tuple[int, int]
    """Height and width of the low-resolution logits."""
    threshold: float
    """Logit above which a pixel belongs to a mask."""
    counts: PointCounts
    """Points asked and skipped."""

    def __len__(self) -> int:
        return len(self.masks)

    def dense(self, i: int) -> Bool[np.ndarray, "h w"]:
        """Mask `i` at the picture's size."""
        return draw_mask(self.masks, i, self.low_size, self.size, self.threshold)


@dataclass(frozen=True, eq=False)
class _Task:
    """One crop of one picture and its points."""

    picture: int
    crop: Crop
    points: Float64[np.ndarray, "n 2"]


class FastMaskGenerator:
    """Finds all masks of a picture.

    Args:
        model: any SAM2Base in eval mode, on its device.
        speed: how the work is done; the default is exact.
        parameters: those of `SAM2AutomaticMaskGenerator`, with its names and defaults; see `MaskParameters`.

    Raises:
        ConfigError: parameters out of range, a decoder that is not built as SAM 2's, or CUDA graphs on a CPU.
    """

    def __init__(self, model: SAM2Base, *, speed: SpeedSettings = EXACT, **parameters: Any) -> None:
        self.model, self.parameters = model, MaskParameters(**parameters)
        self._speed = speed
        self._decoder = FastDecoder(model)
        self._forward_image = compile_parts(model, self._decoder, speed.compile)

    def generate(self, image: Picture) -> list[dict[str, Any]]:
        """The records of `SAM2AutomaticMaskGenerator.generate`: segmentation, area, bbox (XYWH), predicted_iou,
        point_coords, stability_score and crop_box."""
        return official_records(self.find(image), self.parameters.output_mode)

    def find(self, rgb: Picture, *, foreground: Foreground | None = None) -> FoundMasks:
        """All masks of a picture; grid points on pixels that are not foreground are not asked."""
        return self.find_many([rgb], foregrounds=[foreground])[0]

    def find_many(
        self, pictures: Sequence[np.ndarray], *, foregrounds: Sequence[np.ndarray | None] | None = None
    ) -> list[FoundMasks]:
        """All masks of several pictures, which go through the encoder together."""
        import torch

        foregrounds = foregrounds or [None] * len(pictures)
        tasks = self._tasks(pictures, foregrounds)
        kept: list[list[KeptMasks]] = [[] for _ in pictures]
        with torch.inference_mode():
            for task, answers in self._answers(pictures, tasks):
                size = pictures[task.picture].shape[:2]
                parts = [filter_masks(raw, task.crop, size, self.parameters) for raw in answers]
                kept[task.picture].append(distinct_in_crop(join(parts), self.parameters))
        return [
            self._found(own, rgb.shape[:2], count_points(self.parameters, rgb.shape[:2], foreground), self.parameters)
            for own, rgb, foreground in zip(kept, pictures, foregrounds, strict=True)
        ]

    def collect(self, rgb: Picture, *, foreground: Foreground | None = None) -> Candidates:
        """All answers above this generator's `pred_iou_thresh`, for filtering with thresholds that are not lower."""
        import torch

        tasks, lowest = self._tasks([rgb], [foreground]), self.parameters.lowest_cut
        with torch.inference_mode():
            crops = [crop_candidates(task.crop, answers, lowest) for task, answers in self._answers([rgb], tasks)]
        counts = count_points(self.parameters, rgb.shape[:2], foreground)
        return Candidates(rgb.shape[:2], self._decoder.mask_size, counts, self.parameters, crops)

    def refilter(self, candidates: Candidates, **parameters: Any) -> FoundMasks:
        """The masks that `find` gives with some parameters changed, without asking the model.

        Raises:
            MaskError: the candidates do not cover these parameters.
        """
        changed = dataclasses.replace(candidates.floor, **parameters)
        candidates.check(changed)
        kept = []
        for crop in candidates.crops:
            parts = [filter_masks(raw, crop.crop, candidates.size, changed) for raw in candidates.batches(crop)]
            kept.append(distinct_in_crop(join(parts), changed))
        return self._found(kept, candidates.size, candidates.counts, changed)

    def _tasks(self, pictures: Sequence[np.ndarray], foregrounds: Sequence[np.ndarray | None]) -> list[_Task]:
        p = self.parameters
        tasks = []
        for i, (rgb, foreground) in enumerate(zip(pictures, foregrounds, strict=True)):
            for crop in crops_of(*rgb.shape[:2], p.crop_n_layers, p.crop_overlap_ratio):
                points = points_on_foreground(grid_of_layer(p, crop.layer), foreground, crop.box)
                tasks.append(_Task(i, crop, points))
        return tasks

    def _answers(
        self, pictures: Sequence[np.ndarray], tasks: list[_Task]
    ) -> Iterator[tuple[_Task, Iterator[RawMasks]]]:
        """Encode the crops that have points, some at a time, and ask."""
        asked = [task for task in tasks if len(task.points)]
        speed = self._speed
        for start in range(0, len(asked), speed.pictures_per_pass):
            together = asked[start : start + speed.pictures_per_pass]
            crops = [pictures[t.picture][t.crop.y0 : t.crop.y1, t.crop.x0 : t.crop.x1] for t in together]
            with reduced_precision(self.model.device, speed.encoder_dtype):
                encoded = encode_pictures(self.model, crops, forward_image=self._forward_image)
            for task, features in zip(together, encoded, strict=True):
                size, dtype = task.crop.size, speed.decoder_dtype
                yield task, ask_points(self._decoder, features, task.points, size, self.parameters, dtype=dtype)

    def _found(
        self,
        kept: list[KeptMasks],
        size: tuple[int, int],
        counts: PointCounts,
        parameters: MaskParameters,
    ) -> FoundMasks:
        masks = join(kept)
        if parameters.crop_n_layers > 0:
            masks = distinct_in_picture(masks, parameters)
        return FoundMasks(masks, size, self._decoder.mask_size, parameters.mask_threshold, counts)


def official_records(found: FoundMasks, output_mode: str = "binary_mask") -> list[dict[str, Any]]:
    """The masks as sam2's generator returns them."""
    records = []
    for i in range(len(found)):
        mask, masks = found.dense(i), found.masks
        segmentation: Any = mask
        if output_mode != "binary_mask":
            segmentation = uncompressed_rle(mask)
        if output_mode == "coco_rle":
            segmentation = coco_rle(segmentation)
        x0, y0, x1, y1 = masks.boxes[i].tolist()
        crop = masks.crops[i]
        records.append(
            {
                "segmentation": segmentation,
                "area": int(masks.areas[i]),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "predicted_iou": float(masks.scores[i]),
                "point_coords": [masks.points[i].tolist()],
                "stability_score": float(masks.stability[i]),
                "crop_box": [float(v) for v in (crop.x0, crop.y0, crop.x1 - crop.x0, crop.y1 - crop.y0)],
            }
        )
    return records
