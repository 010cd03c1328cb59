"""The CPU ray marcher: trilinear samples, table lookup, front-to-back compositing, empty blocks leapt over."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numba import njit, prange

from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.settings import RenderSettings

FAST = {"contract", "arcp", "nsz", "reassoc"}
TILE = 16
LOCK = threading.Lock()
"""numba's thread pool must not be entered from two Python threads at once."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A camera and a grid as the kernels want them: rays in index space whose parameter is world length."""

    matrix: Float64[np.ndarray, "4 3"]
    """First three rows: index-space direction of a pixel (u, v, 1) before division by its world length; last row: the
    camera's position in index space."""
    metric: Float64[np.ndarray, "3 3"]
    """Inverse intrinsics: |metric @ (u, v, 1)| is that world length."""
    light: Float64[np.ndarray, 4]
    """Index-space direction towards a distant light, and 1 if there is one, else 0 (headlight)."""
    spacing: Float64[np.ndarray, 3]
    """Voxel spacing x, y, z."""
    step: float
    """World length of a full step."""


def make_frame(grid: VolumeGrid, camera: Camera, settings: RenderSettings) -> Frame:
    """Kernel frame of a camera over a grid; any direction matrix (oblique, left-handed) is allowed."""
    to_index = grid.index_from_world
    metric = np.linalg.inv(camera.K)
    matrix = np.empty((4, 3))
    matrix[:3] = to_index[:3, :3] @ camera.T_world_camera[:3, :3] @ metric
    matrix[3] = to_index[:3, :3] @ camera.position_world + to_index[:3, 3]
    light = np.zeros(4)
    if settings.light_direction_camera is not None:
        toward = np.asarray(settings.light_direction_camera, np.float64)
        light[:3] = to_index[:3, :3] @ camera.T_world_camera[:3, :3] @ (toward / np.linalg.norm(toward))
        light[3] = 1.0
    spacing = np.asarray(grid.spacing_xyz, np.float64)
    return Frame(matrix, np.ascontiguousarray(metric), light, spacing, settings.step_voxels * float(spacing.min()))


@njit(cache=True, fastmath=FAST, inline="always")
def pixel_ray(matrix, metric, u, v, nx, ny, nz):
    """Clip the ray of a pixel to the box of voxel centres: direction per world length, entry and exit distance."""
    pu, pv = u + 0.5, v + 0.5
    a = metric[0, 0] * pu + metric[0, 1] * pv + metric[0, 2]
    b = metric[1, 0] * pu + metric[1, 1] * pv + metric[1, 2]
    c = metric[2, 0] * pu + metric[2, 1] * pv + metric[2, 2]
    scale = 1.0 / np.sqrt(a * a + b * b + c * c)
    dx = (matrix[0, 0] * pu + matrix[0, 1] * pv + matrix[0, 2]) * scale
    dy = (matrix[1, 0] * pu + matrix[1, 1] * pv + matrix[1, 2]) * scale
    dz = (matrix[2, 0] * pu + matrix[2, 1] * pv + matrix[2, 2]) * scale
    enter, leave = 0.0, 1e30
    for axis in range(3):
        o = matrix[3, axis]
        d = dx if axis == 0 else (dy if axis == 1 else dz)
        top = (nx if axis == 0 else (ny if axis == 1 else nz)) - 1.0
        if abs(d) < 1e-12:
            if o < 0.0 or o > top:
                leave = -1.0
        else:
            t0, t1 = -o / d, (top - o) / d
            enter = max(enter, min(t0, t1))
            leave = min(leave, max(t0, t1))
    return dx, dy, dz, enter, leave


@njit(cache=True, fastmath=FAST, inline="always")
def leap_end(distance, x, y, z, ex, ey, ez, dx, dy, dz):
    """Ray parameter from the entry at which the cube of `distance` empty blocks (or one occupied block) ends."""
    reach = max(distance, 1)
    bx, by, bz = int(x) >> 3, int(y) >> 3, int(z) >> 3
    end = 1e30
    if dx > 1e-12:
        end = min(end, ((bx + reach) * 8.0 - ex) / dx)
    elif dx < -1e-12:
        end = min(end, ((bx - reach + 1) * 8.0 - ex) / dx)
    if dy > 1e-12:
        end = min(end, ((by + reach) * 8.0 - ey) / dy)
    elif dy < -1e-12:
        end = min(end, ((by - reach + 1) * 8.0 - ey) / dy)
    if dz > 1e-12:
        end = min(end, ((bz + reach) * 8.0 - ez) / dz)
    elif dz < -1e-12:
        end = min(end, ((bz - reach + 1) * 8.0 - ez) / dz)
    return end


