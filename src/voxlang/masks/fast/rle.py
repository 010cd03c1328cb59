"""Masks as run lengths, as COCO has them: columns first, the first run counts pixels outside the mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool


def uncompressed_rle(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """{"size": [h, w], "counts": lengths of alternating runs}; the first may be 0."""
    flat = np.asarray(mask, bool).T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def mask_of_rle(rle: dict[str, Any]) -> Bool[np.ndarray, "h w"]:
    """Inverse of `uncompressed_rle`."""
    height, width = rle["size"]
    runs = np.asarray(rle["counts"])
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def coco_rle(rle: dict[str, Any]) -> dict[str, Any]:
    """The same with the counts as text, as pycocotools writes it.

    From the fourth count on the difference to the count two places before is written, five bits a character, lowest
    first; the sixth bit says that more follow, and 48 is added to stay among the printable characters.
    Source of the format: cocoapi, common/maskApi.c, `rleToString`.
    """
    counts = rle["counts"]
    text = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if more else bits) + 48))
    return {"size": list(rle["size"]), "counts": "".join(text)}
