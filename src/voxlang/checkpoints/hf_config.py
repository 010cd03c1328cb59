"""The `config.json` that transformers needs beside converted weights."""

from __future__ import annotations

from typing import Any

from voxlang.checkpoints.sam1 import Sam1Config
from voxlang.checkpoints.sam2 import Sam2Config, mask_stride


def hf_config(layout: str, config: Sam1Config | Sam2Config) -> dict[str, Any] | None:
    """Content of config.json for a layout; None for layouts of other projects."""
    if layout == "hf-sam":
        return _sam(config)
    if layout == "hf-sam2":
        return {"architectures": ["Sam2Model"], "model_type": "sam2", **_still(config, "sam2")}
    if layout == "hf-sam2-video":
        return {
            "architectures": ["Sam2VideoModel"],
            "model_type": "sam2_video",
            **_still(config, "sam2_video"),
            **_video(config),
        }
    return None


def _sam(c: Sam1Config) -> dict[str, Any]:
    return {
        "architectures": ["SamModel"],
        "model_type": "sam",
        "vision_config": {
            "model_type": "sam_vision_model",
            "hidden_size": c.width,
            "output_channels": c.prompt_width,
            "num_hidden_layers": c.blocks,
            "num_attention_heads": c.heads,
            "num_channels": c.channels,
            "image_size": c.image_size,
            "patch_size": c.patch,
            "mlp_dim": c.mlp_width,
            "mlp_ratio": c.mlp_width / c.width,
            "qkv_bias": c.qkv_bias,
            "use_rel_pos": c.has_relative_positions,
            "window_size": c.window,
            "global_attn_indexes": list(c.global_blocks),
            "num_pos_feats": c.prompt_width // 2,
            "scale": 1.0,
        },
        "prompt_encoder_config": {
            "model_type": "sam_prompt_encoder",
            "hidden_size": c.prompt_width,
            "image_size": c.image_size,
            "patch_size": c.patch,
            "mask_input_channels": c.mask_channels,
        },
        "mask_decoder_config": {
            "model_type": "sam_mask_decoder",
            "hidden_size": c.prompt_width,
            "mlp_dim": c.decoder_mlp,
            "num_hidden_layers": c.decoder_layers,
            "num_attention_heads": c.decoder_heads,
            "attention_downsample_rate": c.prompt_width // c.decoder_inner,
            "num_multimask_outputs": c.mask_tokens - 1,
            "iou_head_depth": c.iou_depth,
            "iou_head_hidden_dim": c.iou_hidden,
        },
    }


def _still(c: Sam2Config, kind: str) -> dict[str, Any]:
    trunk = c.trunk
    numbers = range(len(trunk.stages))
    return {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": trunk.width,
                "num_attention_heads": trunk.heads,
                "num_channels": trunk.channels,
                "image_size": [c.image_size, c.image_size],
                "patch_kernel_size": [trunk.patch, trunk.patch],
                "window_positional_embedding_background_size": list(trunk.background),
                "num_query_pool_stages": len(trunk.stages) - 1,
                "blocks_per_stage": list(trunk.stages),
                "embed_dim_per_stage": list(trunk.widths),
                "num_attention_heads_per_stage": [trunk.heads * 2**i for i in numbers],
                "window_size_per_stage": list(trunk.windows),
                "global_attention_blocks": list(trunk.global_blocks),
                "mlp_ratio": float(trunk.mlp_ratio),
            },
            "backbone_channel_list": list(reversed(trunk.widths)),
            "backbone_feature_sizes": [[c.image_size // k, c.image_size // k] for k in (4, 8, 16)],
            "fpn_hidden_size": c.d_model,
            "fpn_top_down_levels": list(c.top_down),
        },
        "prompt_encoder_config": {
            "model_type": f"{kind}_prompt_encoder",
            "hidden_size": c.d_model,
            "image_size": c.image_size,
        },
        "mask_decoder_config": {
            "model_type": f"{kind}_mask_decoder",
            "hidden_size": c.d_model,
            "num_multimask_outputs": c.mask_tokens - 1,
        },
    }


def _video(c: Sam2Config) -> dict[str, Any]:
    m = c.memory
    if m is None:
        return {}
    side = c.image_size // 16
    return {
        "image_size": c.image_size,
        "num_maskmem": m.frames,
        "enable_occlusion_spatial_embedding": m.is_new,
        "enable_temporal_pos_encoding_for_object_pointers": m.is_new,
        "memory_attention_hidden_size": c.d_model,
        "memory_attention_num_layers": m.layers,
        "memory_attention_downsample_rate": c.d_model // m.inner,
        "memory_attention_feed_forward_hidden_size": m.feedforward,
        "memory_attention_rope_feat_sizes": [side, side],
        "memory_encoder_hidden_size": c.d_model,
        "memory_encoder_output_channels": m.width,
        "mask_downsampler_embed_dim": c.d_model,
        "mask_downsampler_kernel_size": m.mask_kernel,
        "mask_downsampler_stride": mask_stride(m),
        "mask_downsampler_padding": m.mask_kernel // 2,
        "memory_fuser_num_layers": m.fuser_layers,
        "memory_fuser_embed_dim": c.d_model,
        "memory_fuser_intermediate_dim": 4 * c.d_model,
        "memory_fuser_kernel_size": m.fuser_kernel,
        "memory_fuser_padding": m.fuser_kernel // 2,
    }
