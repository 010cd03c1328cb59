"""From pictures in [0, 1] to what an encoder's image tower wants, and batches of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from voxlang.core.digest import digest_json
from voxlang.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

Images = Float32[np.ndarray, "n h w 3"] | UInt8[np.ndarray, "n h w 3"]
"""Pictures as float in [0, 1] or bytes in [0, 255]."""
Picture = Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]
"""One of them."""


@dataclass(frozen=True)
class Preprocess:
    """Resize to a square, then subtract a mean colour and divide by a deviation."""

    size: int
    """Side of the square input in pixels."""
    mean: tuple[float, float, float]
    """Mean colour, red green blue."""
    std: tuple[float, float, float]
    """Standard deviation, red green blue."""
    interpolation: str
    """"bilinear" or "bicubic", both antialiased, or "nearest"."""

    def digest(self, tokenizer: dict[str, Any]) -> str:
        """Digest of the image preprocessing and of a description of the text preprocessing."""
        return digest_json({"image": asdict(self), "text": tokenizer})

    def batch(self, images: Images, device: str) -> torch.Tensor:
        """Pictures as a normalised float tensor [n 3 size size]; a picture that is not square is squashed."""
        import torch

        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
        pixels = pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels
        if tuple(pixels.shape[-2:]) != (self.size, self.size):
            smooth = self.interpolation != "nearest"
            pixels = torch.nn.functional.interpolate(
                pixels, (self.size, self.size), mode=self.interpolation, antialias=smooth
            ).clamp(0.0, 1.0)
        mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()


def unit_vectors_in_batches(
    count: int, dim: int, *, batch_size: int, encode: Callable[[slice], torch.Tensor], what: str
) -> Float32[np.ndarray, "n d"]:
    """Run `encode` over slices of at most `batch_size` items and stack the unit vectors.

    Args:
        count: number of items; 0 gives an empty array.
        dim: length of the vectors.
        batch_size: items per call.
        encode: returns the raw features [k dim] of a slice of the items.
        what: "crops" or "texts", for the error.

    Raises:
        ConfigError: the device has too little memory for the batch; names the batch size to try.
    """
    import torch

    vectors = np.zeros((count, dim), np.float32)
    for start in range(0, count, batch_size):
        part = slice(start, min(start + batch_size, count))
        try:
            with torch.inference_mode():
                features = torch.nn.functional.normalize(encode(part).float(), dim=-1)
                vectors[part] = features.cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"memory for {part.stop - part.start} {what} at once",
                got=str(error).splitlines()[0],
                where="embed.batch_size",
                do=f"pass --embed.batch-size {max(1, batch_size // 2)}, a smaller model, or --embed.device cpu",
            ) from error
    return vectors
