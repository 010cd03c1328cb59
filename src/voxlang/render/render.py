"""Render a volume through a transfer function: one call, or a prepared volume for many views."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from voxlang.core.errors import ConfigError, GeometryError
from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.blocks import block_ranges, leap_map
from voxlang.render.march_numba import march_picture
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction
from voxlang.render.types import RenderedView


@cache
def cuda_available() -> bool:
    """Whether torch can use a CUDA device; torch is imported only where a driver is found."""
    for name in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        import torch

        return torch.cuda.is_available()
    return False


def choose_backend(settings: RenderSettings) -> Literal["numba", "torch"]:
    """The backend that "auto" stands for on this machine."""
    if settings.backend != "auto":
        return settings.backend
    return "torch" if cuda_available() else "numba"


class RenderVolume:
    """A volume made ready for many views: block ranges once, leap map and table once per transfer function."""

    def __init__(self, values: Float32[np.ndarray, "z y x"], grid: VolumeGrid) -> None:
        if values.shape != grid.shape_zyx:
            raise GeometryError(
                f"values of shape {grid.shape_zyx} (z, y, x) for size_xyz={grid.size_xyz}",
                got=f"shape {values.shape}",
                where="RenderVolume",
                do="pass the grid that belongs to the values",
            )
        self.values = np.ascontiguousarray(values)
        self.grid = grid
        self._ranges = block_ranges(self.values)
        self._tables: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._on_device: dict[str, object] = {}

    def table_and_leap(
        self, transfer: TransferFunction
    ) -> tuple[Float32[np.ndarray, "n 4"], UInt8[np.ndarray, "bz by bx"]]:
        """Lookup table and leap map of a transfer function, kept for the next view."""
        key = transfer.id
        if key not in self._tables:
            table = transfer.table()
            if len(self._tables) >= 16:
                self._tables.pop(next(iter(self._tables)))
            self._tables[key] = (table, leap_map(*self._ranges, table))
        return self._tables[key]

    def render(
        self, transfer: TransferFunction, camera: Camera, settings: RenderSettings | None = None
    ) -> RenderedView:
        """One view; see `render_view`."""
        settings = settings or RenderSettings()
        table, leap = self.table_and_leap(transfer)
        if choose_backend(settings) == "torch":
            from voxlang.render.march_torch import default_device, march_picture_torch

            device = default_device()
            if device not in self._on_device:
                import torch

                self._on_device[device] = torch.from_numpy(self.values).to(device)
            out = march_picture_torch(self._on_device[device], self.grid, table, camera, settings)
        else:
            out = march_picture(self.values, self.grid, leap, table, camera, settings)
        background = np.asarray(settings.background, np.float32)
        opacity = np.clip(out[..., 3], 0.0, 1.0)
        rgb = np.clip(out[..., :3] + (1.0 - opacity)[..., None] * background, 0.0, 1.0)
        return RenderedView(camera, rgb, opacity, out[..., 4].copy(), out[..., 5].copy(), transfer.id)

    def render_many(
        self, transfer: TransferFunction, cameras: Iterable[Camera], settings: RenderSettings | None = None
    ) -> list[RenderedView]:
        """One view per camera."""
        return [self.render(transfer, camera, settings) for camera in cameras]


def prepare(values: Float32[np.ndarray, "z y x"], grid: VolumeGrid) -> RenderVolume:
    """Make a volume ready for many views."""
    return RenderVolume(values, grid)


def render_view(
    values: Float32[np.ndarray, "z y x"],
    grid: VolumeGrid,
    transfer: TransferFunction,
    camera: Camera,
    settings: RenderSettings | None = None,
) -> RenderedView:
    """Render one view: emission-absorption along each pixel's ray, front to back.

    ``alpha_i = 1 - exp(-density(v_i) * ds)``, ``T_i = prod_{j<i} (1 - alpha_j)``,
    ``colour = sum_i T_i alpha_i c_i + T_end background``, with v_i trilinear at mid-steps inside the box of voxel
    centres and ds the world length of the step. Where the camera's near plane cuts the volume open, its face is lit
    evenly, as a slice, down to the depth of a voxel: gradients say nothing about it.

    Args:
        values: normalised to [0, 1].
        grid: where the voxels lie; spacing, origin and direction all count.
        transfer: colour and opacity per world length.
        camera: pinhole camera in the world.
        settings: sampling, light, background, backend.

    Source: Max 1995, "Optical Models for Direct Volume Rendering", emission-absorption.
    """
    return prepare(values, grid).render(transfer, camera, settings)


def visible_grid(
    values: Float32[np.ndarray, "z y x"],
    grid: VolumeGrid,
    transfer: TransferFunction,
    *,
    min_alpha: float = 0.02,
    trim: float = 0.0005,
) -> VolumeGrid:
    """The smallest crop of the grid that holds what a transfer function shows, for framing cameras.

    Args:
        values: normalised.
        grid: where the voxels lie.
        transfer: what shows.
        min_alpha: opacity per unit distance from which a voxel counts.
        trim: share of the visible voxels that may be cut off at each side of each axis, so that specks do not count.

    Returns:
        A grid with the same axes and spacing, one voxel wider than the content; the whole grid if nothing shows.
    """
    if not 0.0 <= trim < 0.5:
        raise ConfigError("a trim in [0, 0.5)", got=f"{trim}", where="visible_grid", do="use the default, 0.0005")
    table = transfer.alpha(np.linspace(0.0, 1.0, 4096)) > min_alpha
    counts = [np.zeros(n, np.int64) for n in values.shape]
    for z, plane in enumerate(values):
        shown = table[(np.clip(plane, 0.0, 1.0) * 4095.0 + 0.5).astype(np.int32)]
        counts[1] += shown.sum(axis=1)
        along_x = shown.sum(axis=0)
        counts[2] += along_x
        counts[0][z] = along_x.sum()
    total = int(counts[0].sum())
    if total == 0:
        return grid
    low, high = [], []
    for count in counts[::-1]:
        share = np.cumsum(count) / total
        first = int(np.searchsorted(share, trim, side="right"))
        last = int(np.searchsorted(share, 1.0 - trim, side="left"))
        low.append(max(first - 1, 0))
        high.append(min(max(last, first) + 1, len(count) - 1))
    size = tuple(b - a + 1 for a, b in zip(low, high, strict=True))
    origin = grid.world_from_index[:3, :3] @ np.asarray(low, np.float64) + np.asarray(grid.origin_xyz)
    return VolumeGrid(size, grid.spacing_xyz, tuple(origin), grid.direction, grid.unit)
