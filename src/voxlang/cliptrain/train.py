"""The training loop: text tower alone from the teacher, then both towers; resumable, with averaged weights."""

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

from voxlang.cliptrain.batches import BatchMaker, CaptionSet
from voxlang.cliptrain.captions import ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.crops_data import CropPool, load_crops
from voxlang.cliptrain.losses import auxiliary_loss, calibration_loss, contrast_loss, distillation_loss, relation_loss
from voxlang.cliptrain.model import augmented, build_model, image_pixels
from voxlang.cliptrain.teacher import TeacherSpace, concept_similarity, load_teacher, teacher_space
from voxlang.cliptrain.tokenizer import encode_tokens, make_tokenizer
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
        stop_step: stop (with a checkpoint) at this step; None trains to the end.

    Raises:
        ConfigError: no views in the render folders, or a checkpoint of another model or seed.
        ModelMissingError: the teacher's package is not installed.
    """
    return _Loop(config, on_metrics).run(min(stop_step or config.total_steps, config.total_steps))


def learning_rate_at(config: ClipTrainConfig, step: int) -> float:
    """Linear warm-up and half cosine to a hundredth, once for each phase."""
    in_text = step < config.text_steps
    length = config.text_steps if in_text else config.steps
    at = step if in_text else step - config.text_steps
    warm = min(1.0, (at + 1) / (config.warmup_steps + 1))
    return config.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * at / length)))


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
        self.space = space = teacher_space(
            self.table, teacher, dim=config.model.embed_dim, cache=self.run_dir, seed=config.seed
        )  # fmt: skip
        self.table.relax(concept_similarity(self.table, space))
        self.maker = BatchMaker(config, self.pool, self.table, space)
        self.tokenizer = make_tokenizer(space, vocab_size=config.model.vocab_size)
        self.model = build_model(config.model, self.tokenizer, seed=config.seed).to(self.device)
        self.model.visual.to(memory_format=torch.channels_last)
        image = list(self.model.visual.parameters())
        own = {id(p) for p in image}
        text = [p for p in self.model.parameters() if id(p) not in own]
        with torch.random.fork_rng():
            torch.manual_seed(config.seed + 1)
            self.head = nn.Linear(config.model.embed_dim, len(self.table)).to(self.device)
        groups = [{"params": image}, {"params": text}, {"params": list(self.head.parameters())}]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), weight_decay=config.weight_decay)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        self.step, self.seconds = 0, 0.0
        self._texts: tuple[CaptionSet, torch.Tensor] | None = None
        self._vectors = torch.zeros(0)
        self._resume()

    def run(self, end: int) -> ClipTrainResult:
        from tqdm import tqdm

        config = self.config
        self.model.train()
        saved, last, gathered = time.monotonic(), {}, {}
        with tqdm(total=end, initial=self.step, disable=not sys.stderr.isatty(), desc="clip") as bar:
            while self.step < end:
                started = time.monotonic()
                for name, value in self._step().items():
                    gathered.setdefault(name, []).append(value)
                self.step += 1
                self.seconds += time.monotonic() - started
                bar.update()
                if self.step % config.log_every == 0 or self.step == end:
                    last, gathered = {n: float(np.nanmean(v)) for n, v in gathered.items() if not np.isnan(v).all()}, {}
                    self._log(last)
                if time.monotonic() - saved > config.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
        self._save()
        model = self.average.module.to("cpu").eval().requires_grad_(False)
        return ClipTrainResult(
            model, self.tokenizer, self.table, self.space, self.step, self.seconds, len(self.pool), last
        )  # fmt: skip

    def _step(self) -> dict[str, float]:
        config = self.config
        rng = np.random.default_rng([config.seed, 11, self.step])
        rate = learning_rate_at(config, self.step)
        alone = self.step < config.text_steps
        for group in (0, 2):
            self.optimizer.param_groups[group]["lr"] = 0.0 if alone else rate
        self.optimizer.param_groups[1]["lr"] = rate if alone else rate * config.text_rate_factor
        numbers = self._text_step(rng) if alone else self._joint_step(rng)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self.model.logit_scale.clamp_(math.log(5.0), math.log(config.max_logit_scale))
        self.average.update_parameters(self.model)
        return numbers | {"gradient_norm": float(norm)}

    def _encode(self, texts: list[str]) -> torch.Tensor:
        tokens = encode_tokens(self.tokenizer, texts, context_length=self.config.model.context_length)
        used = int((tokens != 0).sum(1).max())
        return normalize(_encode_short(self.model, tokens[:, :used].to(self.device)), dim=-1)

    def _text_step(self, rng: np.random.Generator) -> dict[str, float]:
        texts, targets = self.maker.phrases(rng, self.config.text_batch)
        vectors, wanted = self._encode(texts), torch.from_numpy(targets).to(self.device)
        loss, relation = distillation_loss(vectors, wanted), relation_loss(vectors, wanted)
        (loss + 10.0 * relation).backward()
        return {"distillation": loss.item(), "relation": relation.item()}

    def _joint_step(self, rng: np.random.Generator) -> dict[str, float]:
        config = self.config
        since = (self.step - config.text_steps) % config.text_every
        if since == 0 or self._texts is None:
            at = np.random.default_rng([config.seed, 12, self.step - since])
            captions = self.maker.captions(at)
            vectors = self._vectors if since else self._encode(list(captions.texts))
            self._texts = captions, vectors
        captions, texts = self._texts
        batch = self.maker.batch(rng, captions)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        pixels = augmented(
            image_pixels(batch.images.to(self.device)), batch.sided.to(self.device), generator
        )  # fmt: skip
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            features = self.model.encode_image(pixels)
        images = normalize(features.float(), dim=-1)
        logits = self.model.logit_scale.exp() * images @ texts.T
        relations = type(batch.relations)(
            *(getattr(batch.relations, name).to(self.device) for name in ("right", "wrong", "generic"))
        )
        contrast = contrast_loss(logits, relations)
        calibration = calibration_loss(logits, relations, config.loss)
        distillation = torch.zeros((), device=self.device)
        if since == 0:
            phrases, targets = self.maker.phrases(rng, config.text_batch // 2)
            distillation = distillation_loss(self._encode(phrases), torch.from_numpy(targets).to(self.device))
        auxiliary = auxiliary_loss(self.head(features.float()), batch.concepts.to(self.device))
        weights = config.loss
        total = weights.auxiliary * auxiliary + (
            weights.contrast * contrast + weights.calibration * calibration + weights.distillation * distillation
        )  # fmt: skip
        total.backward()
        self._texts = captions, texts.detach()
        with torch.no_grad():
            named = relations.right.any(1)
            best = logits.argmax(1)
            hit = relations.right[torch.arange(len(best), device=best.device), best][named].float().mean()
        return {
            "loss": total.item(),
            "contrast": contrast.item(),
            "calibration": calibration.item(),
            "auxiliary": auxiliary.item(),
            "distillation": distillation.item() if since == 0 else float("nan"),
            "top1": hit.item(),
            "logit_scale": self.model.logit_scale.exp().item(),
        }

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
            "tokenizer": self.tokenizer.to_str(),
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "head": self.head.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "text_vectors": self._vectors if self._texts is None else self._texts[1],
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
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_str(state["tokenizer"])
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self._vectors = state["step"], state["seconds"], state["text_vectors"]


def _encode_short(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """open_clip's `encode_text` without the columns that hold only padding.

    Attention is causal and the vector is taken at the end token, so padding after it changes nothing.
    """
    length = tokens.shape[1]
    states = model.token_embedding(tokens) + model.positional_embedding[:length]
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask[:length, :length]))
    ends = (tokens == model.text_eos_id).int().argmax(dim=-1)
    return states[torch.arange(len(tokens), device=tokens.device), ends] @ model.text_projection
