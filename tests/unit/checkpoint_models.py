"""Tiny configurations of every family, and random state dicts for them."""

from dataclasses import replace

import torch

from voxlang.checkpoints.hiera import HieraConfig, usual_global_blocks, usual_heads
from voxlang.checkpoints.layouts import LAYOUTS, expected_shapes
from voxlang.checkpoints.published import PUBLISHED_SAM1, PUBLISHED_SAM2

TINY_SAM1 = replace(
    PUBLISHED_SAM1["vit_b"],
    width=32,
    heads=4,
    global_blocks=(1, 3),
    blocks=4,
    window=3,
    grid=8,
    patch=4,
    mlp_width=48,
    prompt_width=32,
    mask_channels=8,
    decoder_inner=16,
    decoder_mlp=24,
    iou_hidden=16,
)
TINY_HIERA = HieraConfig(
    channels=3,
    patch=7,
    width=16,
    stages=(1, 2, 3, 1),
    mlp_ratio=4,
    background=(7, 7),
    heads=usual_heads(16),
    windows=(8, 4, 14, 7),
    global_blocks=usual_global_blocks((1, 2, 3, 1)),
)
_PUBLISHED = PUBLISHED_SAM2["tiny", "2.1"]
TINY_SAM2 = replace(
    _PUBLISHED,
    trunk=TINY_HIERA,
    d_model=32,
    memory=replace(_PUBLISHED.memory, layers=1, feedforward=24, inner=32, width=8, frames=3, fuser_layers=1),
)
TINY_SAM2_OLD = replace(TINY_SAM2, memory=replace(TINY_SAM2.memory, is_new=False))
TINY_SAM2_STILL = replace(TINY_SAM2, memory=None)

TINY = {
    "sam1": TINY_SAM1,
    "sam1-stages": TINY_SAM1,
    "hf-sam": TINY_SAM1,
    "sam2": TINY_SAM2,
    "hf-sam2": TINY_SAM2_STILL,
    "hf-sam2-video": TINY_SAM2,
    "mmseg-hiera": TINY_HIERA,
}
"""A tiny configuration for each layout."""


def random_hub_state(name: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of the tiny configuration, in the hub layout of its family."""
    g = torch.Generator().manual_seed(seed)
    skeleton = LAYOUTS[name].family.skeleton(TINY[name])
    return {key: torch.randn(shape, generator=g) for key, shape in skeleton.items()}


def random_state(name: str, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """The same in the layout itself."""
    state, report = LAYOUTS[name].from_hub(random_hub_state(name, seed=seed), TINY[name])
    assert report.is_whole
    assert state.keys() == expected_shapes(LAYOUTS[name], TINY[name]).shapes.keys()
    return state
