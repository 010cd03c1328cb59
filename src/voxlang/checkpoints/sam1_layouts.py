"""Tables from segment-anything's names to those of transformers' SamModel and of the stage-explicit layout.

The stage-explicit layout is that of the public project MuggledSAM: the image encoder is a row of stages, each of
windowed blocks and one global block at its end, and the weights of layer norms over pictures have the shape
[1 c 1 1] in which they are used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from voxlang.checkpoints.patterns import KeyPattern
from voxlang.checkpoints.rules import Drop, Rename, Rule, RuleTable
from voxlang.checkpoints.sam1 import Sam1Config
from voxlang.checkpoints.sam2_layouts import TWIN, decoder_head_rules, mask_prompt_rules, mlp_rules
from voxlang.core.errors import WeightsError

_PE_KEY = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
_CONFIG_KEY = "config_muggled_samv1"
_FLAT, _PICTURE = (-1,), (1, -1, 1, 1)


@lru_cache
def hf_sam_table(iou_depth: int) -> RuleTable:
    """segment-anything <-> transformers' SamModel."""
    theirs, layer, neck = "vision_encoder", "transformer.layers.#layer", "image_encoder.neck"
    return RuleTable(
        (
            Rename("image_encoder.pos_embed", f"{theirs}.pos_embed"),
            Rename("image_encoder.patch_embed.proj.*", f"{theirs}.patch_embed.projection.*"),
            Rename("image_encoder.blocks.#block.norm#n.*", f"{theirs}.layers.#block.layer_norm#n.*"),
            Rename("image_encoder.blocks.#block.attn.**", f"{theirs}.layers.#block.attn.**"),
            Rename("image_encoder.blocks.#block.mlp.**", f"{theirs}.layers.#block.mlp.**"),
            Rename(f"{neck}.0.*", f"{theirs}.neck.conv1.*"),
            Rename(f"{neck}.1.*", f"{theirs}.neck.layer_norm1.*"),
            Rename(f"{neck}.2.*", f"{theirs}.neck.conv2.*"),
            Rename(f"{neck}.3.*", f"{theirs}.neck.layer_norm2.*"),
            Rename(_PE_KEY, TWIN.original),
            TWIN,
            Rename("prompt_encoder.point_embeddings.#.weight", "prompt_encoder.point_embed.#.weight"),
            *mask_prompt_rules("prompt_encoder"),
            Rename(f"mask_decoder.{layer}.norm#n.*", f"mask_decoder.{layer}.layer_norm#n.*"),
            Rename(f"mask_decoder.{layer}.*.*.*", f"mask_decoder.{layer}.*.*.*"),
            Rename("mask_decoder.transformer.norm_final_attn.*", "mask_decoder.transformer.layer_norm_final_attn.*"),
            Rename("mask_decoder.transformer.*.*.*", "mask_decoder.transformer.*.*.*"),
            *decoder_head_rules("mask_decoder"),
            *mlp_rules("mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head", iou_depth),
        )
    )


def hf_iou_depth(keys: Iterable[str]) -> int:
    """Linear layers of the IoU head behind keys of transformers' layout."""
    return KeyPattern("mask_decoder.iou_prediction_head.layers.#.weight").count(keys) + 2


@dataclass(frozen=True)
class StageStructure:
    """How the blocks of the image encoder lie in stages."""

    stages: tuple[int, ...] = (3, 3, 3, 3)
    """Blocks of each stage, the global one at the end included."""
    iou_depth: int = 3
    """Linear layers of the IoU head."""


