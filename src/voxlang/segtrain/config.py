"""Settings of the SAM 2 trainer. One YAML file holds a whole recipe; `load_config` reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.errors import ConfigError
from voxlang.core.settings import read_settings
from voxlang.encoders.options import EncoderOptions
from voxlang.tracking.config import NO_TRACKING, TrackerConfig

SourceName = Literal["shapes-simple", "shapes-full", "renders", "images"]


class PhaseConfig(BaseModel):
    """A stretch of the curriculum: which pictures, how long, how fast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """What the log calls it."""
    steps: int = Field(gt=0)
    """Optimizer steps in this phase."""
    sources: dict[SourceName, float]
    """Share of each kind of picture; normalised to sum 1."""
    learning_rate: float = Field(gt=0)
    """Rate at the start of the phase."""
    final_learning_rate: float = Field(gt=0)
    """Rate at its end; a half cosine lies between."""
    encoder_rate: float = Field(1.0, ge=0)
    """Rate of the image encoder as a share of the decoder's; 0 freezes it, and the auxiliary head goes on learning."""
    train_decoder: bool = True
    """Off: only the encoder learns, from the auxiliary head, at less than half the cost of a step."""
    side: Literal[256, 128] = 256
    """Pixels along each side of the pictures. Half size is a quarter of the work: what large parts look like and what
    belongs together is learnt from many small pictures first, small things at full size."""
    crop_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the pictures of which only a window of half to all of the side is taken."""
    pictures: int | None = Field(None, gt=0)
    """Pictures per step on each process, where they are not the recipe's `pictures_per_step`."""
    start_encoder: bool = False
    """Start the encoder's patch embedding at the first step of this phase; see `segtrain.start.whiten_patches`."""
    start_decoder: bool = False
    """Start the decoder anew on the present features at the first step of this phase; see `segtrain.start`."""
    box_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the batches prompted by boxes; the others are prompted by points."""
    refine_fraction: float = Field(0.0, ge=0, le=1)
    """Share of the batches in which each answer is given back as a mask prompt, with a click on its greatest error."""
    balanced_weight: float = Field(0.0, ge=0)
    """Weight of the cross entropy in which object and surroundings count the same. It drives the masks away from
    "nothing" while the model does not look at the prompt yet; later it would make them too large."""
    token_weight: float = Field(0.0, ge=0)
    """Weight of one minus the cosine between what a mask token holds and the pixel embedding at its prompt."""
    mask_margin: float = 0.0
    """Lowers the decoder's mask logits before the loss sees them, so that masks, which are cut at 0, come out fuller.
    The expected overlap of an unsure mask is greatest where its pixels count from half of that overlap on, well below
    a probability of one half. Source: Lipton et al. 2014, "Optimal thresholding of classifiers to maximize F1
    measure", theorem 1."""
    background_fraction: float = Field(0.1, ge=0, le=1)
    """Share of the points that lie on empty background and must be answered with a low predicted IoU."""


