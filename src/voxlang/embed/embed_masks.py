"""One vector per mask, in as few calls of the encoder as possible: batches run across masks and across views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float32

from voxlang.core.errors import MaskError
from voxlang.embed.crops import ViewCrops, averaged_policies
from voxlang.embed.dense import pooled_vectors
from voxlang.embed.preprocess import Picture
from voxlang.embed.settings import NEUTRAL_GREY, CropPolicy
from voxlang.embed.types import ImageTextEncoder, MaskEmbeddings
from voxlang.masks.types import MaskSet


def embed_masks(
    rgb: Picture,
    masks: MaskSet,
    encoder: ImageTextEncoder,
    *,
    policy: CropPolicy = "masked",
    batch_size: int = 64,
    background: tuple[float, float, float] = NEUTRAL_GREY,
) -> MaskEmbeddings:
    """Embed all masks of one view; zero masks give an array [0 d].

    Args:
        rgb: the view's picture, float in [0, 1] or bytes.
        masks: its masks, none of them empty.
        encoder: what makes the vectors.
        policy: masked, context, box, dual or triple for the mean of several of them, or pooled for dense features.
        batch_size: crops per call of the encoder.
        background: colour around masked crops and beyond the picture's border.

    Raises:
        MaskError: an empty mask, or masks of another picture.
    """
    return embed_views([rgb], [masks], encoder, policy=policy, batch_size=batch_size, background=background)[0]


def embed_views(
    pictures: Sequence[Picture],
    mask_sets: Sequence[MaskSet],
    encoder: ImageTextEncoder,
    *,
    policy: CropPolicy = "masked",
    batch_size: int = 64,
    background: tuple[float, float, float] = NEUTRAL_GREY,
) -> list[MaskEmbeddings]:
    """Embed the masks of several views; a batch may hold masks of two views.

    Raises:
        MaskError: as many pictures as mask sets are needed; else as `embed_masks`.
    """
    if len(pictures) != len(mask_sets):
        raise MaskError(
            "as many pictures as mask sets",
            got=f"{len(pictures)} pictures, {len(mask_sets)} mask sets",
            where="embed_views",
            do="pass one mask set per picture",
        )
    if policy == "pooled":
        return _split(pooled_vectors(pictures, mask_sets, encoder), mask_sets, encoder)
    weights = averaged_policies(policy)
    tables = []
    for single in weights:
        crops = [
            ViewCrops(rgb, masks, policy=single, size=encoder.image_size, background=background)
            for rgb, masks in zip(pictures, mask_sets, strict=True)
        ]
        vectors = [encoder.encode_images(batch) for batch in _batches(crops, batch_size)]
        tables.append(np.concatenate([np.zeros((0, encoder.id.dim), np.float32), *vectors]))
    table = mean_direction(np.stack(tables), list(weights.values()))
    return _split(table, mask_sets, encoder)


def _split(table: np.ndarray, mask_sets: Sequence[MaskSet], encoder: ImageTextEncoder) -> list[MaskEmbeddings]:
    """The rows of all views, view by view."""
    starts = np.cumsum([0] + [len(m) for m in mask_sets])
    return [MaskEmbeddings(table[a:b], encoder.id) for a, b in pairwise(starts)]


def _batches(views: list[ViewCrops], batch_size: int) -> Iterator[np.ndarray]:
    """Crops of all views in order, `batch_size` at a time."""
    pairs = np.array([(v, i) for v, view in enumerate(views) for i in range(len(view))], np.int64).reshape(-1, 2)
    for start in range(0, len(pairs), batch_size):
        chunk = pairs[start : start + batch_size]
        yield np.concatenate([views[v].batch(chunk[chunk[:, 0] == v, 1]) for v in np.unique(chunk[:, 0])])


def mean_direction(tables: Float32[np.ndarray, "k n d"], weights: Sequence[float]) -> Float32[np.ndarray, "n d"]:
    """Unit vectors along the weighted sum of k tables of them; the first where all cancel, or where it is alone."""
    if len(tables) == 1:
        return tables[0]
    total = np.tensordot(np.asarray(weights, np.float32), tables, axes=1)
    norms = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(norms > 1e-6, total / np.maximum(norms, 1e-6), tables[0]).astype(np.float32)
