"""Automatic masks of a picture: sam2's own generator behind a door that speaks `MaskSet`."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from voxlang.core.digest import digest_json
from voxlang.core.errors import MaskError, MemoryLimitError
from voxlang.core.weights import weights_digest
from voxlang.masks.build import build_sam2_model, import_sam2, read_sam_config
from voxlang.masks.models import SIZES, resolve_files
from voxlang.masks.regions import install_cleaning
from voxlang.masks.settings import SamSettings
from voxlang.masks.types import MaskSet, mask_set_from_dense

if TYPE_CHECKING:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
    from sam2.modeling.sam2_base import SAM2Base


class SamGenerator:
    """Finds all masks of a picture from a grid of point prompts.

    Args:
        model: a SAM 2 model in eval mode, on its device.
        settings: density and thresholds; size, files and device in it are not used here.
        config_digest: digest of the model's configuration, for `id`.
    """

    def __init__(self, model: SAM2Base, settings: SamSettings, *, config_digest: str) -> None:
        import_sam2()
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

        self.settings = settings.resolved()
        self.model = model
        self._config_digest = config_digest
        s = self.settings
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
            self.official: SAM2AutomaticMaskGenerator = SAM2AutomaticMaskGenerator(
                model,
                points_per_side=s.points_per_side,
                points_per_batch=s.points_per_batch,
                pred_iou_thresh=s.pred_iou_thresh,
                stability_score_thresh=s.stability_score_thresh,
                stability_score_offset=s.stability_score_offset,
                box_nms_thresh=s.box_nms_thresh,
                crop_n_layers=s.crop_n_layers,
                crop_nms_thresh=s.crop_nms_thresh,
                min_mask_region_area=s.min_mask_region_area,
                use_m2m=s.use_m2m,
                multimask_output=s.multimask_output,
            )
        predictor = self.official.predictor
        strides = [model.backbone_stride // k for k in (4, 2, 1)]
        predictor._bb_feat_sizes = [(model.image_size // k,) * 2 for k in strides]  # sam2 writes 1024-pixel sizes here
        if s.min_mask_region_area > 0:
            install_cleaning(predictor._transforms)

    @cached_property
    def id(self) -> str:
        """Digest of weights, configuration and thresholds: equal ids make equal masks of equal pictures."""
        return digest_json(
            {
                "weights": weights_digest(self.model),
                "config": self._config_digest,
                "settings": self.settings.mask_key(),
            }
        )

    def generate(
        self, rgb: UInt8[np.ndarray, "h w 3"], *, foreground: Bool[np.ndarray, "h w"] | None = None
    ) -> MaskSet:
        """All masks of a picture, the best predicted IoU first within the whole picture and within each crop.

        Args:
            rgb: the picture, 0 to 255.
            foreground: pixels worth asking about; grid points on others are skipped. The masks of the points that
                remain are what they would be without it, and are not clipped.

        Returns:
            the masks; none is a valid answer. Boxes are XYXY and half-open (sam2's are XYWH and inclusive).

        Raises:
            MaskError: a picture or foreground of another shape or type.
            MemoryLimitError: out of memory; names the settings that need less.
        """
        _check_picture(rgb, foreground)
        with self._explain_memory():
            return self._generate(np.require(rgb, requirements=["C", "W"]), foreground)

    def _generate(self, rgb: np.ndarray, foreground: np.ndarray | None) -> MaskSet:
        import torch
        from sam2.utils.amg import MaskData, generate_crop_boxes, rle_to_mask
        from torchvision.ops.boxes import batched_nms, box_area

        height, width = rgb.shape[:2]
        official = copy.copy(self.official)
        crops, layers = generate_crop_boxes((height, width), official.crop_n_layers, official.crop_overlap_ratio)
        found = MaskData()
        with torch.no_grad():
            for crop, layer in zip(crops, layers, strict=True):
                points = points_on_foreground(self.official.point_grids[layer], foreground, crop)
                if not len(points):
                    continue
                official.point_grids = {layer: points}
                data = official._process_crop(rgb, crop, layer, (height, width))
                if len(data["rles"]):
                    found.cat(data)
            is_empty = not dict(found.items())
            if len(crops) > 1 and not is_empty:
                boxes = found["boxes"].float()
                smaller_crops_first = (1 / box_area(found["crop_boxes"])).to(boxes.device)
                one_class = torch.zeros_like(boxes[:, 0])
                found.filter(batched_nms(boxes, smaller_crops_first, one_class, official.crop_nms_thresh))
        if is_empty:
            return _no_masks(height, width)
        found.to_numpy()
        masks = mask_set_from_dense(
            np.stack([rle_to_mask(rle) for rle in found["rles"]]),
            predicted_iou=found["iou_preds"],
            stability=found["stability_score"],
            points_uv=found["points"],
        )
        return _distinct(masks)

    @contextlib.contextmanager
    def _explain_memory(self) -> Iterator[None]:
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            s = self.settings
            remedies = [f"--sam.size {SIZES[SIZES.index(s.size) - 1]}"] if s.size in SIZES[1:] else []
            remedies += [
                f"--sam.{name} {value // 2}"
                for name, value in (("points-per-batch", s.points_per_batch), ("points-per-side", s.points_per_side))
                if value > 1
            ]
            raise MemoryLimitError(
                "enough memory for the masks of a picture",
                got=str(error).splitlines()[0] if str(error) else type(error).__name__,
                where=f"SAM 2 {s.size}, {s.points_per_side} points a side in batches of {s.points_per_batch}",
                do="try " + ", then ".join(remedies),
            ) from error


def build_sam_generator(
    model_size: str = "micro",
    points_per_side: int = 32,
    points_per_batch: int = 64,
    pred_iou_thresh: float = 0.7,
    stability_score_thresh: float = 0.92,
    box_nms_thresh: float = 0.7,
    *,
    checkpoint: str | Path | None = None,
    config: str | Path | None = None,
    device: str = "auto",
    **others: float | int | bool | str | None,
) -> SamGenerator:
    """Build the automatic mask generator of a SAM 2 model.

    Args:
        model_size: "micro" (embedded), "tiny", "small", "base_plus" or "large".
        points_per_side: grid points along each side.
        points_per_batch: prompts at a time; speed and memory only.
        pred_iou_thresh: lower gives more masks.
        stability_score_thresh: lower gives more masks.
        box_nms_thresh: IoU of boxes above which two masks are the same.
        checkpoint: weights other than the ones in checkpoints/.
        config: YAML other than the one of the size.
        device: torch device; "auto" is CUDA where there is one.
        others: further fields of `SamSettings`, e.g. `crop_n_layers=1`.

    Raises:
        ConfigError: unknown size, setting or configuration.
        ModelMissingError: no weights; says where to get them and where to put them.
        WeightsError: weights that do not fit.
    """
    from pydantic import ValidationError

    from voxlang.core.errors import ConfigError
    from voxlang.masks.models import check_size

    try:
        settings = SamSettings(
            size=check_size(model_size),
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            box_nms_thresh=box_nms_thresh,
            checkpoint=checkpoint,
            config=config,
            device=device,
            **others,
        )
    except ValidationError as error:
        problems = "; ".join(f"{e['loc'][0]}: {e['msg']} (got {e['input']!r})" for e in error.errors())
        raise ConfigError(
            f"settings of SamSettings ({', '.join(SamSettings.model_fields)})",
            got=problems,
            where="build_sam_generator",
            do="mend the settings named",
        ) from error
    return sam_generator_from_settings(settings)


def sam_generator_from_settings(settings: SamSettings) -> SamGenerator:
    """Find, build and load the model that the settings name, and put the generator around it.

    Raises:
        ConfigError, ModelMissingError, WeightsError: as in `build_sam_generator`.
    """
    import torch

    settings = settings.resolved()
    files = resolve_files(settings.size, config=settings.config, checkpoint=settings.checkpoint)
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_sam2_model(files.config, files.checkpoint, device=device)
    return SamGenerator(model, settings, config_digest=digest_json(read_sam_config(files.config)))


def points_on_foreground(
    points: Float64[np.ndarray, "n 2"], foreground: Bool[np.ndarray, "h w"] | None, crop_xyxy: list[int]
) -> Float64[np.ndarray, "m 2"]:
    """The grid points (x, y in [0, 1] of the crop) whose pixel is foreground; all of them when there is none given."""
    if foreground is None:
        return points
    x0, y0, x1, y1 = crop_xyxy
    inside = foreground[y0:y1, x0:x1]
    height, width = inside.shape
    columns = np.minimum((points[:, 0] * width).astype(int), width - 1)
    rows = np.minimum((points[:, 1] * height).astype(int), height - 1)
    return points[inside[rows, columns]]


def _check_picture(rgb: np.ndarray, foreground: np.ndarray | None) -> None:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise MaskError(
            "an uint8 picture [h w 3]",
            got=f"{rgb.dtype} {rgb.shape}",
            where="SamGenerator.generate",
            do="convert with (255 * rgb).round().astype(numpy.uint8)",
        )
    if foreground is not None and (foreground.dtype != bool or foreground.shape != rgb.shape[:2]):
        raise MaskError(
            f"a boolean foreground {rgb.shape[:2]}",
            got=f"{foreground.dtype} {foreground.shape}",
            where="SamGenerator.generate",
            do="pass view.opacity > 0",
        )


def _no_masks(height: int, width: int) -> MaskSet:
    none = np.zeros(0, np.float32)
    return mask_set_from_dense(
        np.zeros((0, height, width), bool), predicted_iou=none, stability=none, points_uv=np.zeros((0, 2), np.float32)
    )


def _distinct(masks: MaskSet) -> MaskSet:
    """Without empty masks and without exact copies of an earlier mask."""
    _, first = np.unique(masks.packed, axis=0, return_index=True)
    first = np.sort(first)
    return masks.select(first[masks.areas_px()[first] > 0])


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
