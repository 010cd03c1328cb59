"""Stage 1: fit a field to a volume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxlang.core.device import device_of
from voxlang.core.errors import FieldError
from voxlang.field.build import build_point_field, choose_backend, field_from_spec
from voxlang.field.checkpoint import Checkpoint, FitRecord, TrainState, state_from_checkpoint
from voxlang.field.config import FieldConfig
from voxlang.field.dense_fit import finish_dense, improve_dense, start_dense
from voxlang.field.lattice import unit_coordinates
from voxlang.field.point_fit import improve_from_points
from voxlang.field.scalar_field import ScalarField, psnr_db
from voxlang.field.train import TrainSettings
from voxlang.volume.types import Volume

MIN_PARAMETERS = 1024
"""What a field may always have, so that a volume of a few voxels can be represented as well."""


@dataclass(frozen=True, eq=False)
class FieldFit:
    """A fitted field and how good it is."""

    field: ScalarField
    """The representation, on the device of the fit."""
    psnr_db: float
    """``-10 log10(mean squared error)`` over every voxel of the volume, values in [0, 1], peak 1; inf if equal."""
    n_parameters: int
    """Numbers stored, the index of sparse parts included (32 of its bits are one number)."""
    compression: float
    """Voxels divided by parameters."""
    seconds: float
    """Wall-clock seconds of fitting, over all sittings; the final measurement does not count."""
    history: tuple[FitRecord, ...]
    """PSNR by step, estimated on a part of the voxels."""
    n_voxels: int
    """Voxels of the volume."""
    native_bytes: int
    """Bytes of a voxel in the narrowest type that holds its native values: 1, 2 (integers) or 4."""

    @property
    def parameter_share(self) -> float:
        """Parameters divided by voxels, the inverse of `compression`."""
        return self.n_parameters / self.n_voxels

    @property
    def byte_ratio(self) -> float:
        """Bytes of the volume in its native type divided by float32 bytes of the field; half precision doubles it."""
        return self.n_voxels * self.native_bytes / (4 * self.n_parameters)


def fit_field(
    volume: Volume,
    config: FieldConfig,
    *,
    resume_path: Path | str | None = None,
    device: str = "cpu",
    progress: bool = True,
    on_step: Callable[[int], None] | None = None,
) -> FieldFit:
    """Fit a field to a volume.

    Args:
        volume: what to represent.
        config: size, effort and backend.
        resume_path: checkpoint file; if it exists, the fit continues from it and, without a limit in seconds, ends
            with the same parameters as one that was never interrupted (bit for bit on the CPU). It stays there when
            the fit ends, so that a run killed before it saved the field ends at once; delete it afterwards.
        device: torch device.
        progress: draw a bar with PSNR and time left, on a terminal.
        on_step: called with the number of gradient steps done after each of them.

    Raises:
        ConfigError: a device that is not there.
        FieldError: unknown backend, one that cannot run here, or a checkpoint of another volume or other settings.
    """
    settings, device = config.resolved(), device_of(device)
    backend = choose_backend(settings.backend, device)
    if settings.backend == "auto" and backend != "dense":
        settings = config.model_copy(update={"backend": backend}).resolved()
    values = torch.from_numpy(volume.values).to(device)
    n_parameters = max(MIN_PARAMETERS, int(settings.param_fraction * values.numel()))
    generator = torch.Generator().manual_seed(settings.seed)
    checkpoint = _checkpoint(resume_path, volume, settings, backend)
    stored = checkpoint.read() if checkpoint else None
    began = time.perf_counter()
    if stored is not None:
        field = field_from_spec(stored[1]["spec"])
        state_dict, state = state_from_checkpoint(*stored, generator)
        field.load_state_dict(state_dict)
        field.to(device)
        began -= state.seconds
    elif backend == "dense":
        field, kept = start_dense(
            values,
            settings,
            n_parameters,
            generator,
            go_on=lambda: settings.seconds is None or time.perf_counter() - began < 0.5 * settings.seconds,
        )
        state = TrainState(extras={"kept": kept})
    else:
        size_xyz = volume.grid.size_xyz
        field = build_point_field(
            size_xyz, settings, backend=backend, n_parameters=n_parameters, generator=generator
        ).to(device)
        state = TrainState()
    state.seconds = time.perf_counter() - began
    train_settings = TrainSettings(
        settings.steps,
        settings.seconds,
        settings.lr,
        settings.eval_steps,
        settings.checkpoint_seconds,
        checkpoint,
        progress,
        on_step,
    )
    if backend == "dense":
        kept = state.extras["kept"].to(device)
        improve_dense(field, values, kept, settings, train_settings, generator, state)
        finish_dense(field, values, kept)
    else:
        improve_from_points(field, values, settings, train_settings, generator, state)
    return FieldFit(
        field,
        measure_psnr_db(field, volume),
        field.n_parameters,
        values.numel() / field.n_parameters,
        time.perf_counter() - began,
        tuple(state.history),
        values.numel(),
        native_bytes(volume),
    )


@torch.no_grad()
def measure_psnr_db(field: ScalarField, volume: Volume) -> float:
    """PSNR of `field.forward` at every voxel centre of the volume; peak 1, values in [0, 1].

    Raises:
        FieldError: the field was made for another size.
    """
    if field.size_xyz != volume.grid.size_xyz:
        raise FieldError(
            f"a field of a volume of size_xyz={volume.grid.size_xyz}",
            got=f"one of size_xyz={field.size_xyz}",
            where="measure_psnr_db",
            do="pass the field of this volume",
        )
    x, y, z = (unit_coordinates(n, device=field.device) for n in field.size_xyz)
    planes = max(1, (1 << 19) // (len(x) * len(y)))
    squared_error = 0.0
    for first in range(0, len(z), planes):
        slab = field.block(z[first : first + planes], y, x).clamp_(0.0, 1.0).cpu().numpy()
        squared_error += float(np.square(slab.astype(np.float64) - volume.values[first : first + planes]).sum())
    return psnr_db(squared_error, volume.values.size)


def native_bytes(volume: Volume) -> int:
    """Bytes of a voxel in the narrowest type for the native values: 1 or 2 for integers, else 4."""
    lower, upper = volume.value_range
    span = upper - lower
    if span > 65535.0 or span != round(span):
        return 4
    for slab in volume.values:
        steps = slab.astype(np.float64) * span
        if np.abs(steps - np.rint(steps)).max() > 1e-6 * span + 1e-3:
            return 4
    return 1 if span <= 255.0 else 2


def _checkpoint(
    resume_path: Path | str | None, volume: Volume, settings: FieldConfig, backend: str
) -> Checkpoint | None:
    if resume_path is None:
        return None
    fitted = settings.model_dump(exclude={"checkpoint_seconds", "eval_steps", "eval_voxels", "backend", "preset"})
    return Checkpoint(Path(resume_path), {"volume": volume.digest, "backend": backend, **fitted})
