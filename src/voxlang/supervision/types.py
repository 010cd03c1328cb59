"""What the supervision room hands out: the target of one view, small enough to keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32, Int16

from voxlang.core.errors import CacheError
from voxlang.core.levels import LEVELS
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import Camera


@dataclass(frozen=True, eq=False)
class Pieces:
    """What stage 2 learns at each pixel and level: masks, or regions that a dense tower calls differently."""

    index: Int16[np.ndarray, "3 h w"]
    """Row of `vectors` at each pixel and level; -1 where nothing is known."""
    vectors: Float16[np.ndarray, "n d"]
    """Unit vectors."""
    level: Int16[np.ndarray, "n"]
    """Level of each row."""
    agreement: float = 1.0
    """Mean cosine of what masks and tower say of the same pixels; see `voxlang.supervision.pieces.agreement`."""


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
    pieces: Pieces | None = None
    """What a dense tower made of the view."""

    def learnt(self) -> Pieces:
        """The pieces; without them the masks, and where a level has none the mask of the next coarser level."""
        if self.pieces is not None:
            return self.pieces
        return Pieces(filled_levels(self.mask_index), self.vectors, self.mask_level)

    def __post_init__(self) -> None:
        masks = Pieces(self.mask_index, self.vectors, self.mask_level)
        for part in (masks,) if self.pieces is None else (masks, self.pieces):
            n = len(part.vectors)
            shape = (3, self.camera.height, self.camera.width)
            lowest, highest = int(part.index.min(initial=-1)), int(part.index.max(initial=-1))
            if part.index.shape != shape or lowest < -1 or highest >= n or len(part.level) != n:
                raise CacheError(
                    f"an index map of shape {shape} with values -1..{n - 1} and {n} levels",
                    got=f"shape {part.index.shape}, values {lowest}..{highest}, {len(part.level)} levels",
                    where="ViewTarget",
                    do="delete the cache and run stage 2 again",
                )


def filled_levels(index: Int16[np.ndarray, "3 h w"]) -> Int16[np.ndarray, "3 h w"]:
    """An index map with empty places of a level filled by the next coarser level that has a mask there."""
    filled = index.copy()
    for level in reversed(LEVELS[:-1]):
        filled[level] = np.where(filled[level] >= 0, filled[level], filled[level + 1])
    return filled
