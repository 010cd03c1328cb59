"""SAM 2 models that are recognised by the shape of their trunk, and what their weights do not say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from voxlang.core import places
from voxlang.core.errors import ConfigError

MICRO_CONFIG = Path("configs/sam2/sam2.1_hiera_micro.yaml")
"""The configuration of the embedded model, which is the only place where its numbers are written."""

POSTPROCESSING = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
"""Official switches of the mask decoder: a single mask that is not stable gives way to the best of three.
Source: sam2/build_sam.py."""


@dataclass(frozen=True)
class KnownSam2:
    """A model with this trunk, published or embedded."""

    size: str
    """Name of the size."""
    width: int
    """Channels of the first stage; they double with every stage."""
    stages: tuple[int, ...]
    """Blocks per stage."""
    heads: int
    """Attention heads of the first stage; they double with every stage."""
    windows: tuple[int, ...]
    """Side of the windows in each stage, in patches."""
    global_blocks: tuple[int, ...]
    """Blocks that attend over the whole picture."""
    background: tuple[int, int] = (7, 7)
    """Height and width of the position embedding that is stretched over the picture."""
    top_down: tuple[int, ...] = (2, 3)
    """Levels of the neck that hear from the coarser one."""
    top_down_mode: Literal["nearest", "bilinear"] = "nearest"
    """How they are enlarged."""
    image_size: int = 1024
    """Side of the model's input in pixels."""
    adds_no_memory: bool = True
    """Still pictures get the embedding "no memory"."""


PUBLISHED: dict[str, KnownSam2] = {
    known.size: known
    for known in (
        KnownSam2("tiny", 96, (1, 2, 7, 2), 1, (8, 4, 14, 7), (5, 7, 9)),
        KnownSam2("small", 96, (1, 2, 11, 2), 1, (8, 4, 14, 7), (7, 10, 13)),
        KnownSam2("base_plus", 112, (2, 3, 16, 3), 2, (8, 4, 14, 7), (12, 16, 20), background=(14, 14)),
        KnownSam2("large", 144, (2, 6, 36, 4), 2, (8, 4, 16, 8), (23, 33, 43)),
    )
}
"""By size; SAM 2 and 2.1 have the same trunks."""


def known_sam2(width: int, stages: tuple[int, ...]) -> KnownSam2 | None:
    """The model whose trunk has this width and these stages, or None. The embedded one goes first.

    Raises:
        ConfigError: the embedded model's configuration cannot be read.
    """
    models = (embedded_sam2(), *PUBLISHED.values())
    return next((m for m in models if m is not None and (m.width, m.stages) == (width, stages)), None)


def embedded_sam2() -> KnownSam2 | None:
    """The embedded "micro" model, read from its configuration; None where that is not on this machine.

    Raises:
        ConfigError: the configuration cannot be read.
    """
    path = places.find_file(MICRO_CONFIG)
    return _read(path.resolve()) if path else None


@lru_cache
def _read(path: Path) -> KnownSam2:
    import yaml

    try:
        model = yaml.safe_load(path.read_text("utf-8"))["model"]
        trunk, neck = model["image_encoder"]["trunk"], model["image_encoder"]["neck"]
        return KnownSam2(
            size="micro",
            width=trunk["embed_dim"],
            stages=tuple(trunk["stages"]),
            heads=trunk["num_heads"],
            windows=tuple(trunk["window_spec"]),
            global_blocks=tuple(trunk["global_att_blocks"]),
            background=tuple(trunk["window_pos_embed_bkg_spatial_size"]),
            top_down=tuple(neck["fpn_top_down_levels"]),
            top_down_mode=neck["fpn_interp_model"],
            image_size=model["image_size"],
            adds_no_memory=model["directly_add_no_mem_embed"],
        )
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(
            "the embedded SAM 2's configuration with every number of trunk and neck written out",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            where=str(path),
            do="restore the file from the repository",
        ) from error
