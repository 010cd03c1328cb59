"""The compiled loops of the CPU renderer.

All in one file, because numba's cache on disk notices a change only in the file of the kernel that is called.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange

LOCK = threading.Lock()
"""numba's thread pool must not be entered from two Python threads at once."""


def kernel(**options: Any) -> Callable[[Callable], Any]:
    """`numba.njit` with the cache on disk and fast arithmetic that respects inf; sees through type-check wrappers."""
    settings = {"cache": True, "fastmath": {"contract", "arcp", "nsz", "reassoc"}, **options}
    return lambda function: njit(**settings)(inspect.unwrap(function))


@kernel(inline="always")
def pixel_ray(matrix, metric, u, v, nx, ny, nz):
    """Clip the ray of a pixel to the box of voxel centres behind the camera's near plane.

    Direction per world length, entry and exit distance.
    """
    pu, pv = u + 0.5, v + 0.5
    a = metric[0, 0] * pu + metric[0, 1] * pv + metric[0, 2]
    b = metric[1, 0] * pu + metric[1, 1] * pv + metric[1, 2]
    c = metric[2, 0] * pu + metric[2, 1] * pv + metric[2, 2]
    scale = 1.0 / np.sqrt(a * a + b * b + c * c)
    dx = (matrix[0, 0] * pu + matrix[0, 1] * pv + matrix[0, 2]) * scale
    dy = (matrix[1, 0] * pu + matrix[1, 1] * pv + matrix[1, 2]) * scale
    dz = (matrix[2, 0] * pu + matrix[2, 1] * pv + matrix[2, 2]) * scale
    enter, leave = metric[3, 0] / scale, 1e30
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


@kernel(inline="always")
def face_depth(metric, ex, ey, ez, nx, ny, nz):
    """How far behind the entry a ray sees the face of a cut: 0 where it meets the box before the near plane."""
    e = 1e-6
    inside = e < ex < nx - 1.0 - e and e < ey < ny - 1.0 - e and e < ez < nz - 1.0 - e
    return metric[3, 1] if inside and metric[3, 0] > 0.0 else 0.0


@kernel(inline="always")
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


@kernel(inline="always")
def trilinear(flat, x, y, z, nx, ny, nz):
    """Trilinear value at an index-space point inside the box of voxel centres, give or take rounding."""
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


@kernel(inline="always")
def table_index(value, top):
    """Nearest entry of a table over [0, 1] whose last index is `top`."""
    return np.uintp(min(max(value, np.float32(0.0)), np.float32(1.0)) * top + np.float32(0.5))


@kernel()
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


@kernel()
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


@kernel()
def light_factors(gx, gy, gz, dx, dy, dz, light, spacing, lighting):
    """Diffuse cosine and highlight of a sample, both faded out where the gradient is below the floor.

    `lighting` is (ambient, diffuse, specular, specular power, gradient floor per world length, cosine below which the
    highlight is nothing).
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
    shine = trust * min(half, 1.0) ** lighting[3] if half > lighting[5] else 0.0
    return 1.0 - trust * (1.0 - cosine), shine


@kernel()
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
        face = face_depth(metric, ex, ey, ez, nx, ny, nz)
        steps = int(np.ceil(length / step - 1e-6))
        steps = max(steps, 1)
        top = np.float32(len(density) - 1)
        k = 0
        while k < steps:
            s = (k + 0.5) * step
            if k == steps - 1:
                s = 0.5 * (k * step + length)
            x, y, z = ex + s * dx, ey + s * dy, ez + s * dz
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
                x, y, z = ex + s * dx, ey + s * dy, ez + s * dz
                i = table_index(trilinear(flat, x, y, z, nx, ny, nz), top)
                alpha = np.float64(table[i, 3])
                if alpha > 0.0:
                    if k == steps - 1:
                        alpha = 1.0 - np.exp(-density[i] * (length - k * step))
                    weight = through * alpha
                    lit, shine = 1.0, 0.0
                    if shading and s < face:
                        lit = lighting[0] + lighting[1]
                    elif shading:
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


@kernel(parallel=True)
def picture(
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


@kernel()
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
    through = 1.0
    k = 0
    while k < steps:
        s = (k + 0.5) * step
        if k == steps - 1:
            s = 0.5 * (k * step + length)
        x, y, z = ex + s * dx, ey + s * dy, ez + s * dz
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


@kernel(parallel=True)
def rays(
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


@kernel(parallel=True)
def label_weights(height, width, flat, labels, shape, leap, table, density, matrix, metric, step, stop_opacity, out):
    """Accumulated weight of every label (last axis) on every pixel's ray; the same samples as the picture's."""
    nz, ny, nx = shape
    top = np.float32(len(density) - 1)
    for index in prange(height * width):
        v, u = index // width, index % width
        dx, dy, dz, enter, leave = pixel_ray(matrix, metric, u, v, nx, ny, nz)
        length = leave - enter
        if length > 0.0:
            ex, ey, ez = matrix[3, 0] + enter * dx, matrix[3, 1] + enter * dy, matrix[3, 2] + enter * dz
            steps = max(int(np.ceil(length / step - 1e-6)), 1)
            through = 1.0
            k = 0
            while k < steps:
                s = (k + 0.5) * step
                if k == steps - 1:
                    s = 0.5 * (k * step + length)
                x, y, z = ex + s * dx, ey + s * dy, ez + s * dz
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
                    label = labels[(int(z + 0.5) * ny + int(y + 0.5)) * nx + int(x + 0.5)]
                    out[index, label] += through * alpha
                    through -= through * alpha
                    if 1.0 - through > stop_opacity:
                        break
                k += 1
