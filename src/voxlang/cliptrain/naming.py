"""The map from pictures to texts learns to tell names apart: descent on one layer, with the towers as they are.

A map that brings the mean picture of each kind near its names is blind to which of two like names a picture is nearer
to. Here every picture is asked to choose: one noun of each kind of part and all nouns of absent things stand side by
side, and those that are right for the picture should get it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch.nn.functional import normalize

from voxlang.cliptrain.affine import AffineMap
from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import AlignConfig

_PICTURES = 512
"""Pictures per step."""


@dataclass(frozen=True, eq=False)
class Names:
    """The nouns of concepts as vectors."""

    vectors: Float[np.ndarray, "w d"]
    """Unit vectors of all nouns."""
    right: Bool[np.ndarray, "c w"]
    """Whether a noun is right for a concept; each has at least one."""

    @staticmethod
    def of(table: ConceptTable, text: Callable[[Iterable[str]], np.ndarray]) -> Names:
        """The nouns of a table that training may use."""
        nouns = table.training_nouns
        return Names(text(nouns), np.array([[n in c.training_nouns for n in nouns] for c in table.concepts]))


def taught_names(
    start: AffineMap,
    features: Float32[np.ndarray, "n e"],
    concepts: Int[np.ndarray, "n 3"],
    names: Names,
    absent: Float[np.ndarray, "a d"],
    config: AlignConfig,
    *,
    seed: int,
) -> AffineMap:
    """Go on from a map until pictures choose their own names.

    The loss of a picture is minus the logarithm of the share that its right nouns get of a softmax over one noun of
    each concept that has pictures, drawn anew at each step, and the nouns of absent things. Kinds with few pictures are
    drawn more often than their number, by its root.

    Args:
        start: the map to go on from.
        features: of pictures.
        concepts: what each shows, -1 where there are fewer; pictures of nothing are left out.
        names: of all concepts.
        absent: vectors of nouns that are right for no picture.
        config: `naming_steps` of them at a rate that falls from `naming_rate` to zero, at `logit_scale`.
        seed: of the draws.
    """
    weight, bias = (torch.from_numpy(a.astype(np.float32)).requires_grad_() for a in (start.weight, start.bias))
    rng = np.random.default_rng([seed, 15])
    shown, first = np.flatnonzero(concepts[:, 0] >= 0), concepts[:, 0]
    seen = np.unique(first[shown])
    chances = np.bincount(first[shown]).clip(1)[first[shown]] ** -0.5
    chances /= chances.sum()
    nouns = [np.flatnonzero(names.right[c]) for c in seen]
    right_of = np.concatenate([names.right, np.zeros((1, names.right.shape[1]), bool)])  # the last row is for -1
    none = torch.zeros(_PICTURES, len(absent), dtype=torch.bool)
    optimizer = torch.optim.Adam([weight, bias], lr=config.naming_rate)
    for step in range(config.naming_steps):
        optimizer.param_groups[0]["lr"] = config.naming_rate * (1.0 - step / config.naming_steps)
        drawn = np.array([rng.choice(n) for n in nouns])
        rows = rng.choice(shown, _PICTURES, p=chances)
        texts = torch.from_numpy(np.concatenate([names.vectors[drawn], absent]).astype(np.float32))
        right = torch.from_numpy(right_of[:, drawn][concepts[rows]].any(axis=1))
        with torch.enable_grad():
            vectors = normalize(torch.from_numpy(features[rows]) @ weight + bias, dim=-1)
            shares = (config.logit_scale * vectors @ texts.T).log_softmax(dim=-1)
            own = shares.masked_fill(~torch.cat([right, none], 1), -torch.inf).logsumexp(dim=-1)
            (-own.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return AffineMap(*(p.detach().numpy().astype(np.float64) for p in (weight, bias)))
