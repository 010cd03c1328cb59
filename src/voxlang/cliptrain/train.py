"""The training: text tower from the teacher, image tower from a classifier, then both together; resumable."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import normalize
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from voxlang.cliptrain.batches import BatchMaker
from voxlang.cliptrain.captions import ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.crops_data import CropPool, load_crops
from voxlang.cliptrain.image_tower import drawn_pixels, fit_image_tower, image_rate
from voxlang.cliptrain.losses import auxiliary_loss, calibration_loss, contrast_loss, distillation_loss
from voxlang.cliptrain.model import build_image_tower, build_model, start_from_model
from voxlang.cliptrain.teacher import TeacherSpace, concept_similarity, load_teacher, teacher_space
from voxlang.cliptrain.text_tower import (
    cached_states,
    fit_text_tower,
    phrase_batch,
    start_from_words,
    stored_text,
)
from voxlang.cliptrain.tokenizer import make_tokenizer
from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MetricCallback = Callable[[int, dict[str, float]], None]
CHECKPOINT_NAME = "checkpoint.pt"
LOG_NAME = "log.jsonl"


@dataclass(frozen=True, eq=False)
class ClipTrainResult:
    """What a training leaves."""

    model: nn.Module
    """The averaged model in evaluation mode, on the CPU."""
    tokenizer: Tokenizer
    """Its vocabulary."""
    table: ConceptTable
    """The concepts that it was trained on."""
    space: TeacherSpace
    """The teacher's phrases."""
    steps: int
    """Steps done, earlier runs included."""
    seconds: float
    """Seconds of training, earlier runs included."""
    n_crops: int
    """Crops in the pool."""
    last: dict[str, float]
    """Means of the last line of the log."""


def train(
    config: ClipTrainConfig, *, on_metrics: MetricCallback | None = None, stop_step: int | None = None
) -> ClipTrainResult:
    """Train, or go on where the last checkpoint in `run_dir` stopped.

    A run that is stopped and continued over the same crops computes the same as one that is not.

    Args:
        config: the recipe.
        on_metrics: called with (step, means since the last call) every `log_every` steps.
        stop_step: stop (with a checkpoint) at this step of both towers; None trains to the end.

    Raises:
        ConfigError: no views in the render folders, or a checkpoint of another model or seed.
        ModelMissingError: the teacher's package is not installed.
    """
    return _Loop(config, on_metrics).run(min(stop_step or config.steps, config.steps))


