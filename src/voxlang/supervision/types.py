"""What the supervision room hands out: the target of one view, small enough to keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Int16

from voxlang.core.errors import CacheError
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import Camera


@dataclass(frozen=True, eq=False)
class ViewTarget:
    """What stage 2 learns from one view: an index map per level and a table of vectors, never [h w d]."""

    camera: Camera
    """The camera of the view."""
    transfer_id: str
    """Digest of the transfer function the view was rendered with."""
    mask_index: Int16[np.ndarray, "3 h w"]
    """Row of `vectors` at each pixel and level; -1 where no mask of that level lies."""
    vectors: Float16[np.ndarray, "n d"]
    """Unit vectors of the view's masks."""
    mask_level: Int16[np.ndarray, "n"]
    """Level of each row."""
    mask_parent: Int16[np.ndarray, "n"]
    """Row of the parent, -1 for a root."""
    mask_score: Float32[np.ndarray, "n"]
    """Predicted IoU times stability of each row, in [0, 1]."""
    encoder: EncoderId
    """Who made the vectors."""
    key: str
    """Digest of everything the target depends on."""

    def __post_init__(self) -> None:
        n = len(self.vectors)
        shape = (3, self.camera.height, self.camera.width)
        lowest, highest = int(self.mask_index.min(initial=-1)), int(self.mask_index.max(initial=-1))
        if self.mask_index.shape != shape or lowest < -1 or highest >= n or len(self.mask_level) != n:
            raise CacheError(
                f"an index map of shape {shape} with values -1..{n - 1} and {n} levels",
                got=f"shape {self.mask_index.shape}, values {lowest}..{highest}, {len(self.mask_level)} levels",
                where="ViewTarget",
                do="delete the cache and run stage 2 again",
            )