@njit(cache=True, fastmath=FAST, inline="always")
def trilinear(flat, x, y, z, nx, ny, nz):
    """Trilinear value at an index-space point inside the box of voxel centres."""
    ix, iy, iz = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
    fx, fy, fz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
    row, plane = np.uintp(nx), np.uintp(nx * ny)
    i = np.uintp((iz * ny + iy) * nx + ix)
    j = i + plane
    one = np.uintp(1)
    a00, a01 = flat[i], flat[i + row]
    a10, a11 = flat[j], flat[j + row]
    c00 = a00 + fx * (flat[i + one] - a00)
    c01 = a01 + fx * (flat[i + row + one] - a01)
    c10 = a10 + fx * (flat[j + one] - a10)
    c11 = a11 + fx * (flat[j + row + one] - a11)
    c0 = c00 + fy * (c01 - c00)
    c1 = c10 + fy * (c11 - c10)
    return c0 + fz * (c1 - c0)


@njit(cache=True, fastmath=FAST, inline="always")
def table_index(value, top):
    """Nearest entry of a table over [0, 1] whose last index is `top`."""
    return np.uintp(min(max(value, np.float32(0.0)), np.float32(1.0)) * top + np.float32(0.5))


@njit(cache=True, fastmath=FAST)
def _axis_difference(flat, base, at, n, stride, s1, s2, f1, f2, f):
    """Central difference along one axis, interpolated trilinearly; neighbours are clamped at the border."""
    below = base - stride if at > 0 else base
    above = base + stride + stride if at < n - 2 else base + stride
    one = np.float32(1.0)
    w00, w01, w10, w11 = (one - f1) * (one - f2), f1 * (one - f2), (one - f1) * f2, f1 * f2
    near = (
        w00 * (flat[base + stride] - flat[below])
        + w01 * (flat[base + s1 + stride] - flat[below + s1])
        + w10 * (flat[base + s2 + stride] - flat[below + s2])
        + w11 * (flat[base + s1 + s2 + stride] - flat[below + s1 + s2])
    )
    far = (
        w00 * (flat[above] - flat[base])
        + w01 * (flat[above + s1] - flat[base + s1])
        + w10 * (flat[above + s2] - flat[base + s2])
        + w11 * (flat[above + s1 + s2] - flat[base + s1 + s2])
    )
    return np.float32(0.5) * (near + f * (far - near))


@njit(cache=True, fastmath=FAST)
def gradient(flat, x, y, z, nx, ny, nz):
    """Gradient per index at a point: central differences at the eight corners, interpolated trilinearly."""
    ix, iy, iz = min(int(x), nx - 2), min(int(y), ny - 2), min(int(z), nz - 2)
    fx, fy, fz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
    base = np.uintp((iz * ny + iy) * nx + ix)
    column, row, plane = np.uintp(1), np.uintp(nx), np.uintp(nx * ny)
    gx = _axis_difference(flat, base, ix, nx, column, row, plane, fy, fz, fx)
    gy = _axis_difference(flat, base, iy, ny, row, column, plane, fx, fz, fy)
    gz = _axis_difference(flat, base, iz, nz, plane, column, row, fx, fy, fz)
    return gx, gy, gz


@njit(cache=True, fastmath=FAST)
def light_factors(gx, gy, gz, dx, dy, dz, light, spacing, lighting):
    """Diffuse cosine and highlight of a sample, both faded out where the gradient is below the floor.

    `lighting` is (ambient, diffuse, specular, specular power, gradient floor per world length).
    """
    wx, wy, wz = gx / spacing[0], gy / spacing[1], gz / spacing[2]
    length = np.sqrt(wx * wx + wy * wy + wz * wz)
    if length < 1e-20:
        return 1.0, 0.0
    toward_eye = -(gx * dx + gy * dy + gz * dz) / length
    if light[3] > 0.0:
        cosine = (gx * light[0] + gy * light[1] + gz * light[2]) / length
        sx, sy, sz = (light[0] - dx) * spacing[0], (light[1] - dy) * spacing[1], (light[2] - dz) * spacing[2]
        half_length = np.sqrt(sx * sx + sy * sy + sz * sz)
        half = (cosine + toward_eye) / max(half_length, 1e-12)
        if toward_eye < 0.0:
            cosine, half = -cosine, -half
        cosine, half = max(cosine, 0.0), max(half, 0.0)
    else:
        cosine = abs(toward_eye)
        half = cosine
    trust = length / (length + lighting[4])
    return 1.0 - trust * (1.0 - cosine), trust * min(half, 1.0) ** lighting[3]


