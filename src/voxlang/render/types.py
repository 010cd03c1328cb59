"""What the render room hands out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from voxlang.core.errors import GeometryError
from voxlang.geometry.camera import Camera


@dataclass(frozen=True, eq=False)
class RenderedView:
    """One picture of a volume through a transfer function."""

    camera: Camera
    """What the pixels mean in the world."""
    rgb: Float32[np.ndarray, "h w 3"]
    """Colour in [0, 1], composited over the background, no gamma."""
    opacity: Float32[np.ndarray, "h w"]
    """1 - transmittance along the whole ray, in [0, 1]."""
    distance_first: Float32[np.ndarray, "h w"]
    """World distance from the camera to the first sample where the accumulated opacity passes 0.1; inf if never."""
    distance_mean: Float32[np.ndarray, "h w"]
    """Weight-averaged world distance from the camera along the ray; inf if empty."""
    transfer_id: str
    """Digest of the transfer function."""

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        shapes = [self.rgb.shape[:2], self.opacity.shape, self.distance_first.shape, self.distance_mean.shape]
        if any(s != shape for s in shapes):
            raise GeometryError(
                f"pictures of height x width {shape}",
                got=f"{shapes}",
                where="RenderedView",
                do="render with the camera that is stored beside the pictures",
            )
