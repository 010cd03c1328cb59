"""Image tokens of many prompts on one picture, without ever writing them down.

Before the first attention the decoder's image tokens are the same for all prompts. An attention from image to tokens
adds to them, for each prompt, a sum of H*T weighted vectors (H heads, T prompt tokens); layer normalisation scales each
pixel. So at every place of the decoder the tokens of a prompt are

    X[n, c] = scale[n] * base[n, c] + sum_r factors[r, n] * vectors[r, c] + constant[c]                              (1)

with a base and a constant that all prompts share. Whatever is linear in X (keys, values, queries, the first transposed
convolution) is applied to the base once per picture and to the few vectors once per prompt. X itself is never needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LowRankTokens:
    """The part of (1) that differs between the prompts of a chunk."""

    scale: Float[Tensor, "b n"] | None
    """Factor of the shared base at each pixel; None stands for 1."""
    factors: Float[Tensor, "b r n"]
    """Weight of each vector at each pixel."""
    vectors: Float[Tensor, "b r c"]
    """What is added to the base."""

    def select(self, index: Tensor) -> LowRankTokens:
        """The tokens of some prompts of the chunk."""
        scale = None if self.scale is None else self.scale[index]
        return LowRankTokens(scale, self.factors[index], self.vectors[index])

    def dense(self, base: Float[Tensor, "n c"], constant: Float[Tensor, "c"]) -> Float[Tensor, "b n c"]:
        """Equation (1) written out: what everything else here is measured against."""
        scaled = base if self.scale is None else self.scale[..., None] * base
        return scaled + self.factors.transpose(1, 2) @ self.vectors + constant


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """What one linear layer, split by heads, makes of the shared parts of (1)."""

    weight: Float[Tensor, "h d c"]
    """The layer's rows, by head; for the vectors."""
    base: Float[Tensor, "h d n"]
    """The layer applied to the base."""
    constant: Float[Tensor, "h d n"] | None
    """The layer applied to constant and position code, bias included; None when `base` holds all of it."""


def by_head(features: Float[Tensor, "n hd"], heads: int) -> Float[Tensor, "h d n"]:
    """Channels split by head, pixels last."""
    n = features.shape[0]
    return features.view(n, heads, -1).permute(1, 2, 0).contiguous()


def shared_product(x: Float[Tensor, "b h t d"], maps: Float[Tensor, "h d n"]) -> Float[Tensor, "b h t n"]:
    """`x @ maps` for maps that all prompts share: one matrix product a head. The result is a view, heads outermost."""
    b, h, t, d = x.shape
    product = x.transpose(0, 1).reshape(h, b * t, d) @ maps
    return product.view(h, b, t, -1).transpose(0, 1)


def image_scores(x: Float[Tensor, "b h t d"], maps: HeadMaps, tokens: LowRankTokens | None) -> Float[Tensor, "b h t n"]:
    """Products of prompt-side vectors with the image tokens' keys (or queries).

    score = scale * (x . W base) + ((x W) vectors^T) factors + x . (W constant + bias + W position)

    Args:
        x: prompt-side vectors, already divided by the square root of d.
        maps: the image side's projection.
        tokens: the prompts' own part of the image tokens; None before the first attention.
    """
    shared = shared_product(x, maps.base)
    if tokens is None:
        return shared
    b, h, t, n = shared.shape
    c = maps.weight.shape[-1]
    folded = (x.transpose(0, 1).reshape(h, b * t, -1) @ maps.weight).view(h, b, t, c).transpose(0, 1)
    coefficients = folded.reshape(b, h * t, c) @ tokens.vectors.transpose(1, 2)
    scores = (coefficients @ tokens.factors).view(b, h, t, n)
    if tokens.scale is None:
        scores.add_(shared)
    else:
        scores.addcmul_(shared, tokens.scale[:, None, None])
    return scores if maps.constant is None else scores.add_(shared_product(x, maps.constant))


