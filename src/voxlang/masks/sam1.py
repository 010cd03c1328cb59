"""SAM 1 from its configuration. The one place that imports segment-anything.

segment-anything 1.0 runs SAM 1: it is the published code itself, its classes take any size, its automatic mask
generator is the one that sam2's was derived from, and it is one small package of Python without dependencies of its
own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from voxlang.checkpoints.sam1 import Sam1Config
from voxlang.core.errors import ModelMissingError

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


def build_sam1(c: Sam1Config) -> Sam:
    """Make the model of a configuration, in training mode, with initial weights from torch's generator.

    Raises:
        ModelMissingError: segment-anything is not installed.
    """
    import torch

    try:
        from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
    except ImportError as error:
        raise ModelMissingError(
            "the package segment-anything", got=str(error), where="SAM 1", do="pip install segment-anything"
        ) from error
    return Sam(
        image_encoder=ImageEncoderViT(
            img_size=c.image_size,
            patch_size=c.patch,
            in_chans=c.channels,
            embed_dim=c.width,
            depth=c.blocks,
            num_heads=c.heads,
            mlp_ratio=c.mlp_width / c.width,
            out_chans=c.prompt_width,
            qkv_bias=c.qkv_bias,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=c.has_relative_positions,
            window_size=c.window,
            global_attn_indexes=c.global_blocks,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=c.prompt_width,
            image_embedding_size=(c.grid, c.grid),
            input_image_size=(c.image_size, c.image_size),
            mask_in_chans=c.mask_channels,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=c.mask_tokens - 1,
            transformer=TwoWayTransformer(
                depth=c.decoder_layers,
                embedding_dim=c.prompt_width,
                mlp_dim=c.decoder_mlp,
                num_heads=c.decoder_heads,
                attention_downsample_rate=c.prompt_width // c.decoder_inner,
            ),
            transformer_dim=c.prompt_width,
            iou_head_depth=c.iou_depth,
            iou_head_hidden_dim=c.iou_hidden,
        ),
    )
