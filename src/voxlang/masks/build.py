"""SAM 2 models by the names that this room knows; `voxlang.encoders` builds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voxlang.encoders.build import build_sam2, import_sam2
from voxlang.encoders.compose import compose_sam2
from voxlang.masks.models import config_path

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

__all__ = ["build_sam2_model", "import_sam2", "read_sam_config"]


def read_sam_config(name: str | Path) -> dict[str, Any]:
    """The `model` node of a size's or a file's YAML as plain values, official post-processing included.

    Raises:
        ConfigError: no such file, no `model` node, or a `_target_` outside sam2, voxlang and torch.nn.
    """
    return compose_sam2(config_path(name))


def build_sam2_model(
    size_or_config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    mode: Literal["eval", "train"] = "eval",
) -> SAM2Base:
    """Build a SAM 2 model.

    Args:
        size_or_config: "micro", "tiny", "small", "base_plus", "large" (2.1 forms), or a YAML file of ours or sam2's.
        checkpoint: weights, loaded strictly; None leaves the random initial weights of torch's global generator.
        device: where the parameters lie afterwards.
        mode: "train" leaves dropout and the like on.

    Raises:
        ConfigError: unknown size, or a YAML that cannot be used.
        WeightsError: weights that are broken or do not fit.
    """
    return build_sam2(config_path(size_or_config), checkpoint, device=device, mode=mode)
