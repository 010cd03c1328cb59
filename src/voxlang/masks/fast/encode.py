"""From pictures to the features that the mask decoder reads, several pictures in one pass of the encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from voxlang.encoders.pixels import PIXEL_MEAN, PIXEL_STD

if TYPE_CHECKING:
    from jaxtyping import Float
    from sam2.modeling.sam2_base import SAM2Base
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class PictureFeatures:
    """One picture as the decoder sees it."""

    embedding: Float[Tensor, "c h w"]
    """Coarsest features."""
    fine: tuple[Tensor, ...]
    """Features at 4 and 2 times that resolution, with c/8 and c/4 channels; none in a model that does not use them."""


def model_input(rgb: UInt8[np.ndarray, "h w 3"], image_size: int) -> Float[Tensor, "3 s s"]:
    """A picture squeezed to the model's square, bilinear with antialiasing, in the units of the training data."""
    import torch

    pixels = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).permute(2, 0, 1).contiguous().float().div_(255)
    side = (image_size, image_size)
    if pixels.shape[1:] != side:
        pixels = torch.nn.functional.interpolate(
            pixels[None], side, mode="bilinear", align_corners=False, antialias=True
        )[0]
    mean, deviation = torch.tensor(PIXEL_MEAN)[:, None, None], torch.tensor(PIXEL_STD)[:, None, None]
    return pixels.sub_(mean).div_(deviation)


def encode_pictures(
    model: SAM2Base, pictures: Sequence[np.ndarray], *, forward_image: Callable[[Tensor], dict] | None = None
) -> list[PictureFeatures]:
    """Features of pictures of any sizes, in one pass of the encoder.

    Args:
        model: any SAM2Base.
        pictures: of any sizes.
        forward_image: the encoder's pass; the model's own by default.
    """
    import torch

    batch = torch.stack([model_input(rgb, model.image_size) for rgb in pictures]).to(model.device)
    levels = (forward_image or model.forward_image)(batch)["backbone_fpn"][-model.num_feature_levels :]
    embedding = levels[-1]
    if model.directly_add_no_mem_embed:
        embedding = embedding + model.no_mem_embed.view(1, -1, 1, 1)
    fine = [level.float() for level in levels[:-1]]
    return [PictureFeatures(e.float(), tuple(level[i] for level in fine)) for i, e in enumerate(embedding)]
