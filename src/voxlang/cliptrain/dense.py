"""Training of the dense tower: every place chooses its name on each level, against texts that stay as they are."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import nn

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.dense_config import DenseTrainConfig, StretchConfig
from voxlang.cliptrain.evaluate import text_vectors
from voxlang.cliptrain.naming import Choices, Names
from voxlang.cliptrain.places import LabelledViews, PlaceBatch, read_views
from voxlang.cliptrain.text_tower import rate_factor
from voxlang.core.artifacts import atomic_path
from voxlang.core.device import device_of
from voxlang.core.digest import digest_json
from voxlang.core.joint_optimizer import JointOptimizer
from voxlang.core.levels import LEVELS
from voxlang.core.muon import Muon
from voxlang.core.settings import require_same_identity
from voxlang.core.training_log import MetricCallback, TrainingLog
from voxlang.core.weights import load_weights
from voxlang.embed.dense_encoder import read_tower_file, save_dense_tower
from voxlang.embed.dense_tower import DenseTower, build_dense_tower, tower_input
from voxlang.embed.types import ImageTextEncoder
from voxlang.query.config import CANONICAL_NEGATIVES

CHECKPOINT = "dense.pt"
_NECK_RATE = 0.01
"""The neck sums large features with small weights: at the full rate its output jumps from step to step."""


@dataclass(frozen=True)
class DenseFit:
    """How a training went."""

    steps: int
    """Steps done, earlier runs included."""
    seconds: float
    """Seconds they took, earlier runs included."""
    right: tuple[float, float, float]
    """Share of the last places drawn that chose their own name, at Small, Part and Whole."""


class _Optimizer(JointOptimizer):
    """Muon for the matrices of the trunk, AdamW for all else, the neck slowly."""

    def __init__(self, tower: DenseTower, config: DenseTrainConfig) -> None:
        trunk = list(tower.encoder.trunk.parameters())
        matrices = [p for p in trunk if p.ndim == 2]
        others = [p for p in trunk if p.ndim != 2]
        neck = list(tower.encoder.neck.parameters())
        head = [p for name, p in tower.named_parameters() if not name.startswith("encoder.")]
        adamw = [
            {"params": group, "share": share}
            for group, share in ((others, config.trunk_rate), (neck, _NECK_RATE), (head, 1.0))
        ]
        muon = [{"params": matrices, "share": config.trunk_rate}]
        decay = config.weight_decay
        super().__init__(
            torch.optim.AdamW(adamw, lr=1e-3, betas=(0.9, 0.98), weight_decay=decay, fused=True),
            Muon(muon, weight_decay=decay),
        )
        self._all = [*matrices, *others, *neck, *head]

    def step(self, rate: float) -> None:
        nn.utils.clip_grad_norm_(self._all, 1.0)
        for optimizer in self._each:
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def train_dense(
    config: DenseTrainConfig,
    texts: ImageTextEncoder,
    *,
    stop_step: int | None = None,
    on_means: MetricCallback | None = None,
) -> tuple[DenseTower, DenseFit]:
    """Train a tower by a recipe, or go on where the last checkpoint in `run_dir` stopped; it comes back on the CPU.

    Args:
        config: the recipe.
        texts: the image-text model of its `texts`.
        stop_step: stop (with a checkpoint) at this step; None trains to the end.
        on_means: told what the log in `run_dir` is told.

    Raises:
        ConfigError: no views, a checkpoint of another recipe, or a device that is not there.
        ModelMissingError, ArtifactError, WeightsError: a `tower_start` that is not there or does not fit.
    """
    device = device_of(config.device)
    tower = _begin(config, texts)
    state = _read_checkpoint(config, texts, device)  # first: one of another recipe is refused before minutes of reading
    views = read_views(config.render_dirs)
    log = TrainingLog(config.run_dir, every=config.log_every, on_means=on_means)
    fit = _fit(tower.to(device), views, texts, config, device, state, log, stop_step=stop_step)
    return tower.to("cpu").eval().requires_grad_(False), fit


def _begin(config: DenseTrainConfig, texts: ImageTextEncoder) -> DenseTower:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        begun = "" if config.tower_start else config.encoder_start
        tower = build_dense_tower(
            config.encoder_yaml, dim=texts.id.dim, hidden=config.hidden, encoder_weights=begun or None
        )
    if config.tower_start:
        load_weights(tower, read_tower_file(config.tower_start, encoder=None)[1], where=config.tower_start)
    return tower


def export_dense(tower: DenseTower, fit: DenseFit, config: DenseTrainConfig, texts: ImageTextEncoder) -> Path:
    """Write the tower for the embed room, with a record of the training; returns the file."""
    recipe = config.model_dump(
        mode="json", exclude={"render_dirs", "dev_dirs", "run_dir", "export_path", "texts", "log_every", "tracking"}
    )
    record = {
        "recipe": digest_json(recipe),
        "steps": str(fit.steps),
        "seconds": f"{fit.seconds:.0f}",
        "seed": str(config.seed),
        "licence": "MIT",
    }
    return save_dense_tower(
        config.export_path,
        tower,
        config=Path(config.encoder_yaml).name,
        side=config.stretches[-1].side,
        texts=texts.id.weights_digest,
        record=record,
    )


def _fit(
    tower: DenseTower,
    views: LabelledViews,
    texts: ImageTextEncoder,
    config: DenseTrainConfig,
    device: torch.device,
    state: dict[str, Any] | None,
    log: TrainingLog,
    *,
    stop_step: int | None,
) -> DenseFit:
    """Train through all stretches, or go on where a checkpoint stopped; a continued run computes the same.

    Args:
        tower: changed in place.
        views: training views.
        texts: the image-text model whose texts the places learn to choose; it stays as it is.
        config: the recipe.
        device: where the tower lies.
        state: of the last checkpoint; None begins at the first step.
        log: told the loss of every step and the share of places that is right.
        stop_step: stop (with a checkpoint) at this step; None trains to the end.
    """
    from tqdm import tqdm

    names, negatives = texts_of(views.table, texts)
    choices = Choices(names, np.arange(len(views.table))[:, None].repeat(3, axis=1))
    scale = texts.logit_scale
    optimizer = _Optimizer(tower, config)
    begin, seconds = 0, 0.0
    if state is not None:
        tower.load_state_dict(state["tower"])
        optimizer.load_state_dict(state["optimizer"])
        begin, seconds = state["step"], state["seconds"]
    stretches = [(stretch, k) for stretch in config.stretches for k in range(stretch.steps)]
    end = min(len(stretches), stop_step or len(stretches))
    started = saved = time.monotonic()
    hits: list[np.ndarray] = []
    tower.train()
    for step in (bar := tqdm(range(begin, end), desc="dense tower", disable=not sys.stderr.isatty())):
        stretch, k = stretches[step]
        rng = np.random.default_rng([config.seed, 16, step])
        batch = views.draw(
            rng, pictures=stretch.pictures, side=stretch.side, places=stretch.places, window=config.window
        )
        vectors = place_vectors(tower, batch, rng, device)
        drawn, right = choices.draw(np.stack([batch.concept, *[np.full_like(batch.concept, -1)] * 2], axis=1), rng)
        loss, hit = places_loss(vectors, drawn.to(device), right.to(device), negatives.to(device), scale)
        loss.backward()
        optimizer.step(_rate(stretch, k, config))
        hit = hit.numpy(force=True)
        hits = [*hits[-99:], np.array([hit[batch.level == level].mean() for level in LEVELS])]
        bar.set_postfix(loss=loss.item(), right=np.mean(hits[-1]))
        now = time.monotonic()
        numbers = {"loss": loss.item()} | {f"right_{level.label}": float(hits[-1][level]) for level in LEVELS}
        spent, last = seconds + now - started, step + 1 == end
        log.add(step + 1, numbers, phase=f"{stretch.side} px", seconds=spent, last=last)
        if last or now - saved > config.checkpoint_seconds:
            state = {"identity": _identity(config, texts), "step": step + 1, "seconds": spent}
            state |= {"tower": tower.state_dict(), "optimizer": optimizer.state_dict()}
            with atomic_path(Path(config.run_dir) / CHECKPOINT) as temporary:
                torch.save(state, temporary)
            saved = now
    right = np.mean(hits, axis=0) if hits else np.full(3, np.nan)
    return DenseFit(max(begin, end), seconds + time.monotonic() - started, tuple(right.tolist()))


def _identity(config: DenseTrainConfig, texts: ImageTextEncoder) -> dict[str, Any]:
    return config.identity() | {"texts": texts.id.weights_digest}


def _read_checkpoint(config: DenseTrainConfig, texts: ImageTextEncoder, device: torch.device) -> dict[str, Any] | None:
    """The last checkpoint in `run_dir`, if there is one."""
    path = Path(config.run_dir) / CHECKPOINT
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    require_same_identity(state["identity"], _identity(config, texts), path)
    return state


def texts_of(table: ConceptTable, texts: ImageTextEncoder) -> tuple[Names, Float32[torch.Tensor, "g d"]]:
    """The nouns of a table as a query makes their vectors, and the negatives of a query."""
    names = Names.of(table, lambda nouns: text_vectors(texts, list(nouns)))
    return names, torch.from_numpy(texts.encode_texts(list(CANONICAL_NEGATIVES)))


def place_vectors(
    tower: DenseTower, batch: PlaceBatch, rng: np.random.Generator, device: torch.device
) -> Float32[torch.Tensor, "k d"]:
    """The tower's vectors of a batch's places at their levels; colours of the pictures are changed a little."""
    pixels = tower_input(batch.pictures.shape[1]).batch(batch.pictures, str(device))
    shape = (len(pixels), 3, 1, 1)
    gain = 1.0 + 0.12 * rng.uniform(-1, 1, (len(pixels), 1, 1, 1)) + 0.05 * rng.uniform(-1, 1, shape)
    offset = 0.2 * rng.uniform(-1, 1, shape)
    pixels = pixels * torch.from_numpy(gain).float().to(device) + torch.from_numpy(offset).float().to(device)
    hidden = tower(pixels).flatten(2)
    picture, place, level = (torch.from_numpy(a).to(device) for a in (batch.picture, batch.place, batch.level))
    return tower.vectors(hidden[picture, :, place])[torch.arange(len(level)), level]


def places_loss(
    vectors: Float32[torch.Tensor, "k d"],
    texts: Float32[torch.Tensor, "w d"],
    right: Bool[torch.Tensor, "k w"],
    negatives: Float32[torch.Tensor, "g d"],
    scale: float,
) -> tuple[torch.Tensor, Bool[torch.Tensor, "k"]]:
    """Loss of places, and which of them chose a right text.

    Two things are asked: that a place chooses its own name among all (cross entropy), and that a query's relevancy (the
    smallest softmax of a name against each negative, `voxlang.query.answer.relevancy_from_cosines`) is high for its own
    name and low for all others (binary cross entropy; half of the latter is that of the worst other name).
    """
    logits = scale * vectors @ texts.T
    own = logits.masked_fill(~right, -torch.inf).logsumexp(dim=1)
    choice = (logits.logsumexp(dim=1) - own).mean()
    margin = logits - scale * (vectors @ negatives.T).amax(dim=1, keepdim=True)
    found = torch.nn.functional.softplus(-margin)[right].mean()
    wrong = torch.nn.functional.softplus(margin).masked_fill(right, 0.0)
    refused = 0.5 * (wrong.sum() / (~right).sum() + wrong.amax(dim=1).mean())
    return choice + found + refused, right.gather(1, logits.argmax(1, keepdim=True))[:, 0]


def _rate(stretch: StretchConfig, k: int, config: DenseTrainConfig) -> float:
    return stretch.rate * rate_factor(k, stretch.steps, config.warmup_steps)
