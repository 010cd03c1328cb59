"""Write labelled renders of phantoms for training: `python training/render_views.py --out runs/renders`."""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from voxlang.core.doors import through_door
from voxlang.scenes.buffer import generate_scenes
from voxlang.scenes.plan import SceneConfig


def main(out: Path, config: SceneConfig = SceneConfig()) -> None:  # noqa: B008  frozen
    """Write views; a stopped run goes on where it was.

    Args:
        out: folder; the split becomes a folder inside it.
        config: which views.
    """
    paths = generate_scenes(out, config)
    print(f"{len(paths)} phantoms, {len(paths) * config.views_per_phantom} views: {out / config.split}")


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
