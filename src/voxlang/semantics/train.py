"""Training of the semantic field on the cached views."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from voxlang.core.artifacts import atomic_path
from voxlang.core.levels import LEVELS
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.samples import RaySamples
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.field import SemanticField, points_of_voxels
from voxlang.semantics.lifting import LiftedMasks
from voxlang.supervision.types import ViewTarget


@dataclass(frozen=True, eq=False)
class RayBank:
    """All useful pixels of all views, with their samples side by side."""

    start: Int64[np.ndarray, "r1"]
    """First sample of each pixel; the last entry is the number of samples."""
    voxel: Int64[np.ndarray, "s"]
    """Flat voxel index of each sample."""
    weight: Float32[np.ndarray, "s"]
    """Weight of each sample."""
    mask: Int64[np.ndarray, "3 r"]
    """Row of the joint vector table per level, -1 where none."""
    vectors: Float32[np.ndarray, "m d"]
    """All views' vectors."""

    def __len__(self) -> int:
        return len(self.start) - 1


def ray_bank(targets: list[ViewTarget], samples: list[RaySamples]) -> RayBank:
    """Join the views' samples, keeping the pixels that carry both samples and at least one mask."""
    starts, voxels, weights, masks, vectors, offset = [], [], [], [], [], 0
    for target, rays in zip(targets, samples, strict=True):
        order = np.argsort(rays.pixel, kind="stable")
        n_pixels = target.mask_index[0].size
        counts = np.bincount(rays.pixel, minlength=n_pixels)
        learnt = target.learnt()
        flat = learnt.index.reshape(len(LEVELS), n_pixels).astype(np.int64)
        keep = (counts > 0) & (flat >= 0).any(axis=0)
        kept_sample = keep[rays.pixel[order]]
        voxels.append(rays.voxel[order][kept_sample])
        weights.append(rays.weight[order][kept_sample])
        starts.append(counts[keep])
        masks.append(np.where(flat[:, keep] >= 0, flat[:, keep] + offset, -1))
        offset += len(learnt.vectors)
        vectors.append(learnt.vectors.astype(np.float32))
    dim = targets[0].encoder.dim
    return RayBank(
        np.concatenate([[0], np.cumsum(np.concatenate(starts))]).astype(np.int64),
        np.concatenate(voxels).astype(np.int64),
        np.concatenate(weights).astype(np.float32),
        np.concatenate(masks, axis=1),
        np.concatenate([rows.reshape(-1, dim) for rows in vectors]),
    )


@dataclass(frozen=True, eq=False)
class SemanticFit:
    """A trained field and how it came about."""

    field: SemanticField
    history: list[dict[str, float | int]]
    """One row per step: step, loss, and the loss of each level."""


