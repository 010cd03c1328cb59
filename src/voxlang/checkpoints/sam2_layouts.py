"""Tables from sam2's names to those of transformers (Sam2Model, Sam2VideoModel) and of the mmseg backbone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from voxlang.checkpoints.patterns import KeyPattern
from voxlang.checkpoints.rules import Drop, Rename, Rule, RuleTable, Stack, Twin
from voxlang.checkpoints.sam2 import Sam2Config

_STILL = "memory of the video model, which Sam2Model does not have"
_ONLY_TRUNK = "only the trunk is a backbone"


@dataclass(frozen=True)
class Sam2Structure:
    """Lengths of the lists of modules that are numbered differently in the layouts."""

    iou_depth: int = 3
    """Linear layers of the IoU head."""
    score_depth: int = 3
    """Linear layers of the object score head; 0: one bare layer, or none."""
    pointer_depth: int = 3
    """The same for the projection of object pointers."""
    mask_steps: int = 4
    """Convolutions of the memory's mask encoder before the last."""


def mlp_rules(hub: str, other: str, depth: int) -> tuple[Rename, ...]:
    """An MLP `layers.0 ... layers.n` that transformers calls `proj_in`, `layers.0 ...`, `proj_out`."""
    inner = (Rename(f"{hub}.layers.{i}.**", f"{other}.layers.{i - 1}.**") for i in range(1, depth - 1))
    return (
        Rename(f"{hub}.layers.0.**", f"{other}.proj_in.**"),
        *inner,
        Rename(f"{hub}.layers.{depth - 1}.**", f"{other}.proj_out.**"),
    )


