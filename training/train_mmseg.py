"""Train a segmentor of MMSegmentation on phantom renders, with the levels as classes, and score it before and after.

`python training/train_mmseg.py --config configs/mmseg/upernet_micro_phantoms.py --out runs/mmseg/upernet`, by the
Python of `.venv-mmseg`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tyro

from voxlang.core.doors import through_door


def main(
    config: Path,
    out: Path,
    checkpoint: Path | None = None,
    iterations: int | None = None,
    families: tuple[str, ...] = ("bonsai", "head", "torso", "tooth", "engine", "lobster"),
    phantoms: int = 4,
    views: int = 8,
    size_px: int = 128,
) -> None:
    """Write the renders that are not there yet, train, and print the mean IoU before, after, and read back, as JSON.

    Args:
        config: configuration of MMSegmentation, see configs/mmseg/.
        out: folder for logs and weights.
        checkpoint: SAM 2 weights of any size instead of those that the configuration names.
        iterations: instead of the configuration's 300.
        families: phantom families.
        phantoms: of each family, for training; a quarter as many for scoring.
        views: of each phantom.
        size_px: width and height of a picture.
    """
    from voxlang.core.errors import ConfigError

    if not config.is_file():
        raise ConfigError(
            "MMSegmentation's configuration", got="no such file", where=str(config), do="use one of configs/mmseg/*.py"
        )
    from mmengine.config import Config

    from voxlang.mmseg.level_pictures import write_level_pictures
    from voxlang.mmseg.train import train_and_score, with_checkpoint, with_iterations
    from voxlang.scenes.plan import SceneConfig

    settings = Config.fromfile(config)
    settings.work_dir = str(out)
    if checkpoint is not None:
        with_checkpoint(settings, checkpoint)
    if iterations is not None:
        with_iterations(settings, iterations)
    for split, count in (("train", phantoms), ("dev", max(1, phantoms // 4))):
        write_level_pictures(
            settings.data_root,
            SceneConfig(
                split=split,
                phantoms=dict.fromkeys(families, count),
                per_family=0,
                views_per_phantom=views,
                size_px=size_px,
            ),
        )
    print(json.dumps(train_and_score(settings).as_row(), indent=1))


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