class _Loop:
    def __init__(self, config: ClipTrainConfig, on_metrics: MetricCallback | None) -> None:
        self.config, self.on_metrics = config, on_metrics
        self.run_dir = Path(config.run_dir)
        cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if cuda else "cpu")
        crops = load_crops(config)
        self.table = ConceptTable(((c.family, c.tree) for c in crops), kin_weight=config.loss.kin_weight)
        size = config.model.image_size
        self.pool = CropPool(crops, self.table, bonsai_share=config.bonsai_share, image_size=size)
        teacher = load_teacher(config.teacher)
        stored = stored_text(self.run_dir)
        self.space = space = teacher_space(
            self.table,
            teacher,
            dim=config.model.embed_dim,
            cache=self.run_dir,
            axes=stored and (stored.axes, stored.mean),
            seed=config.seed,
        )
        self.table.relax(concept_similarity(self.table, space))
        self.maker = BatchMaker(config, self.pool, self.table, space)
        self.tokenizer = stored.tokenizer if stored else make_tokenizer(space, vocab_size=config.model.vocab_size)
        self.model = build_model(config.model, self.tokenizer, seed=config.seed)
        if stored is None:
            start_from_words(self.model, self.tokenizer, teacher, space)
        self.model.visual, self.head = build_image_tower(config.model, len(self.table), seed=config.seed)
        if config.image_start:
            start_from_model(self.model.visual, config.image_start)
        self.model.to(self.device)
        self.head.to(self.device)
        self.states: dict[str, torch.Tensor] = {}
        self.step, self.seconds = 0, 0.0

    def run(self, end: int) -> ClipTrainResult:
        from tqdm import tqdm

        config = self.config
        started = time.monotonic()
        fit_text_tower(self.model, self.tokenizer, self.space, config, self.device)
        fit_image_tower(self.model.visual, self.head, self.pool, config, self.device)
        self._start_joint()
        self.seconds += time.monotonic() - started
        saved, last, gathered = time.monotonic(), {}, {}
        with tqdm(total=end, initial=self.step, disable=not sys.stderr.isatty(), desc="both towers") as bar:
            while self.step < end:
                started = time.monotonic()
                for name, value in self._step().items():
                    gathered.setdefault(name, []).append(value)
                self.step += 1
                self.seconds += time.monotonic() - started
                bar.update()
                if self.step % config.log_every == 0 or self.step == end:
                    last, gathered = {n: float(np.mean(v)) for n, v in gathered.items()}, {}
                    self._log(last)
                if time.monotonic() - saved > config.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
        self._save()
        model = self.average.module.to("cpu").eval().requires_grad_(False)
        return ClipTrainResult(
            model, self.tokenizer, self.table, self.space, self.step, self.seconds, len(self.pool), last
        )  # fmt: skip

    def _start_joint(self) -> None:
        """Only the projection of the text tower, the image tower, the classifier and the logit scale learn."""
        config = self.config
        self.model.requires_grad_(False)
        self.model.visual.requires_grad_(True)
        text = [self.model.text_projection, self.model.logit_scale]
        for parameter in text:
            parameter.requires_grad_(True)
        image = [*self.model.visual.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.AdamW(
            [{"params": image, "weight_decay": config.weight_decay}, {"params": text, "weight_decay": 0.0}],
            lr=1e-3,
            betas=(0.9, 0.98),
        )
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self._resume()
        self.model.train()

    def _step(self) -> dict[str, float]:
        config, model = self.config, self.model
        rng = np.random.default_rng([config.seed, 12, self.step])
        rate = image_rate(config, config.image_steps + self.step) * min(1.0, (self.step + 1) / config.warmup_steps)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.param_groups[1]["lr"] = rate * config.text_rate_factor
        captions = self.maker.captions(rng)
        batch = self.maker.batch(rng, captions)
        phrases, targets = phrase_batch(self.space, rng, config.text_batch)
        texts = self._encode([*captions.texts, *phrases])
        pixels = drawn_pixels(self.pool, batch.rows, rng, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            features = model.visual(pixels)
        images = normalize(features.float(), dim=-1)
        logits = model.logit_scale.exp() * images @ texts[: len(captions.texts)].T
        relations = batch.relations.to(self.device)
        concepts = torch.from_numpy(self.pool.concepts[batch.rows]).to(self.device)
        losses = {
            "contrast": contrast_loss(logits, relations),
            "calibration": calibration_loss(logits, relations, config.loss),
            "distillation": distillation_loss(texts[len(captions.texts) :], torch.from_numpy(targets).to(self.device)),
            "auxiliary": auxiliary_loss(self.head(features.float()), concepts),
        }
        total = sum(getattr(config.loss, name) * loss for name, loss in losses.items())
        total.backward()
        norm = nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.logit_scale.clamp_(math.log(5.0), math.log(config.max_logit_scale))
            self.average.update_parameters(model)
            named = relations.right.any(1)
            best = logits.argmax(1)
            hit = relations.right[torch.arange(len(best), device=best.device), best][named].float().mean()
        numbers = {name: loss.item() for name, loss in losses.items()}
        scale = model.logit_scale.exp().item()
        return {"loss": total.item(), **numbers, "top1": hit.item(), "logit_scale": scale, "gradient_norm": float(norm)}

    def _encode(self, texts: list[str]) -> torch.Tensor:
        states = cached_states(
            self.model, self.tokenizer, texts, self.states, context_length=self.config.model.context_length
        )  # fmt: skip
        return normalize(states @ self.model.text_projection, dim=-1)

    def _log(self, means: dict[str, float]) -> None:
        row = {"step": self.step, "seconds": round(self.seconds, 1), "crops": len(self.pool)}
        row |= {name: round(value, 5) for name, value in means.items()}
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with (self.run_dir / LOG_NAME).open("a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
        if self.on_metrics is not None:
            self.on_metrics(self.step, means)

    def _save(self) -> None:
        state = {
            "identity": self.config.model_identity(),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.run_dir / CHECKPOINT_NAME) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        path = self.run_dir / CHECKPOINT_NAME
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["identity"] != self.config.model_identity():
            raise ConfigError(
                f"a checkpoint of {self.config.model_identity()}",
                got=str(state["identity"]),
                where=str(path),
                do="choose another run_dir, or delete this one to start afresh",
            )
        for name in ("model", "head", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.step, self.seconds = state["step"], state["seconds"]
