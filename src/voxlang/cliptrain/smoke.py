"""A few tiny views, so that the whole training can be tried in seconds."""

from __future__ import annotations

from pathlib import Path

from voxlang.scenes.buffer import make_scenes, write_scenes
from voxlang.scenes.plan import SceneConfig


def write_smoke_views(folder: Path) -> list[Path]:
    """Write two pictures of 48 pixels of a coarse bonsai and a coarse tooth; returns the files."""
    config = SceneConfig(views_per_phantom=2, size_px=48, voxels=24)
    paths = []
    for family in ("bonsai", "tooth"):
        path = folder / f"scenes_{family}_{1000:07d}.npz"
        write_scenes(path, make_scenes(config, family, 1000), key="smoke")
        paths.append(path)
    return paths
