"""What an image encoder is made of: blocks, levels, shapes, parameters and operations, measured on the built model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8

from voxlang.encoders.checks import check_image_size

if TYPE_CHECKING:
    import torch
    from sam2.modeling.backbones.image_encoder import ImageEncoder
    from torch import nn


@dataclass(frozen=True)
class Block:
    """One transformer block of the trunk."""

    index: int
    """Number from 0."""
    window: int
    """Side of its attention windows in pixels of its map; 0 attends to the whole map."""
    heads: int
    """Attention heads."""
    pools: bool
    """Its queries are pooled 2x2: its output is half the size of its input."""
    channels: int
    """Width of its output."""
    rows: int
    """Height of its output map."""
    columns: int
    """Width of its output map in pixels."""
    stride: int
    """Pixels of the picture per pixel of its output."""
    parameters: int
    """Numbers that it learns."""
    gflop: float
    """Thousand million operations for one picture; a multiply-add counts as two."""


@dataclass(frozen=True)
class Level:
    """One level of the feature pyramid."""

    stride: int
    """Pixels of the picture per pixel of the level."""
    trunk_shape: tuple[int, int, int]
    """Channels, rows and columns that the trunk gives."""
    neck_shape: tuple[int, int, int]
    """The same after the neck."""
    top_down: bool
    """The neck adds the enlarged coarser level to it."""
    used: bool
    """False for a level that the scalp drops."""


@dataclass(frozen=True)
class EncoderDescription:
    """An image encoder at one size of picture."""

    name: str
    """Configuration it was built from."""
    trunk: str
    """Class of the trunk, and what is inside it."""
    height: int
    """Of the picture."""
    width: int
    """Of the picture."""
    stages: tuple[tuple[Block, ...], ...]
    """Blocks of each stage."""
    levels: tuple[Level, ...]
    """Levels, finest first."""
    parameters: dict[str, int]
    """Of "patches" (the first layer and positions), "blocks", "pyramid" (of a ViT), "neck", "total"."""
    gflop: dict[str, float]
    """Operations of the same parts, in thousand millions, for one picture."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def as_markdown(self) -> str:
        """The tables of stages, levels and parts."""
        return _markdown(self)


def describe_encoder(encoder: ImageEncoder, height: int, width: int, *, name: str) -> EncoderDescription:
    """Describe an encoder without computing: a copy without storage is run once, and its shapes and operations noted.

    Args:
        encoder: of `build_image_encoder`, or the one inside a model.
        height, width: of the picture.
        name: what to call it.

    Raises:
        MaskError: a size that the encoder does not take.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from voxlang.encoders.build import size_multiple

    check_image_size(height, width, multiple=size_multiple(encoder.trunk), model=type(encoder.trunk).__name__)
    shadow = _without_storage(encoder).eval()
    blocks = _blocks_of(shadow.trunk)
    shapes: dict[int, tuple[int, ...]] = {}
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda _m, _in, out, i=i: shapes.__setitem__(i, tuple(out.shape)))
    trunk_levels: list[torch.Tensor] = []
    neck_levels: list[torch.Tensor] = []
    shadow.trunk.register_forward_hook(lambda _m, _in, out: trunk_levels.extend(out))
    shadow.neck.register_forward_hook(lambda _m, _in, out: neck_levels.extend(out[0]))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        shadow(torch.empty(1, 3, height, width, device="meta"))
    gflop_of = {key: sum(ops.values()) / 1e9 for key, ops in counter.get_flop_counts().items()}
    names = {module: key for key, module in shadow.named_modules()}
    gflop = lambda module: gflop_of.get(f"{type(shadow).__name__}.{names[module]}", 0.0)
    rows = []
    for i, block in enumerate(blocks):
        channels, h, w = _map_shape(shapes[i], height, width)
        rows.append(
            Block(
                i, *_attention_of(block), channels, h, w, height // h, _count(block), gflop(block)
            )
        )  # fmt: skip
    kept = len(neck_levels) - shadow.scalp
    levels = [
        Level(
            height // t.shape[-2],
            tuple(t.shape[1:]),
            tuple(n.shape[1:]),
            i in shadow.neck.fpn_top_down_levels and i + 1 < len(neck_levels),
            i < kept,
        )
        for i, (t, n) in enumerate(zip(trunk_levels, neck_levels, strict=True))
    ]
    pyramid = getattr(shadow.trunk, "pyramid", None)
    counts = {
        "blocks": (sum(b.parameters for b in rows), sum(b.gflop for b in rows)),
        "pyramid": (_count(pyramid), gflop(pyramid)) if pyramid is not None else (0, 0.0),
        "neck": (_count(shadow.neck), gflop(shadow.neck)),
        "total": (_count(shadow), gflop_of["Global"]),
    }
    rest = [counts["total"][k] - sum(counts[part][k] for part in ("blocks", "pyramid", "neck")) for k in (0, 1)]
    counts = {"patches": (rest[0], max(rest[1], 0.0)), **counts}
    return EncoderDescription(
        name,
        _trunk_name(shadow.trunk),
        height,
        width,
        _by_stage(rows, shadow.trunk),
        tuple(levels),
        {part: n for part, (n, _) in counts.items()},
        {part: round(f, 3) for part, (_, f) in counts.items()},
    )


def principal_colours(features: Float32[np.ndarray, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The three main directions of a feature map as red, green and blue, each from its 1st to its 99th percentile.

    The sign of a direction is chosen so that its largest weight is positive.
    """
    c, h, w = features.shape
    x = features.reshape(c, -1).T.astype(np.float64)
    x = x - x.mean(0)
    _, _, directions = np.linalg.svd(x.T @ x)
    directions = directions[:3]
    directions = directions * np.sign(np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1))
    projected = np.zeros((len(x), 3))
    projected[:, : len(directions)] = x @ directions.T
    low, high = np.percentile(projected, [1, 99], axis=0)
    scaled = (projected - low) / np.where(high > low, high - low, 1.0)
    return (np.clip(scaled, 0, 1) * 255).round().astype(np.uint8).reshape(h, w, 3)


