"""From masks to square pictures of one size, as an image tower wants them.

Policies:
    masked   the mask's pixels on the background colour, in a tight square
    context  a wider square; outside the mask the picture is blurred and dimmed
    box      the plain picture in a tight square
    dual     not a crop of its own: `embed_masks` averages the vectors of masked and context
    triple   the same of masked, counted twice, context and box
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

from voxlang.core.digest import digest_json
from voxlang.core.errors import ConfigError, MaskError
from voxlang.embed.settings import NEUTRAL_GREY, CropPolicy
from voxlang.masks.types import MaskSet


@dataclass(frozen=True)
class CropShape:
    """How much picture a crop takes, and what becomes of the surroundings."""

    margin: float = 0.1
    """Of the box's longer side, added on each side of a masked or box crop."""
    context_margin: float = 0.5
    """The same for a context crop."""
    min_side_px: int = 16
    """A crop never shows fewer picture pixels than this square; smaller masks get more surroundings."""
    blur_fraction: float = 0.015
    """Standard deviation of the context's blur, of the picture's longer side."""
    dim: float = 0.5
    """Share of the background colour mixed into the context."""


CROP_SHAPE = CropShape()
"""The one shape in use: encoders are trained and asked with the same."""

CROP_POLICIES: tuple[CropPolicy, ...] = ("masked", "context", "box")
"""Policies that make one picture of a mask."""


_AVERAGED: dict[CropPolicy, dict[CropPolicy, float]] = {
    "dual": {"masked": 1.0, "context": 1.0},
    "triple": {"masked": 2.0, "context": 1.0, "box": 1.0},
}
"""Policies that take the mean direction of several crops, and the weight of each."""


def averaged_policies(policy: CropPolicy) -> dict[CropPolicy, float]:
    """The crops that a policy makes of a mask, and the weight of each one's vector."""
    return _AVERAGED.get(policy, {policy: 1.0})


def policy_digest(policy: CropPolicy, *, background: tuple[float, float, float] = NEUTRAL_GREY) -> str:
    """Digest of everything that decides how a mask is cut out; part of the cache's key."""
    return digest_json(
        {"policy": averaged_policies(policy), "background": list(background), "shape": dataclasses.asdict(CROP_SHAPE)}
    )


class ViewCrops:
    """Crops of one picture's masks, made in portions; the context's blur is made once."""

    def __init__(
        self,
        rgb: Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"],
        masks: Bool[np.ndarray, "n h w"] | MaskSet,
        *,
        policy: CropPolicy,
        size: int,
        background: tuple[float, float, float] = NEUTRAL_GREY,
    ) -> None:
        if policy not in CROP_POLICIES:
            raise ConfigError(
                f"a crop policy: {', '.join(CROP_POLICIES)}", got=repr(policy), where="ViewCrops", do="use one of these"
            )
        self._rgb = rgb.astype(np.float32) / 255.0 if rgb.dtype == np.uint8 else rgb
        self._masks, self._policy, self._size = masks, policy, size
        self._background = np.asarray(background, np.float32)
        self._boxes = _checked_boxes(self._rgb, masks)
        self._context: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._masks)

    def batch(self, index: Int[np.ndarray, "k"]) -> Float32[np.ndarray, "k size size 3"]:
        """Crops of these masks, in this order."""
        out = np.empty((len(index), self._size, self._size, 3), np.float32)
        for row, i in enumerate(index):
            out[row] = _resized(self._crop(int(i)), self._size)
        return out

    def _crop(self, i: int) -> np.ndarray:
        """The square cut-out of mask `i` at the picture's own resolution; beyond the border lies the background."""
        margin = CROP_SHAPE.context_margin if self._policy == "context" else CROP_SHAPE.margin
        x0, y0, side = square_of_box(self._boxes[i], margin=margin, min_side_px=CROP_SHAPE.min_side_px)
        height, width = self._rgb.shape[:2]
        crop = np.broadcast_to(self._background, (side, side, 3)).copy()
        top, left, bottom, right = max(y0, 0), max(x0, 0), min(y0 + side, height), min(x0 + side, width)
        inside = np.s_[top - y0 : bottom - y0, left - x0 : right - x0]
        seen = np.s_[top:bottom, left:right]
        if self._policy == "box":
            crop[inside] = self._rgb[seen]
            return crop
        mask = self._masks.dense(i) if isinstance(self._masks, MaskSet) else self._masks[i]
        outside = self._background if self._policy == "masked" else self._surroundings()[seen]
        crop[inside] = np.where(mask[seen][..., None], self._rgb[seen], outside)
        return crop

    def _surroundings(self) -> np.ndarray:
        """The whole picture blurred and mixed with the background colour."""
        if self._context is None:
            from scipy.ndimage import gaussian_filter

            sigma = max(1.0, CROP_SHAPE.blur_fraction * max(self._rgb.shape[:2]))
            blurred = gaussian_filter(self._rgb, (sigma, sigma, 0.0), mode="nearest", truncate=3.0)
            self._context = (1.0 - CROP_SHAPE.dim) * blurred + CROP_SHAPE.dim * self._background
        return self._context


