"""A view of a phantom for the mask demo, and which pixels of a picture are the object."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, UInt8

_OPACITY_OF_OBJECT = 0.05
_COLOUR_NOISE = 12
"""Difference of 8-bit colours up to which a pixel still counts as background."""


def object_on_plain_background(rgb: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"] | None:
    """Pixels that differ from the border's colour; None when the border has no single colour, as in a photograph."""
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]).astype(int)
    background = np.median(border, axis=0)
    if (np.abs(border - background).max(axis=1) > _COLOUR_NOISE).mean() > 0.1:
        return None
    on_object = np.abs(rgb.astype(int) - background).max(axis=2) > _COLOUR_NOISE
    return on_object if on_object.any() else None


def render_phantom(
    family: str, seed: int, *, size_px: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """A square view of a phantom in its first appearance, and the pixels on which it lies."""
    from voxlang.geometry.orbits import orbit_camera
    from voxlang.render.presets import transfer_from_appearance
    from voxlang.render.render import render_view
    from voxlang.volume.phantoms.make import make_phantom

    phantom = make_phantom(family, seed)
    volume = phantom.volume
    camera = orbit_camera(volume.grid, np.array([1.0, -1.6, 0.7]), width=size_px, height=size_px)
    transfer = transfer_from_appearance(phantom.appearances[0], volume.grid)
    view = render_view(volume.values, volume.grid, transfer, camera)
    return np.round(255 * view.rgb.clip(0, 1)).astype(np.uint8), view.opacity > _OPACITY_OF_OBJECT
