"""SAM 1: what its weights say, and the keys and shapes that follow. The hub layout is that of segment-anything 1.0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxlang.checkpoints.facts import Fact, FactFinder
from voxlang.checkpoints.skeleton import Skeleton, attention, linear, mlp, norm, transposed

SIZES: dict[tuple[int, int], str] = {(768, 12): "vit_b", (1024, 24): "vit_l", (1280, 32): "vit_h"}
"""(width, blocks) of the published models."""
_HEAD_WIDTHS = {768: 64, 1024: 64, 1280: 80}
"""Width of an attention head in the published encoders."""
_DECODER_HEADS = 8


@dataclass(frozen=True)
class Sam1Config:
    """Everything that segment-anything's classes need."""

    width: int
    """Channels of the image encoder."""
    heads: int
    """Attention heads of the image encoder."""
    global_blocks: tuple[int, ...]
    """Blocks that attend over the whole picture; the others attend within windows."""
    blocks: int
    """Blocks of the image encoder."""
    window: int
    """Side of a window in patches."""
    grid: int
    """Side of the picture in patches."""
    patch: int
    """Side of a patch in pixels."""
    channels: int
    """Channels of the picture."""
    mlp_width: int
    """Hidden channels of a block's MLP."""
    qkv_bias: bool
    """The joint projection has a bias."""
    has_relative_positions: bool
    """The attention adds decomposed relative positions."""
    prompt_width: int
    """Channels behind the neck, of prompts and of the decoder."""
    mask_channels: int
    """Channels of the second stage of the mask prompt's encoder."""
    decoder_layers: int
    """Layers of the two-way transformer."""
    decoder_inner: int
    """Channels inside its cross attention."""
    decoder_mlp: int
    """Hidden channels of its MLP."""
    decoder_heads: int
    """Its attention heads."""
    mask_tokens: int
    """Masks per prompt, the single one included."""
    iou_depth: int
    """Linear layers of the head that predicts the IoU."""
    iou_hidden: int
    """Their hidden channels."""

    @property
    def image_size(self) -> int:
        """Side of the model's input in pixels."""
        return self.grid * self.patch


def infer_sam1(
    shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any] | None = None
) -> tuple[Sam1Config, dict[str, Fact]]:
    """The configuration behind a state dict of the hub layout, with the source of every value.

    Raises:
        WeightsError: a key that decides is missing, or two contradict each other.
    """
    f = FactFinder(shapes, given or {})
    encoder, decoder = "image_encoder", "mask_decoder"
    patch_key = f"{encoder}.patch_embed.proj.weight"
    width, channels, patch, _ = f.shape(patch_key, 4)
    f.weights("width", width, patch_key)
    f.weights("channels", channels, patch_key)
    f.weights("patch", patch, patch_key)
    blocks = f.weights("blocks", f.count(f"{encoder}.blocks.#.norm1.weight"), f"{encoder}.blocks.#")
    if not blocks:
        f.fail(f"blocks {encoder}.blocks.#", got="none")
    _infer_attention(f, width, blocks)
    f.weights("mlp_width", f.shape(f"{encoder}.blocks.0.mlp.lin1.weight", 2)[0], f"{encoder}.blocks.0.mlp.lin1.weight")
    bias_key = f"{encoder}.blocks.0.attn.qkv.bias"
    f.weights("qkv_bias", bias_key in shapes, bias_key)
    neck_key = f"{encoder}.neck.0.weight"
    prompt_width = f.weights("prompt_width", f.shape(neck_key, 4)[0], neck_key)
    mask_key = "prompt_encoder.mask_downscaling.3.weight"
    f.weights("mask_channels", f.shape(mask_key, 4)[0], mask_key)
    inner_key = f"{decoder}.transformer.final_attn_token_to_image.q_proj.weight"
    inner = f.weights("decoder_inner", f.shape(inner_key, 2)[0], inner_key)
    f.ratio(prompt_width, inner, "the inner width of the decoder's attention")
    layers_key = f"{decoder}.transformer.layers.#.mlp.lin1.weight"
    f.weights("decoder_layers", f.count(layers_key), layers_key)
    mlp_key = f"{decoder}.transformer.layers.0.mlp.lin1.weight"
    f.weights("decoder_mlp", f.shape(mlp_key, 2)[0], mlp_key)
    tokens_key = f"{decoder}.mask_tokens.weight"
    f.weights("mask_tokens", f.shape(tokens_key, 2)[0], tokens_key)
    head = f"{decoder}.iou_prediction_head.layers"
    f.weights("iou_depth", f.count(f"{head}.#.weight"), f"{head}.#")
    f.weights("iou_hidden", f.shape(f"{head}.0.weight", 2)[0], f"{head}.0.weight")
    size = SIZES.get((width, blocks))
    if size:
        f.lookup("decoder_heads", _DECODER_HEADS, size)
    else:
        f.assume("decoder_heads", _DECODER_HEADS, "every published SAM has 8")
    return Sam1Config(**{name: fact.value for name, fact in f.facts.items()}), f.facts


