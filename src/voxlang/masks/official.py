"""sam2's own automatic mask generator: the reference of the fast one, and a choice of its own."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8

from voxlang.masks.build import import_sam2
from voxlang.masks.fast.grid import points_on_foreground
from voxlang.masks.regions import install_cleaning
from voxlang.masks.types import MaskSet, mask_set_from_dense

if TYPE_CHECKING:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2.modeling.sam2_base import SAM2Base


def official_generator(model: SAM2Base, **parameters: Any) -> SAM2AutomaticMaskGenerator:
    """sam2's generator for a model of any input size, whose small regions are cleaned without the CUDA extension.

    Args:
        model: a SAM 2 model in eval mode, on its device.
        parameters: of `SAM2AutomaticMaskGenerator`.
    """
    import_sam2()
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        generator = SAM2AutomaticMaskGenerator(model, **parameters)
    predictor = generator.predictor
    strides = [model.backbone_stride // k for k in (4, 2, 1)]
    predictor._bb_feat_sizes = [(model.image_size // k,) * 2 for k in strides]  # sam2 writes 1024-pixel sizes here
    if generator.min_mask_region_area > 0:
        install_cleaning(predictor._transforms)
    return generator


def official_masks(
    generator: SAM2AutomaticMaskGenerator,
    rgb: UInt8[np.ndarray, "h w 3"],
    foreground: Bool[np.ndarray, "h w"] | None = None,
) -> MaskSet:
    """The masks of a picture; grid points that do not lie on the foreground are not asked."""
    import torch
    from sam2.utils.amg import MaskData, generate_crop_boxes, rle_to_mask
    from torchvision.ops.boxes import batched_nms, box_area

    height, width = rgb.shape[:2]
    generator = copy.copy(generator)
    grids = generator.point_grids
    crops, layers = generate_crop_boxes((height, width), generator.crop_n_layers, generator.crop_overlap_ratio)
    found = MaskData()
    with torch.no_grad():
        for crop, layer in zip(crops, layers, strict=True):
            points = points_on_foreground(grids[layer], foreground, crop)
            if not len(points):
                continue
            generator.point_grids = {layer: points}
            data = generator._process_crop(rgb, crop, layer, (height, width))
            if len(data["rles"]):
                found.cat(data)
        is_empty = not dict(found.items())
        if len(crops) > 1 and not is_empty:
            boxes = found["boxes"].float()
            smaller_crops_first = (1 / box_area(found["crop_boxes"])).to(boxes.device)
            one_class = torch.zeros_like(boxes[:, 0])
            found.filter(batched_nms(boxes, smaller_crops_first, one_class, generator.crop_nms_thresh))
    if is_empty:
        none = np.zeros(0, np.float32)
        return mask_set_from_dense(
            np.zeros((0, height, width), bool), predicted_iou=none, stability=none, points_uv=np.zeros((0, 2))
        )
    found.to_numpy()
    masks = mask_set_from_dense(
        np.stack([rle_to_mask(rle) for rle in found["rles"]]),
        predicted_iou=found["iou_preds"],
        stability=found["stability_score"],
        points_uv=found["points"],
    )
    return distinct_masks(masks)


def distinct_masks(masks: MaskSet) -> MaskSet:
    """Without empty masks and without exact copies of an earlier mask."""
    first_of: dict[bytes, int] = {}
    for i, row in enumerate(masks.packed):
        first_of.setdefault(row.tobytes(), i)
    first = np.fromiter(first_of.values(), int)
    return masks.select(first[masks.areas_px()[first] > 0])
