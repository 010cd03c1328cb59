"""Signed distances of the primitives in their own frames, mm; float32 coordinates stay float32.

Source for box, cylinder, capsule and torus: elementary geometry, exact. Ellipsoids and lofts are exact to first order
at the surface: f / |grad f| of their implicit norm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Distance = Callable[..., np.ndarray]

TABLE = 1024
"""Entries of a loft's lookup table along its axis."""


def ellipsoid(inverse: tuple[float, ...], x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """n (n - 1) / |grad|, with the norm n of (x/rx, y/ry, z/rz)."""
    ix, iy, iz = inverse
    a, b, c = x * ix, y * iy, z * iz
    norm = np.sqrt(a * a + b * b + c * c + 1e-12)
    slope = np.sqrt((a * ix) ** 2 + (b * iy) ** 2 + (c * iz) ** 2)
    return norm * (norm - 1) / np.maximum(slope, 1e-6 * max(inverse))


def superellipsoid(inverse: tuple[float, ...], power: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(n - 1) / |grad n| with the p-norm n of (x/rx, y/ry, z/rz)."""
    scaled = [np.abs(v * i) for v, i in zip((x, y, z), inverse, strict=True)]
    norm = (sum(v**power for v in scaled) + 1e-12) ** (1.0 / power)
    slope = sum(((v / norm) ** (power - 1) * i) ** 2 for v, i in zip(scaled, inverse, strict=True))
    return (norm - 1) / np.maximum(np.sqrt(slope), 1e-3 * min(inverse))


def box(core: tuple[float, ...], rounding: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Box of half edges core + rounding."""
    qx, qy, qz = np.abs(x) - core[0], np.abs(y) - core[1], np.abs(z) - core[2]
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2 + np.maximum(qz, 0) ** 2)
    return outside + np.minimum(np.maximum(np.maximum(qx, qy), qz), 0) - rounding


def capsule(
    start: tuple[float, ...],
    along: tuple[float, ...],
    radius_a: float,
    radius_b: float,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
) -> np.ndarray:
    """Distance to the nearest point of the segment, less the radius there."""
    ux, uy, uz = along
    dx, dy, dz = x - start[0], y - start[1], z - start[2]
    t = np.clip((dx * ux + dy * uy + dz * uz) * (1.0 / max(ux * ux + uy * uy + uz * uz, 1e-12)), 0, 1)
    away = np.sqrt((dx - t * ux) ** 2 + (dy - t * uy) ** 2 + (dz - t * uz) ** 2)
    return away - (radius_a + t * (radius_b - radius_a))


def cylinder(radius: float, half: float, rounding: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Cylinder about z with rounded edges; radius and half length without the rounding."""
    side, end = np.sqrt(x * x + y * y) - radius, np.abs(z) - half
    outside = np.sqrt(np.maximum(side, 0) ** 2 + np.maximum(end, 0) ** 2)
    return outside + np.minimum(np.maximum(side, end), 0) - rounding


def thread(
    radius: float, half: float, pitch: float, depth: float, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Right-handed triangular thread about z."""
    turn = np.arctan2(y, x) / (2 * np.pi) - z / pitch
    saw = 2 * np.abs(turn - np.round(turn))
    side = (np.sqrt(x * x + y * y) - (radius - depth * saw)) * (1.0 / float(np.hypot(1.0, 2 * depth / pitch)))
    return np.maximum(side, np.abs(z) - half)


def torus(radius: float, wire: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Ring about z."""
    return np.sqrt((np.sqrt(x * x + y * y) - radius) ** 2 + z * z) - wire


def loft(
    table: np.ndarray, z0: float, z1: float, power: float, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Sections along z from a table of (centre x, centre y, 1 / radius x, 1 / radius y, cosine of the slope)."""
    i = np.clip((z - z0) * ((TABLE - 1) / (z1 - z0)) + 0.5, 0, TABLE - 1).astype(np.int32)
    cx, cy, ix, iy, cosine = table
    u, v = ix[i], iy[i]
    a, b = (x - cx[i]) * u, (y - cy[i]) * v
    if power == 2.0:
        norm = np.sqrt(a * a + b * b + 1e-12)
        side = norm * (norm - 1) / np.sqrt((a * u) ** 2 + (b * v) ** 2 + 1e-12 * u * v)
    else:
        a, b = np.abs(a), np.abs(b)
        norm = (a**power + b**power + 1e-12) ** (1.0 / power)
        slope = ((a / norm) ** (power - 1) * u) ** 2 + ((b / norm) ** (power - 1) * v) ** 2
        side = (norm - 1) / np.maximum(np.sqrt(slope), 1e-6)
    return np.maximum(side * cosine[i], np.maximum(z0 - z, z - z1))


def plate(outline: np.ndarray, half: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Distance to a polygon in the xz plane (even-odd inside), and to the two faces."""
    nearest: np.ndarray | float = np.inf
    inside: np.ndarray | bool = False
    for (ax, az), (bx, bz) in zip(outline.tolist(), np.roll(outline, -1, axis=0).tolist(), strict=True):
        ex, ez = bx - ax, bz - az
        dx, dz = x - ax, z - az
        t = np.clip((dx * ex + dz * ez) * (1.0 / max(ex * ex + ez * ez, 1e-9)), 0, 1)
        nearest = np.minimum(nearest, (dx - t * ex) ** 2 + (dz - t * ez) ** 2)
        if bz != az:
            inside = inside ^ (((az <= z) != (bz <= z)) & (dx < dz * (ex / ez)))
    flat = np.where(inside, -np.sqrt(nearest), np.sqrt(nearest))
    return np.maximum(flat, np.abs(y) - half)
