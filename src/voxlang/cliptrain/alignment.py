"""Both towers meet in one space: a linear map behind each, and the towers themselves stay as they are.

Texts are whitened over the names of parts, which a sentence model holds close together; from then on they stay, and the
image tower learns to choose among them. Pictures go to the mean text vector of what they show, by the affine map that
keeps pictures of one kind together; from there `naming` teaches the map to tell names apart. Then the generic texts,
which a query asks beside its own, take up for each picture what a likely noun of an absent thing would say of it, so
that a name is found where it says more. The map of the texts is folded into weights that open_clip has anyway, that of
the pictures becomes the last layer of its image tower.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import nn

from voxlang.cliptrain.affine import AffineMap, as_layer
from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import AlignConfig
from voxlang.cliptrain.naming import Names, taught_names
from voxlang.cliptrain.text_tower import encode_states
from voxlang.cliptrain.tokenizer import encode_tokens
from voxlang.query.config import CANONICAL_NEGATIVES, QUERY_TEMPLATES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_WORDS = 2048
"""Words whose vectors are made at a time."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Features of pictures, by what they show."""

    rows: Int[np.ndarray, "k"]
    """Classes that have pictures."""
    means: Float[np.ndarray, "k e"]
    """Mean feature of each."""
    scatter: Float[np.ndarray, "e e"]
    """Covariance of the features around the mean of their class."""


def classes_of(features: Float[np.ndarray, "n e"], labels: Int[np.ndarray, "n"]) -> Classes:
    """Means and scatter of features by their class; a label of -1 is left out."""
    features = features[labels >= 0].astype(np.float64)
    rows, place, count = np.unique(labels[labels >= 0], return_inverse=True, return_counts=True)
    sums = np.zeros((len(rows), features.shape[1]))
    np.add.at(sums, place, features)
    means = sums / count[:, None]
    around = features - means[place]
    return Classes(rows, means, around.T @ around / len(features))


def whitening(rows: Float[np.ndarray, "n d"], *, shrink: float) -> Float[np.ndarray, "d d"]:
    """Symmetric map under which the covariance of the rows becomes nearly the identity.

    Args:
        rows: vectors of names.
        shrink: share of the mean variance added to every direction first, so that faint ones are not blown up.
    """
    variance, axes = np.linalg.eigh(np.cov(rows.T, bias=True))
    scale = (np.maximum(variance, 0.0) + shrink * variance.mean()) ** -0.5
    return (axes * scale) @ axes.T


def picture_map(classes: Classes, targets: Float[np.ndarray, "k d"], config: AlignConfig) -> AffineMap:
    """The affine map that brings class means near their targets and pictures of a class near each other.

    It minimises the mean of |map(mean) - target|^2 over classes, plus the mapped scatter and a ridge by their weights.
    """
    origin, offset = classes.means.mean(axis=0), targets.mean(axis=0)
    centred = classes.means - origin
    ridge = config.ridge * np.trace(classes.scatter) / len(origin) * np.eye(len(origin))
    gram = centred.T @ centred / len(centred) + config.scatter * classes.scatter + ridge
    weight = np.linalg.solve(gram, centred.T @ (targets - offset) / len(centred))
    return AffineMap(weight, offset - origin @ weight)


def with_negatives(
    pictures: AffineMap,
    classes: Classes,
    generic: Float[np.ndarray, "d"],
    absent: Float[np.ndarray, "a d"],
    config: AlignConfig,
) -> AffineMap:
    """Let the generic text say of each picture what one of the likelier nouns of absent things says of it.

    Args:
        pictures: the map so far.
        classes: features it was made from.
        generic: mean vector of the generic texts.
        absent: vectors of nouns of absent things.
        config: `absent_quantile` is the noun that counts, `caution` raises the generic texts above it.
    """
    likely = np.quantile(pictures(classes.means) @ absent.T, config.absent_quantile, axis=1)
    wanted = picture_map(classes, likely[:, None], config)
    direction = generic - absent.mean(axis=0)
    unit = direction / (direction @ generic)
    weight = pictures.weight + (wanted.weight - (pictures.weight @ generic)[:, None]) * unit
    bias = pictures.bias + (wanted.bias - pictures.bias @ generic) * unit + config.caution * direction
    return AffineMap(weight, bias)


