"""Configurations of the published models: what a file is compared with when it cannot be understood by itself."""

from __future__ import annotations

from voxlang.checkpoints.hiera import HieraConfig
from voxlang.checkpoints.known import PUBLISHED, KnownSam2
from voxlang.checkpoints.sam1 import Sam1Config
from voxlang.checkpoints.sam2 import MemoryConfig, Sam2Config


def _sam1(width: int, blocks: int, heads: int) -> Sam1Config:
    quarter = blocks // 4
    return Sam1Config(
        width=width,
        heads=heads,
        global_blocks=tuple(range(quarter - 1, blocks, quarter)),
        blocks=blocks,
        window=14,
        grid=64,
        patch=16,
        channels=3,
        mlp_width=4 * width,
        qkv_bias=True,
        has_relative_positions=True,
        prompt_width=256,
        mask_channels=16,
        decoder_layers=2,
        decoder_inner=128,
        decoder_mlp=2048,
        decoder_heads=8,
        mask_tokens=4,
        iou_depth=3,
        iou_hidden=256,
    )


PUBLISHED_SAM1: dict[str, Sam1Config] = {
    "vit_b": _sam1(768, 12, 12),
    "vit_l": _sam1(1024, 24, 16),
    "vit_h": _sam1(1280, 32, 16),
}
"""By size."""


def trunk_of(known: KnownSam2) -> HieraConfig:
    """The trunk of a known model."""
    return HieraConfig(
        channels=3,
        patch=7,
        width=known.width,
        stages=known.stages,
        mlp_ratio=4,
        background=known.background,
        heads=known.heads,
        windows=known.windows,
        global_blocks=known.global_blocks,
    )


PUBLISHED_HIERA: dict[str, HieraConfig] = {size: trunk_of(known) for size, known in PUBLISHED.items()}
"""By size of SAM 2."""


def _sam2(known: KnownSam2, *, is_new: bool) -> Sam2Config:
    return Sam2Config(
        trunk=trunk_of(known),
        d_model=256,
        mask_tokens=4,
        has_fine_features=True,
        object_score="mlp",
        top_down=known.top_down,
        top_down_mode=known.top_down_mode,
        image_size=known.image_size,
        adds_no_memory=known.adds_no_memory,
        memory=MemoryConfig(
            layers=4,
            feedforward=2048,
            inner=256,
            width=64,
            frames=7,
            mask_steps=4,
            mask_kernel=3,
            fuser_layers=2,
            fuser_kernel=7,
            fuser_is_depthwise=True,
            pointer="mlp",
            is_new=is_new,
        ),
    )


PUBLISHED_SAM2: dict[tuple[str, str], Sam2Config] = {
    (size, version): _sam2(known, is_new=version == "2.1")
    for size, known in PUBLISHED.items()
    for version in ("2.1", "2.0")
}
"""By size and version."""