def fit_semantic_field(
    bank: RayBank,
    lifted: LiftedMasks,
    values: Float32[np.ndarray, "z y x"],
    config: SemanticsConfig,
    *,
    resume_path: Path | None = None,
    device: str = "cpu",
    on_step: Callable[[int, dict[str, float | int]], None] | None = None,
) -> SemanticFit:
    """Fit the field so that composited pixels match their masks' vectors at every level.

    Loss: mean over drawn pixels and levels of ``1 - cos(head(sum w h / sum w), vector of the pixel's mask)``, the same
    on lifted voxels with weight `lift_weight`, and the smoothness of the grids. Steps draw from generators seeded by
    (seed, step), so a resumed training is the uninterrupted one.

    Args:
        bank: pixels and samples of all views.
        lifted: the closed-form lifting of the same views.
        values: normalised scalar values of the grid.
        config: settings.
        resume_path: checkpoint to continue from and to write; None keeps everything in memory.
        device: torch device.
        on_step: called with the step and its losses.
    """
    field = SemanticField(config, lifted.grid, lifted.encoder).to(device)
    optimiser = torch.optim.Adam(field.parameters(), lr=config.learning_rate)
    first, history = _resume(resume_path, field, optimiser)
    bar = tqdm(range(first, config.steps), desc="semantic field", initial=first, total=config.steps, disable=None)
    for step in bar:
        for group in optimiser.param_groups:
            group["lr"] = _learning_rate(step, config)
        rng = np.random.default_rng((config.seed, step))
        per_level = _pixel_loss(field, bank, lifted.grid, values, rng, config, device)
        loss = torch.stack(list(per_level.values())).mean() if per_level else field.heads.sum() * 0.0
        if config.lift_weight > 0:
            loss = loss + config.lift_weight * _voxel_loss(field, lifted, values, rng, config, device)
        loss = loss + config.smoothness * field.smoothness()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        row = {"step": step, "loss": loss.item(), **{f"loss_{k}": v.item() for k, v in per_level.items()}}
        history.append(row)
        bar.set_postfix(loss=f"{row['loss']:.3f}")
        if on_step:
            on_step(step, row)
        if resume_path and ((step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps):
            with atomic_path(resume_path) as temporary:
                torch.save(
                    {"field": field.state_dict(), "optimiser": optimiser.state_dict(), "history": history}, temporary
                )
    return SemanticFit(field.eval(), history)


def _resume(
    path: Path | None, field: SemanticField, optimiser: torch.optim.Optimizer
) -> tuple[int, list[dict[str, float | int]]]:
    if path is None or not path.is_file():
        return 0, []
    state = torch.load(path, weights_only=True, map_location=field.heads.device)
    field.load_state_dict(state["field"])
    optimiser.load_state_dict(state["optimiser"])
    return len(state["history"]), state["history"]


def _learning_rate(step: int, config: SemanticsConfig) -> float:
    warm = min(1.0, (step + 1) / 20)
    return config.learning_rate * warm * (0.01 + 0.495 * (1.0 + math.cos(math.pi * step / config.steps)))


def _pixel_loss(
    field: SemanticField,
    bank: RayBank,
    grid: VolumeGrid,
    values: np.ndarray,
    rng: np.random.Generator,
    config: SemanticsConfig,
    device: str,
) -> dict[str, Tensor]:
    if len(bank) == 0:
        return {}
    rays = rng.integers(len(bank), size=min(config.rays_per_step, len(bank)))
    counts = bank.start[rays + 1] - bank.start[rays]
    sample = np.repeat(bank.start[rays] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(
        counts.sum()
    )
    owner = torch.from_numpy(np.repeat(np.arange(len(rays)), counts)).to(device)
    xyz, value = points_of_voxels(grid, bank.voxel[sample], values)
    hidden = field.hidden(torch.from_numpy(xyz).to(device), torch.from_numpy(value).to(device))
    weight = torch.from_numpy(bank.weight[sample]).to(device)
    composited = torch.zeros(len(rays), hidden.shape[1], device=device).index_add(0, owner, hidden * weight[:, None])
    losses = {}
    for level in LEVELS:
        mask = bank.mask[level, rays]
        has = np.flatnonzero(mask >= 0)
        if len(has):
            wanted = torch.from_numpy(bank.vectors[mask[has]]).to(device)
            got = composited[torch.from_numpy(has).to(device)] @ field.heads[level].T
            losses[level.label] = _cosine_loss(got, wanted)
    return losses


def _voxel_loss(
    field: SemanticField,
    lifted: LiftedMasks,
    values: np.ndarray,
    rng: np.random.Generator,
    config: SemanticsConfig,
    device: str,
) -> Tensor:
    rows = rng.integers(len(lifted.voxel), size=min(config.rays_per_step, len(lifted.voxel)))
    xyz, value = points_of_voxels(lifted.grid, lifted.voxel[rows], values)
    hidden = field.hidden(torch.from_numpy(xyz).to(device), torch.from_numpy(value).to(device))
    losses = []
    for level in LEVELS:
        weights = lifted.rows(rows, level)
        has = np.flatnonzero(np.diff(weights.indptr))
        if len(has):
            wanted = torch.from_numpy((weights[has] @ lifted.vectors).astype(np.float32)).to(device)
            got = hidden[torch.from_numpy(has).to(device)] @ field.heads[level].T
            losses.append(_cosine_loss(got, wanted))
    return torch.stack(losses).mean() if losses else field.heads.sum() * 0.0


def _cosine_loss(got: Float[Tensor, "n d"], wanted: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    return (1.0 - F.cosine_similarity(got, wanted, dim=-1)).mean()
