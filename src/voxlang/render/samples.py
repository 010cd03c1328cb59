"""Which voxel adds how much to which pixel: the weights of a picture, for lifting and for truth."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float32, Int32, Int64

from voxlang.core.errors import GeometryError
from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.kernels import LOCK, rays
from voxlang.render.march_numba import make_frame, step_table
from voxlang.render.render import RenderVolume, prepare
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction


@dataclass(frozen=True, eq=False)
class RaySamples:
    """The samples of one picture that carry weight, pixel by pixel and front to back."""

    pixel: Int32[np.ndarray, "s"]
    """Flat pixel index v * width + u, ascending."""
    voxel: Int64[np.ndarray, "s"]
    """Flat C-order index into [z y x] of the nearest voxel."""
    weight: Float32[np.ndarray, "s"]
    """T_i * alpha_i, as in the picture."""

    def __post_init__(self) -> None:
        if not len(self.pixel) == len(self.voxel) == len(self.weight):
            raise GeometryError(
                "as many pixels as voxels and weights",
                got=f"{len(self.pixel)}, {len(self.voxel)}, {len(self.weight)}",
                where="RaySamples",
                do="build it with ray_samples",
            )

    def __len__(self) -> int:
        return len(self.pixel)


def ray_samples(
    values: Float32[np.ndarray, "z y x"] | RenderVolume,
    grid: VolumeGrid,
    transfer: TransferFunction,
    camera: Camera,
    settings: RenderSettings | None = None,
    *,
    min_weight: float = 1e-3,
) -> RaySamples:
    """The weighted samples of the picture that `render_view` makes of the same arguments; computed on the CPU.

    Args:
        values: normalised, or a volume from `prepare`.
        grid: where the voxels lie.
        transfer: opacity per world length.
        camera: the view.
        settings: step and early termination; light and background do not matter.
        min_weight: lighter samples are left out; per pixel the weights sum to its opacity less what was left out.
    """
    settings = settings or RenderSettings()
    volume = values if isinstance(values, RenderVolume) else prepare(values, grid)
    table, leap = volume.table_and_leap(transfer)
    frame = make_frame(grid, camera, settings)
    n_pixels = camera.height * camera.width
    counts = np.zeros(n_pixels, np.int64)
    shared = (
        camera.height,
        camera.width,
        volume.values.reshape(-1),
        volume.values.shape,
        leap,
        step_table(table, frame.step),
        table[:, 3].astype(np.float64),
        frame.matrix,
        frame.metric,
        frame.step,
        settings.stop_opacity,
        max(float(min_weight), 1e-12),
    )
    nothing = np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32)
    with LOCK, numba.parallel_chunksize(1024):
        rays(*shared, counts, counts, *nothing, False)
        ends = np.cumsum(counts)
        total = int(ends[-1])
        pixel, voxel, weight = np.empty(total, np.int32), np.empty(total, np.int64), np.empty(total, np.float32)
        rays(*shared, ends - counts, counts, pixel, voxel, weight, True)
    return RaySamples(pixel, voxel, weight)
