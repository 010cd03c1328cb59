"""SAM 2 and 2.1: what the weights say, and the keys and shapes that follow. The hub layout is that of sam2 1.1.0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from voxlang.checkpoints.facts import Fact, FactFinder
from voxlang.checkpoints.hiera import HieraConfig, hiera_from, hiera_skeleton, infer_hiera
from voxlang.checkpoints.known import PUBLISHED, known_sam2
from voxlang.checkpoints.sam1 import decoder_heads, prompt_skeleton
from voxlang.checkpoints.skeleton import Skeleton, attention, linear, mlp, norm

TRUNK = "image_encoder.trunk."
_MASK_CHANNELS, _DECODER_LAYERS, _DECODER_MLP, _IOU_HIDDEN = 16, 2, 2048, 256
"""Fixed numbers of sam2's classes."""

Head = Literal["none", "linear", "mlp"]


@dataclass(frozen=True)
class MemoryConfig:
    """The modules that carry objects from frame to frame."""

    layers: int
    """Layers of the memory attention."""
    feedforward: int
    """Hidden channels of its MLP."""
    inner: int
    """Channels inside its attention."""
    width: int
    """Channels of a memory."""
    frames: int
    """Memories that are looked at."""
    mask_steps: int
    """Convolutions that shrink a mask by 16 in all."""
    mask_kernel: int
    """Their kernel."""
    fuser_layers: int
    """Blocks that fuse mask and picture."""
    fuser_kernel: int
    """Their kernel."""
    fuser_is_depthwise: bool
    """Their convolution treats each channel alone."""
    pointer: Head
    """Projection of object pointers."""
    is_new: bool
    """2.1: pointers are given projected times, and memories of frames without the object are marked."""


@dataclass(frozen=True)
class Sam2Config:
    """Everything that sam2's classes need."""

    trunk: HieraConfig
    """The image encoder's trunk."""
    d_model: int
    """Channels behind the neck."""
    mask_tokens: int
    """Masks per prompt, the single one included."""
    has_fine_features: bool
    """The decoder sees the two fine levels."""
    object_score: Head
    """Head that tells whether the object is there."""
    top_down: tuple[int, ...]
    """Levels of the neck that hear from the coarser one."""
    top_down_mode: Literal["nearest", "bilinear"]
    """How they are enlarged."""
    image_size: int
    """Side of the model's input in pixels."""
    adds_no_memory: bool
    """Still pictures get the embedding "no memory"."""
    memory: MemoryConfig | None
    """None: a file for still pictures only."""


def infer_sam2(
    shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any] | None = None
) -> tuple[Sam2Config, dict[str, Fact]]:
    """The configuration behind a state dict of the hub layout, with the source of every value.

    Raises:
        WeightsError: a key that decides is missing, or two contradict each other.
    """
    f = FactFinder(shapes, given or {})
    trunk = infer_hiera(f, TRUNK)
    neck_key = "image_encoder.neck.convs.0.conv.weight"
    f.weights("d_model", f.shape(neck_key, 4)[0], neck_key)
    tokens_key = "sam_mask_decoder.mask_tokens.weight"
    f.weights("mask_tokens", f.shape(tokens_key, 2)[0], tokens_key)
    f.weights("has_fine_features", "sam_mask_decoder.conv_s0.weight" in shapes, "sam_mask_decoder.conv_s0.weight")
    f.weights("object_score", _head(f, "sam_mask_decoder.pred_obj_score_head"), "sam_mask_decoder.pred_obj_score_head")
    known = known_sam2(trunk.width, trunk.stages)
    say, because = (f.lookup, f"SAM 2 {known.size}") if known else (f.assume, "as in every published SAM 2")
    usual = known or PUBLISHED["tiny"]
    for name in ("top_down", "top_down_mode", "image_size", "adds_no_memory"):
        say(name, getattr(usual, name), because)
    has_memory = f.weights("memory", any(k.startswith("memory_encoder.") for k in shapes), "memory_encoder.**")
    memory = _infer_memory(f) if has_memory else None
    names = [n for n in Sam2Config.__dataclass_fields__ if n not in ("trunk", "memory")]
    config = Sam2Config(trunk=hiera_from(f.facts), memory=memory, **{name: f.facts[name].value for name in names})
    return config, f.facts


