"""Sets of cameras around a volume."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from voxlang.core.errors import ConfigError
from voxlang.geometry.camera import Camera, look_at, project
from voxlang.geometry.grid import VolumeGrid, transform_points

DEFAULT_FOV_Y_DEG = 30.0
_CORNERS_UNIT = np.stack(np.meshgrid([-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0]), -1).reshape(8, 3)
"""The corners of a grid's box of voxel centres."""


def fibonacci_directions(n: int) -> Float[np.ndarray, "n 3"]:
    """`n` directions spread evenly on the unit sphere (golden-angle spiral around +z)."""
    k = np.arange(n) + 0.5
    z = 1.0 - 2.0 * k / n
    angle = np.pi * (3.0 - np.sqrt(5.0)) * k
    r = np.sqrt(1.0 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=-1)


def random_rotation(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    """A rotation drawn evenly from SO(3) (QR of a Gaussian matrix)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    if np.linalg.det(q) < 0:
        q[:, 0] = -q[:, 0]
    return q


def camera_directions(
    n: int, *, placement: Literal["even", "random"], rng: np.random.Generator
) -> Float[np.ndarray, "n 3"]:
    """Directions from the volume's centre to the cameras, in the world.

    "even" is the Fibonacci spiral, turned by a random rotation of the generator; "random" draws each direction evenly.
    """
    if n < 1 or placement not in ("even", "random"):
        raise ConfigError(
            'at least one view and placement "even" or "random"',
            got=f"n={n}, placement={placement!r}",
            where="camera_directions",
            do="correct the view settings",
        )
    if placement == "even":
        return fibonacci_directions(n) @ random_rotation(rng).T
    directions = rng.normal(size=(n, 3))
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def orbit_camera(
    grid: VolumeGrid,
    direction_world: Float[np.ndarray, 3],
    *,
    width: int,
    height: int,
    up_world: tuple[float, float, float] = (0.0, 0.0, 1.0),
    fov_y_deg: float = DEFAULT_FOV_Y_DEG,
    margin: float = 1.02,
    fit: Literal["sphere", "box"] = "sphere",
) -> Camera:
    """Camera that looks at the grid's centre from a direction and holds the whole grid in its picture.

    Args:
        grid: what to look at; its bounding sphere, times `margin`, fills the smaller side of the picture.
        direction_world: from the centre towards the camera, any length.
        width: pixels.
        height: pixels.
        up_world: up in the picture.
        fov_y_deg: vertical field of view in degrees.
        margin: 1 means that the bounding sphere (or box) touches the border.
        fit: "sphere" keeps the same distance for every direction; "box" comes as near as the grid's corners allow.
    """
    direction = np.asarray(direction_world, dtype=np.float64)
    direction = direction / np.linalg.norm(direction)
    half = np.radians(fov_y_deg) / 2.0
    half_small = np.arctan(np.tan(half) * min(1.0, width / height))
    distance = grid.radius_world * margin / np.sin(half_small)
    centre = grid.centre_world
    if fit == "box":
        distance = _box_distance(grid, direction, up_world, half, width / height, margin)
    return look_at(
        centre + distance * direction,
        centre,
        up_world=up_world,
        fov_y_deg=fov_y_deg,
        width=width,
        height=height,
    )


def _box_distance(
    grid: VolumeGrid,
    direction: Float[np.ndarray, 3],
    up_world: tuple[float, float, float],
    half_angle_y: float,
    aspect: float,
    margin: float,
) -> float:
    """Least distance from the grid's centre at which all eight corners, times `margin`, lie in the picture."""
    corners = (_CORNERS_UNIT * grid.extent_world / 2.0) @ np.asarray(grid.direction).T
    pose = look_at(direction, np.zeros(3), up_world=up_world, fov_y_deg=60.0, width=8, height=8).T_world_camera
    right, down = corners @ pose[:3, 0], corners @ pose[:3, 1]
    tangent_y = np.tan(half_angle_y)
    needed = np.maximum(np.abs(right) / (tangent_y * aspect), np.abs(down) / tangent_y) * margin
    return float((needed + corners @ direction).max())


def orbit_cameras(
    grid: VolumeGrid,
    n: int,
    *,
    width: int,
    height: int,
    rng: np.random.Generator,
    placement: Literal["even", "random"] = "even",
    up_world: tuple[float, float, float] = (0.0, 0.0, 1.0),
    fov_y_deg: float = DEFAULT_FOV_Y_DEG,
    margin: float = 1.02,
    fit: Literal["sphere", "box"] = "sphere",
) -> list[Camera]:
    """`n` cameras on a sphere around the grid; see `camera_directions` and `orbit_camera`."""
    return [
        orbit_camera(
            grid, d, width=width, height=height, up_world=up_world, fov_y_deg=fov_y_deg, margin=margin, fit=fit
        )
        for d in camera_directions(n, placement=placement, rng=rng)
    ]


def cut_open(camera: Camera, grid: VolumeGrid, share: float) -> Camera:
    """The camera with a near plane that takes away the front of the grid's box and shows what lies inside.

    Args:
        camera: a view of the grid.
        grid: what is cut, across the viewing axis.
        share: of the box's depth that goes, in [0, 1).

    Raises:
        ConfigError: another share.
    """
    if not 0.0 <= share < 1.0:
        raise ConfigError("a share in [0, 1)", got=f"{share}", where="cut_open", do="use a half, for instance")
    _, depth = project(camera, transform_points(grid.world_from_unit, _CORNERS_UNIT))
    return replace(camera, near_depth=max(float(depth.min() + share * np.ptp(depth)), 0.0))
