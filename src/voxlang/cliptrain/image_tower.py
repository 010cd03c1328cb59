"""The image tower alone, from a plain classifier of parts: it needs no text yet and learns three times as fast."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.crops_data import CropPool
from voxlang.cliptrain.losses import auxiliary_loss
from voxlang.cliptrain.model import augmented, image_pixels
from voxlang.core.artifacts import atomic_path

IMAGE_CHECKPOINT = "image.pt"


def drawn_pixels(pool: CropPool, rows: np.ndarray, rng: np.random.Generator, device: torch.device) -> torch.Tensor:
    """The crops of some rows, augmented, as the image tower wants them."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
    images, sided = (torch.from_numpy(a[rows]).to(device) for a in (pool.images, pool.sided))
    return augmented(image_pixels(images), sided, generator).contiguous(memory_format=torch.channels_last)


def image_rate(config: ClipTrainConfig, step: int) -> float:
    """Rate of the image tower at a step counted over both of its phases: warm-up, then half a cosine."""
    from voxlang.cliptrain.text_tower import rate_factor

    return config.learning_rate * rate_factor(step, config.image_steps + config.steps, config.warmup_steps)


def fit_image_tower(
    visual: nn.Module, head: nn.Module, pool: CropPool, config: ClipTrainConfig, device: torch.device
) -> float:
    """Train tower and classifier for `image_steps`, or go on where a checkpoint stopped.

    Args:
        visual: image tower, changed in place.
        head: classifier of concepts on its vectors before they are normalised; it exists in training only.
        pool: crops.
        config: the recipe.
        device: where both lie.

    Returns:
        Share of the last crops whose best concept is right, nan when there was nothing to do.
    """
    from tqdm import tqdm

    parts = nn.ModuleDict({"visual": visual, "head": head})
    optimizer = torch.optim.AdamW(parts.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=config.weight_decay)
    path = Path(config.run_dir) / IMAGE_CHECKPOINT
    begin = 0
    if path.is_file():
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        parts.load_state_dict(state["parts"])
        optimizer.load_state_dict(state["optimizer"])
        begin = state["step"]
    saved, hits = time.monotonic(), []
    parts.train()
    for step in (bar := tqdm(range(begin, config.image_steps), desc="image tower", disable=not sys.stderr.isatty())):
        optimizer.param_groups[0]["lr"] = image_rate(config, step)
        rng = np.random.default_rng([config.seed, 14, step])
        rows = pool.draw(rng, config.batch_size)
        concepts = torch.from_numpy(pool.concepts[rows]).to(device)
        pixels = drawn_pixels(pool, rows, rng, device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            features = visual(pixels)
        logits = head(features.float())
        auxiliary_loss(logits, concepts).backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        named = concepts[:, 0] >= 0
        hit = (logits.detach().argmax(1)[:, None] == concepts).any(1)[named].float().mean().item()
        hits = [*hits[-99:], hit]
        bar.set_postfix(top1=np.mean(hits))
        if step + 1 == config.image_steps or time.monotonic() - saved > config.checkpoint_seconds:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                torch.save(
                    {"parts": parts.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, temporary
                )
            saved = time.monotonic()
    return float(np.mean(hits)) if hits else float("nan")
