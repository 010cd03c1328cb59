"""Settings of stage 1."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.errors import FieldError

BACKENDS = ("auto", "dense", "hash", "tcnn")
"""Names of the representations; "auto" chooses by device."""

PRESETS: dict[str, dict[str, float | int]] = {
    "fast": {"param_fraction": 0.25, "rounds": 1, "steps": 0},
    "default": {"param_fraction": 0.5, "rounds": 2, "steps": 60},
    "quality": {"param_fraction": 0.5, "rounds": 5, "steps": 400},
}
"""Size and effort by name; settings given beside the preset win."""

POINT_STEPS: dict[str, int] = {"fast": 500, "default": 2000, "quality": 10000}
"""Gradient steps of the backends that learn from random points (hash, tcnn), which have no closed-form start."""


class FieldConfig(BaseModel):
    """How the scalar volume becomes a field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["fast", "default", "quality"] = "default"
    """Size and effort together: fast (a quarter of the voxels, only solved), default, quality (half of the voxels)."""
    param_fraction: float | None = Field(default=None, gt=0.0, le=1.0)
    """Parameters at most, as a share of the voxels; unset, the preset's. 1024 are always allowed."""
    rounds: int | None = Field(default=None, ge=0)
    """Rounds of choosing detail bricks and solving the rest by least squares (dense backend); unset, the preset's."""
    steps: int | None = Field(default=None, ge=0)
    """Gradient steps of the network; unset, the preset's for the backend."""
    seconds: float | None = Field(default=None, gt=0.0)
    """Stop improving after so many seconds of fitting, whatever rounds and steps are left; unset, no limit."""
    batch: int = Field(default=1 << 17, ge=1)
    """Voxels per gradient step."""
    lr: float = Field(default=1e-2, gt=0.0)
    """Peak learning rate of Adam, warmed up over 20 steps and then lowered along a half cosine."""
    backend: str = "auto"
    """auto, dense (solved grids + network, fast on CPUs), hash (hash grid in plain torch) or tcnn (tiny-cuda-nn).
    auto is dense on the CPU; on CUDA tcnn where it is installed, else hash."""
    width: int = Field(default=16, ge=1)
    """Units of the network's hidden layers."""
    seed: int = 0
    """Seed of the generator that draws initial weights and batches."""
    eval_steps: int = Field(default=50, ge=1)
    """Steps between two entries of the history."""
    eval_voxels: int = Field(default=1 << 17, ge=1)
    """Voxels on which the PSNR of the progress bar is estimated; the final PSNR is over the whole grid."""
    checkpoint_seconds: float = Field(default=10.0, ge=0.0)
    """Seconds between two checkpoints when a resume path is given; 0 writes one after each step."""

    def resolved(self) -> FieldConfig:
        """The same settings with those of the preset filled in.

        Raises:
            FieldError: unknown backend.
        """
        if self.backend not in BACKENDS:
            raise FieldError(
                f"a backend out of {', '.join(BACKENDS)}",
                got=repr(self.backend),
                where="FieldConfig.backend",
                do="use one of these names",
            )
        preset = dict(PRESETS[self.preset])
        if self.backend in ("hash", "tcnn"):
            preset["steps"] = POINT_STEPS[self.preset]
        unset = {name: value for name, value in preset.items() if getattr(self, name) is None}
        return self.model_copy(update=unset)
