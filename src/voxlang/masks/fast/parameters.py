"""What to ask and what to keep: the parameters of sam2's own generator, and those of speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from voxlang.core.errors import ConfigError

CLEANING_CUT = 0.0
"""Holes and islands are those of the masks at this logit, whatever `mask_threshold` says: sam2's generator does not
hand its threshold on to the predictor that cleans."""

OUTPUT_MODES = ("binary_mask", "uncompressed_rle", "coco_rle")


@dataclass(frozen=True, kw_only=True)
class MaskParameters:
    """Names, meaning and defaults of `SAM2AutomaticMaskGenerator`.

    Raises:
        ConfigError: a value out of range, or both or neither of `points_per_side` and `point_grids`.
    """

    points_per_side: int | None = 32
    """Grid points along each side; None when `point_grids` are given."""
    points_per_batch: int = 64
    """The most prompts decoded at a time: a matter of speed and memory only."""
    pred_iou_thresh: float = 0.8
    """Masks whose predicted IoU is not above this are dropped; 0 or less keeps all."""
    stability_score_thresh: float = 0.95
    """Masks whose stability is below this are dropped; 0 or less keeps all."""
    stability_score_offset: float = 1.0
    """Logit distance from the threshold of the two cuts between which the stability is measured."""
    mask_threshold: float = 0.0
    """Logit above which a pixel belongs to the mask."""
    box_nms_thresh: float = 0.7
    """Of two masks whose boxes overlap by more than this IoU, the one with the lower predicted IoU is dropped."""
    crop_n_layers: int = 0
    """Layers of picture crops besides the whole picture; layer i has 4^i crops."""
    crop_nms_thresh: float = 0.7
    """As `box_nms_thresh`, between crops: the mask from the smaller crop stays."""
    crop_overlap_ratio: float = 512 / 1500
    """Overlap of the crops of layer 1 as a share of the picture's shorter side; half as much in each further layer."""
    crop_n_points_downscale_factor: int = 1
    """Points along each side of a crop of layer i are divided by this to the power i."""
    point_grids: list[Float64[np.ndarray, "n 2"]] | None = None
    """Points (x, y) in [0, 1] for each layer, instead of `points_per_side`."""
    min_mask_region_area: int = 0
    """Holes and islands of at most this many low-resolution pixels are removed from each mask; 0 = off."""
    output_mode: str = "binary_mask"
    """Form of the masks in `generate`, one of OUTPUT_MODES."""
    use_m2m: bool = False
    """Refine each mask once with itself as prompt."""
    multimask_output: bool = True
    """Three masks a point instead of one."""

    def __post_init__(self) -> None:
        counts = ("points_per_batch", "crop_n_points_downscale_factor")
        checks = {
            "points_per_side": self.points_per_side is None or self.points_per_side >= 1,
            "output_mode": self.output_mode in OUTPUT_MODES,
            **{name: getattr(self, name) >= 1 for name in counts},
            **{name: getattr(self, name) >= 0 for name in ("crop_n_layers", "min_mask_region_area")},
        }
        wrong = [f"{name}={getattr(self, name)!r}" for name, fine in checks.items() if not fine]
        if (self.points_per_side is None) == (self.point_grids is None):
            wrong.append("both or neither of points_per_side and point_grids")
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            wrong.append(f"{len(self.point_grids)} point_grids for {self.crop_n_layers + 1} layers")
        if wrong:
            raise ConfigError(
                "counts of at least 1, areas and layers of at least 0, a known output mode, one source of points",
                got=", ".join(wrong),
                where="MaskParameters",
                do="mend the parameters named",
            )

    @property
    def lowest_cut(self) -> float:
        """Logits at or below this take part in no decision."""
        cuts = [self.mask_threshold, self.mask_threshold - self.stability_score_offset]
        return min(cuts + [CLEANING_CUT] * (self.min_mask_region_area > 0))