@njit(cache=True, fastmath=FAST)
def _picture_pixel(
    u, v, flat, shape, leap, table, density, matrix, metric, light, spacing, step, lighting, shading, limits, out
):
    nz, ny, nx = shape
    dx, dy, dz, enter, leave = pixel_ray(matrix, metric, u, v, nx, ny, nz)
    red = green = blue = moment = 0.0
    through = 1.0
    first = np.inf
    length = leave - enter
    if length > 0.0:
        ex, ey, ez = matrix[3, 0] + enter * dx, matrix[3, 1] + enter * dy, matrix[3, 2] + enter * dz
        steps = int(np.ceil(length / step - 1e-6))
        steps = max(steps, 1)
        top = np.float32(len(density) - 1)
        k = 0
        hx, hy, hz = nx - 1.0, ny - 1.0, nz - 1.0
        while k < steps:
            s = (k + 0.5) * step
            if k == steps - 1:
                s = 0.5 * (k * step + length)
            x = min(max(ex + s * dx, 0.0), hx)
            y = min(max(ey + s * dy, 0.0), hy)
            z = min(max(ez + s * dz, 0.0), hz)
            distance = leap[int(z) >> 3, int(y) >> 3, int(x) >> 3]
            end = leap_end(distance, x, y, z, ex, ey, ez, dx, dy, dz)
            stop = min(max(int(np.ceil(min(end, length + step) / step - 0.5)), k + 1), steps)
            if distance > 0:
                k = stop
                continue
            while k < stop:
                s = (k + 0.5) * step
                if k == steps - 1:
                    s = 0.5 * (k * step + length)
                x = min(max(ex + s * dx, 0.0), hx)
                y = min(max(ey + s * dy, 0.0), hy)
                z = min(max(ez + s * dz, 0.0), hz)
                i = table_index(trilinear(flat, x, y, z, nx, ny, nz), top)
                alpha = np.float64(table[i, 3])
                if alpha > 0.0:
                    if k == steps - 1:
                        alpha = 1.0 - np.exp(-density[i] * (length - k * step))
                    weight = through * alpha
                    lit, shine = 1.0, 0.0
                    if shading:
                        gx, gy, gz = gradient(flat, x, y, z, nx, ny, nz)
                        lit, shine = light_factors(gx, gy, gz, dx, dy, dz, light, spacing, lighting)
                        lit = lighting[0] + lighting[1] * lit
                        shine *= lighting[2]
                    red += weight * min(table[i, 0] * lit + shine, 1.0)
                    green += weight * min(table[i, 1] * lit + shine, 1.0)
                    blue += weight * min(table[i, 2] * lit + shine, 1.0)
                    moment += weight * (enter + s)
                    through -= weight
                    if first == np.inf and 1.0 - through > limits[1]:
                        first = enter + s
                    if 1.0 - through > limits[0]:
                        k = steps
                k += 1
    opacity = 1.0 - through
    out[v, u, 0] = red
    out[v, u, 1] = green
    out[v, u, 2] = blue
    out[v, u, 3] = opacity
    out[v, u, 4] = first
    out[v, u, 5] = moment / opacity if opacity > 0.0 else np.inf


@njit(cache=True, parallel=True, fastmath=FAST)
def _picture(
    flat, shape, leap, table, density, matrix, metric, light, spacing, step, lighting, shading, limits, tile, out
):
    height, width = out.shape[:2]
    columns = (width + tile - 1) // tile
    tiles = columns * ((height + tile - 1) // tile)
    for index in prange(tiles):
        v0, u0 = (index // columns) * tile, (index % columns) * tile
        for v in range(v0, min(v0 + tile, height)):
            for u in range(u0, min(u0 + tile, width)):
                _picture_pixel(
                    u, v, flat, shape, leap, table, density, matrix, metric, light, spacing, step, lighting,
                    shading, limits, out,
                )  # fmt: skip


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
    lighting = np.array(
        [settings.ambient, settings.diffuse, settings.specular, settings.specular_power, floor], np.float64
    )
    limits = np.array([settings.stop_opacity, settings.first_opacity], np.float64)
    with LOCK, numba.parallel_chunksize(4):
        _picture(
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