def _infer_memory(f: FactFinder) -> MemoryConfig:
    attention_, encoder = "memory_attention.layers", "memory_encoder"
    kernel_key, fuser_key = f"{encoder}.mask_downsampler.encoder.0.weight", f"{encoder}.fuser.layers.0.dwconv.weight"
    fuser_kernel = f.shape(fuser_key, 4)
    convolutions = sum(
        len(f.shapes[k]) == 4 for k in f.shapes if k.startswith(f"{encoder}.mask_downsampler.") and k.endswith("weight")
    )
    new_keys = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight")
    values: dict[str, tuple[Any, str]] = {
        "layers": (f.count(f"{attention_}.#.norm1.weight"), f"{attention_}.#"),
        "feedforward": (f.shape(f"{attention_}.0.linear1.weight", 2)[0], f"{attention_}.0.linear1.weight"),
        "inner": (f.shape(f"{attention_}.0.self_attn.q_proj.weight", 2)[0], f"{attention_}.0.self_attn.q_proj.weight"),
        "width": (f.shape("maskmem_tpos_enc", 4)[3], "maskmem_tpos_enc"),
        "frames": (f.shape("maskmem_tpos_enc", 4)[0], "maskmem_tpos_enc"),
        "mask_steps": (max(1, convolutions - 1), f"{encoder}.mask_downsampler.encoder.#"),
        "mask_kernel": (f.shape(kernel_key, 4)[2], kernel_key),
        "fuser_layers": (f.count(f"{encoder}.fuser.layers.#.norm.weight"), f"{encoder}.fuser.layers.#"),
        "fuser_kernel": (fuser_kernel[2], fuser_key),
        "fuser_is_depthwise": (fuser_kernel[1] == 1, fuser_key),
        "pointer": (_head(f, "obj_ptr_proj"), "obj_ptr_proj"),
        "is_new": (any(k in f.shapes for k in new_keys), ", ".join(new_keys)),
    }
    return MemoryConfig(**{name: f.weights(f"memory_{name}", *value) for name, value in values.items()})


def _head(f: FactFinder, name: str) -> Head:
    if f"{name}.layers.0.weight" in f.shapes:
        return "mlp"
    return "linear" if f"{name}.weight" in f.shapes else "none"


def sam2_size(config: Sam2Config) -> str:
    """Name of the published size, or "custom"."""
    known = known_sam2(config.trunk.width, config.trunk.stages)
    return known.size if known else "custom"


def sam2_version(config: Sam2Config) -> Fact:
    """ "2.0" or "2.1": the newer marks memories without an object and projects the times of pointers."""
    memory = config.memory
    if memory is None or memory.pointer == "none":
        return Fact("2.1", "assumption", "no object pointers, which would tell 2.0 from 2.1")
    return Fact("2.1" if memory.is_new else "2.0", "weights", "no_obj_embed_spatial, obj_ptr_tpos_proj")


