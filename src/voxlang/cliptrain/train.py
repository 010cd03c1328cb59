"""The training: text tower from the teacher, image tower from kinds and names, both into one space, last synonyms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from voxlang.cliptrain.alignment import align, whitened_names, without_last_layer
from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.crops_data import CropPool, load_crops
from voxlang.cliptrain.image_tower import ImageFit, fit_image_tower, image_features
from voxlang.cliptrain.model import build_image_tower, build_model, start_from_model
from voxlang.cliptrain.synonyms import learn_synonyms
from voxlang.cliptrain.teacher import Teacher, TeacherSpace, load_teacher, teacher_space
from voxlang.cliptrain.text_tower import fit_text_tower, start_from_words, stored_text
from voxlang.cliptrain.tokenizer import make_tokenizer
from voxlang.core.device import device_of
from voxlang.core.training_log import MetricCallback, TrainingLog

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, eq=False)
class ClipTrainResult:
    """What a training leaves."""

    model: nn.Module
    """The model in evaluation mode, on the CPU."""
    tokenizer: Tokenizer
    """Its vocabulary."""
    table: ConceptTable
    """The concepts that it was trained on."""
    space: TeacherSpace
    """The teacher's phrases."""
    image: ImageFit
    """How the image tower did."""
    seconds: float
    """Seconds of this run and of earlier ones on the image tower."""
    n_crops: int
    """Crops in the pool."""


def train(
    config: ClipTrainConfig, *, stop_step: int | None = None, on_means: MetricCallback | None = None
) -> ClipTrainResult:
    """Train, or go on where the last checkpoints in `run_dir` stopped.

    A run that is stopped and continued over the same crops computes the same as one that is not.

    Args:
        config: the recipe.
        stop_step: leave the image tower (with a checkpoint) at this step; None trains to the end.
        on_means: told what the log in `run_dir` is told.

    Raises:
        ConfigError: no views in the render folders, or a checkpoint of another model or seed.
        ModelMissingError: the teacher's package is not installed.
    """
    started = time.monotonic()
    device = device_of(config.device)
    log = TrainingLog(config.run_dir, every=config.log_every, on_means=on_means)
    crops = load_crops(config)
    table = ConceptTable((c.family, c.tree) for c in crops)
    pool = CropPool(crops, table, bonsai_share=config.bonsai_share, image_size=config.model.image_size)
    teacher = load_teacher(config.teacher)
    model, tokenizer, space = _start(config, table, teacher)
    model.to(device)
    fit_text_tower(model, tokenizer, space, config, device, log=log)
    names = whitened_names(model.eval(), tokenizer, table, shrink=config.align.shrink)
    model.visual, head = build_image_tower(config.model, len(table), seed=config.seed)
    if config.image_start:
        start_from_model(model.visual, config.image_start)
    before = time.monotonic()
    towers = model.visual.to(device), head.to(device)
    fit = fit_image_tower(*towers, pool, names, config, device, stop_step=stop_step, log=log)
    earlier = max(0.0, fit.seconds - (time.monotonic() - before))
    with without_last_layer(model.visual):
        features = image_features(model.visual, pool, config, device)
    align(model.eval(), tokenizer, names, features, pool.concepts, config.align, seed=config.seed)
    learn_synonyms(model, tokenizer, table, teacher, config.synonyms, seed=config.seed, log=log)
    model.to("cpu").requires_grad_(False)
    seconds = time.monotonic() - started + earlier
    return ClipTrainResult(model, tokenizer, table, space, fit, seconds, len(pool))


def _start(config: ClipTrainConfig, table: ConceptTable, teacher: Teacher) -> tuple[nn.Module, Tokenizer, TeacherSpace]:
    """The model before its first step, or with the vocabulary and the axes of a text tower begun earlier."""
    run_dir = Path(config.run_dir)
    stored = stored_text(run_dir)
    axes = stored and (stored.axes, stored.mean)
    space = teacher_space(table, teacher, dim=config.model.embed_dim, cache=run_dir, axes=axes, seed=config.seed)
    tokenizer = stored.tokenizer if stored else make_tokenizer(space, vocab_size=config.model.vocab_size)
    model = build_model(config.model, tokenizer, seed=config.seed)
    if stored is None:
        start_from_words(model, tokenizer, teacher, space)
    return model, tokenizer, space
