"""Phantom renders as a folder that MMSegmentation reads: pictures, and maps whose classes are the levels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from tqdm import tqdm

from voxlang.core.artifacts import atomic_path, read_json, write_json
from voxlang.core.errors import ArtifactError
from voxlang.core.levels import LEVELS, Level
from voxlang.scenes.buffer import make_scenes
from voxlang.scenes.plan import SceneConfig, planned_scenes

CLASSES = ("background", *(level.label for level in LEVELS))
"""Class of a pixel by its value in a map."""


def finest_level(part_index: Int16[np.ndarray, "3 h w"], *, reach: int = 2) -> UInt8[np.ndarray, "h w"]:
    """The class of each pixel: the finest level on which it lies well inside one part; 0 where no part is seen.

    Well inside: all pixels up to `reach` rows and columns away show the same part. So SMALL and PART fill the inside of
    their parts, and WHOLE keeps the borders between parts and the object's own outline.
    """
    classes = np.where((part_index >= 0).any(0), Level.WHOLE + 1, 0).astype(np.uint8)
    for level in (Level.PART, Level.SMALL):
        lowest = minimum_filter(part_index[level], 2 * reach + 1)
        classes[(lowest >= 0) & (lowest == maximum_filter(part_index[level], 2 * reach + 1))] = level + 1
    return classes


def write_level_pictures(folder: Path | str, config: SceneConfig) -> int:
    """Write `img_dir/<split>/*.png` and `ann_dir/<split>/*.png`; phantoms that are there already are kept.

    Args:
        folder: the `data_root` of a `PhantomLevels` data set.
        config: which scenes.

    Returns:
        Number of pictures of the split.

    Raises:
        ArtifactError: the folder holds the same split made with other settings.
    """
    folder = Path(folder)
    pictures, maps = folder / "img_dir" / config.split, folder / "ann_dir" / config.split
    settings, made = config.model_dump(mode="json"), folder / f"{config.split}.json"
    if made.exists() and read_json(made) != settings:
        raise ArtifactError(
            f"pictures made with {settings}",
            got=f"pictures made with {read_json(made)}",
            where=str(made),
            do="use another folder, or delete this one",
        )
    write_json(made, settings)
    wanted = planned_scenes(config)
    for family, seed in tqdm(wanted, desc=f"renders ({config.split})", disable=not sys.stderr.isatty()):
        names = [f"{family}_{seed:07d}_{k:02d}.png" for k in range(config.views_per_phantom)]
        if (maps / names[-1]).exists():
            continue
        scenes = make_scenes(config, family, seed)
        for name, rgb, part_index in zip(names, scenes.rgb, scenes.part_index, strict=True):
            for path, pixels in ((pictures / name, rgb), (maps / name, finest_level(part_index))):
                with atomic_path(path) as temporary:
                    Image.fromarray(pixels).save(temporary, format="PNG")
    return len(wanted) * config.views_per_phantom
