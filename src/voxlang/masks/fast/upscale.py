"""From image tokens to mask logits: two transposed convolutions as matrix products, for wanted masks only.

A transposed convolution whose stride equals its kernel lets no two pixels overlap: each pixel's c channels go through
one matrix [c, 2*2*c'] and become the 2x2 pixels that it covers ("pixel shuffle" order). The pixels stay in that order,
as rows of matrices, until the logits are put in their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from sam2.modeling.sam.mask_decoder import MaskDecoder
    from torch import Tensor

    from voxlang.masks.fast.encode import PictureFeatures
    from voxlang.masks.fast.lowrank import LowRankTokens

STRIP = 1024
"""Image tokens that go through both convolutions at a time on a CPU: their rows stay in the cache."""


class Upscaler:
    """`MaskDecoder.output_upscaling` and the product with the mask filters."""

    def __init__(self, decoder: MaskDecoder) -> None:
        self._first, self._norm, self._act1, self._second, self._act2 = decoder.output_upscaling
        self._has_fine = decoder.use_high_res_features

    def first(
        self, base: Float[Tensor, "n c"], constant: Float[Tensor, "c"], features: PictureFeatures
    ) -> tuple[Float[Tensor, "n q"], Float[Tensor, "n q"]]:
        """The first convolution of the shared base, and all that it adds besides."""
        weight = _as_matrix(self._first.weight)
        added = (constant @ weight + self._first.bias.repeat(4)).expand(len(base), -1)
        if self._has_fine:
            added = added + _shuffled(features.fine[1], 1)
        return base @ weight, added.contiguous()

    def fine(self, features: PictureFeatures) -> Float[Tensor, "n4 q"] | None:
        """What the second convolution adds: its bias and the finest features."""
        bias = self._second.bias.repeat(4)
        return _shuffled(features.fine[0], 2) + bias if self._has_fine else bias

    def logits(
        self,
        filters: Float[Tensor, "b k f"],
        image: LowRankTokens,
        first: tuple[Tensor, Tensor],
        fine: Tensor,
        size: tuple[int, int],
    ) -> Float[Tensor, "b k mh mw"]:
        """Mask logits of each prompt's filters."""
        import torch

        b, k, _ = filters.shape
        base, added = first
        n = len(base)
        vectors = image.vectors @ _as_matrix(self._first.weight)
        strip = n if filters.is_cuda else min(n, STRIP)
        out = torch.empty((b, k, n, 16), device=filters.device)
        for start in range(0, n, strip):
            rows = slice(start, start + strip)
            fine_rows = fine if fine.ndim == 1 else fine[4 * start : 4 * (start + strip)]
            for i in _groups(b, filters.is_cuda):
                x = torch.addcmul(added[rows], image.scale[i, rows, None], base[rows])
                x = torch.baddbmm(x, image.factors[i, :, rows].transpose(1, 2), vectors[i])
                x = self._second_stage(x, fine_rows)
                out[i, :, rows] = (filters[i] @ x.transpose(1, 2)).view(len(x), k, -1, 16)
        return _unshuffled(out, size)

    def _second_stage(self, x: Tensor, fine: Tensor) -> Tensor:
        """Normalisation, activation, second convolution, activation: [b (n 4 4) f]."""
        import torch

        b = len(x)
        norm, weight = self._norm, _as_matrix(self._second.weight)
        x = torch.nn.functional.layer_norm(
            x.view(b, -1, weight.shape[0]), norm.weight.shape, norm.weight, norm.bias, norm.eps
        )
        x = self._act1(x)
        x = torch.baddbmm(fine.expand(b, x.shape[1], -1), x, weight.expand(b, -1, -1))
        return self._act2(x).view(b, -1, weight.shape[1] // 4)


def _groups(b: int, together: bool) -> list[slice]:
    """Prompts that go through together: one by one on a CPU."""
    return [slice(0, b)] if together else [slice(i, i + 1) for i in range(b)]


def _as_matrix(weight: Float[Tensor, "c q 2 2"]) -> Float[Tensor, "c 4q"]:
    return weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)


def _shuffled(features: Float[Tensor, "c h w"], levels: int) -> Float[Tensor, "n q"]:
    """A finer feature map in the order in which `levels` convolutions put out its pixels, one row a parent pixel."""
    c, height, width = features.shape
    if levels == 1:
        grid = features.view(c, height // 2, 2, width // 2, 2)
        return grid.permute(1, 3, 2, 4, 0).reshape(-1, 4 * c)
    grid = features.view(c, height // 4, 2, 2, width // 4, 2, 2)
    return grid.permute(1, 4, 2, 5, 3, 6, 0).reshape(-1, 4 * c)


def _unshuffled(logits: Float[Tensor, "b k n 16"], size: tuple[int, int]) -> Float[Tensor, "b k mh mw"]:
    b, k = logits.shape[:2]
    height, width = size
    grid = logits.view(b, k, height, width, 2, 2, 2, 2)
    return grid.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(b, k, 4 * height, 4 * width)
