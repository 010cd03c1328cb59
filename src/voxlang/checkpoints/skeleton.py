"""Building blocks for skeletons: the keys and shapes that a state dict must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch

Skeleton = dict[str, tuple[int, ...]]
"""Shape by key."""


def linear(name: str, wide_out: int, wide_in: int, *kernel: int, bias: bool = True) -> Skeleton:
    """A linear layer, or with a kernel a convolution."""
    weight: Skeleton = {f"{name}.weight": (wide_out, wide_in, *kernel)}
    return {**weight, f"{name}.bias": (wide_out,)} if bias else weight


def transposed(name: str, wide_in: int, wide_out: int, *kernel: int) -> Skeleton:
    """A transposed convolution: its weight has the input first."""
    return {f"{name}.weight": (wide_in, wide_out, *kernel), f"{name}.bias": (wide_out,)}


def norm(name: str, width: int) -> Skeleton:
    """A layer norm."""
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def mlp(name: str, widths: tuple[int, ...]) -> Skeleton:
    """Linear layers `name.layers.#` between these widths."""
    return {k: s for i, (a, b) in enumerate(pairwise(widths)) for k, s in linear(f"{name}.layers.{i}", b, a).items()}


def attention(name: str, width: int, inner: int, *, keys_width: int | None = None) -> Skeleton:
    """Separate projections of queries, keys and values to an inner width, and back."""
    wide = keys_width or width
    return {
        **linear(f"{name}.q_proj", inner, width),
        **linear(f"{name}.k_proj", inner, wide),
        **linear(f"{name}.v_proj", inner, wide),
        **linear(f"{name}.out_proj", width, inner),
    }


def as_meta(skeleton: Skeleton) -> dict[str, torch.Tensor]:
    """Tensors of these shapes without memory, so that rule tables can be applied to a skeleton."""
    return {key: torch.empty(shape, device="meta") for key, shape in skeleton.items()}


@dataclass(frozen=True)
class Difference:
    """How a state dict departs from a skeleton."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]
    """`key (got) instead of (expected)`."""


def compare(shapes: Mapping[str, tuple[int, ...]], skeleton: Mapping[str, tuple[int, ...]]) -> Difference:
    """Missing and unexpected keys, and shapes that differ."""
    return Difference(
        missing=tuple(k for k in skeleton if k not in shapes),
        unexpected=tuple(k for k in shapes if k not in skeleton),
        misshapen=tuple(
            f"{k} {tuple(shapes[k])} instead of {tuple(skeleton[k])}"
            for k in skeleton
            if k in shapes and tuple(shapes[k]) != tuple(skeleton[k])
        ),
    )
