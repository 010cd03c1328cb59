"""Picture files in: whatever a camera, a microscope or a program wrote, as RGB of 8 bits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from voxlang.core.errors import ConfigError


def read_rgb(path: Path | str, *, upright: bool = True) -> UInt8[np.ndarray, "h w 3"]:
    """Read a picture file as RGB.

    Transparency is laid over black. Grey values of more than 8 bits or with fractions are stretched, so that the lowest
    becomes black and the highest white.

    Args:
        path: PNG, JPEG, TIFF, ...; of several pages the first.
        upright: turn a photograph as its EXIF orientation says. False leaves its pixels where they lie in the file, for
            annotations that count them there.

    Raises:
        ConfigError: no such file, no picture, one that is cut short or too large, or grey values that are not finite.
    """
    from PIL import Image, ImageOps

    with opened_picture(path) as file:
        image = _eight_bits(file, where=str(path))
        rgba = (ImageOps.exif_transpose(image) if upright else image).convert("RGBA")
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, rgba).convert("RGB"))


@contextlib.contextmanager
def opened_picture(path: Path | str, *, expected: str = "a picture file (PNG, JPEG, TIFF, ...)") -> Iterator[Any]:
    """Pillow's picture of a file, for the block in which its pixels are read.

    Raises:
        ConfigError: no such file, no picture, one that is cut short or too large.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            yield file
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ConfigError(expected, got=str(error), where=str(path), do="pass another, or mend it") from error


def _eight_bits(image: Any, *, where: str) -> Any:
    """The picture itself, or its grey values stretched to 8 bits where Pillow would only cut them off at 255."""
    from PIL import Image

    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    if not np.isfinite(high - low):
        raise ConfigError("finite grey values", got=f"{low} to {high}", where=where, do="replace what is not finite")
    grey = Image.fromarray(np.round(255.0 * (values - low) / (high - low or 1.0)).astype(np.uint8))
    grey.getexif().update(image.getexif())
    return grey
