"""A plain vision transformer in the place of SAM 2's Hiera."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from voxlang.core.errors import ConfigError
from voxlang.encoders.checks import check_image_size
from voxlang.encoders.hf_vit import Pretrained, architecture, checkpoint_activations, load_vit, patch_size_px
from voxlang.encoders.pyramid import STRIDES, PatchPyramid

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_PATCH_STRIDE = 16


class ViTTrunkMultiScale(nn.Module):
    """Any Hugging Face ViT, and the pyramid of levels that SAM 2's neck wants from it.

    The picture is resized so that one patch is 16 pixels of the original, whatever the ViT's patch size: the map of
    patches is the level of stride 16 exactly, and lies on the same pixels as Hiera's. Position embeddings are
    interpolated by the ViT itself; class and register tokens come first among its tokens and are dropped. Pictures come
    as SAM 2 normalises them, by ImageNet's mean and deviation, with which DINOv2 and I-JEPA were trained too.

    Args:
        pretrained: hub id in the local store, folder, config.json, or mapping of configuration keys; the last two mean
            random weights.
        encoder_type: "dino" (DINO, DINOv2 with or without registers, DINOv3) or "ijepa".
        out_dims: channels of the levels C32, C16, C8, C4; None is the hidden size of the ViT four times.
        upsample_mode: "bilinear" or "deconv", for strides 8 and 4.
        refine_highres: refine strides 8 and 4 by depthwise separable convolutions.
        freeze_vit: no gradient reaches the ViT, and it stays in evaluation mode. The pyramid learns.
        force_dtype: "fp16", "bf16" or "fp32": ViT and pyramid compute in it (weights stay float32), and the levels
            have it.
        verbose: print the shapes of the levels once for each shape of picture.
        gradient_checkpointing: compute the ViT's activations again on the way back instead of keeping them.

    Raises:
        ConfigError: an unknown type, mode or dtype, or widths that are not four.
        ModelMissingError, WeightsError: as in `hf_vit.load_vit`.
    """

    size_multiple: ClassVar[int] = max(STRIDES)
    """Sides of a picture must be multiples of this many pixels."""

    def __init__(
        self,
        pretrained: Pretrained,
        encoder_type: str = "dino",
        out_dims: Sequence[int] | None = None,
        upsample_mode: str = "bilinear",
        refine_highres: bool = True,
        freeze_vit: bool = False,
        force_dtype: str | None = None,
        verbose: bool = False,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if force_dtype is not None and force_dtype not in DTYPES:
            raise ConfigError(
                f"None or one of {', '.join(DTYPES)}", got=repr(force_dtype), where="force_dtype", do="use one of these"
            )
        self.encoder_type, self.freeze_vit, self.verbose = encoder_type, freeze_vit, verbose
        self.dtype = DTYPES.get(force_dtype or "")
        self.vit = load_vit(pretrained, encoder_type)
        config = self.vit.config
        self.patch_size: int = patch_size_px(config)
        self.out_dims = list(out_dims) if out_dims is not None else [config.hidden_size] * len(STRIDES)
        self.channel_list = self.out_dims
        """What the neck's `backbone_channel_list` must be."""
        self.pyramid = PatchPyramid(
            config.hidden_size, self.out_dims, upsample_mode=upsample_mode, refine_highres=refine_highres
        )
        takes = inspect.signature(type(self.vit).forward).parameters
        self._vit_options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in takes else {}
        self._shown: set[tuple[int, ...]] = set()
        self.vit.requires_grad_(not freeze_vit)
        if gradient_checkpointing and not freeze_vit:
            checkpoint_activations(self.vit)
        self.train(self.training)

    @property
    def architecture(self) -> dict[str, Any]:
        """The ViT's configuration without its weights: a value for `pretrained` that needs no other file."""
        return architecture(self.vit.config)

    def train(self, mode: bool = True) -> ViTTrunkMultiScale:
        """Switch dropout and the like; a frozen ViT stays in evaluation mode."""
        super().train(mode)
        if self.freeze_vit:
            self.vit.eval()
        return self

    def forward(self, x: Float[torch.Tensor, "b 3 h w"]) -> list[Float[torch.Tensor, "b _ _ _"]]:
        """Levels of stride 4, 8, 16 and 32.

        Differentiable in the picture and the weights; with `freeze_vit` in the pyramid's weights only.

        Raises:
            MaskError: sides that are no multiples of 32.
        """
        check_image_size(*x.shape[-2:], multiple=self.size_multiple, model=f"ViTTrunkMultiScale ({self.encoder_type})")
        with self._precision(x.device.type):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_vit):
                patches = self._patches(x)
            levels = self.pyramid(patches)
        if self.dtype is not None:
            levels = [level.to(self.dtype) for level in levels]
        if self.verbose and not torch.compiler.is_compiling():
            self._show(x, levels)
        return levels

    def _patches(self, x: torch.Tensor) -> torch.Tensor:
        """The ViT's last map: what the final norm leaves of the patches, [b c h/16 w/16]."""
        rows, columns = (side // _PATCH_STRIDE for side in x.shape[-2:])
        if self.patch_size != _PATCH_STRIDE:
            size = (rows * self.patch_size, columns * self.patch_size)
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=True)
        tokens = self.vit(x, **self._vit_options).last_hidden_state
        return tokens[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))

    def _precision(self, device: str) -> contextlib.AbstractContextManager[Any]:
        if self.dtype is None or not torch.amp.is_autocast_available(device):
            return contextlib.nullcontext()
        half = self.dtype is not torch.float32
        return torch.autocast(device, self.dtype if half else None, enabled=half)

    def _show(self, x: torch.Tensor, levels: list[torch.Tensor]) -> None:
        if tuple(x.shape) in self._shown:
            return
        self._shown.add(tuple(x.shape))
        shapes = ", ".join(
            f"F{stride} {list(level.shape)}" for stride, level in zip(reversed(STRIDES), levels, strict=True)
        )
        dtype = str(levels[0].dtype).removeprefix("torch.")
        print(f"{self.encoder_type} ViT, patches of {self.patch_size}: picture {list(x.shape)} -> {shapes}, {dtype}")