@lru_cache
def stages_table(s: StageStructure) -> RuleTable:
    """segment-anything <-> the stage-explicit layout."""
    neck, channels = "image_encoder.neck", "image_encoder.channel_projection"
    down, hint = "prompt_encoder.mask_downscaling", "mask_decoder.maskhint_encoder"
    layer, up = "mask_decoder.transformer.layers.#layer", "mask_decoder.maskgen.img_patch_upscaler"
    final, final_cross = "mask_decoder.transformer", "mask_decoder.transformer.final_prompt_crossattn"
    hyper, token_mlp = "mask_decoder.output_hypernetworks_mlps.#mlp", "mask_decoder.maskgen.mask_token_mlps.#mlp"
    return RuleTable(
        (
            Rename("image_encoder.pos_embed", "image_encoder.posenc.base_embedding_bchw", other_axes=(0, 3, 1, 2)),
            Rename("image_encoder.patch_embed.proj.*", "image_encoder.patch_embed.proj.*"),
            *_block_rules(s.stages),
            Rename(f"{neck}.0.*", f"{channels}.0.*"),
            _picture_norm(f"{neck}.1.*", f"{channels}.1.*"),
            Rename(f"{neck}.2.*", f"{channels}.2.*"),
            _picture_norm(f"{neck}.3.*", f"{channels}.3.*"),
            Rename(_PE_KEY, "coordinate_encoder.gaussian_matrix"),
            Rename("prompt_encoder.point_embeddings.0.weight", "prompt_encoder.point_encoder.bg_embed"),
            Rename("prompt_encoder.point_embeddings.1.weight", "prompt_encoder.point_encoder.fg_embed"),
            Rename("prompt_encoder.point_embeddings.2.weight", "prompt_encoder.box_encoder.tl_embed"),
            Rename("prompt_encoder.point_embeddings.3.weight", "prompt_encoder.box_encoder.br_embed"),
            Rename("prompt_encoder.not_a_point_embed.weight", "prompt_encoder.point_encoder.not_a_point_embed"),
            Rename(f"{down}.0.*", f"{hint}.downscaler.0.*"),
            _picture_norm(f"{down}.1.*", f"{hint}.downscaler.1.*"),
            Rename(f"{down}.3.*", f"{hint}.downscaler.3.*"),
            _picture_norm(f"{down}.4.*", f"{hint}.downscaler.4.*"),
            Rename(f"{down}.6.*", f"{hint}.downscaler.6.*"),
            Rename("prompt_encoder.no_mask_embed.weight", f"{hint}.no_mask_embed"),
            Rename("mask_decoder.mask_tokens.weight", "mask_decoder.cls_mask_tokens"),
            Rename("mask_decoder.iou_token.weight", "mask_decoder.cls_iou_token"),
            Rename(f"{layer}.self_attn.**", f"{layer}.prompt_selfattn.attn.**"),
            Rename(f"{layer}.norm1.*", f"{layer}.prompt_selfattn.norm.*"),
            Rename(f"{layer}.cross_attn_token_to_image.**", f"{layer}.prompt_crossattn.attn.**"),
            Rename(f"{layer}.norm2.*", f"{layer}.prompt_crossattn.norm.*"),
            Rename(f"{layer}.mlp.lin1.*", f"{layer}.prompt_mlpnorm.mlp.0.*"),
            Rename(f"{layer}.mlp.lin2.*", f"{layer}.prompt_mlpnorm.mlp.2.*"),
            Rename(f"{layer}.norm3.*", f"{layer}.prompt_mlpnorm.norm.*"),
            Rename(f"{layer}.cross_attn_image_to_token.**", f"{layer}.image_crossattn.attn.**"),
            Rename(f"{layer}.norm4.*", f"{layer}.image_crossattn.norm.*"),
            Rename(f"{final}.final_attn_token_to_image.**", f"{final_cross}.attn.**"),
            Rename(f"{final}.norm_final_attn.*", f"{final_cross}.norm.*"),
            Rename("mask_decoder.output_upscaling.0.*", f"{up}.0.*"),
            _picture_norm("mask_decoder.output_upscaling.1.*", f"{up}.1.*"),
            Rename("mask_decoder.output_upscaling.3.*", f"{up}.3.*"),
            *(Rename(f"{hyper}.layers.{i}.*", f"{token_mlp}.layers.{2 * i}.*") for i in range(3)),
            *(
                Rename(f"mask_decoder.iou_prediction_head.layers.{i}.*", f"mask_decoder.iou_token_mlp.layers.{2 * i}.*")
                for i in range(s.iou_depth)
            ),
            Drop("that project's own note of its configuration", other=_CONFIG_KEY),
        )
    )