@torch.no_grad()
def whitened_names(model: nn.Module, tokenizer: Tokenizer, table: ConceptTable, *, shrink: float) -> Names:
    """Spread the texts of a finished text tower over the names of parts, in place, and give those names.

    Args:
        model: its last text norm and its text projection change.
        tokenizer: its vocabulary.
        table: the concepts whose nouns count.
        shrink: see `whitening`.
    """
    whiten_texts(model, _states(model, tokenizer, table.training_nouns).flatten(0, 1), shrink=shrink)
    return Names.of(table, lambda nouns: text_vectors_of(model, tokenizer, list(nouns)))


@torch.no_grad()
def align(
    model: nn.Module,
    tokenizer: Tokenizer,
    names: Names,
    features: Float32[np.ndarray, "n e"],
    concepts: Int[np.ndarray, "n 3"],
    config: AlignConfig,
    *,
    seed: int,
) -> None:
    """Bring the pictures into the space of the texts, in place.

    Args:
        model: in evaluation mode; changed are the last layer of its image tower and its logit scale.
        tokenizer: its vocabulary.
        names: of `whitened_names`.
        features: what the last layer of the image tower gets of pictures: see `without_last_layer`.
        concepts: concepts that each shows, -1 where there are fewer.
        config: the recipe.
        seed: of the descent on names.
    """
    classes = classes_of(features, concepts[:, 0])
    targets = np.stack([unit_rows(names.vectors[names.right[k]].mean(axis=0)) for k in classes.rows])
    pictures = picture_map(classes, targets, config)
    pictures = taught_names(pictures, features, concepts, names, config, seed=seed)
    generic = text_vectors_of(model, tokenizer, list(CANONICAL_NEGATIVES)).mean(axis=0)
    pictures = with_negatives(pictures, classes, generic, names.absent, config)
    model.visual.attnpool.c_proj = as_layer(pictures).to(model.text_projection)
    model.logit_scale.fill_(float(np.log(config.logit_scale)))


@contextlib.contextmanager
def without_last_layer(visual: nn.Module) -> Iterator[None]:
    """Let an image tower say what its last layer gets, which holds more than what that layer makes of it."""
    last = visual.attnpool.c_proj
    size = last.in_features
    visual.attnpool.c_proj = as_layer(AffineMap(np.eye(size), np.zeros(size))).to(last.weight)
    try:
        yield
    finally:
        visual.attnpool.c_proj = last


@torch.no_grad()
def whiten_texts(model: nn.Module, states: torch.Tensor, *, shrink: float) -> None:
    """Turn and stretch the text space, in place and for all texts alike, so that some states spread evenly in it.

    Args:
        model: its last text norm and its projection change.
        states: [n width] behind that norm.
        shrink: see `whitening`.
    """
    projection = model.text_projection
    spread = whitening((states @ projection).double().numpy(force=True), shrink=shrink)
    spread /= np.sqrt(np.trace(spread @ spread) / len(spread))
    model.ln_final.bias.sub_(states.mean(dim=0))
    projection.copy_(projection @ torch.from_numpy(spread).to(projection))


def _states(model: nn.Module, tokenizer: Tokenizer, words: list[str]) -> torch.Tensor:
    """[word template width]."""
    texts = [t.format(w) for w in words for t in QUERY_TEMPLATES]
    tokens = encode_tokens(tokenizer, texts, context_length=len(model.positional_embedding))
    return encode_states(model, tokens.to(model.text_projection.device)).float().unflatten(0, (len(words), -1))


@torch.no_grad()
def text_vectors_of(model: nn.Module, tokenizer: Tokenizer, words: list[str]) -> Float[np.ndarray, "n d"]:
    """Unit vectors of a text tower in training, as a query makes them."""
    rows = []
    for start in range(0, len(words), _WORDS):
        part = _states(model, tokenizer, words[start : start + _WORDS]) @ model.text_projection
        rows.append(unit_rows(unit_rows(part.double().numpy(force=True)).mean(axis=1)))
    return np.concatenate(rows)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows at length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
