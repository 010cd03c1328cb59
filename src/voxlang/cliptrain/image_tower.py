"""The image tower: from a plain classifier of parts, and from the names that texts keep ready for its vectors."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.crops_data import CropPool
from voxlang.cliptrain.losses import concept_loss
from voxlang.cliptrain.model import augmented, image_pixels
from voxlang.cliptrain.naming import Choices, Names, naming_loss
from voxlang.cliptrain.text_tower import rate_factor
from voxlang.core.artifacts import atomic_path
from voxlang.core.device import bfloat16_where_quick
from voxlang.core.joint_optimizer import JointOptimizer
from voxlang.core.muon import Muon
from voxlang.core.settings import require_same_identity
from voxlang.core.training_log import TrainingLog

IMAGE_CHECKPOINT = "image.pt"


@dataclass(frozen=True)
class ImageFit:
    """How the training of the image tower went."""

    steps: int
    """Steps done, earlier runs included."""
    seconds: float
    """Seconds they took, earlier runs included."""
    top1: float
    """Share of the last crops of this run whose best concept was right; nan when there was nothing to do."""


class TowerOptimizer(JointOptimizer):
    """Muon for the convolutions and AdamW for all else, as one.

    Muon makes each update of a matrix orthogonal, so that all directions of a layer learn alike (Jordan et al. 2024). A
    convolution's weight is given to it as the matrix [out, k * k * in] over the same memory.
    """

    def __init__(self, parts: nn.Module, config: ClipTrainConfig) -> None:
        self._weights = [p for p in parts.parameters() if p.ndim == 4]
        matrices = [nn.Parameter(p.detach().permute(0, 2, 3, 1).view(len(p), -1)) for p in self._weights]
        others = [p for p in parts.parameters() if p.ndim != 4]
        self._matrices, self._all = matrices, [*self._weights, *others]
        decay = config.weight_decay
        adamw = torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98), weight_decay=decay)
        super().__init__(adamw, Muon(matrices, weight_decay=decay))
        self._rates = (config.learning_rate, config.convolution_rate)

    def step(self, factor: float) -> None:
        """Move the weights along their gradients, at this share of the highest rates, and forget the gradients."""
        nn.utils.clip_grad_norm_(self._all, 1.0)
        for weight, matrix in zip(self._weights, self._matrices, strict=True):
            matrix.grad = weight.grad.permute(0, 2, 3, 1).reshape(matrix.shape)
        for optimizer, rate in zip(self._each, self._rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
        for parameter in self._all:
            parameter.grad = None


def drawn_pixels(pool: CropPool, rows: np.ndarray, rng: np.random.Generator, device: torch.device) -> torch.Tensor:
    """The crops of some rows, augmented, as the image tower wants them."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
    images, sided = (torch.from_numpy(a[rows]).to(device) for a in (pool.images, pool.sided))
    return augmented(image_pixels(images), sided, generator).contiguous(memory_format=torch.channels_last)


def fit_image_tower(
    visual: nn.Module,
    head: nn.Module,
    pool: CropPool,
    names: Names,
    config: ClipTrainConfig,
    device: torch.device,
    *,
    stop_step: int | None = None,
    log: TrainingLog | None = None,
) -> ImageFit:
    """Train tower and classifier for `image_steps`, or go on where a checkpoint stopped.

    Args:
        visual: image tower, changed in place.
        head: classifier of concepts on its vectors before they are normalised; it exists in training only.
        pool: crops.
        names: of their concepts; the texts stay as they are.
        config: the recipe.
        device: where both lie.
        stop_step: stop (with a checkpoint) at this step; None trains to the end.
        log: told the losses of every step and the share that is right.

    Raises:
        ConfigError: a checkpoint of another model, seed or length.
    """
    from tqdm import tqdm

    parts = nn.ModuleDict({"visual": visual, "head": head})
    optimizer = TowerOptimizer(parts, config)
    choices = Choices(names, pool.concepts)
    path = Path(config.run_dir) / IMAGE_CHECKPOINT
    begin, seconds = 0, 0.0
    if path.is_file():
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        require_same_identity(state["identity"], config.image_identity(), path)
        parts.load_state_dict(state["parts"])
        optimizer.load_state_dict(state["optimizer"])
        begin, seconds = state["step"], state["seconds"]
    end = min(config.image_steps, stop_step or config.image_steps)
    started = saved = time.monotonic()
    hits: list[float] = []
    log = log or TrainingLog(None)
    parts.train()
    for step in (bar := tqdm(range(begin, end), desc="image tower", disable=not sys.stderr.isatty())):
        rng = np.random.default_rng([config.seed, 14, step])
        rows = pool.draw(rng, config.batch_size)
        concepts = torch.from_numpy(pool.concepts[rows]).to(device)
        pixels = drawn_pixels(pool, rows, rng, device)
        with bfloat16_where_quick(device, wanted=config.bfloat16):
            features = visual(pixels)
        logits = head(features.float())
        texts, right = (t.to(device) for t in choices.draw(pool.concepts[rows], rng))
        naming = naming_loss(features.float(), texts, right, config.align.logit_scale)
        kinds = concept_loss(logits, concepts)
        (kinds + naming).backward()
        optimizer.step(rate_factor(step, config.image_steps, config.warmup_steps))
        named = concepts[:, 0] >= 0
        hit = (logits.detach().argmax(1)[:, None] == concepts).any(1)[named].float().mean().item()
        hits = [*hits[-99:], hit]
        bar.set_postfix(top1=np.mean(hits))
        now = time.monotonic()
        numbers = {"image_right": hit, "image_kinds": kinds.item(), "image_naming": naming.item()}
        spent, last = seconds + now - started, step + 1 == end
        log.add(step + 1, numbers, phase="image tower", seconds=spent, last=last)
        if last or now - saved > config.checkpoint_seconds:
            state = {"identity": config.image_identity(), "step": step + 1, "seconds": spent}
            state |= {"parts": parts.state_dict(), "optimizer": optimizer.state_dict()}
            with atomic_path(path) as temporary:
                torch.save(state, temporary)
            saved = now
    seconds += time.monotonic() - started
    return ImageFit(max(begin, end), seconds, float(np.mean(hits)) if hits else float("nan"))


@torch.no_grad()
def image_features(
    visual: nn.Module, pool: CropPool, config: ClipTrainConfig, device: torch.device
) -> Float32[np.ndarray, "n d"]:
    """What the tower, in evaluation mode, says of all crops as they are, before normalisation."""
    from tqdm import tqdm

    visual.eval()
    out = []
    parts = np.array_split(pool.images, max(1, len(pool) // 256))
    for images in tqdm(parts, desc="features of crops", disable=not sys.stderr.isatty()):
        pixels = image_pixels(torch.from_numpy(images).to(device)).contiguous(memory_format=torch.channels_last)
        with bfloat16_where_quick(device, wanted=config.bfloat16):
            out.append(visual(pixels).float().numpy(force=True))
    return np.concatenate(out)
