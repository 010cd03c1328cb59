"""Settings of the automatic masks and of their hierarchy; they are the command line's `--sam.*`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from voxlang.masks.fast.speed import Compilation, Precision
from voxlang.masks.models import SAM1_FILES, Sam1Size, SamSize

LevelRule = Literal["token", "containment", "area", "percentile"]

OBJECT_OPACITY = 0.05
"""Pixels more opaque than this show the object."""
_PRESETS: dict[str, tuple[SamSize, int]] = {"speed": ("small", 16), "quality": ("large", 32), "coverage": ("large", 64)}
"""Size and points per side of each preset."""
_OFFICIAL_THRESHOLDS = (0.7, 0.92)
"""Predicted IoU and stability of the original pipeline."""
_MICRO_THRESHOLDS = (0.2, 0.5)
"""The same for the embedded model; chosen on development seeds of the phantoms."""


class SamSettings(BaseModel):
    """Which SAM makes the masks, how densely it is asked, and which masks survive."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["sam2", "sam1"] = "sam2"
    """SAM 2, or SAM 1 (docs/checkpoints), whose checkpoint may be in any known layout and of any size."""
    preset: Literal["speed", "quality", "coverage"] | None = None
    """speed = small with 16 points per side, quality = large with 32, coverage = large with 64. A size or
    points_per_side given beside it wins."""
    size: SamSize | Sam1Size | None = None
    """Model size. Without it the preset's, and without a preset the embedded "micro", which needs no download. SAM 1
    has vit_b (without a size and with --sam.preset speed), vit_l and vit_h (with the other presets)."""
    config: Path | None = None
    """YAML of another SAM 2 model; by default the one that belongs to the size or to the checkpoint's name."""
    checkpoint: Path | None = None
    """Weights; by default the official names of the size are looked for in checkpoints/."""
    points_per_side: int | None = Field(None, ge=1, le=256)
    """Grid points along each side of the picture. Without it the preset's, and without a preset 32. More find more
    masks."""
    points_per_batch: int = Field(64, ge=1)
    """Prompts decoded at a time: a matter of speed and memory only."""
    pred_iou_thresh: float | None = Field(None, ge=0, le=1)
    """Masks whose predicted IoU is not above this are dropped. Lower gives more masks. Without it 0.7, and 0.2 for the
    embedded model, which is small and says so."""
    stability_score_thresh: float | None = Field(None, ge=0, le=1)
    """Masks whose stability is below this are dropped. Lower gives more masks. Without it 0.92, and 0.5 for the
    embedded model."""
    stability_score_offset: float = Field(1.0, ge=0)
    """Logit distance of the two cuts between which the stability is measured."""
    box_nms_thresh: float = Field(0.7, ge=0, le=1)
    """Of two masks whose boxes overlap by more than this IoU, the one with the lower predicted IoU is dropped."""
    crop_n_layers: int = Field(0, ge=0, le=4)
    """Layers of picture crops that are searched besides the whole picture; layer i has 4^i crops."""
    crop_nms_thresh: float = Field(0.7, ge=0, le=1)
    """As box_nms_thresh, between crops."""
    min_mask_region_area: int = Field(0, ge=0)
    """Holes and islands of at most this many low-resolution pixels are removed from each mask; 0 = off."""
    multimask_output: bool = True
    """Three masks a point (small, part and whole answers) instead of one."""
    use_m2m: bool = False
    """Refine each mask once with itself as prompt."""
    skip_empty: bool = True
    """Ask no grid point that lies on an empty pixel of a rendered view."""
    generator: Literal["fast", "official"] = "fast"
    """fast: ours, the same masks many times sooner (docs/fast-masks.md); official: sam2's own."""
    views_per_pass: int = Field(1, ge=1)
    """Views that are encoded, and whose masks are embedded, together. A run that is killed loses at most so many."""
    encoder_dtype: Precision = "float32"
    """Arithmetic of the fast generator's encoder. Other than float32 is a tolerance mode: masks may differ a little."""
    decoder_dtype: Precision = "float32"
    """The same of the decoder."""
    compile: Compilation = "off"
    """torch.compile of both, a tolerance mode; "cuda-graphs" also records CUDA graphs."""
    level_rule: LevelRule | None = None
    """How masks get their level: by the token of the model that gave them, by containment relative to the object, or as
    the original by area or percentile. Without it by token with the embedded weights, whose three mask tokens are
    trained to be the levels, and by containment with all others."""
    device: str = "auto"
    """Torch device; "auto" is CUDA where there is one, else CPU."""

    @model_validator(mode="after")
    def _size_of_family(self) -> SamSettings:
        if self.size is not None and (self.size in SAM1_FILES) != (self.family == "sam1"):
            raise ValueError(f"size {self.size} is not one of {self.family}; sam1 has {', '.join(SAM1_FILES)}")
        return self

    def resolved(self) -> SamSettings:
        """The same settings with all that was left out filled in from the preset, the size or the defaults."""
        preset_size, points = _PRESETS.get(self.preset or "", ("micro", 32))
        if self.family == "sam1":
            preset_size = "vit_b" if self.preset in (None, "speed") else "vit_h"
        size = self.size or preset_size
        embedded = size == "micro" and self.config is None and self.checkpoint is None
        rule: LevelRule = "token" if embedded else "containment"
        iou, stability = _MICRO_THRESHOLDS if size == "micro" else _OFFICIAL_THRESHOLDS
        filled = {
            "size": size,
            "points_per_side": self.points_per_side or points,
            "pred_iou_thresh": iou if self.pred_iou_thresh is None else self.pred_iou_thresh,
            "stability_score_thresh": (
                stability if self.stability_score_thresh is None else self.stability_score_thresh
            ),
            "level_rule": self.level_rule or rule,
        }
        return self.model_copy(update=filled)

    def official_parameters(self) -> dict[str, Any]:
        """The parameters of `SAM2AutomaticMaskGenerator` among the settings."""
        names = (
            *("points_per_side", "points_per_batch", "pred_iou_thresh", "stability_score_thresh"),
            *("stability_score_offset", "box_nms_thresh", "crop_n_layers", "crop_nms_thresh"),
            *("min_mask_region_area", "use_m2m", "multimask_output"),
        )
        resolved = self.resolved()
        return {name: getattr(resolved, name) for name in names}

    def mask_key(self) -> dict[str, Any]:
        """The settings that decide which masks come out, for cache keys: no speed settings, no places of files."""
        speed = {"points_per_batch", "views_per_pass", "device"}
        ignored = {"family", "preset", "size", "config", "checkpoint", "level_rule", *speed}
        return self.resolved().model_dump(mode="json", exclude=ignored)


