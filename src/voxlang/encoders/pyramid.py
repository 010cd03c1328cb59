"""From the one map of a ViT to the four levels that SAM 2's neck reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from voxlang.core.errors import ConfigError

STRIDES = (32, 16, 8, 4)
"""Pixels of the picture per pixel of each level, coarsest first, the order of all lists of channels."""
UPSAMPLE_MODES = ("bilinear", "deconv")
_SHRINK = {32: 2}
_GROW = {8: 1, 4: 2}


class PatchPyramid(nn.Module):
    """Levels of stride 32, 16, 8 and 4 from a map of stride 16.

    Every level is projected to its own width first. Stride 16 is the map itself, stride 32 the mean of 2x2 pixels,
    strides 8 and 4 are enlarged by 2 and 4: bilinearly, or by transposed convolutions ("deconv"). The two fine levels
    may be refined by a depthwise separable convolution, which adds nothing at first.

    Source: the simple feature pyramid of Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object
    Detection", section 3.

    Args:
        channels: of the map.
        out_dims: channels of the levels, coarsest first: C32, C16, C8, C4.
        upsample_mode: "bilinear" or "deconv".
        refine_highres: refine strides 8 and 4.

    Raises:
        ConfigError: another mode, or not four positive widths.
    """

    def __init__(self, channels: int, out_dims: Sequence[int], *, upsample_mode: str, refine_highres: bool) -> None:
        super().__init__()
        if upsample_mode not in UPSAMPLE_MODES:
            raise ConfigError(
                f"one of {', '.join(UPSAMPLE_MODES)}",
                got=repr(upsample_mode),
                where="upsample_mode",
                do="use one of these",
            )
        if len(out_dims) != len(STRIDES) or any(not isinstance(n, int) or n < 1 for n in out_dims):
            raise ConfigError(
                "four positive numbers C32,C16,C8,C4",
                got=str(list(out_dims)),
                where="out_dims",
                do="give one per level",
            )
        self.levels = nn.ModuleDict()
        for stride, width in zip(STRIDES, out_dims, strict=True):
            steps: list[nn.Module] = [nn.Conv2d(channels, width, 1)]
            if stride in _SHRINK:
                steps.append(nn.AvgPool2d(_SHRINK[stride]))
            if stride in _GROW:
                steps.append(_enlarge(width, _GROW[stride], upsample_mode))
                if refine_highres:
                    steps.append(Refine(width))
            self.levels[str(stride)] = nn.Sequential(*steps)

    def forward(self, patches: Float[torch.Tensor, "b c h w"]) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """The levels, finest first, as Hiera gives them."""
        return [self.levels[str(stride)](patches) for stride in reversed(STRIDES)]


class Refine(nn.Module):
    """x + pointwise(GELU(norm(depthwise 3x3 (x)))), the pointwise layer zero at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = ChannelNorm(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.pointwise.weight)
        nn.init.zeros_(self.pointwise.bias)

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
        return x + self.pointwise(F.gelu(self.norm(self.depthwise(x))))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every pixel."""

    def forward(self, x: Float[torch.Tensor, "b c h w"]) -> Float[torch.Tensor, "b c h w"]:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _enlarge(channels: int, doublings: int, mode: str) -> nn.Module:
    if mode == "bilinear":
        return nn.Upsample(scale_factor=2**doublings, mode="bilinear", align_corners=False)
    steps: list[nn.Module] = [nn.ConvTranspose2d(channels, channels, 2, stride=2)]
    for _ in range(doublings - 1):
        steps += [ChannelNorm(channels), nn.GELU(), nn.ConvTranspose2d(channels, channels, 2, stride=2)]
    return nn.Sequential(*steps)
