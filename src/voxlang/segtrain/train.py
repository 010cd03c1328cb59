"""The training loop: resumable to the step, averaged weights, accumulation, bfloat16 on CUDA, several processes."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from voxlang.core.artifacts import atomic_path
from voxlang.core.device import device_of
from voxlang.core.errors import ConfigError
from voxlang.core.settings import require_same_identity
from voxlang.core.training_log import MetricCallback, TrainingLog, mean_of_known
from voxlang.segtrain.average import WeightAverage
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig, learning_rate_at, phase_at
from voxlang.segtrain.data import Batch, at_side, make_batch, make_sources
from voxlang.segtrain.losses import loss_of
from voxlang.segtrain.model import SegmentationStudent, build_student, trained_parameters
from voxlang.segtrain.optimizers import Optimizers
from voxlang.segtrain.shapes import SIDE
from voxlang.segtrain.start import start_decoder, whiten_patches

_BATCHES_TO_START = 8
CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True, eq=False)
class TrainResult:
    """What a training leaves."""

    student: SegmentationStudent
    """The network with the averaged weights, in evaluation mode."""
    steps: int
    """Optimizer steps done, earlier runs included."""
    seconds: float
    """Seconds of training, earlier runs included."""
    last: dict[str, float]
    """Means of the last line of the log."""


@dataclass(frozen=True)
class _World:
    """This process among all."""

    rank: int
    size: int
    device: torch.device


def train(
    config: SegTrainConfig, *, on_metrics: MetricCallback | None = None, stop_step: int | None = None
) -> TrainResult:
    """Train, or go on where the last checkpoint in `run_dir` stopped.

    A run that is stopped and continued computes the same as one that is not. Under torchrun each process takes its own
    pictures and the gradients are averaged.

    Args:
        config: the recipe.
        on_metrics: called on the first process with (step, means since the last call) every `log_every` steps.
        stop_step: stop (with a checkpoint) at this step; None trains to the end.

    Raises:
        ConfigError: settings that do not fit each other, or a checkpoint of another model or seed.
    """
    with _processes(config) as world:
        return _Loop(config, world, on_metrics).run(min(stop_step or config.total_steps, config.total_steps))


class _Loop:
    def __init__(self, config: SegTrainConfig, world: _World, on_metrics: MetricCallback | None) -> None:
        self.config, self.world = config, world
        self.run_dir = Path(config.run_dir)
        first = world.rank == 0
        self.log = TrainingLog(
            self.run_dir if first else None, every=config.log_every, on_means=on_metrics if first else None
        )
        self.sources = make_sources(config)
        self.student = build_student(
            config.model_yaml,
            seed=config.seed,
            initial_weights=config.initial_weights,
            initial_trunk=config.initial_trunk,
            encoder=config.encoder,
        )
        self.student.to(world.device)
        groups = trained_parameters(self.student)
        self.trained = [p for group in groups.values() for p in group]
        kept = {id(p) for p in self.trained}
        for parameter in self.student.parameters():
            parameter.requires_grad_(id(parameter) in kept)
        self.optimizers = Optimizers(groups, weight_decay=config.weight_decay)
        self.average = WeightAverage(self.student, config.ema_decay)
        self.step, self.seconds = 0, 0.0
        self._resume()
        self.network: nn.Module = self.student
        if world.size > 1:
            self.network = nn.parallel.DistributedDataParallel(self.student, find_unused_parameters=True)

    def run(self, end: int) -> TrainResult:
        from tqdm import tqdm

        config, first = self.config, self.world.rank == 0
        self.student.train()
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        last: dict[str, float] = {}
        with tqdm(total=config.total_steps, initial=self.step, unit="step", disable=not first, mininterval=5) as bar:
            while self.step < end:
                numbers = self._one_step()
                self.step += 1
                self.seconds = time.monotonic() - started
                bar.update()
                name = phase_at(config, self.step - 1)[0].name
                means = self.log.add(self.step, numbers, phase=name, seconds=self.seconds, last=self.step == end)
                if means:
                    last = means
                    bar.set_postfix_str(f"loss {last['loss']:.3f} {name}")
                if first and time.monotonic() - saved > config.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
        if first:
            self._save()
        return TrainResult(self.average.module, self.step, self.seconds, last)

    def _one_step(self) -> dict[str, float]:
        config, world = self.config, self.world
        phase, done = phase_at(config, self.step)
        if done == 0.0 and (phase.start_encoder or phase.start_decoder):
            self._start(phase)
        self.optimizers.set_rate(learning_rate_at(config, self.step), phase)
        bfloat16 = config.precision == "bfloat16" or (config.precision == "auto" and world.device.type == "cuda")
        gathered: dict[str, list[float]] = {}
        for part in range(config.accumulation):
            batch = self._batch(world.rank, part)
            is_last = part + 1 == config.accumulation
            quiet = contextlib.nullcontext() if is_last or world.size == 1 else self.network.no_sync()
            with quiet:
                with torch.autocast(world.device.type, torch.bfloat16, enabled=bfloat16):
                    answers = self.network(batch, learn_encoder=phase.encoder_rate > 0, ask_decoder=phase.train_decoder)
                loss = loss_of(
                    answers,
                    batch,
                    config.loss,
                    balanced_weight=phase.balanced_weight,
                    token_weight=phase.token_weight,
                    mask_margin=phase.mask_margin,
                )
                (loss.total / config.accumulation).backward()
            for name, value in loss.numbers.items():
                gathered.setdefault(name, []).append(value)
        norm = nn.utils.clip_grad_norm_(self.trained, config.gradient_norm)
        if torch.isfinite(norm):
            self.optimizers.step()
            self.average.update(self.student)
        self.optimizers.zero_grad()
        return {name: mean_of_known(values) for name, values in gathered.items()} | {"gradient_norm": float(norm)}

    def _batch(self, rank: int, part: int) -> Batch:
        batch = make_batch(self.config, self.sources, self.step, rank=rank, part=part).to(self.world.device)
        return at_side(batch, batch.images.shape[-1] * self.student.sam.image_size // SIDE)

    def _start(self, phase: PhaseConfig) -> None:
        """The same on every process: the pictures are those of process 0."""
        batches = [self._batch(0, part) for part in range(_BATCHES_TO_START)]
        if phase.start_encoder and hasattr(self.student.sam.image_encoder.trunk, "patch_embed"):  # a ViT has its own
            whiten_patches(self.student.sam, batches)
        if phase.start_decoder:
            start_decoder(self.student, batches, seed=self.config.seed)
        self.average = WeightAverage(self.student, self.config.ema_decay)

    def _save(self) -> None:
        state = {
            "identity": _identity(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "student": self.student.state_dict(),
            "average": self.average.module.state_dict(),
            "average_updates": self.average.updates,
            "optimizers": self.optimizers.state_dict(),
        }
        with atomic_path(self.run_dir / CHECKPOINT_NAME) as temporary:
            torch.save(state, temporary)

    def _resume(self) -> None:
        path = self.run_dir / CHECKPOINT_NAME
        if not path.is_file():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.world.device, weights_only=True)
        require_same_identity(state["identity"], _identity(self.config), path)
        self.student.load_state_dict(state["student"])
        self.average.module.load_state_dict(state["average"])
        self.average.updates = state["average_updates"]
        self.optimizers.load_state_dict(state["optimizers"])
        self.step, self.seconds = state["step"], state["seconds"]


def load_student(config: SegTrainConfig) -> SegmentationStudent:
    """The averaged network of the last checkpoint in `run_dir`, on the CPU, in evaluation mode.

    Raises:
        ConfigError: nothing was trained there.
    """
    path = Path(config.run_dir) / CHECKPOINT_NAME
    if not path.is_file():
        raise ConfigError("a checkpoint", got="no file", where=str(path), do="train with this recipe first")
    student = build_student(config.model_yaml, seed=config.seed, encoder=config.encoder)
    student.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["average"])
    return student.eval().requires_grad_(False)


def _identity(config: SegTrainConfig) -> dict[str, Any]:
    """What a checkpoint must share with a recipe to be continued by it; phases may be added or changed."""
    identity: dict[str, Any] = {"model_yaml": Path(config.model_yaml).name, "seed": config.seed}
    return identity | ({"encoder": config.encoder.model_dump()} if config.encoder else {})


@contextlib.contextmanager
def _processes(config: SegTrainConfig):
    """This process's place; under torchrun the group is opened and closed."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = device_of(config.device)
    if size == 1:
        yield _World(0, 1, device)
        return
    import torch.distributed as dist

    local = int(os.environ["LOCAL_RANK"])
    cuda = device.type == "cuda"
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield _World(dist.get_rank(), size, torch.device("cuda", local) if cuda else device)
    finally:
        dist.destroy_process_group()
