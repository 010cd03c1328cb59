"""Automatic masks of a picture: the fast generator, or sam2's own, behind one class that speaks `MaskSet`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, UInt8

from voxlang.core.digest import digest_json
from voxlang.core.errors import MaskError, MemoryLimitError
from voxlang.core.weights import weights_digest
from voxlang.masks.fast.generator import FastMaskGenerator, FoundMasks
from voxlang.masks.fast.speed import SpeedSettings
from voxlang.masks.models import SIZES
from voxlang.masks.official import distinct_masks, official_generator, official_masks
from voxlang.masks.settings import SamSettings
from voxlang.masks.types import MaskSet

if TYPE_CHECKING:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2.modeling.sam2_base import SAM2Base


class SamGenerator:
    """Finds all masks of a picture from a grid of point prompts.

    Args:
        model: a SAM 2 model in eval mode, on its device.
        settings: density and thresholds; size, files and device in it are not used here.
        config_digest: digest of the model's configuration, for `id`.
    """

    def __init__(self, model: SAM2Base, settings: SamSettings, *, config_digest: str) -> None:
        self.settings = settings.resolved()
        self.model = model
        self._config_digest = config_digest

    @cached_property
    def fast(self) -> FastMaskGenerator:
        """Ours."""
        s = self.settings
        speed = SpeedSettings(
            pictures_per_pass=s.views_per_pass,
            encoder_dtype=s.encoder_dtype,
            decoder_dtype=s.decoder_dtype,
            compile=s.compile,
        )
        return FastMaskGenerator(self.model, speed=speed, **s.official_parameters())

    @cached_property
    def official(self) -> SAM2AutomaticMaskGenerator:
        """sam2's own with the same parameters: the reference, and the choice `--sam.generator official`."""
        return official_generator(self.model, **self.settings.official_parameters())

    @cached_property
    def id(self) -> str:
        """Digest of weights, configuration and thresholds: equal ids make equal masks of equal pictures."""
        return digest_json(
            {
                "weights": weights_digest(self.model),
                "config": self._config_digest,
                "settings": self.settings.mask_key(),
            }
        )

    def generate(
        self, rgb: UInt8[np.ndarray, "h w 3"], *, foreground: Bool[np.ndarray, "h w"] | None = None
    ) -> MaskSet:
        """All masks of a picture, the best predicted IoU first within the whole picture and within each crop.

        Args:
            rgb: the picture, 0 to 255.
            foreground: pixels worth asking about; grid points on others are skipped. The masks of the points that
                remain are what they would be without it, and are not clipped.

        Returns:
            the masks; none is a valid answer. Boxes are XYXY and half-open (sam2's are XYWH and inclusive).

        Raises:
            MaskError: a picture or foreground of another shape or type.
            MemoryLimitError: out of memory; names the settings that need less.
        """
        return self.generate_many([rgb], foregrounds=[foreground])[0]

    def generate_many(
        self,
        pictures: Sequence[np.ndarray],
        *,
        foregrounds: Sequence[np.ndarray | None] | None = None,
    ) -> list[MaskSet]:
        """As `generate` for several pictures; the fast generator encodes `views_per_pass` of them at a time."""
        foregrounds = foregrounds or [None] * len(pictures)
        for rgb, foreground in zip(pictures, foregrounds, strict=True):
            _check_picture(rgb, foreground)
        with self._explain_memory():
            if self.settings.generator == "fast":
                return [_mask_set(found) for found in self.fast.find_many(pictures, foregrounds=foregrounds)]
            writable = [np.require(rgb, requirements=["C", "W"]) for rgb in pictures]
            return [official_masks(self.official, *pair) for pair in zip(writable, foregrounds, strict=True)]

    @contextlib.contextmanager
    def _explain_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            s = self.settings
            remedies = [f"--sam.size {SIZES[SIZES.index(s.size) - 1]}"] if s.size in SIZES[1:] else []
            remedies += [
                f"--sam.{name} {value // 2}"
                for name, value in (("points-per-batch", s.points_per_batch), ("points-per-side", s.points_per_side))
                if value > 1
            ]
            raise MemoryLimitError(
                "enough memory for the masks of a picture",
                got=str(error).splitlines()[0] if str(error) else type(error).__name__,
                where=f"{s.family} {s.size}, {s.points_per_side} points a side in batches of {s.points_per_batch}",
                do="try " + ", then ".join(remedies),
            ) from error


def _check_picture(rgb: np.ndarray, foreground: np.ndarray | None) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise MaskError(
            "an uint8 picture [h w 3]",
            got=f"{rgb.dtype} {rgb.shape}",
            where="SamGenerator.generate",
            do="convert with (255 * rgb).round().astype(numpy.uint8)",
        )
    if foreground is not None and (foreground.dtype != bool or foreground.shape != rgb.shape[:2]):
        raise MaskError(
            f"a boolean foreground {rgb.shape[:2]}",
            got=f"{foreground.dtype} {foreground.shape}",
            where="SamGenerator.generate",
            do="pass view.opacity > 0",
        )


def _mask_set(found: FoundMasks) -> MaskSet:
    """Packed bits of the masks found, without empty ones and exact copies."""
    height, width = found.size
    masks = found.masks
    packed = np.zeros((len(found), (height * width + 7) // 8), np.uint8)
    for i in range(len(found)):
        packed[i] = np.packbits(found.dense(i))
    boxes = masks.boxes.astype(np.int32) + np.array([0, 0, 1, 1], np.int32)
    numbers = masks.scores, masks.stability, masks.points, masks.tokens
    return distinct_masks(MaskSet(height, width, packed, boxes, *numbers))


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
