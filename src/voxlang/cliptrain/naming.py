"""Pictures choose their names and names their pictures; a noun of each kind and all nouns of absent things take part.

A classifier of kinds never meets a word, and a map that brings the mean picture of each kind near its names is blind to
which of two like names a picture is nearer to. So the image tower learns to choose among names while it learns kinds,
and the map behind the finished tower, fitted in closed form, learns it once more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch.nn.functional import normalize

from voxlang.cliptrain.affine import AffineMap
from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import AlignConfig
from voxlang.cliptrain.nouns import absent_nouns

_PICTURES = 512
"""Pictures per step of the descent on the map."""


@dataclass(frozen=True, eq=False)
class Names:
    """The nouns of concepts as vectors, and nouns of things that no picture shows."""

    vectors: Float[np.ndarray, "w d"]
    """Unit vectors of the nouns."""
    right: Bool[np.ndarray, "c w"]
    """Whether a noun is right for a concept; each has at least one."""
    absent: Float[np.ndarray, "a d"]
    """Unit vectors of nouns that are right for no concept."""

    @staticmethod
    def of(table: ConceptTable, text: Callable[[Iterable[str]], np.ndarray]) -> Names:
        """The nouns of a table that training may use, and absent ones."""
        nouns = table.training_nouns
        right = np.array([[n in c.training_nouns for n in nouns] for c in table.concepts])
        return Names(text(nouns), right, text([n for n in absent_nouns("train") if not table.column(n)[0].any()]))


class Choices:
    """What pictures choose from: a noun of each kind that has pictures, drawn anew each time, and the absent ones."""

    def __init__(self, names: Names, concepts: Int[np.ndarray, "n 3"]) -> None:
        """Concepts of all pictures; those in the first column have pictures."""
        seen = np.unique(concepts[:, 0])
        self._nouns = [np.flatnonzero(names.right[c]) for c in seen[seen >= 0]]
        self._vectors, self._absent = names.vectors.astype(np.float32), names.absent.astype(np.float32)
        self._right = np.concatenate([names.right, np.zeros((1, names.right.shape[1]), bool)])  # the last row is for -1

    def draw(
        self, concepts: Int[np.ndarray, "b 3"], rng: np.random.Generator
    ) -> tuple[Float32[torch.Tensor, "k d"], Bool[torch.Tensor, "b k"]]:
        """Vectors to choose from, and which of them are right for some pictures."""
        drawn = np.array([rng.choice(n) for n in self._nouns])
        right = self._right[:, drawn][concepts].any(axis=1)
        right = np.concatenate([right, np.zeros((len(right), len(self._absent)), bool)], axis=1)
        return torch.from_numpy(np.concatenate([self._vectors[drawn], self._absent])), torch.from_numpy(right)


def naming_loss(
    pictures: Float32[torch.Tensor, "b d"],
    texts: Float32[torch.Tensor, "k d"],
    right: Bool[torch.Tensor, "b k"],
    logit_scale: float,
) -> Float32[torch.Tensor, ""]:
    """Pictures choose their names and names their pictures: the sum of both cross-entropies.

    A query asks the second: which of the masks is the one that a text means? Pictures of nothing choose no name, and
    names without a picture choose none, but both stand among what others choose from.

    Args:
        pictures: vectors of any length.
        texts: unit vectors.
        right: which texts each picture should choose.
        logit_scale: factor on cosines.

    Source: the symmetric loss of CLIP, arXiv 2103.00020, figure 3.
    """
    logits = logit_scale * normalize(pictures, dim=-1) @ texts.T
    return _choice_loss(logits, right) + _choice_loss(logits.T, right.T)


def _choice_loss(logits: Float32[torch.Tensor, "n m"], right: Bool[torch.Tensor, "n m"]) -> Float32[torch.Tensor, ""]:
    """Minus the logarithm of the share that the right columns get of each row's softmax; rows without one left out."""
    some = right.any(dim=1)
    shares = logits[some].log_softmax(dim=-1)
    own = shares.masked_fill(~right[some], -torch.inf).logsumexp(dim=-1)
    return -own.sum() / some.sum().clamp(min=1)


def taught_names(
    start: AffineMap,
    features: Float32[np.ndarray, "n e"],
    concepts: Int[np.ndarray, "n 3"],
    names: Names,
    config: AlignConfig,
    *,
    seed: int,
) -> AffineMap:
    """Go on from a map until pictures choose their own names: descent on `naming_loss`, the towers as they are.

    Kinds with few pictures are drawn more often than their number, by its root.

    Args:
        start: the map to go on from.
        features: of pictures.
        concepts: what each shows, -1 where there are fewer; pictures of nothing are left out.
        names: of all concepts.
        config: `naming_steps` of them at a rate that falls from `naming_rate` to zero, at `logit_scale`.
        seed: of the draws.
    """
    from tqdm import tqdm

    weight, bias = (torch.from_numpy(a.astype(np.float32)).requires_grad_() for a in (start.weight, start.bias))
    rng = np.random.default_rng([seed, 15])
    shown, first = np.flatnonzero(concepts[:, 0] >= 0), concepts[:, 0]
    chances = np.bincount(first[shown]).clip(1)[first[shown]] ** -0.5
    chances /= chances.sum()
    choices = Choices(names, concepts)
    optimizer = torch.optim.Adam([weight, bias], lr=config.naming_rate)
    for step in tqdm(range(config.naming_steps), desc="names", disable=not sys.stderr.isatty()):
        optimizer.param_groups[0]["lr"] = config.naming_rate * (1.0 - step / config.naming_steps)
        rows = rng.choice(shown, _PICTURES, p=chances)
        texts, right = choices.draw(concepts[rows], rng)
        with torch.enable_grad():
            vectors = torch.from_numpy(features[rows]) @ weight + bias
            naming_loss(vectors, texts, right, config.logit_scale).backward()
        optimizer.step()
        optimizer.zero_grad()
    return AffineMap(*(p.detach().numpy().astype(np.float64) for p in (weight, bias)))
