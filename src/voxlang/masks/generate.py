"""The doors that find, build and load the model that makes automatic masks."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from voxlang.core.device import device_of
from voxlang.core.digest import digest_json
from voxlang.core.errors import ConfigError
from voxlang.masks.build import build_sam2_model, read_sam_config
from voxlang.masks.models import check_size, resolve_files
from voxlang.masks.sam1_generator import sam1_generator_from_settings
from voxlang.masks.sam_generator import SamGenerator
from voxlang.masks.settings import SamSettings


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
        pred_iou_thresh: lower gives more masks; the embedded model, which says lower numbers, wants 0.2.
        stability_score_thresh: lower gives more masks; the embedded model wants 0.5.
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
    settings = settings.resolved()
    if settings.family == "sam1":
        return sam1_generator_from_settings(settings)
    files = resolve_files(settings.size, config=settings.config, checkpoint=settings.checkpoint)
    device = str(device_of(settings.device, where="sam.device"))
    model = build_sam2_model(files.config, files.checkpoint, device=device)
    return SamGenerator(model, settings, config_digest=digest_json(read_sam_config(files.config)))
