"""Text as vectors: prompts in templates, with the encoder's identity beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from voxlang.core.errors import QueryError
from voxlang.embed.types import EncoderId, ImageTextEncoder
from voxlang.query.config import QueryConfig


@dataclass(frozen=True, eq=False)
class TextQuery:
    """Prompts and negatives as unit vectors of one encoder."""

    prompts: tuple[str, ...]
    """As the user wrote them."""
    vectors: Float32[np.ndarray, "p d"]
    """One unit vector per prompt."""
    negatives: Float32[np.ndarray, "k d"]
    """One unit vector per negative."""
    temperature: float
    """Factor on cosines."""
    encoder: EncoderId
    """Who made the vectors."""
    known: Float32[np.ndarray, "w d"] | None = None
    """One unit vector for each name that the encoder was taught to tell apart; none where it brings none."""


def embed_query(encoder: ImageTextEncoder, config: QueryConfig) -> TextQuery:
    """Embed prompts and negatives; each is the normalised mean of its templates.

    Raises:
        QueryError: as `checked_prompts`, or a prompt that is longer than what the encoder reads.
    """
    prompts = checked_prompts(config)
    require_read_whole(encoder, prompts, config.templates)
    known = encoder.known_names if config.known_names and config.source == "masks" else ()
    vectors = _in_templates(encoder, (*prompts, *config.negatives, *known), config.templates).mean(axis=1)
    vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return TextQuery(
        prompts,
        vectors[: len(prompts)],
        vectors[len(prompts) : len(vectors) - len(known)],
        float(config.temperature or encoder.logit_scale),
        encoder.id,
        vectors[len(vectors) - len(known) :] if known else None,
    )


_NEVER_CUT_WORDS = 3
"""The shortest prompts are not looked at: every encoder reads so many words."""


def require_read_whole(encoder: ImageTextEncoder, prompts: Sequence[str], templates: Sequence[str]) -> None:
    """Encoders cut long texts without a word; a prompt whose last word changes nothing would be answered as another.

    Raises:
        QueryError: such a prompt.
    """
    long = [p for p in prompts if len(p.split()) > _NEVER_CUT_WORDS]
    if not long:
        return
    shorter = [p.rsplit(maxsplit=1)[0] for p in long]
    whole, rest = (_in_templates(encoder, texts, templates) for texts in (long, shorter))
    for prompt, same in zip(long, np.isclose(whole, rest, rtol=0, atol=1e-5).all(-1).any(-1), strict=True):
        if same:
            raise QueryError(
                "a prompt that the model reads to its end",
                got=f"{len(prompt.split())} words, the last of which is cut off: {prompt!r}",
                where="query.prompts",
                do="name the thing in fewer words",
            )


def _in_templates(
    encoder: ImageTextEncoder, texts: Sequence[str], templates: Sequence[str]
) -> Float32[np.ndarray, "n t d"]:
    vectors = encoder.encode_texts([t.replace("{}", text) for text in texts for t in templates])
    return vectors.reshape(len(texts), len(templates), encoder.id.dim)


def checked_prompts(config: QueryConfig) -> tuple[str, ...]:
    """The prompts without blanks around them; a query can be asked with these settings.

    Raises:
        QueryError: no prompts, an empty or repeated prompt, no negatives, or a template without {}.
    """
    prompts = tuple(p.strip() for p in config.prompts)
    if not prompts or not all(prompts) or len(set(prompts)) < len(prompts):
        raise QueryError(
            "one or more prompts, each non-empty and given once",
            got=f"prompts={list(config.prompts)}",
            where="query.prompts",
            do='pass for example --query.prompts "left kidney" liver',
        )
    if not config.negatives or not config.templates or not all("{}" in t for t in config.templates):
        raise QueryError(
            "at least one negative, and templates with {} in them",
            got=f"negatives={list(config.negatives)}, templates={list(config.templates)}",
            where="query",
            do="leave both at their defaults or correct them",
        )
    return prompts
