"""Stand-ins for the two learned models, for tests of everything around them: regions of one colour, named by colour."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from voxlang.embed.types import EncoderId, NamedRegions
from voxlang.masks.types import MaskSet, mask_set_from_dense

PURE = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class ColorGenerator:
    """Masks are the connected regions of one dominant colour."""

    def __init__(self, identity: str = "colors-1") -> None:
        self.id = identity
        self.calls = 0

    def generate(self, rgb: np.ndarray, *, foreground: np.ndarray | None = None) -> MaskSet:
        self.calls += 1
        bright = rgb.max(axis=2) > 25
        if foreground is not None:
            bright &= foreground
        dominant = rgb.argmax(axis=2)
        masks = []
        for channel in range(3):
            regions, count = ndimage.label(bright & (dominant == channel))
            masks += [regions == i + 1 for i in range(count) if (regions == i + 1).sum() >= 12]
        stack = np.stack(masks) if masks else np.zeros((0, *rgb.shape[:2]), bool)
        points = [np.argwhere(m)[0][::-1] + 0.5 for m in stack]
        return mask_set_from_dense(
            stack,
            predicted_iou=np.full(len(stack), 0.95),
            stability=np.full(len(stack), 0.97),
            points_uv=np.asarray(points, np.float32).reshape(-1, 2),
        )

    def generate_many(self, pictures, *, foregrounds=None) -> list[MaskSet]:
        pairs = zip(pictures, foregrounds or [None] * len(pictures), strict=True)
        return [self.generate(rgb, foreground=foreground) for rgb, foreground in pairs]


class ColorEncoder:
    """A crop's vector is its mean colour's direction; a text's is the colour it names, grey if none."""

    image_size = 32
    logit_scale = 30.0
    known_names = ()

    def __init__(self, weights: str = "w1") -> None:
        self.id = EncoderId("open_clip", "colors", weights, "p", 4)

    def encode_images(self, images) -> np.ndarray:
        images = np.asarray(images, np.float32)
        if images.size and images.max() > 1.5:
            images = images / 255.0
        flat = images.reshape(len(images), -1, 3) - 0.5
        colourful = np.abs(flat).max(axis=2) > 0.02
        sums = np.stack([np.where(c[:, None], f + 0.5, 0).sum(0) for f, c in zip(flat, colourful, strict=True)])
        vectors = np.concatenate([np.maximum(sums - sums.min(1, keepdims=True), 1e-3), np.zeros((len(sums), 1))], 1)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(self, texts: list[str]) -> np.ndarray:
        rows = []
        for text in texts:
            color = next((v for k, v in PURE.items() if k in text), None)
            rows.append([*(color or (0.45, 0.45, 0.45)), 0.0 if color else 0.6])
        vectors = np.asarray(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class ColorDense:
    """Regions are all pixels of one dominant colour, alike on every level; their vectors are the colours."""

    def __init__(self, identity: str = "dense-1") -> None:
        self.digest = identity

    def regions(self, rgb: np.ndarray, inside: np.ndarray) -> NamedRegions:
        index = np.where(inside, rgb.argmax(axis=2), -1).astype(np.int16)
        return NamedRegions(np.stack([index] * 3), np.eye(4, dtype=np.float32)[:3])


class OneMask(ColorGenerator):
    """One mask of everything."""

    def generate(self, rgb: np.ndarray, *, foreground: np.ndarray | None = None) -> MaskSet:
        mask = (rgb.max(axis=2) > 25) & (True if foreground is None else foreground)
        point = np.argwhere(mask)[0][::-1] + 0.5
        return mask_set_from_dense(
            mask[None], predicted_iou=np.array([0.95]), stability=np.array([0.97]), points_uv=point[None]
        )
