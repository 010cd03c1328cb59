"""Hiera, the trunk of SAM 2: what its weights say, and the keys and shapes that follow.

Weights fix the channels, the blocks, which of them project to more channels (the first of each stage), and both
position embeddings. They do not fix the attention heads, the window sizes behind the first stage or the global blocks:
those are looked up for the models of `checkpoints.known`, and assumed for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from voxlang.checkpoints.facts import Fact, FactFinder
from voxlang.checkpoints.known import known_sam2
from voxlang.checkpoints.skeleton import Skeleton, linear, mlp, norm

PATCH_STRIDE = 4
"""Pixels between patches; every Hiera of SAM 2 has kernel 7, stride 4, padding 3."""


@dataclass(frozen=True)
class HieraConfig:
    """Everything that sam2's Hiera needs."""

    channels: int
    """Channels of the picture."""
    patch: int
    """Kernel of the patch embedding in pixels."""
    width: int
    """Channels of the first stage; they double with every stage."""
    stages: tuple[int, ...]
    """Blocks per stage."""
    mlp_ratio: int
    """Hidden channels of a block's MLP over its channels."""
    background: tuple[int, int]
    """Height and width of the position embedding that is stretched over the picture."""
    heads: int
    """Attention heads of the first stage; they double with every stage."""
    windows: tuple[int, ...]
    """Side of the windows in each stage, in patches."""
    global_blocks: tuple[int, ...]
    """Blocks that attend over the whole picture."""

    @property
    def blocks(self) -> int:
        """All blocks."""
        return sum(self.stages)

    @property
    def projecting_blocks(self) -> tuple[int, ...]:
        """Blocks with a projection layer: the first of each stage but the first stage."""
        return tuple(sum(self.stages[:i]) for i in range(1, len(self.stages)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width * 2**i for i in range(len(self.stages)))


def infer_hiera(f: FactFinder, prefix: str) -> HieraConfig:
    """The configuration of the trunk whose keys begin with `prefix` (a dot at its end, or empty).

    Raises:
        WeightsError: a key that decides is missing, or two contradict each other.
    """
    patch_key = f"{prefix}patch_embed.proj.weight"
    width, channels, patch, _ = f.shape(patch_key, 4)
    f.weights("width", width, patch_key)
    f.weights("channels", channels, patch_key)
    f.weights("patch", patch, patch_key)
    stages = f.weights("stages", _stages(f, prefix, width), f"{prefix}blocks.#.norm2.weight")
    f.weights(
        "mlp_ratio",
        f.ratio(f.shape(f"{prefix}blocks.0.mlp.layers.0.weight", 2)[0], width, "the first MLP"),
        f"{prefix}blocks.0.mlp.layers.0.weight",
    )
    f.weights("background", f.shape(f"{prefix}pos_embed", 4)[2:], f"{prefix}pos_embed")
    window = f.shape(f"{prefix}pos_embed_window", 4)[2]
    known = known_sam2(width, stages)
    if known:
        because = f"SAM 2 {known.size}: {width} channels, {'+'.join(map(str, stages))} blocks"
        f.lookup("heads", known.heads, because)
        f.lookup("windows", (window, *known.windows[1:]), f"{because}; the first from {prefix}pos_embed_window")
        f.lookup("global_blocks", known.global_blocks, because)
    else:
        f.assume("heads", usual_heads(width), "heads of about 72 channels")
        windows = ((window, 4, 14, 7) + (7,) * len(stages))[: len(stages)]
        f.assume("windows", windows, f"as in tiny, small and base_plus; the first from {prefix}pos_embed_window")
        f.assume("global_blocks", usual_global_blocks(stages), "three at the end of the longest stage, as published")
    return hiera_from(f.facts)


def hiera_from(facts: Mapping[str, Fact]) -> HieraConfig:
    """The configuration from a set of facts that holds at least its fields."""
    return HieraConfig(**{name: facts[name].value for name in HieraConfig.__dataclass_fields__})


def infer_trunk(
    shapes: Mapping[str, tuple[int, ...]], given: Mapping[str, Any] | None = None
) -> tuple[HieraConfig, dict[str, Fact]]:
    """The configuration of a bare trunk (the layout `mmseg-hiera`), with the source of every value."""
    f = FactFinder(shapes, given or {})
    return infer_hiera(f, ""), f.facts


def _stages(f: FactFinder, prefix: str, width: int) -> tuple[int, ...]:
    blocks = f.count(f"{prefix}blocks.#.norm1.weight")
    if not blocks:
        f.fail(f"blocks {prefix}blocks.#", got="none")
    stages, current = [0], width
    for i in range(blocks):
        wide = f.shape(f"{prefix}blocks.{i}.norm2.weight", 1)[0]
        if wide != current:
            if wide != 2 * current or i == 0:
                f.fail(f"{current} or {2 * current} channels in block {i}", got=str(wide))
            stages.append(0)
            current = wide
        stages[-1] += 1
    return tuple(stages)


def usual_heads(width: int) -> int:
    """The divisor of the width that makes heads of about 72 channels, as in the published models."""
    return min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: (abs(width / n - 72), n))


def usual_global_blocks(stages: tuple[int, ...]) -> tuple[int, ...]:
    """Three blocks, evenly spaced, the last at the end of the longest stage: the rule behind all published sizes.

    The first block of a stage is never one: it shrinks the picture within windows.
    """
    longest = max(range(len(stages)), key=lambda i: stages[i])
    step = max(1, int(stages[longest] / 3.5))
    start, last = sum(stages[:longest]), sum(stages[: longest + 1]) - 1
    return tuple(b for b in (last - 2 * step, last - step, last) if b > start)


def hiera_skeleton(c: HieraConfig, prefix: str) -> Skeleton:
    """Keys and shapes of the trunk."""
    window = c.windows[0]
    keys: Skeleton = {
        f"{prefix}pos_embed": (1, c.width, *c.background),
        f"{prefix}pos_embed_window": (1, c.width, window, window),
        **linear(f"{prefix}patch_embed.proj", c.width, c.channels, c.patch, c.patch),
    }
    index, before = 0, c.width
    for blocks, width in zip(c.stages, c.widths, strict=True):
        for _ in range(blocks):
            b = f"{prefix}blocks.{index}"
            keys |= norm(f"{b}.norm1", before)
            keys |= linear(f"{b}.attn.qkv", 3 * width, before) | linear(f"{b}.attn.proj", width, width)
            keys |= norm(f"{b}.norm2", width)
            keys |= mlp(f"{b}.mlp", (width, c.mlp_ratio * width, width))
            keys |= linear(f"{b}.proj", width, before) if before != width else {}
            index, before = index + 1, width
    return keys