def image_context(
    weights: Float[Tensor, "b h t n"],
    maps: HeadMaps,
    value_constant: Float[Tensor, "h d"] | None,
    tokens: LowRankTokens | None,
) -> Float[Tensor, "b t hd"]:
    """Attention-weighted sums of the image tokens' values.

    context = (weights * scale) (base W^T) + (weights factors^T) (vectors W^T) + constant W^T + bias

    Args:
        weights: softmax over the pixels.
        maps: the value projection; its `constant` is not used, weights sum to one.
        value_constant: the projection of the constant, bias included; None when `maps.base` holds it.
        tokens: the prompts' own part of the image tokens.
    """
    import torch

    b, h, t, n = weights.shape
    d = maps.base.shape[1]
    heads_first = weights.transpose(0, 1)
    if tokens is not None and tokens.scale is not None:
        scaled = torch.empty((h, b, t, n), dtype=weights.dtype, device=weights.device)
        heads_first = torch.mul(heads_first, tokens.scale[None, :, None], out=scaled)
    context = (heads_first.reshape(h, b * t, n) @ maps.base.transpose(1, 2)).view(h, b, t, d).transpose(0, 1)
    if tokens is not None:
        r = tokens.factors.shape[1]
        mixed = (weights.reshape(b, h * t, n) @ tokens.factors.transpose(1, 2)).view(b, h, t, r)
        rows = (tokens.vectors @ maps.weight.reshape(h * d, -1).t()).view(b, r, h, d).transpose(1, 2)
        context = context + mixed @ rows
    if value_constant is not None:
        context = context + value_constant[:, None]
    return context.transpose(1, 2).reshape(b, t, h * d)


def softmax(scores: Float[Tensor, "b h t n"], dim: int) -> Float[Tensor, "b h t n"]:
    """Softmax over tokens (dim 2) or pixels (dim 3), without a copy of scores that lie heads outermost."""
    return scores.transpose(0, 1).softmax(dim).transpose(0, 1)


def inverse_deviation(
    tokens: LowRankTokens,
    *,
    base_square: Float[Tensor, "n"],
    base_products: Sequence[Tensor],
    base_constant: Float[Tensor, "n"] | None,
    channels: int,
    eps: float,
) -> Float[Tensor, "b n"]:
    """1 / sqrt(variance over the channels + eps) at each pixel, for base and vectors that are centred over channels.

    channels * variance = scale^2 |base|^2 + 2 scale (factors . base_products + base_constant) + factors^T G factors

    with G the inner products of the vectors.

    Args:
        tokens: factors, centred vectors and the base's scale.
        base_square: squared length of the base at each pixel.
        base_products: inner product of each vector with the base at each pixel, some vectors at a time: [b rows n] or
            [b h t n].
        base_constant: what is missing in `base_products`, summed over the factors, for parts of the vectors that are
            the same for all prompts.
        channels: number of channels.
        eps: as in the layer.
    """
    import torch

    n = len(base_square)
    gram = tokens.vectors @ tokens.vectors.transpose(1, 2)
    quadratic = _triangular_product(gram, tokens.factors)
    scale = tokens.factors.new_ones((1, n)) if tokens.scale is None else tokens.scale
    done = 0
    for products in base_products:
        rows = products.shape[1:-1]
        part = quadratic[:, done : done + rows.numel()].view(-1, *rows, n)
        part.addcmul_(products, 2 * scale.view(-1, *[1] * len(rows), n))
        done += rows.numel()
    shared = scale * base_square
    if base_constant is not None:
        shared.add_(base_constant, alpha=2)
    total = torch.addcmul(quadratic.mul_(tokens.factors).sum(1), scale, shared)
    return total.mul_(1 / channels).clamp_(min=0).add_(eps).rsqrt_()


def _triangular_product(gram: Float[Tensor, "b r r"], factors: Float[Tensor, "b r n"]) -> Float[Tensor, "b r n"]:
    """A product P with factors . P = factors^T gram factors: the symmetric off-diagonal block is taken twice, once."""
    import torch

    half = gram.shape[1] // 2
    lower = torch.cat([2 * gram[:, half:, :half], gram[:, half:, half:]], dim=2)
    return torch.cat([gram[:, :half, :half] @ factors[:, :half], lower @ factors], dim=1)
