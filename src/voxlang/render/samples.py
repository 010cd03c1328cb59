"""Which voxel adds how much to which pixel: the weights of a picture, for lifting and for truth."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float32, Int32, Int64
from numba import njit, prange

from voxlang.core.errors import GeometryError
from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.march_numba import FAST, LOCK, leap_end, make_frame, pixel_ray, step_table, table_index, trilinear
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


@njit(cache=True, fastmath=FAST)
def _ray(u, v, flat, shape, leap, table, density, matrix, metric, step, stop_opacity, least, voxel, weight, start):
    """Walk one ray; write samples from `start` on if it is not negative. Returns how many there are."""
    nz, ny, nx = shape
    dx, dy, dz, enter, leave = pixel_ray(matrix, metric, u, v, nx, ny, nz)
    length = leave - enter
    count = 0
    if length <= 0.0:
        return count
    ex, ey, ez = matrix[3, 0] + enter * dx, matrix[3, 1] + enter * dy, matrix[3, 2] + enter * dz
    steps = max(int(np.ceil(length / step - 1e-6)), 1)
    top = np.float32(len(density) - 1)
    hx, hy, hz = nx - 1.0, ny - 1.0, nz - 1.0
    through = 1.0
    k = 0
    while k < steps:
        s = (k + 0.5) * step
        if k == steps - 1:
            s = 0.5 * (k * step + length)
        x = min(max(ex + s * dx, 0.0), hx)
        y = min(max(ey + s * dy, 0.0), hy)
        z = min(max(ez + s * dz, 0.0), hz)
        distance = leap[int(z) >> 3, int(y) >> 3, int(x) >> 3]
        if distance > 0:
            end = leap_end(distance, x, y, z, ex, ey, ez, dx, dy, dz)
            k = max(int(np.ceil(min(end, length + step) / step - 0.5)), k + 1)
            continue
        i = table_index(trilinear(flat, x, y, z, nx, ny, nz), top)
        alpha = np.float64(table[i, 3])
        if alpha > 0.0:
            if k == steps - 1:
                alpha = 1.0 - np.exp(-density[i] * (length - k * step))
            w = through * alpha
            through -= w
            if w >= least:
                if start >= 0:
                    voxel[start + count] = (int(z + 0.5) * ny + int(y + 0.5)) * nx + int(x + 0.5)
                    weight[start + count] = w
                count += 1
            if 1.0 - through > stop_opacity:
                return count
        k += 1
    return count


@njit(cache=True, parallel=True, fastmath=FAST)
def _rays(
    height,
    width,
    flat,
    shape,
    leap,
    table,
    density,
    matrix,
    metric,
    step,
    stop_opacity,
    least,
    starts,
    counts,
    pixel,
    voxel,
    weight,
    fill,
):
    for index in prange(height * width):
        v, u = index // width, index % width
        start = starts[index] if fill else -1
        n = _ray(
            u, v, flat, shape, leap, table, density, matrix, metric, step, stop_opacity, least, voxel, weight, start
        )
        if fill:
            for j in range(start, start + n):
                pixel[j] = index
        else:
            counts[index] = n


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
        _rays(*shared, counts, counts, *nothing, False)
        ends = np.cumsum(counts)
        total = int(ends[-1])
        pixel, voxel, weight = np.empty(total, np.int32), np.empty(total, np.int64), np.empty(total, np.float32)
        _rays(*shared, ends - counts, counts, pixel, voxel, weight, True)
    return RaySamples(pixel, voxel, weight)
