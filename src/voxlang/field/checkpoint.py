"""Checkpoints of a fit: everything that the rest of it depends on, in one file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from voxlang.core.artifacts import read_artifact, write_artifact
from voxlang.core.errors import ArtifactError, FieldError

CHECKPOINT_KIND = "scalar-field-checkpoint"


@dataclass(frozen=True)
class FitRecord:
    """One line of the history of a fit."""

    step: int
    """Gradient steps done."""
    seconds: float
    """Seconds of fitting so far, over all sittings."""
    psnr_db: float
    """PSNR so far, estimated on a part of the voxels."""


@dataclass
class TrainState:
    """Where a fit stands: what a checkpoint holds beside the field's own parameters."""

    step: int = 0
    seconds: float = 0.0
    history: list[FitRecord] = field(default_factory=list)
    extras: dict[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file and the identity of the fit that it belongs to."""

    path: Path
    """Where it lies."""
    identity: dict[str, Any]
    """Settings and volume digest; a file of another identity is refused."""

    def write(
        self,
        module: nn.Module,
        spec: dict[str, Any],
        *,
        optimizer: torch.optim.Adam | None,
        generator: torch.Generator,
        state: TrainState,
    ) -> None:
        """Write everything that the rest of the fit depends on, atomically."""
        tensors = {f"field.{name}": t for name, t in module.state_dict().items()}
        tensors |= {f"extra.{name}": t for name, t in state.extras.items()}
        tensors["generator"] = generator.get_state()
        if optimizer is not None:
            for i, slot in optimizer.state_dict()["state"].items():
                tensors |= {f"adam.{i}.{name}": torch.as_tensor(t) for name, t in slot.items()}
        meta = {
            "identity": self.identity,
            "spec": spec,
            "step": state.step,
            "seconds": state.seconds,
            "history": [asdict(r) for r in state.history],
        }
        arrays = {name: t.detach().cpu().numpy() for name, t in tensors.items()}
        write_artifact(self.path, CHECKPOINT_KIND, tensors=arrays, meta=meta)

    def read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Tensors and description, or None when there is no file yet.

        Raises:
            FieldError: the file is not a checkpoint, or one of another volume or other settings.
        """
        if not self.path.is_file():
            return None
        try:
            tensors, meta = read_artifact(self.path, CHECKPOINT_KIND)
        except ArtifactError as error:
            raise FieldError(error.expected, got=error.got, where=error.where, do=error.do) from error
        if meta["identity"] != self.identity:
            theirs = meta["identity"]
            differ = sorted(k for k, v in self.identity.items() if theirs.get(k) != v)
            raise FieldError(
                f"a checkpoint of this fit: {', '.join(f'{k}={self.identity[k]}' for k in differ)}",
                got=f"one with {', '.join(f'{k}={theirs.get(k)}' for k in differ)}",
                where=str(self.path),
                do="delete the file, or pass another resume path",
            )
        return tensors, meta


def state_from_checkpoint(
    tensors: dict[str, np.ndarray], meta: dict[str, Any], generator: torch.Generator
) -> tuple[dict[str, torch.Tensor], TrainState]:
    """The field's state dict and the training state; the generator continues where it was."""
    generator.set_state(torch.from_numpy(tensors["generator"].copy()))
    named = {name: torch.from_numpy(np.array(t)) for name, t in tensors.items()}
    extras = {name.removeprefix("extra."): t for name, t in named.items() if name.startswith("extra.")}
    adam = {name: t for name, t in named.items() if name.startswith("adam.")}
    history = [FitRecord(**r) for r in meta["history"]]
    state = TrainState(int(meta["step"]), float(meta["seconds"]), history, extras | adam)
    return {n.removeprefix("field."): t for n, t in named.items() if n.startswith("field.")}, state