def level_features(encoder: ImageEncoder, picture: torch.Tensor) -> list[Float32[np.ndarray, "_ _ _"]]:
    """The levels that the mask decoder reads, of one picture [1 3 h w] as SAM 2 normalises it, finest first."""
    import torch

    with torch.no_grad():
        return [level[0].float().cpu().numpy() for level in encoder(picture)["backbone_fpn"]]


def _without_storage(module: nn.Module) -> nn.Module:
    """A copy on the meta device; the weights are never copied."""
    import torch

    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, memo)


def _blocks_of(trunk: nn.Module) -> list[nn.Module]:
    if hasattr(trunk, "blocks"):
        return list(trunk.blocks)
    vit = trunk.vit
    for place in (getattr(vit, "encoder", None), getattr(vit, "model", None)):
        if place is not None:
            return list(place.layer)
    return list(vit.layers)


def _attention_of(block: nn.Module) -> tuple[int, int, bool]:
    """Window, heads, whether the queries are pooled."""
    if hasattr(block, "window_size"):
        return block.window_size, block.attn.num_heads, block.q_stride is not None
    attention = getattr(block, "attention", None)
    heads = getattr(attention, "num_attention_heads", None) or getattr(attention, "num_heads", 0)
    return 0, heads, False


def _map_shape(shape: tuple[int, ...], height: int, width: int) -> tuple[int, int, int]:
    """Channels, rows, columns of a Hiera block [b h w c], or of a ViT layer [b tokens c] at stride 16."""
    if len(shape) == 4:
        return shape[3], shape[1], shape[2]
    return shape[2], height // 16, width // 16


def _by_stage(rows: list[Block], trunk: nn.Module) -> tuple[tuple[Block, ...], ...]:
    ends = getattr(trunk, "stage_ends", [len(rows) - 1])
    starts = [0, *(end + 1 for end in ends[:-1])]
    return tuple(tuple(rows[a : b + 1]) for a, b in zip(starts, ends, strict=True))


def _trunk_name(trunk: nn.Module) -> str:
    if not hasattr(trunk, "vit"):
        return type(trunk).__name__
    return f"{type(trunk).__name__} ({type(trunk.vit).__name__}, patches of {trunk.patch_size})"


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _markdown(d: EncoderDescription) -> str:
    title = f"{d.name}: {d.trunk} at {d.height}x{d.width} pixels"
    stages = [
        _stage_row(i + 1, blocks) for i, blocks in enumerate(d.stages)
    ]  # fmt: skip
    levels = [
        (
            f"{level.stride}",
            _shape(level.trunk_shape),
            _shape(level.neck_shape),
            "yes" if level.top_down else "-",
            "yes" if level.used else "dropped (scalp)",
        )
        for level in d.levels
    ]
    parts = [(part, f"{n / 1e6:.2f}", f"{d.gflop[part]:.2f}") for part, n in d.parameters.items() if n or d.gflop[part]]
    return "\n\n".join(
        (
            title,
            _table(
                ("stage", "blocks", "window", "global blocks", "heads", "q-pooling", "channels", "stride", "map",
                 "parameters (M)", "GFLOP"),
                stages,
            ),
            _table(("level of stride", "trunk gives", "neck gives", "hears the coarser", "used"), levels),
            _table(("part", "parameters (M)", "GFLOP"), parts),
        )
    )  # fmt: skip


def _stage_row(number: int, blocks: Sequence[Block]) -> tuple[str, ...]:
    last = blocks[-1]
    windows = sorted({b.window for b in blocks if b.window}, reverse=True)
    whole = [str(b.index) for b in blocks if not b.window]
    pooled = [str(b.index) for b in blocks if b.pools]
    return (
        str(number),
        f"{blocks[0].index}-{last.index}" if len(blocks) > 1 else str(last.index),
        ", ".join(map(str, windows)) or "-",
        "all" if len(whole) == len(blocks) else ", ".join(whole) or "-",
        "/".join(dict.fromkeys(str(b.heads) for b in blocks)),
        f"block {', '.join(pooled)}" if pooled else "-",
        str(last.channels),
        str(last.stride),
        f"{last.rows}x{last.columns}",
        f"{sum(b.parameters for b in blocks) / 1e6:.2f}",
        f"{sum(b.gflop for b in blocks):.2f}",
    )


def _shape(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    line = lambda row: "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
    return "\n".join((line(head), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)))