def mask_prompt_rules(hub: str) -> tuple[Rename, ...]:
    """The mask prompt's encoder and the two embeddings beside it, the same in SAM 1 and SAM 2."""
    down, embed = f"{hub}.mask_downscaling", "prompt_encoder.mask_embed"
    return (
        Rename(f"{down}.0.*", f"{embed}.conv1.*"),
        Rename(f"{down}.1.*", f"{embed}.layer_norm1.*"),
        Rename(f"{down}.3.*", f"{embed}.conv2.*"),
        Rename(f"{down}.4.*", f"{embed}.layer_norm2.*"),
        Rename(f"{down}.6.*", f"{embed}.conv3.*"),
        Rename(f"{hub}.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
        Rename(f"{hub}.not_a_point_embed.weight", "prompt_encoder.not_a_point_embed.weight"),
    )


def decoder_head_rules(hub: str) -> tuple[Rename, ...]:
    """Tokens, upscaling and hypernetworks of the mask decoder, the same in SAM 1 and SAM 2."""
    mlps = "output_hypernetworks_mlps.#mlp"
    return (
        Rename(f"{hub}.iou_token.weight", "mask_decoder.iou_token.weight"),
        Rename(f"{hub}.mask_tokens.weight", "mask_decoder.mask_tokens.weight"),
        Rename(f"{hub}.output_upscaling.0.*", "mask_decoder.upscale_conv1.*"),
        Rename(f"{hub}.output_upscaling.1.*", "mask_decoder.upscale_layer_norm.*"),
        Rename(f"{hub}.output_upscaling.3.*", "mask_decoder.upscale_conv2.*"),
        *mlp_rules(f"{hub}.{mlps}", f"mask_decoder.{mlps}", 3),
    )


TWIN = Twin("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
"""transformers keeps the random frequencies twice."""


def _still_rules(s: Sam2Structure) -> tuple[Rule, ...]:
    trunk, theirs = "image_encoder.trunk", "vision_encoder.backbone"
    decoder, layer = "sam_mask_decoder", "transformer.layers.#layer"
    score = f"{decoder}.pred_obj_score_head"
    score_rules = mlp_rules(score, "mask_decoder.pred_obj_score_head", s.score_depth) if s.score_depth else ()
    return (
        Rename(f"{trunk}.pos_embed", f"{theirs}.pos_embed"),
        Rename(f"{trunk}.pos_embed_window", f"{theirs}.pos_embed_window"),
        Rename(f"{trunk}.patch_embed.proj.*", f"{theirs}.patch_embed.projection.*"),
        Rename(f"{trunk}.blocks.#block.norm#n.*", f"{theirs}.blocks.#block.layer_norm#n.*"),
        Rename(f"{trunk}.blocks.#block.attn.**", f"{theirs}.blocks.#block.attn.**"),
        *mlp_rules(f"{trunk}.blocks.#block.mlp", f"{theirs}.blocks.#block.mlp", 2),
        Rename(f"{trunk}.blocks.#block.proj.*", f"{theirs}.blocks.#block.proj.*"),
        Rename("image_encoder.neck.convs.#level.conv.*", "vision_encoder.neck.convs.#level.*"),
        Rename("no_mem_embed", "no_memory_embedding"),
        Rename("sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", TWIN.original),
        TWIN,
        Stack("sam_prompt_encoder.point_embeddings.#.weight", "prompt_encoder.point_embed.weight"),
        *mask_prompt_rules("sam_prompt_encoder"),
        Rename(f"{decoder}.{layer}.norm#n.*", f"mask_decoder.{layer}.layer_norm#n.*"),
        Rename(f"{decoder}.{layer}.*.out_proj.*", f"mask_decoder.{layer}.*.o_proj.*"),
        *mlp_rules(f"{decoder}.{layer}.mlp", f"mask_decoder.{layer}.mlp", 2),
        Rename(f"{decoder}.{layer}.*.*.*", f"mask_decoder.{layer}.*.*.*"),
        Rename(f"{decoder}.transformer.norm_final_attn.*", "mask_decoder.transformer.layer_norm_final_attn.*"),
        Rename(f"{decoder}.transformer.*.out_proj.*", "mask_decoder.transformer.*.o_proj.*"),
        Rename(f"{decoder}.transformer.*.*.*", "mask_decoder.transformer.*.*.*"),
        *decoder_head_rules(decoder),
        *mlp_rules(f"{decoder}.iou_prediction_head", "mask_decoder.iou_prediction_head", s.iou_depth),
        Rename(f"{decoder}.conv_s#level.*", "mask_decoder.conv_s#level.*"),
        Rename(f"{decoder}.obj_score_token.weight", "mask_decoder.obj_score_token.weight"),
        *score_rules,
    )


def _memory_rules(s: Sam2Structure) -> tuple[Rule, ...]:
    attention, encoder = "memory_attention.layers.#layer", "memory_encoder"
    masks, fuser = f"{encoder}.mask_downsampler", "fuser.layers.#layer"
    steps = (
        rule
        for i in range(s.mask_steps)
        for rule in (
            Rename(f"{masks}.encoder.{3 * i}.*", f"{masks}.layers.{i}.conv.*"),
            Rename(f"{masks}.encoder.{3 * i + 1}.*", f"{masks}.layers.{i}.layer_norm.*"),
        )
    )
    pointer = mlp_rules("obj_ptr_proj", "object_pointer_proj", s.pointer_depth) if s.pointer_depth else ()
    return (
        Rename("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        Rename("no_mem_pos_enc", "no_memory_positional_encoding"),
        Rename("no_obj_ptr", "no_object_pointer"),
        Rename("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
        Rename(f"{attention}.norm#n.*", f"{attention}.layer_norm#n.*"),
        Rename(f"{attention}.linear#n.*", f"{attention}.linear#n.*"),
        Rename(f"{attention}.*.out_proj.*", f"{attention}.*.o_proj.*"),
        Rename(f"{attention}.*.*.*", f"{attention}.*.*.*"),
        Rename("memory_attention.norm.*", "memory_attention.layer_norm.*"),
        *steps,
        Rename(f"{masks}.encoder.{3 * s.mask_steps}.*", f"{masks}.final_conv.*"),
        Rename(f"{encoder}.pix_feat_proj.*", f"{encoder}.feature_projection.*"),
        Rename(f"{encoder}.{fuser}.gamma", f"{encoder}.memory_{fuser}.scale"),
        Rename(f"{encoder}.{fuser}.dwconv.*", f"{encoder}.memory_{fuser}.depthwise_conv.*"),
        Rename(f"{encoder}.{fuser}.norm.*", f"{encoder}.memory_{fuser}.layer_norm.*"),
        Rename(f"{encoder}.{fuser}.pwconv#n.*", f"{encoder}.memory_{fuser}.pointwise_conv#n.*"),
        Rename(f"{encoder}.out_proj.*", f"{encoder}.projection.*"),
        Rename("mask_downsample.*", "mask_downsample.*"),
        *pointer,
        Rename("obj_ptr_tpos_proj.*", "temporal_positional_encoding_projection_layer.*"),
    )


@lru_cache
def hf_video_table(s: Sam2Structure) -> RuleTable:
    """sam2 <-> transformers' Sam2VideoModel."""
    return RuleTable((*_still_rules(s), *_memory_rules(s)))


@lru_cache
def hf_still_table(s: Sam2Structure) -> RuleTable:
    """sam2 <-> transformers' Sam2Model, which has no memory."""
    dropped = (Drop(_STILL, hub=rule.hub) for rule in _memory_rules(s) if isinstance(rule, Rename))
    return RuleTable((*_still_rules(s), *dropped))


STILL_PARTS = ("image_encoder.neck.**", "sam_prompt_encoder.**", "sam_mask_decoder.**", "no_mem_embed")
"""What a model for still pictures has beside the trunk."""
MEMORY_PARTS = (
    *("memory_attention.**", "memory_encoder.**", "maskmem_tpos_enc", "no_mem_pos_enc", "no_obj_ptr"),
    *("no_obj_embed_spatial", "mask_downsample.*", "obj_ptr_proj.**", "obj_ptr_tpos_proj.*"),
)
"""What the video model has beside them."""

MMSEG_TABLE = RuleTable(
    (
        Rename("image_encoder.trunk.pos_embed", "pos_embed"),
        Rename("image_encoder.trunk.pos_embed_window", "pos_embed_window"),
        Rename("image_encoder.trunk.patch_embed.**", "patch_embed.**"),
        Rename("image_encoder.trunk.blocks.#block.**", "blocks.#block.**"),
        *(Drop(_ONLY_TRUNK, hub=pattern) for pattern in (*STILL_PARTS, *MEMORY_PARTS)),
    )
)
"""SAM 2's trunk <-> the mmseg backbone HieraSAM2: the same names without the prefix."""


def structure_of(config: Sam2Config) -> Sam2Structure:
    """The structure behind a configuration."""
    memory = config.memory
    return Sam2Structure(
        score_depth=3 if config.object_score == "mlp" else 0,
        pointer_depth=3 if memory and memory.pointer == "mlp" else 0,
        mask_steps=memory.mask_steps if memory else 0,
    )


def hf_sam2_structure(keys: Iterable[str]) -> Sam2Structure:
    """The structure behind keys of transformers' layouts."""
    keys = list(keys)

    def depth(name: str) -> int:
        return KeyPattern(f"{name}.layers.#.weight").count(keys) + 2 if f"{name}.proj_in.weight" in keys else 0

    return Sam2Structure(
        iou_depth=depth("mask_decoder.iou_prediction_head") or 3,
        score_depth=depth("mask_decoder.pred_obj_score_head"),
        pointer_depth=depth("object_pointer_proj"),
        mask_steps=KeyPattern("memory_encoder.mask_downsampler.layers.#.conv.weight").count(keys),
    )
