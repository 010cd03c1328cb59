"""From one view's masks and their vectors to what stage 2 learns: an index map per level and a small table."""

from __future__ import annotations

import numpy as np

from voxlang.core.errors import MaskError
from voxlang.embed.types import MaskEmbeddings, NamedRegions
from voxlang.masks.paint import index_maps
from voxlang.masks.types import MaskHierarchy
from voxlang.render.types import RenderedView
from voxlang.supervision.pieces import pieces_of
from voxlang.supervision.types import ViewTarget

MOST_MASKS = int(np.iinfo(np.int16).max)
"""An index map can name this many masks and regions."""


def make_view_target(
    view: RenderedView,
    hierarchy: MaskHierarchy,
    embeddings: MaskEmbeddings,
    *,
    key: str,
    regions: NamedRegions | None = None,
) -> ViewTarget:
    """Paint the masks of a view into one index map per level and store their vectors in half precision.

    Where masks of one level overlap, the one with the higher score lies on top; see `voxlang.masks.paint.index_maps`.

    Args:
        view: the rendered view that the masks were made on.
        hierarchy: its masks with level and parent.
        embeddings: one vector per mask, in the same order.
        key: digest of everything the target depends on.
        regions: what the dense tower makes of the view, if there is one.

    Raises:
        MaskError: masks of another picture size, another number of vectors, or more masks than an index can name.
    """
    masks = hierarchy.masks
    n, shape = len(masks), (view.camera.height, view.camera.width)
    rows = n if regions is None else n + len(regions.vectors)
    if (masks.height, masks.width) != shape or len(embeddings.vectors) != n or rows > MOST_MASKS:
        raise MaskError(
            f"masks of a {shape[1]}x{shape[0]} view, one vector each, at most {MOST_MASKS}",
            got=f"{n} masks of {masks.width}x{masks.height}, {len(embeddings.vectors)} vectors",
            where="make_view_target",
            do="pass the masks and the vectors of this very view",
        )
    score = np.clip(masks.predicted_iou * masks.stability, 0.0, 1.0).astype(np.float32)
    index = index_maps(hierarchy)
    level = hierarchy.level.astype(np.int16)
    pieces = None if regions is None else pieces_of(index, embeddings.vectors, level, regions)
    return ViewTarget(
        camera=view.camera,
        transfer_id=view.transfer_id,
        mask_index=index,
        vectors=embeddings.vectors.astype(np.float16),
        mask_level=level,
        mask_parent=hierarchy.parent.astype(np.int16),
        mask_score=score,
        encoder=embeddings.encoder,
        key=key,
        pieces=pieces,
    )
