"""How well the dense tower names the places of views that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from voxlang.cliptrain.evaluate import text_vectors
from voxlang.cliptrain.places import LabelledViews
from voxlang.core.levels import LEVELS

if TYPE_CHECKING:
    from voxlang.embed.dense_encoder import DenseEncoder
    from voxlang.embed.types import ImageTextEncoder


@dataclass(frozen=True)
class PlaceScore:
    """Places of some views on one level."""

    level: str
    """Small, part or whole."""
    right: float
    """Share of places whose best name among all is their own."""
    right_by_kind: float
    """The same, averaged over kinds of parts, so that small ones count as much as large ones."""
    places: int
    """Places asked."""


def score_places(
    dense: DenseEncoder, views: LabelledViews, texts: ImageTextEncoder, *, families: tuple[str, ...] = ()
) -> list[PlaceScore]:
    """Ask every place for its best name among the names of all kinds of these views.

    Args:
        dense: a trained tower.
        views: labelled views.
        texts: the image-text model whose texts are compared.
        families: phantom families that count; all by default. Names of the others stand among the choices.
    """
    names = list(dict.fromkeys(c.name for c in views.table.concepts))
    column = np.array([names.index(c.name) for c in views.table.concepts])
    choices = torch.from_numpy(text_vectors(texts, names))
    hits = [np.zeros((len(LEVELS), len(views.table)), np.int64) for _ in range(2)]
    for i, (rgb, family) in enumerate(zip(views.rgb, views.family, strict=True)):
        if families and family not in families:
            continue
        truth = views.concepts(i, dense.side)
        said = (dense.vectors(dense.hidden(rgb)[0].flatten(1).T).cpu() @ choices.T).argmax(-1).numpy()
        for level in LEVELS:
            what = truth[level].ravel()
            here = what >= 0
            np.add.at(hits[1][level], what[here], 1)
            np.add.at(hits[0][level], what[here & (said[:, level] == column[what])], 1)
    scores = []
    for level in LEVELS:
        right, asked = hits[0][level], hits[1][level]
        some = asked > 0
        scores.append(
            PlaceScore(
                level.label,
                float(right.sum() / max(asked.sum(), 1)),
                float((right[some] / asked[some]).mean()) if some.any() else float("nan"),
                int(asked.sum()),
            )
        )
    return scores
