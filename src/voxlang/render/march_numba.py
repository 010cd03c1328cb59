"""The CPU ray marcher: trilinear samples, table lookup, front-to-back compositing, empty blocks leapt over."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.kernels import LOCK, picture
from voxlang.render.settings import RenderSettings

TILE = 16
NO_HIGHLIGHT = 1e-5
"""Highlights fainter than this are left out, which saves the power function on most samples."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera and a grid as the kernels want them: rays in index space whose parameter is world length."""

    matrix: Float64[np.ndarray, "4 3"]
    """First three rows: index-space direction of a pixel (u, v, 1) before division by its world length; last row: the
    camera's position in index space."""
    metric: Float64[np.ndarray, "4 3"]
    """First three rows: inverse intrinsics; |metric[:3] @ (u, v, 1)| is that world length. Last row: the near depth,
    how far behind it samples show the face of a cut, 0."""
    light: Float64[np.ndarray, 4]
    """Index-space direction towards a distant light, and 1 if there is one, else 0 (headlight)."""
    spacing: Float64[np.ndarray, 3]
    """Voxel spacing x, y, z."""
    step: float
    """World length of a full step."""


def make_frame(grid: VolumeGrid, camera: Camera, settings: RenderSettings) -> Frame:
    """Kernel frame of a camera over a grid; any direction matrix (oblique, left-handed) is allowed."""
    to_index = grid.index_from_world
    metric = np.zeros((4, 3))
    metric[:3] = np.linalg.inv(camera.K)
    metric[3, :2] = camera.near_depth, min(grid.spacing_xyz)
    matrix = np.empty((4, 3))
    matrix[:3] = to_index[:3, :3] @ camera.T_world_camera[:3, :3] @ metric[:3]
    matrix[3] = to_index[:3, :3] @ camera.position_world + to_index[:3, 3]
    light = np.zeros(4)
    if settings.light_direction_camera is not None:
        toward = np.asarray(settings.light_direction_camera, np.float64)
        light[:3] = to_index[:3, :3] @ camera.T_world_camera[:3, :3] @ (toward / np.linalg.norm(toward))
        light[3] = 1.0
    spacing = np.asarray(grid.spacing_xyz, np.float64)
    return Frame(matrix, metric, light, spacing, settings.step_voxels * float(spacing.min()))


def step_table(table: Float32[np.ndarray, "n 4"], step: float) -> Float32[np.ndarray, "n 4"]:
    """The table with density turned into the opacity of one full step: ``1 - exp(-density * step)``."""
    out = table.copy()
    out[:, 3] = -np.expm1(-table[:, 3].astype(np.float64) * step)
    return out


def march_picture(
    values: Float32[np.ndarray, "z y x"],
    grid: VolumeGrid,
    leap: UInt8[np.ndarray, "bz by bx"],
    table: Float32[np.ndarray, "n 4"],
    camera: Camera,
    settings: RenderSettings,
) -> Float32[np.ndarray, "h w 6"]:
    """Premultiplied red, green, blue without background, opacity, first and mean distance of every pixel.

    Args:
        values: C-contiguous, normalised.
        grid: where the voxels lie.
        leap: `leap_map` of the values for this table.
        table: `TransferFunction.table`, columns r, g, b and density per world length.
        camera: what to render.
        settings: sampling and light.
    """
    frame = make_frame(grid, camera, settings)
    out = np.empty((camera.height, camera.width, 6), np.float32)
    floor = settings.gradient_floor / float(frame.spacing.min())
    power = settings.specular_power
    lighting = np.array(
        [settings.ambient, settings.diffuse, settings.specular, power, floor, NO_HIGHLIGHT ** (1.0 / power)]
    )
    limits = np.array([settings.stop_opacity, settings.first_opacity], np.float64)
    with LOCK, numba.parallel_chunksize(4):
        picture(
            values.reshape(-1),
            values.shape,
            leap,
            step_table(table, frame.step),
            table[:, 3].astype(np.float64),
            frame.matrix,
            frame.metric,
            frame.light,
            frame.spacing,
            frame.step,
            lighting,
            settings.shading,
            limits,
            TILE,
            out,
        )
    return out
