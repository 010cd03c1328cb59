"""Settings of the training of the dense tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.settings import read_settings
from voxlang.tracking.config import NO_TRACKING, TrackerConfig


class StretchConfig(BaseModel):
    """Steps with one size of picture; the rate rises quickly and falls to zero."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(gt=0)
    """How many."""
    side: int = Field(ge=32)
    """Edge of the pictures in pixels."""
    pictures: int = Field(gt=0)
    """Pictures per step."""
    places: int = Field(1200, gt=0)
    """Places of each level per step."""
    rate: float = Field(gt=0)
    """Highest rate of the head."""


class DenseTrainConfig(BaseModel):
    """Everything that determines a training of the dense tower."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    render_dirs: tuple[str, ...] = ("runs/renders/train",)
    """Folders with views written by `training/render_views.py`, training seeds only."""
    dev_dirs: tuple[str, ...] = ("runs/renders/dev",)
    """The same for development seeds."""
    run_dir: str = "runs/train_dense_micro"
    """Where checkpoints and the log go."""
    export_path: str = "checkpoints/voxlang_dense_micro.safetensors"
    """Where the finished tower goes."""
    texts: str = "checkpoints/voxlang_clip_micro"
    """Folder of the image-text model whose texts are learnt."""
    encoder_yaml: str = "configs/sam2/sam2.1_hiera_micro.yaml"
    """The SAM 2 model whose image encoder is built."""
    encoder_start: str = "checkpoints/voxlang_sam2_micro.safetensors"
    """Its weights at the start; empty begins at random."""
    tower_start: str = ""
    """A finished tower to go on from, in place of `encoder_start` and a random head; its texts may have been others."""
    hidden: int = Field(128, gt=0)
    """Channels of the head."""
    stretches: tuple[StretchConfig, ...] = Field(min_length=1)
    """One after the other; the tower is used at the size of the last."""
    trunk_rate: float = Field(0.5, gt=0)
    """Rate of the trunk, as a share of the head's."""
    window: float = Field(0.3, ge=0, le=1)
    """Share of pictures that are windows of a view."""
    warmup_steps: int = Field(50, ge=1)
    """Steps over which the rate rises in each stretch."""
    weight_decay: float = Field(0.05, ge=0)
    """Weight decay of both optimisers."""
    checkpoint_seconds: float = Field(120.0, gt=0)
    """A checkpoint is written this often."""
    seed: int = 0
    """Seed of weights and batches."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    log_every: int = Field(50, gt=0)
    """Steps between two lines of the log."""
    tracking: TrackerConfig = TrackerConfig()
    """Where the same numbers are told to dashboards."""

    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with a recipe to be continued by it; stretches may be added or changed."""
        return self.model_dump(mode="json", include={"hidden", "trunk_rate", "seed", "encoder_yaml"})


def load_dense_config(path: Path | str) -> DenseTrainConfig:
    """Read a recipe.

    Raises:
        ConfigError: no such file, or a setting that does not exist or does not fit.
    """
    return read_settings(path, DenseTrainConfig, examples="configs/training")


def smoke_dense_config(config: DenseTrainConfig, run_dir: str) -> DenseTrainConfig:
    """Shrink a recipe to a few small steps on the CPU: a check that everything runs, not a training."""
    folder = Path(run_dir)
    stretches = tuple(
        stretch.model_copy(update={"steps": 2, "side": 64, "pictures": 2, "places": 20}) for stretch in config.stretches
    )
    return config.model_copy(
        update={
            "render_dirs": (str(folder / "renders"),),
            "dev_dirs": (str(folder / "renders"),),
            "run_dir": run_dir,
            "export_path": str(folder / "dense.safetensors"),
            "hidden": 16,
            "stretches": stretches,
            "warmup_steps": 1,
            "log_every": 2,
            "device": "cpu",
            "tracking": NO_TRACKING,
        }
    )
