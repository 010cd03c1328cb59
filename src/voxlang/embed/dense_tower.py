"""The dense tower: one pass over a whole view gives every place and level a vector in the space of the texts.

An image encoder of SAM 2 (trunk and neck, built from YAML) sees the whole picture, so a liver is where livers are; a
small head sums its three finest levels, and one linear map for each of Small, Part and Whole leads into the space of
the texts.

Source: language-driven dense features as in Li et al. 2022, "Language-driven Semantic Segmentation", arXiv 2201.03546;
here with a vector for each level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from voxlang.core.levels import LEVELS
from voxlang.embed.preprocess import Preprocess
from voxlang.encoders.build import build_image_encoder
from voxlang.encoders.pixels import PIXEL_MEAN, PIXEL_STD

STRIDE = 4
"""Pixels along each edge of a place."""


class DenseTower(nn.Module):
    """Image encoder, head, and three linear maps.

    Args:
        encoder: image encoder of a SAM 2 model whose three finest levels lie at strides 4, 8 and 16.
        channels: of each of its levels.
        dim: length of the vectors.
        hidden: channels of the head.
    """

    def __init__(self, encoder: nn.Module, *, channels: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.encoder, self.dim = encoder, dim
        self.lateral = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for _ in range(3))
        self.mix = nn.Sequential(
            nn.GELU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.GELU(), nn.Conv2d(hidden, hidden, 3, padding=1)
        )
        self.names = nn.Linear(hidden, len(LEVELS) * dim)

    def forward(self, pixels: Float[torch.Tensor, "n 3 h w"]) -> Float[torch.Tensor, "n c q r"]:
        """Hidden features of all places, from pictures normalised as SAM 2 wants them."""
        x: Any = None
        levels = self.encoder(pixels)["backbone_fpn"]
        for lateral, level in zip(self.lateral, levels, strict=True):
            y = lateral(level)
            x = y if x is None else x + F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=False)
        return F.gelu(x + self.mix(x))

    def vectors(self, hidden: Float[torch.Tensor, "*k c"]) -> Float[torch.Tensor, "*k 3 d"]:
        """Unit vectors of places at Small, Part and Whole, from their hidden features."""
        return F.normalize(self.names(hidden).unflatten(-1, (len(LEVELS), self.dim)).float(), dim=-1)


def build_dense_tower(
    config: str | Path, *, dim: int, hidden: int, encoder_weights: str | Path | None = None
) -> DenseTower:
    """A tower whose image encoder is that of a SAM 2 configuration; the head has random weights of torch's generator.

    Args:
        config: configuration of a SAM 2 model, as `voxlang.encoders.build.build_image_encoder` takes it.
        dim: length of the vectors.
        hidden: channels of the head.
        encoder_weights: weights of the SAM 2 model that the image encoder begins with.

    Raises:
        ConfigError, ModelMissingError, WeightsError: as `build_image_encoder`.
    """
    encoder = build_image_encoder(config, encoder_weights)
    return DenseTower(encoder, channels=encoder.neck.d_model, dim=dim, hidden=hidden)


def tower_input(side: int) -> Preprocess:
    """Pictures of any size as a tower for squares of `side` pixels wants them."""
    return Preprocess(side, PIXEL_MEAN, PIXEL_STD, "bilinear")
