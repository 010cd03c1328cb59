"""Gradient steps that can be interrupted: Adam, a schedule, a bar, a history and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from voxlang.field.checkpoint import Checkpoint, FitRecord, TrainState


@dataclass(frozen=True)
class TrainSettings:
    """The part of the settings that `train` needs."""

    steps: int
    """Gradient steps in all."""
    seconds: float | None
    """Limit in seconds over all sittings."""
    lr: float
    """Peak learning rate."""
    eval_steps: int
    """Steps between two history entries."""
    checkpoint_seconds: float
    """Seconds between two checkpoints."""
    checkpoint: Checkpoint | None
    """Where to write them."""
    progress: bool
    """Whether to draw a bar (on a terminal only)."""
    on_step: Callable[[int], None] | None
    """Called with the number of steps done after each of them."""


def train(
    module: nn.Module,
    parameters: list[nn.Parameter],
    loss_of_batch: Callable[[torch.Generator], torch.Tensor],
    estimate_psnr_db: Callable[[], float],
    *,
    spec: dict[str, Any],
    settings: TrainSettings,
    generator: torch.Generator,
    state: TrainState,
) -> None:
    """Lower a loss by Adam, leaving the parameters and `state` at the end.

    The learning rate rises over 20 steps and falls along a half cosine of the progress, which is the greater of the
    share of steps and the share of seconds. Without a limit in seconds the result does not depend on interruptions.
    """
    optimizer = torch.optim.Adam(parameters, lr=settings.lr, betas=(0.9, 0.99), eps=1e-15)
    _restore_adam(optimizer, state)
    began, written = time.perf_counter() - state.seconds, time.perf_counter()
    bar = tqdm(
        total=settings.steps, initial=state.step, desc="field", unit="step", disable=None if settings.progress else True
    )
    if not state.history:
        state.history.append(FitRecord(0, state.seconds, estimate_psnr_db()))
        if settings.checkpoint is not None:
            settings.checkpoint.write(module, spec, optimizer=None, generator=generator, state=state)
    with bar:
        bar.set_postfix_str(f"{state.history[-1].psnr_db:.1f} dB")
        while state.step < settings.steps:
            elapsed = time.perf_counter() - began
            progress = state.step / settings.steps
            if settings.seconds is not None:
                progress = max(progress, elapsed / settings.seconds)
                if progress >= 1.0:
                    break
            rate = min(1.0, (state.step + 1) / 20) * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * rate
            loss = loss_of_batch(generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            state.step += 1
            bar.update()
            state.seconds = time.perf_counter() - began
            if state.step % settings.eval_steps == 0 or state.step == settings.steps:
                state.history.append(FitRecord(state.step, state.seconds, estimate_psnr_db()))
                bar.set_postfix_str(f"{state.history[-1].psnr_db:.1f} dB")
            due = time.perf_counter() - written >= settings.checkpoint_seconds or state.step == settings.steps
            if settings.checkpoint is not None and due:
                settings.checkpoint.write(module, spec, optimizer=optimizer, generator=generator, state=state)
                written = time.perf_counter()
            if settings.on_step is not None:
                settings.on_step(state.step)
    state.seconds = time.perf_counter() - began


def _restore_adam(optimizer: torch.optim.Adam, state: TrainState) -> None:
    stored = {name: state.extras.pop(name) for name in list(state.extras) if name.startswith("adam.")}
    if not stored:
        return
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in stored.items():
        _, i, key = name.split(".")
        slots.setdefault(int(i), {})[key] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