def mask_crops(
    rgb: Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "n h w"] | MaskSet,
    *,
    policy: CropPolicy,
    size: int,
    background: tuple[float, float, float] = NEUTRAL_GREY,
) -> Float32[np.ndarray, "n size size 3"]:
    """One square picture per mask.

    Args:
        rgb: the picture, float in [0, 1] or bytes.
        masks: masks of that picture; none give an empty array.
        policy: masked, context or box.
        size: side of the crops in pixels.
        background: colour around masked crops and beyond the picture's border.

    Raises:
        MaskError: an empty mask (its index is named), or masks of another size than the picture.
        ConfigError: a policy that makes no single picture.
    """
    crops = ViewCrops(rgb, masks, policy=policy, size=size, background=background)
    return crops.batch(np.arange(len(crops)))


def square_of_box(box_xyxy: np.ndarray, *, margin: float, min_side_px: int) -> tuple[int, int, int]:
    """Left, top and side, in whole pixels, of the square around a half-open box; may reach beyond the picture."""
    x0, y0, x1, y1 = (int(v) for v in box_xyxy)
    longer = max(x1 - x0, y1 - y0)
    side = max(longer + 2 * round(margin * longer), min_side_px)
    return (x0 + x1 - side) // 2, (y0 + y1 - side) // 2, side


def _checked_boxes(rgb: np.ndarray, masks: np.ndarray | MaskSet) -> np.ndarray:
    """Boxes [n 4] of the masks; empty masks and masks of another picture are refused."""
    size = (masks.height, masks.width) if isinstance(masks, MaskSet) else masks.shape[1:]
    if size != rgb.shape[:2]:
        raise MaskError(
            f"masks of the picture's size {rgb.shape[:2]}",
            got=f"{size}",
            where="mask_crops",
            do="pass the picture that the masks were made on",
        )
    if isinstance(masks, MaskSet):
        boxes, empty = masks.boxes_xyxy, masks.areas_px() == 0
    else:
        boxes, empty = _boxes_of_dense(masks), ~masks.any(axis=(1, 2))
    if empty.any():
        raise MaskError(
            "masks with at least one pixel",
            got=f"empty masks at {np.flatnonzero(empty).tolist()}",
            where="mask_crops",
            do="drop them before embedding",
        )
    return boxes


def _boxes_of_dense(masks: np.ndarray) -> np.ndarray:
    columns, rows = masks.any(axis=1), masks.any(axis=2)
    ends = lambda hit: (hit.argmax(axis=1), hit.shape[1] - hit[:, ::-1].argmax(axis=1))
    (x0, x1), (y0, y1) = ends(columns), ends(rows)
    return np.stack([x0, y0, x1, y1], axis=1).reshape(len(masks), 4)


def _resized(crop: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with antialiasing (as Pillow resizes); exact when the size is already right."""
    if crop.shape[0] == size:
        return crop
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))[None]
    resized = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).clamp(0.0, 1.0).numpy()