class LossConfig(BaseModel):
    """Weights of the terms of the loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    focal: float = 20.0
    """Weight of the focal term of the masks."""
    dice: float = 1.0
    """Weight of the dice term of the masks."""
    predicted_iou: float = 1.0
    """Weight of the squared error of the predicted IoU."""
    auxiliary: float = 1.0
    """Weight of the auxiliary pixel-embedding head."""
    kinds: float = 1.0
    """Weight, within the auxiliary loss, of the cross entropy of what each pixel shows."""
    auxiliary_balanced: float = 1.0
    """Weight, within the auxiliary loss, of the cross entropy in which object and surroundings count the same."""


class SegTrainConfig(BaseModel):
    """Everything that determines a training run of the segmentation model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_yaml: str = "configs/sam2/sam2.1_hiera_micro.yaml"
    """Hydra file of the model: sam2's own classes."""
    encoder: EncoderOptions | None = None
    """Another image encoder than the one of `model_yaml`."""
    initial_weights: str | None = None
    """Exported weights to start from; none trains from nothing."""
    initial_trunk: str | None = None
    """A finished dense tower whose trunk is put in place of the one to start from: it has learnt from more pictures."""
    run_dir: str = "runs/segtrain"
    """Where checkpoints and the log go."""
    export_path: str = "checkpoints/voxlang_sam2_micro.safetensors"
    """Where the finished weights go."""
    export_dtype: Literal["float16", "float32"] = "float16"
    """How the finished weights are stored; float32 keeps a frozen encoder bit for bit."""
    export_logit_scale: float = Field(1.0, gt=0)
    """Factor on all mask logits of the finished weights, folded into the last layers. It moves no mask, which is cut at
    0; it says what a logit of 1 means, and so what stability at an offset of 1 asks for."""
    render_dir: str | None = None
    """Folder of rendered views written by `training/render_views.py`; needed by phases with the source "renders"."""
    renders_per_family: int = Field(0, ge=0)
    """Phantoms of each family to render into `render_dir` when that is empty; 0 renders none."""
    images: str | None = None
    """Folder of annotated pictures; needed by phases with the source "images"."""
    annotations: str | None = None
    """COCO JSON of the pictures, or a folder of PNG label maps with their names; None looks beside the pictures."""
    family_shares: dict[str, float] = {}
    """Weight of each phantom family among the renders; a family that is not named weighs 1. Empty: as on disk."""
    phases: tuple[PhaseConfig, ...] = Field(min_length=1)
    """The curriculum, in order."""
    loss: LossConfig = LossConfig()
    """Weights of the loss."""
    pictures_per_step: int = Field(5, gt=0)
    """Pictures per step on each process, before accumulation."""
    prompts_per_picture: int = Field(20, gt=0)
    """Prompts answered per picture and step."""
    accumulation: int = Field(1, gt=0)
    """Batches whose gradients are added before the optimizer steps."""
    window: int = Field(1500, gt=0)
    """Generated pictures that stay in reach for reuse; new ones push out the oldest."""
    new_per_step: float = Field(1.5, gt=0)
    """Newly generated pictures per step; the others are reused with another flip, turn and colour."""
    warmup_steps: int = Field(100, ge=0)
    """Steps over which the rate rises from zero at the very start."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay."""
    gradient_norm: float = Field(1.0, gt=0)
    """Gradients are cut to this norm."""
    ema_decay: float = Field(0.998, ge=0, lt=1)
    """Decay of the moving average of the weights, the ones that are exported."""
    checkpoint_seconds: float = Field(180.0, gt=0)
    """A checkpoint is written this often."""
    log_every: int = Field(50, gt=0)
    """Steps between two lines of the log."""
    tracking: TrackerConfig = TrackerConfig()
    """Where losses and settings are told; `log_every` says how often."""
    seed: int = 0
    """Seed of weights, pictures and prompts."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """auto is bfloat16 autocast on CUDA and float32 on CPU."""

    @property
    def total_steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases)


def load_config(path: Path | str) -> SegTrainConfig:
    """Read a recipe.

    Raises:
        ConfigError: no such file, or a setting that does not exist or does not fit.
    """
    return read_settings(path, SegTrainConfig, examples="configs/training")


def smoke_config(config: SegTrainConfig, run_dir: str) -> SegTrainConfig:
    """Shrink a recipe to a few steps on shapes on the CPU: a check that everything runs, not a training."""
    plain = config.phases[0].model_copy(
        update={"start_decoder": False, "encoder_rate": 1.0, "box_fraction": 0.0, "refine_fraction": 0.0}
    )
    phases = (
        plain.model_copy(update={"steps": 2, "sources": {"shapes-simple": 1.0}, "train_decoder": False}),
        plain.model_copy(
            update={"steps": 2, "sources": {"shapes-full": 1.0}, "train_decoder": True, "start_decoder": True}
        ),
        plain.model_copy(
            update={"steps": 1, "sources": {"shapes-full": 1.0}, "train_decoder": True, "box_fraction": 1.0}
        ),
        plain.model_copy(
            update={"steps": 1, "sources": {"shapes-full": 1.0}, "train_decoder": True, "refine_fraction": 1.0}
        ),
    )
    return config.model_copy(
        update={
            "phases": phases,
            "run_dir": run_dir,
            "export_path": str(Path(run_dir) / "weights.safetensors"),
            "pictures_per_step": 1,
            "prompts_per_picture": 6,
            "accumulation": 1,
            "warmup_steps": 0,
            "log_every": 1,
            "device": "cpu",
            "tracking": NO_TRACKING,
        }
    )


def phase_at(config: SegTrainConfig, step: int) -> tuple[PhaseConfig, float]:
    """The phase that step (from 0) lies in, and how far through it, in [0, 1)."""
    start = 0
    for phase in config.phases:
        if step < start + phase.steps:
            return phase, (step - start) / phase.steps
        start += phase.steps
    raise ConfigError(
        f"a step below {config.total_steps}",
        got=str(step),
        where="phase_at",
        do="add a phase or raise the steps of the last one",
    )


def learning_rate_at(config: SegTrainConfig, step: int) -> float:
    """Half cosine from the phase's first to its last rate, times the linear warm-up at the very start."""
    import math

    phase, fraction = phase_at(config, step)
    low, high = phase.final_learning_rate, phase.learning_rate
    rate = low + (high - low) * 0.5 * (1 + math.cos(math.pi * fraction))
    return rate * min(1.0, (step + 1) / (config.warmup_steps + 1))