class LevelSettings(BaseModel):
    """Numbers of the Small/Part/Whole rules. All areas are counted inside the object, so distance does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_on_object: float = Field(0.5, ge=0, le=1)
    """A mask with less than this share of its own area on the object is background and is dropped."""
    duplicate_iou: float = Field(0.9, gt=0, le=1)
    """Of two masks that overlap by more than this IoU the one with the better score stays."""
    contained: float = Field(0.85, gt=0.5, le=1)
    """B contains A when at least this share of A lies in B and B is larger."""
    level_drop: float = Field(0.75, gt=0, lt=1)
    """A contained mask of at most this share of its container's area is one level below it; a larger one is a variant
    of the container on the same level."""
    whole_share: float = Field(0.5, gt=0, le=1)
    """A root with at least this share of its connected object is WHOLE."""
    whole_share_with_parts: float = Field(0.35, gt=0, le=1)
    """The same for a root that contains masks of a lower level."""
    min_component_share: float = Field(0.01, ge=0, le=1)
    """Connected pieces below this share of all the object's pixels are specks: they do not count as objects."""
    part_share: float = Field(0.08, gt=0, le=1)
    """A root too small for WHOLE and without inner masks is PART from this share of the object on, else SMALL. By
    token, what the model calls SMALL is PART from this share on."""
    small_share: float = Field(0.02, ge=0, le=1)
    """A mask directly inside a WHOLE, without inner masks and below this share of it, is SMALL."""
    area_fractions: tuple[float, float] = (0.01, 0.1)
    """Rule "area": upper limits of SMALL and PART as fractions of the picture."""
    percentiles: tuple[float, float] = (100 / 3, 200 / 3)
    """Rule "percentile": upper limits of SMALL and PART as percentiles of the mask areas."""
