"""Which candidates stay: box filters near the crop's edge and non-maximum suppression, as sam2 has them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, Int64

from voxlang.masks.fast.grid import Crop

_NEAR_PX = 20.0
"""Source: sam2/utils/amg.py, `is_box_near_crop_edge`."""


def near_crop_edge(boxes: Float32[np.ndarray, "n 4"], crop: Crop, size: tuple[int, int]) -> Bool[np.ndarray, "n"]:
    """Boxes (XYXY, of the whole picture) with a side near the crop's edge that is not near the picture's."""
    height, width = size
    near = np.abs(boxes - np.asarray(crop.box, np.float32)) <= _NEAR_PX
    at_border = np.abs(boxes - np.array([0, 0, width, height], np.float32)) <= _NEAR_PX
    return (near & ~at_border).any(1)


def suppress(
    boxes: Float32[np.ndarray, "n 4"], scores: Float32[np.ndarray, "n"], max_iou: float
) -> Int64[np.ndarray, "m"]:
    """Indices of the boxes that stay, highest score first: one that overlaps a stayed one by more than this goes."""
    import torch
    from torchvision.ops import nms

    return nms(torch.from_numpy(boxes), torch.from_numpy(scores), max_iou).numpy()
