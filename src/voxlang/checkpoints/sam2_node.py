"""The configuration of a SAM 2 as the `model` node that Hydra instantiates, as in the YAML files of sam2."""

from __future__ import annotations

from typing import Any

from voxlang.checkpoints.hiera import HieraConfig
from voxlang.checkpoints.known import POSTPROCESSING
from voxlang.checkpoints.sam2 import MemoryConfig, Sam2Config, mask_stride

_SAM2 = "sam2.modeling"
_BACKBONE_STRIDE = 16
_NO_MEMORY = MemoryConfig(
    layers=1,
    feedforward=1,
    inner=2,
    width=2,
    frames=1,
    mask_steps=2,
    mask_kernel=3,
    fuser_layers=1,
    fuser_kernel=1,
    fuser_is_depthwise=True,
    pointer="none",
    is_new=False,
)
"""The smallest memory that sam2's classes accept, for weights that have none: they ask for one in any case."""


def trunk_node(c: HieraConfig) -> dict[str, Any]:
    """The trunk alone."""
    return {
        "_target_": f"{_SAM2}.backbones.hieradet.Hiera",
        "embed_dim": c.width,
        "num_heads": c.heads,
        "stages": list(c.stages),
        "global_att_blocks": list(c.global_blocks),
        "window_spec": list(c.windows),
        "window_pos_embed_bkg_spatial_size": list(c.background),
        "q_pool": len(c.stages) - 1,
    }


def sam2_node(c: Sam2Config) -> dict[str, Any]:
    """The whole model. Numbers that are the same in every published SAM 2 are written out here."""
    memory = c.memory or _NO_MEMORY
    has_pointers = memory.pointer != "none"
    return {
        "_target_": f"{_SAM2}.sam2_base.SAM2Base",
        "image_encoder": {
            "_target_": f"{_SAM2}.backbones.image_encoder.ImageEncoder",
            "scalp": 1,
            "trunk": trunk_node(c.trunk),
            "neck": {
                "_target_": f"{_SAM2}.backbones.image_encoder.FpnNeck",
                "position_encoding": _positions(c.d_model),
                "d_model": c.d_model,
                "backbone_channel_list": list(reversed(c.trunk.widths)),
                "fpn_top_down_levels": list(c.top_down),
                "fpn_interp_model": c.top_down_mode,
            },
        },
        "memory_attention": _attention(c, memory),
        "memory_encoder": _encoder(c, memory),
        "num_maskmem": memory.frames,
        "image_size": c.image_size,
        "backbone_stride": _BACKBONE_STRIDE,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "use_mask_input_as_output_without_sam": True,
        "directly_add_no_mem_embed": c.adds_no_memory,
        "use_high_res_features_in_sam": c.has_fine_features,
        "multimask_output_in_sam": True,
        "iou_prediction_use_sigmoid": True,
        "use_obj_ptrs_in_encoder": has_pointers,
        "add_tpos_enc_to_obj_ptrs": memory.is_new,
        "proj_tpos_enc_in_obj_ptrs": memory.is_new,
        "use_signed_tpos_enc_to_obj_ptrs": memory.is_new,
        "no_obj_embed_spatial": memory.is_new,
        "only_obj_ptrs_in_the_past_for_eval": True,
        "pred_obj_scores": c.object_score != "none",
        "pred_obj_scores_mlp": c.object_score == "mlp",
        "fixed_no_obj_ptr": has_pointers,
        "multimask_output_for_tracking": True,
        "use_multimask_token_for_obj_ptr": has_pointers,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "use_mlp_for_obj_ptr_proj": memory.pointer == "mlp",
        "compile_image_encoder": False,
        "sam_mask_decoder_extra_args": dict(POSTPROCESSING),
    }


def _positions(channels: int) -> dict[str, Any]:
    return {
        "_target_": f"{_SAM2}.position_encoding.PositionEmbeddingSine",
        "num_pos_feats": channels,
        "normalize": True,
        "scale": None,
        "temperature": 10000,
    }


def _attention(c: Sam2Config, memory: MemoryConfig) -> dict[str, Any]:
    side = c.image_size // _BACKBONE_STRIDE
    rope = {
        "_target_": f"{_SAM2}.sam.transformer.RoPEAttention",
        "rope_theta": 10000.0,
        "feat_sizes": [side, side],
        "embedding_dim": c.d_model,
        "num_heads": 1,
        "downsample_rate": c.d_model // memory.inner,
        "dropout": 0.1,
    }
    return {
        "_target_": f"{_SAM2}.memory_attention.MemoryAttention",
        "d_model": c.d_model,
        "pos_enc_at_input": True,
        "layer": {
            "_target_": f"{_SAM2}.memory_attention.MemoryAttentionLayer",
            "activation": "relu",
            "dim_feedforward": memory.feedforward,
            "dropout": 0.1,
            "pos_enc_at_attn": False,
            "self_attention": rope,
            "d_model": c.d_model,
            "pos_enc_at_cross_attn_keys": True,
            "pos_enc_at_cross_attn_queries": False,
            "cross_attention": {**rope, "rope_k_repeat": True, "kv_in_dim": memory.width},
        },
        "num_layers": memory.layers,
    }


def _encoder(c: Sam2Config, memory: MemoryConfig) -> dict[str, Any]:
    return {
        "_target_": f"{_SAM2}.memory_encoder.MemoryEncoder",
        "in_dim": c.d_model,
        "out_dim": memory.width,
        "position_encoding": _positions(memory.width),
        "mask_downsampler": {
            "_target_": f"{_SAM2}.memory_encoder.MaskDownSampler",
            "embed_dim": c.d_model,
            "kernel_size": memory.mask_kernel,
            "stride": mask_stride(memory),
            "padding": memory.mask_kernel // 2,
        },
        "fuser": {
            "_target_": f"{_SAM2}.memory_encoder.Fuser",
            "layer": {
                "_target_": f"{_SAM2}.memory_encoder.CXBlock",
                "dim": c.d_model,
                "kernel_size": memory.fuser_kernel,
                "padding": memory.fuser_kernel // 2,
                "layer_scale_init_value": 1e-6,
                "use_dwconv": memory.fuser_is_depthwise,
            },
            "num_layers": memory.fuser_layers,
        },
    }
