"""Pictures of an answer: the volume in grey, the selected voxels in colour."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from voxlang.geometry.camera import Camera
from voxlang.query.answer import QueryResult
from voxlang.render.render import RenderVolume
from voxlang.render.samples import ray_samples
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

Shot = tuple[Camera, TransferFunction]


def prompt_color(index: int) -> tuple[float, float, float]:
    """A strong colour per prompt (hue steps of the golden ratio, beginning at orange), RGB in [0, 1]."""
    return colorsys.hsv_to_rgb((0.07 + index * 0.61803398875) % 1.0, 0.85, 1.0)


def best_shot(
    result: QueryResult, volume: RenderVolume, shots: Sequence[Shot], settings: RenderSettings, *, side: int = 96
) -> Shot:
    """The camera and transfer function that show the selection best: most selected weight, on small pictures."""
    amounts = []
    for camera, transfer in shots:
        small = camera.scaled(side, max(1, round(side * camera.height / camera.width)))
        rays = ray_samples(volume, volume.grid, transfer, small, settings)
        amounts.append(float(rays.weight[result.selected.reshape(-1)[rays.voxel]].sum()))
    return shots[int(np.argmax(amounts))]


def highlight_pictures(
    result: QueryResult,
    volume: RenderVolume,
    shot: Shot,
    settings: RenderSettings,
    *,
    color: tuple[float, float, float],
    strength: float = 0.85,
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w 3"]]:
    """The plain picture and the highlight from one camera.

    In the highlight each pixel is tinted by the share of its ray's weight that lies on selected voxels, so what is
    behind an opaque surface does not shine through.
    """
    camera, transfer = shot
    plain = volume.render(transfer, camera, settings)
    rays = ray_samples(volume, volume.grid, transfer, camera, settings)
    n_pixels = camera.height * camera.width
    chosen = result.selected.reshape(-1)[rays.voxel]
    share = np.bincount(rays.pixel[chosen], weights=rays.weight[chosen], minlength=n_pixels)
    tint = np.clip(share.reshape(camera.height, camera.width, 1), 0.0, 1.0) * strength
    luminance = plain.rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    grey = np.repeat(luminance[..., None], 3, axis=2)
    lit = np.asarray(color, np.float32) * (0.35 + 0.65 * grey / max(float(grey.max()), 1e-6))
    return plain.rgb, (grey * (1.0 - tint) * 0.8 + lit * tint + 0.2 * grey * (1.0 - tint)).astype(np.float32)