def _infer_attention(f: FactFinder, width: int, blocks: int) -> None:
    encoder = "image_encoder"
    position_key = f"{encoder}.pos_embed"
    grid = f.weights("grid", f.shape(position_key, 4)[1], position_key)
    tables = [f.shapes.get(f"{encoder}.blocks.{i}.attn.rel_pos_h") for i in range(blocks)]
    has_relative = f.weights("has_relative_positions", tables[0] is not None, f"{encoder}.blocks.#.attn.rel_pos_h")
    if not has_relative:
        head = _HEAD_WIDTHS.get(width, 64)
        say = f.lookup if width in _HEAD_WIDTHS else f.assume
        say("heads", max(1, width // head), f"heads of {head} channels")
        f.assume("window", 14, "every published SAM has 14")
        step = max(1, blocks // 4)
        f.assume("global_blocks", tuple(range(step - 1, blocks, step)), "the last of each quarter")
        return
    sides = []
    for i in range(blocks):
        rows, _ = f.shape(f"{encoder}.blocks.{i}.attn.rel_pos_h", 2)
        sides.append((rows + 1) // 2)
    because = f"{encoder}.blocks.#.attn.rel_pos_h"
    head = f.shape(f"{encoder}.blocks.0.attn.rel_pos_h", 2)[1]
    f.weights("heads", f.ratio(width, head, "width to width of a head"), because)
    f.weights("global_blocks", tuple(i for i, side in enumerate(sides) if side == grid), because)
    windows = sorted({side for side in sides if side != grid})
    if len(windows) > 1:
        f.fail("one window size in all blocks", got=f"relative positions for {windows} and a grid of {grid}")
    if windows:
        f.weights("window", windows[0], because)
    else:
        f.assume("window", 14, "every published SAM has 14; no block uses it here")


def sam1_size(config: Sam1Config) -> str:
    """Name of the published size, or "custom"."""
    return SIZES.get((config.width, config.blocks), "custom")


def sam1_skeleton(c: Sam1Config) -> Skeleton:
    """Keys and shapes of the hub layout."""
    e, keys = "image_encoder", Skeleton()
    keys |= {f"{e}.pos_embed": (1, c.grid, c.grid, c.width)}
    keys |= linear(f"{e}.patch_embed.proj", c.width, c.channels, c.patch, c.patch)
    for i in range(c.blocks):
        b = f"{e}.blocks.{i}"
        keys |= norm(f"{b}.norm1", c.width)
        if c.has_relative_positions:
            table = (2 * (c.grid if i in c.global_blocks else c.window) - 1, c.width // c.heads)
            keys |= {f"{b}.attn.rel_pos_h": table, f"{b}.attn.rel_pos_w": table}
        keys |= linear(f"{b}.attn.qkv", 3 * c.width, c.width, bias=c.qkv_bias)
        keys |= linear(f"{b}.attn.proj", c.width, c.width)
        keys |= norm(f"{b}.norm2", c.width)
        keys |= linear(f"{b}.mlp.lin1", c.mlp_width, c.width) | linear(f"{b}.mlp.lin2", c.width, c.mlp_width)
    w = c.prompt_width
    keys |= linear(f"{e}.neck.0", w, c.width, 1, 1, bias=False) | norm(f"{e}.neck.1", w)
    keys |= linear(f"{e}.neck.2", w, w, 3, 3, bias=False) | norm(f"{e}.neck.3", w)
    return keys | prompt_skeleton("prompt_encoder", w, c.mask_channels) | _decoder(c)


def prompt_skeleton(name: str, width: int, mask_channels: int) -> Skeleton:
    """The prompt encoder, which SAM 1 and SAM 2 share."""
    quarter = mask_channels // 4
    row, down = (1, width), f"{name}.mask_downscaling"
    return {
        f"{name}.pe_layer.positional_encoding_gaussian_matrix": (2, width // 2),
        **{f"{name}.point_embeddings.{i}.weight": row for i in range(4)},
        f"{name}.not_a_point_embed.weight": row,
        **linear(f"{down}.0", quarter, 1, 2, 2),
        **norm(f"{down}.1", quarter),
        **linear(f"{down}.3", mask_channels, quarter, 2, 2),
        **norm(f"{down}.4", mask_channels),
        **linear(f"{down}.6", width, mask_channels, 1, 1),
        f"{name}.no_mask_embed.weight": row,
    }


def _decoder(c: Sam1Config) -> Skeleton:
    d, w, inner = "mask_decoder", c.prompt_width, c.decoder_inner
    keys = Skeleton()
    for i in range(c.decoder_layers):
        layer = f"{d}.transformer.layers.{i}"
        keys |= attention(f"{layer}.self_attn", w, w) | norm(f"{layer}.norm1", w)
        keys |= attention(f"{layer}.cross_attn_token_to_image", w, inner) | norm(f"{layer}.norm2", w)
        keys |= linear(f"{layer}.mlp.lin1", c.decoder_mlp, w) | linear(f"{layer}.mlp.lin2", w, c.decoder_mlp)
        keys |= norm(f"{layer}.norm3", w) | norm(f"{layer}.norm4", w)
        keys |= attention(f"{layer}.cross_attn_image_to_token", w, inner)
    keys |= attention(f"{d}.transformer.final_attn_token_to_image", w, inner)
    keys |= norm(f"{d}.transformer.norm_final_attn", w)
    keys |= decoder_heads(d, w, c.mask_tokens)
    hidden = (c.iou_hidden,) * (c.iou_depth - 1)
    return keys | mlp(f"{d}.iou_prediction_head", (w, *hidden, c.mask_tokens))


def decoder_heads(d: str, w: int, tokens: int) -> Skeleton:
    """Tokens, upscaling and hypernetworks of the mask decoder, which SAM 1 and SAM 2 share."""
    keys: Skeleton = {f"{d}.iou_token.weight": (1, w), f"{d}.mask_tokens.weight": (tokens, w)}
    keys |= transposed(f"{d}.output_upscaling.0", w, w // 4, 2, 2) | norm(f"{d}.output_upscaling.1", w // 4)
    keys |= transposed(f"{d}.output_upscaling.3", w // 4, w // 8, 2, 2)
    for i in range(tokens):
        keys |= mlp(f"{d}.output_hypernetworks_mlps.{i}", (w, w, w, w // 8))
    return keys