def sam2_skeleton(c: Sam2Config) -> Skeleton:
    """Keys and shapes of the hub layout."""
    d, w = "sam_mask_decoder", c.d_model
    keys = hiera_skeleton(c.trunk, TRUNK)
    for i, width in enumerate(reversed(c.trunk.widths)):
        keys |= linear(f"image_encoder.neck.convs.{i}.conv", w, width, 1, 1)
    keys |= {"no_mem_embed": (1, 1, w)}
    keys |= prompt_skeleton("sam_prompt_encoder", w, _MASK_CHANNELS)
    for i in range(_DECODER_LAYERS):
        layer = f"{d}.transformer.layers.{i}"
        keys |= attention(f"{layer}.self_attn", w, w) | norm(f"{layer}.norm1", w)
        keys |= attention(f"{layer}.cross_attn_token_to_image", w, w // 2) | norm(f"{layer}.norm2", w)
        keys |= mlp(f"{layer}.mlp", (w, _DECODER_MLP, w)) | norm(f"{layer}.norm3", w) | norm(f"{layer}.norm4", w)
        keys |= attention(f"{layer}.cross_attn_image_to_token", w, w // 2)
    keys |= attention(f"{d}.transformer.final_attn_token_to_image", w, w // 2)
    keys |= norm(f"{d}.transformer.norm_final_attn", w)
    keys |= decoder_heads(d, w, c.mask_tokens)
    keys |= mlp(f"{d}.iou_prediction_head", (w, _IOU_HIDDEN, _IOU_HIDDEN, c.mask_tokens))
    if c.has_fine_features:
        keys |= linear(f"{d}.conv_s0", w // 8, w, 1, 1) | linear(f"{d}.conv_s1", w // 4, w, 1, 1)
    if c.object_score != "none":
        keys |= {f"{d}.obj_score_token.weight": (1, w)}
        keys |= _head_skeleton(f"{d}.pred_obj_score_head", c.object_score, w, 1)
    return keys | (_memory(c.memory, w, has_scores=c.object_score != "none") if c.memory else {})


def _head_skeleton(name: str, head: Head, width: int, width_out: int) -> Skeleton:
    return mlp(name, (width, width, width, width_out)) if head == "mlp" else linear(name, width_out, width)


def _memory(m: MemoryConfig, w: int, *, has_scores: bool) -> Skeleton:
    keys: Skeleton = {"maskmem_tpos_enc": (m.frames, 1, 1, m.width), "no_mem_pos_enc": (1, 1, w)}
    for i in range(m.layers):
        layer = f"memory_attention.layers.{i}"
        keys |= attention(f"{layer}.self_attn", w, m.inner)
        keys |= attention(f"{layer}.cross_attn_image", w, m.inner, keys_width=m.width)
        keys |= linear(f"{layer}.linear1", m.feedforward, w) | linear(f"{layer}.linear2", w, m.feedforward)
        keys |= norm(f"{layer}.norm1", w) | norm(f"{layer}.norm2", w) | norm(f"{layer}.norm3", w)
    keys |= norm("memory_attention.norm", w)
    keys |= _memory_encoder(m, w)
    if m.pointer != "none":
        keys |= linear("mask_downsample", 1, 1, 4, 4) | _head_skeleton("obj_ptr_proj", m.pointer, w, w)
        keys |= {"no_obj_ptr": (1, w)} if has_scores else {}
        keys |= linear("obj_ptr_tpos_proj", m.width, w) if m.is_new else {}
    return keys | ({"no_obj_embed_spatial": (1, m.width)} if m.is_new else {})


def _memory_encoder(m: MemoryConfig, w: int) -> Skeleton:
    e, keys, channels = "memory_encoder", Skeleton(), 1
    for i in range(m.mask_steps):
        wider = channels * mask_stride(m) ** 2
        keys |= linear(f"{e}.mask_downsampler.encoder.{3 * i}", wider, channels, m.mask_kernel, m.mask_kernel)
        keys |= norm(f"{e}.mask_downsampler.encoder.{3 * i + 1}", wider)
        channels = wider
    keys |= linear(f"{e}.mask_downsampler.encoder.{3 * m.mask_steps}", w, channels, 1, 1)
    keys |= linear(f"{e}.pix_feat_proj", w, w, 1, 1)
    for i in range(m.fuser_layers):
        block, seen = f"{e}.fuser.layers.{i}", 1 if m.fuser_is_depthwise else w
        keys |= linear(f"{block}.dwconv", w, seen, m.fuser_kernel, m.fuser_kernel) | norm(f"{block}.norm", w)
        keys |= linear(f"{block}.pwconv1", 4 * w, w) | linear(f"{block}.pwconv2", w, 4 * w)
        keys |= {f"{block}.gamma": (w,)}
    return keys | (linear(f"{e}.out_proj", m.width, w, 1, 1) if m.width != w else {})


def mask_stride(m: MemoryConfig) -> int:
    """Stride of each convolution of the mask's encoder, which shrinks by 16 in all."""
    return round(16 ** (1 / m.mask_steps))