def _picture_norm(hub: str, other: str) -> Rename:
    return Rename(hub, other, hub_shape=_FLAT, other_shape=_PICTURE)


def _block_rules(stages: tuple[int, ...]) -> Iterable[Rule]:
    index = 0
    for stage, blocks in enumerate(stages):
        for place in range(blocks):
            is_last = place == blocks - 1
            inner = "global_attn_block" if is_last else f"windowed_attn_blocks.{place}.global_attn"
            hub, other = f"image_encoder.blocks.{index}", f"image_encoder.stages.{stage}.{inner}"
            yield Rename(f"{hub}.norm1.*", f"{other}.norm_preattn.*")
            yield Rename(f"{hub}.norm2.*", f"{other}.norm_premlp.*")
            yield Rename(f"{hub}.attn.rel_pos_h", f"{other}.attn.relpos.relpos_h_1d")
            yield Rename(f"{hub}.attn.rel_pos_w", f"{other}.attn.relpos.relpos_w_1d")
            yield Rename(f"{hub}.attn.*.*", f"{other}.attn.*.*")
            yield Rename(f"{hub}.mlp.lin1.*", f"{other}.mlp.layers.0.*")
            yield Rename(f"{hub}.mlp.lin2.*", f"{other}.mlp.layers.2.*")
            index += 1


def stages_of(config: Sam1Config) -> StageStructure:
    """The stages of a configuration.

    Raises:
        WeightsError: the global blocks do not end stages of equal length.
    """
    ends = config.global_blocks
    lengths = tuple(b - a for a, b in zip((-1, *ends), ends, strict=False))
    if not ends or ends[-1] != config.blocks - 1 or len(set(lengths)) > 1:
        raise WeightsError(
            "global blocks at the ends of stages of equal length",
            got=f"global blocks {list(ends)} of {config.blocks}",
            where="layout sam1-stages",
            do="keep the original layout: the stage-explicit one cannot say this",
        )
    return StageStructure(lengths, config.iou_depth)


def stages_structure(keys: Iterable[str]) -> StageStructure:
    """The stages behind keys of the stage-explicit layout."""
    keys = list(keys)
    stages = KeyPattern("image_encoder.stages.#stage.**").count(keys, "stage")
    windowed = KeyPattern("image_encoder.stages.#stage.windowed_attn_blocks.#place.**").matches(keys)
    lengths = (
        2 + max((int(c["place"]) for c in windowed if c["stage"] == stage), default=-1) for stage in range(stages)
    )
    head = KeyPattern("mask_decoder.iou_token_mlp.layers.#.weight").count(keys)
    return StageStructure(tuple(lengths), (head + 1) // 2 or 3)


def stages_config_tensor(c: Sam1Config) -> Mapping[str, torch.Tensor]:
    """The note of its configuration that MuggledSAM keeps among the weights: JSON as bytes."""
    note = {
        "features_per_image_token": c.width,
        "num_encoder_blocks": c.blocks,
        "num_encoder_heads": c.heads,
        "num_encoder_stages": len(stages_of(c).stages),
        "base_patch_grid_hw": [c.grid, c.grid],
        "base_window_size": c.window,
        "patch_size_px": c.patch,
        "features_per_prompt_token": c.prompt_width,
        "features_per_decoder_token": c.decoder_inner,
        "num_decoder_blocks": c.decoder_layers,
        "num_decoder_heads": c.decoder_heads,
        "num_output_mask_tokens": c.mask_tokens,
    }
    text = json.dumps(note, separators=(",", ":"))
    return {_CONFIG_KEY: torch.tensor(list(text.encode()), dtype=torch.uint8)}
