"""What every backend of the tracker does, and the values in the form in which all of them take them."""

from __future__ import annotations

import enum
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from voxlang.core.errors import TrackingError

Parameter = bool | int | float | str


@dataclass(frozen=True)
class EncodedImage:
    """A picture as the bytes of an image file."""

    data: bytes
    """PNG or JPEG."""
    suffix: str
    """"png" or "jpg"."""


class RunLog(Protocol):
    """One place that keeps what a run tells about itself."""

    label: str
    """How messages call it."""
    failures: tuple[type[Exception], ...]
    """What it raises when its disk or server fails."""

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Keep flat settings, `group/name` to value."""
        ...

    def tags(self, tags: tuple[str, ...]) -> None:
        """Add words under which the run is found."""
        ...

    def metric(self, name: str, value: float, step: int) -> None:
        """Append a finite number to the series `name`."""
        ...

    def image(self, name: str, image: EncodedImage, step: int, caption: str) -> None:
        """Append a picture to the series `name`."""
        ...

    def text(self, name: str, text: str, step: int) -> None:
        """Append a text of any length to the series `name`."""
        ...

    def artifact(self, name: str, path: Path) -> None:
        """Record a file that the run made."""
        ...

    def close(self) -> None:
        """Write what is waiting."""
        ...


def flat_parameters(values: Mapping[str, Any]) -> dict[str, Parameter]:
    """Flatten nested settings to `group/name`; what is no number, truth value or string becomes JSON or its `str`.

    Numbers that are not finite become strings, since no backend keeps them.
    """
    return dict(_flatten("", values))


def _flatten(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Parameter]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(f"{name}/", value)
        else:
            yield name, _parameter(value)


def _parameter(value: Any) -> Parameter:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return json.dumps([_parameter(item) for item in items], ensure_ascii=False)
    return str(value)


def encode_image(image: np.ndarray | Path | str, *, where: str) -> EncodedImage:
    """Encode a picture as PNG; a PNG or JPEG file is taken as it is.

    Args:
        image: `[h w 3]` or `[h w]`, float in [0, 1] (clipped) or uint8; or the path of an image file.
        where: name of the series, for the error.

    Raises:
        TrackingError: not a picture, or a file that is none.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, str | Path):
        try:
            data = Path(image).read_bytes()
            with Image.open(io.BytesIO(data)) as opened:
                if opened.format in ("PNG", "JPEG"):
                    return EncodedImage(data, "png" if opened.format == "PNG" else "jpg")
                return EncodedImage(_png(opened.convert("RGB")), "png")
        except (FileNotFoundError, IsADirectoryError, UnidentifiedImageError) as error:
            raise TrackingError(
                "an image file", got=str(error), where=f"log_image({where})", do="pass a PNG or an array"
            ) from error
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or 0 in image.shape:
        raise TrackingError(
            "an image of shape [h w 3], [h w 4] or [h w]",
            got=f"shape {image.shape}",
            where=f"log_image({where})",
            do="pass one picture, channels last",
        )
    if image.dtype != np.uint8:
        image = np.round(np.clip(np.nan_to_num(image.astype(np.float64)), 0.0, 1.0) * 255.0).astype(np.uint8)
    return EncodedImage(_png(Image.fromarray(np.ascontiguousarray(image))), "png")


def _png(image: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()
