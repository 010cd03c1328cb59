"""Mask vectors from one pass over the whole view: the image tower's dense features, averaged inside each mask.

A crop costs a forward pass a mask; dense features cost one a view, however many masks there are. They are coarse, and
the towers were trained on whole pictures: an alternative by name (`--embed.policy pooled`), not the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from voxlang.core.errors import ConfigError, MaskError
from voxlang.masks.types import MaskSet

if TYPE_CHECKING:
    import torch

    from voxlang.embed.types import ImageTextEncoder


def dense_features(visual: torch.nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Features [n d gh gw] of an open_clip image tower in the joint space of pictures and texts.

    A residual tower pools with one attention; without its weights, value and output projection remain, and both act on
    every place by itself. Source: Zhou et al. 2022, "Extract Free Dense Labels from CLIP", section 3.2. A transformer
    tower puts its patch tokens through the same last normalisation and projection as its class token.

    Raises:
        ConfigError: a tower of another kind.
    """
    import torch
    from torch.nn.functional import linear

    if hasattr(visual, "attnpool"):
        x = visual.stem(pixels)
        for stage in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            x = stage(x)
        pool = visual.attnpool
        values = linear(x.permute(0, 2, 3, 1), pool.v_proj.weight, pool.v_proj.bias)
        return linear(values, pool.c_proj.weight, pool.c_proj.bias).permute(0, 3, 1, 2)
    if isinstance(getattr(visual, "proj", None), torch.nn.Parameter) and hasattr(visual, "output_tokens"):
        before, visual.output_tokens = visual.output_tokens, True
        try:
            _, tokens = visual(pixels)
        finally:
            visual.output_tokens = before
        side = round(tokens.shape[1] ** 0.5)
        return (tokens @ visual.proj).transpose(1, 2).unflatten(2, (side, side))
    raise ConfigError(
        "an image tower with dense features: a ResNet with attention pooling, or a vision transformer",
        got=type(visual).__name__,
        where="embed.policy=pooled",
        do="use --embed.policy masked",
    )


def pooled_vectors(
    pictures: Sequence[np.ndarray], mask_sets: Sequence[MaskSet], encoder: ImageTextEncoder
) -> Float32[np.ndarray, "n d"]:
    """Unit vectors of all masks of all views, in order: means of the dense features, weighted by the mask's share of
    each place.

    Raises:
        ConfigError: an encoder without dense features.
        MaskError: an empty mask, or masks of another picture.
    """
    import torch

    if not hasattr(encoder, "encode_dense"):
        raise ConfigError(
            "an encoder with dense features (open_clip)",
            got=type(encoder).__name__,
            where="embed.policy=pooled",
            do="use --embed.policy masked",
        )
    rows = [np.zeros((0, encoder.id.dim), np.float32)]
    for rgb, masks in zip(pictures, mask_sets, strict=True):
        if (masks.height, masks.width) != rgb.shape[:2] or (masks.areas_px() == 0).any():
            raise MaskError(
                f"masks with pixels, of the picture's size {rgb.shape[:2]}",
                got=f"size {(masks.height, masks.width)}, smallest area {masks.areas_px().min(initial=0)}",
                where="pooled_vectors",
                do="pass the picture that the masks were made on, and drop empty masks",
            )
        if not len(masks):
            continue
        grid = encoder.encode_dense(rgb[None])[0]
        height, width, d = grid.shape
        shares = [
            torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(masks.dense(i))[None].float(), (height, width))
            for i in range(len(masks))
        ]
        sums = torch.cat(shares).flatten(1) @ torch.from_numpy(grid).reshape(-1, d)
        rows.append(torch.nn.functional.normalize(sums, dim=1).numpy())
    return np.concatenate(rows)
