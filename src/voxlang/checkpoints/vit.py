"""Other image encoders that people hold beside SAM: recognised and described, not converted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from voxlang.checkpoints.facts import FactFinder
from voxlang.checkpoints.patterns import KeyPattern

_SIZES = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge", 1536: "giant"}
_HEAD_WIDTH = 64


@dataclass(frozen=True)
class Recognised:
    """A layout that is known by its keys only."""

    name: str
    """As reports call it."""
    title: str
    """What it is."""
    forms: frozenset[str]
    """Forms of its keys, numbers replaced by `#`."""
    describe: Callable[[FactFinder], str]
    """Notes facts and returns the size's name."""


def _pairs(*names: str) -> set[str]:
    return {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}


_VIT_BLOCKS = _pairs(
    *(f"blocks.#.{part}" for part in ("norm#", "attn.qkv", "attn.proj", "mlp.fc#")), "patch_embed.proj", "norm"
)
_HF_ENDS = _pairs("embeddings.patch_embeddings.projection", "layernorm") | {"embeddings.position_embeddings"}


def _describe(patch: str, positions: str, block: str, tokens: str | None) -> Callable[[FactFinder], str]:
    def describe(f: FactFinder) -> str:
        width, _, side, _ = f.shape(patch, 4)
        f.weights("width", width, patch)
        f.weights("patch", side, patch)
        f.weights("blocks", f.count(block), block)
        rows = f.shape(positions, max(2, len(f.shapes.get(positions, ()))))[-2]
        extra = 1 if tokens and tokens in f.shapes else 0
        f.weights("has_class_token", bool(extra), tokens or "no such key in this layout")
        f.weights("grid", round(max(0, rows - extra) ** 0.5), positions)
        f.assume("heads", max(1, width // _HEAD_WIDTH), f"heads of {_HEAD_WIDTH} channels, as published")
        return _SIZES.get(width, "custom")

    return describe


def _describe_mobile(f: FactFinder) -> str:
    key = "image_encoder.layers.#.blocks.#.mlp.fc1.weight"
    pattern = KeyPattern(key)
    stages = pattern.numbers(f.shapes, "0")
    f.weights("attention_stages", len(stages), key)
    f.weights("blocks", len(pattern.matches(f.shapes)), key)
    f.weights("prompt_width", f.shape("mask_decoder.mask_tokens.weight", 2)[1], "mask_decoder.mask_tokens.weight")
    return "vit_t"


_TINY_STEMS = (
    "patch_embed.seq.#",
    "layers.#.blocks.#.conv#",
    "layers.#.downsample.conv#",
    "layers.#.blocks.#.local_conv",
)
_TINY_ENDS = ("c.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked")
_TINY_PARTS = ("attn.norm", "attn.qkv", "attn.proj", "mlp.norm", "mlp.fc#")
MOBILE_ENCODER = frozenset(
    {f"image_encoder.{stem}.{end}" for stem in _TINY_STEMS for end in _TINY_ENDS}
    | _pairs(*(f"image_encoder.layers.#.blocks.#.{part}" for part in _TINY_PARTS))
    | _pairs("image_encoder.neck.#", "image_encoder.norm_head", "image_encoder.head")
    | {"image_encoder.layers.#.blocks.#.attn.attention_biases"}
)
"""Keys of MobileSAM's TinyViT; prompt encoder and mask decoder are SAM 1's."""

_CLIP_BLOCK = {f"transformer.resblocks.#.attn.{k}" for k in ("in_proj_weight", "in_proj_bias")} | _pairs(
    *(f"transformer.resblocks.#.{part}" for part in ("attn.out_proj", "ln_#", "mlp.c_fc", "mlp.c_proj"))
)


def recognised(prompt_and_decoder: frozenset[str]) -> tuple[Recognised, ...]:
    """All of them; MobileSAM needs the forms of SAM 1's prompt encoder and decoder."""
    plain = ("patch_embed.proj.weight", "pos_embed", "blocks.#.norm1.weight")
    hf = ("embeddings.patch_embeddings.projection.weight", "embeddings.position_embeddings")
    return (
        Recognised(
            "mobile-sam",
            "MobileSAM (TinyViT with SAM 1's decoder)",
            MOBILE_ENCODER | prompt_and_decoder,
            _describe_mobile,
        ),
        Recognised(
            "dinov2",
            "DINOv2 (original or timm names)",
            frozenset(_VIT_BLOCKS | {"cls_token", "pos_embed", "mask_token", "blocks.#.ls#.gamma"}),
            _describe(*plain, "cls_token"),
        ),
        Recognised(
            "hf-dinov2",
            "DINOv2 in transformers",
            frozenset(
                _HF_ENDS
                | {"embeddings.cls_token", "embeddings.mask_token", "encoder.layer.#.layer_scale#.lambda#"}
                | _pairs(*(f"encoder.layer.#.attention.{p}_proj" for p in "qkvo"))
                | _pairs("encoder.layer.#.norm#", "encoder.layer.#.mlp.fc#")
            ),
            _describe(*hf, "encoder.layer.#.norm1.weight", "embeddings.cls_token"),
        ),
        Recognised(
            "ijepa",
            "I-JEPA encoder (original names), or a ViT without class token",
            frozenset(_VIT_BLOCKS | {"pos_embed"}),
            _describe(*plain, None),
        ),
        Recognised(
            "hf-ijepa",
            "I-JEPA in transformers",
            frozenset(
                _HF_ENDS
                | _pairs(*(f"layers.#.attention.{p}_proj" for p in "qkvo"))
                | _pairs("layers.#.layernorm_before", "layers.#.layernorm_after", "layers.#.mlp.fc#")
            ),
            _describe(*hf, "layers.#.layernorm_before.weight", None),
        ),
        Recognised(
            "timm-vit",
            "ViT of timm",
            frozenset(_VIT_BLOCKS | {"cls_token", "pos_embed"} | _pairs("head")),
            _describe(*plain, "cls_token"),
        ),
        Recognised(
            "open-clip",
            "CLIP of open_clip",
            frozenset(
                {
                    f"visual.{k}"
                    for k in _CLIP_BLOCK | {"class_embedding", "positional_embedding", "proj", "conv#.weight"}
                }
                | _CLIP_BLOCK
                | _pairs("visual.ln_pre", "visual.ln_post", "ln_final")
                | {"positional_embedding", "text_projection", "logit_scale", "token_embedding.weight"}
            ),
            _describe(
                "visual.conv1.weight",
                "visual.positional_embedding",
                "visual.transformer.resblocks.#.ln_1.weight",
                "visual.class_embedding",
            ),
        ),
    )
