"""The words of the language: ellipsoids, tubes, boxes, lofts, threads, ... in mm, around the origin or along points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxlang.volume.phantoms.language import Shape, Solid, Vector, rotation_to, union

_TABLE = 1024
"""Entries of a loft's lookup table along its axis."""


def ellipsoid(rx: float, ry: float, rz: float, *, power: float = 2.0) -> Shape:
    """Ellipsoid with semi-axes in mm; a power above 2 squares it (superellipsoid), below 2 makes it a diamond.

    Distance: f (f - 1) / |grad| of the implicit norm f, exact to first order at the surface.
    """
    r = np.array([rx, ry, rz], np.float64)
    ix, iy, iz = (np.float32(1.0 / v) for v in r)

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        a, b, c = x * ix, y * iy, z * iz
        if power == 2.0:
            norm = np.sqrt(a * a + b * b + c * c)
            slope = np.sqrt((a * ix) ** 2 + (b * iy) ** 2 + (c * iz) ** 2)
            return norm * (norm - 1) / np.maximum(slope, 1e-6)
        norm = (np.abs(a) ** power + np.abs(b) ** power + np.abs(c) ** power + 1e-12) ** np.float32(1.0 / power)
        ga, gb, gc = (np.abs(v / norm) ** (power - 1) * s for v, s in ((a, ix), (b, iy), (c, iz)))
        return (norm - 1) / np.maximum(np.sqrt(ga * ga + gb * gb + gc * gc), 1e-6)

    return Shape((Solid(-r, r, distance),))


def ball(radius: float) -> Shape:
    """Ball around the origin."""
    return ellipsoid(radius, radius, radius)


def box(hx: float, hy: float, hz: float, *, rounding: float = 0.0) -> Shape:
    """Box with half edges in mm, edges rounded by a radius."""
    h = np.array([hx, hy, hz], np.float64)
    ax, ay, az = (h - rounding).tolist()

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        qx, qy, qz = np.abs(x) - ax, np.abs(y) - ay, np.abs(z) - az
        outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2 + np.maximum(qz, 0) ** 2)
        inside = np.minimum(np.maximum(np.maximum(qx, qy), qz), 0)
        return outside + inside - rounding

    return Shape((Solid(-h, h, distance),))


def capsule(a: Vector, b: Vector, radius_a: float, radius_b: float | None = None) -> Shape:
    """Round-ended rod from a to b whose radius goes linearly from radius_a to radius_b."""
    radius_a = float(radius_a)
    rb = radius_a if radius_b is None else float(radius_b)
    p, q = np.asarray(a, np.float64), np.asarray(b, np.float64)
    (px, py, pz), (ux, uy, uz) = p.astype(np.float32), (q - p).astype(np.float32)
    inverse = np.float32(1.0 / max(float((q - p) @ (q - p)), 1e-9))

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - px, y - py, z - pz
        t = np.clip((dx * ux + dy * uy + dz * uz) * inverse, 0, 1)
        return np.sqrt((dx - t * ux) ** 2 + (dy - t * uy) ** 2 + (dz - t * uz) ** 2) - (radius_a + t * (rb - radius_a))

    low = np.minimum(p - radius_a, q - rb)
    high = np.maximum(p + radius_a, q + rb)
    return Shape((Solid(low, high, distance),))


def curve(points: Sequence[Vector] | np.ndarray, n: int = 16) -> np.ndarray:
    """n points evenly in parameter along a smooth curve through the given ones (any number of columns)."""
    from scipy.interpolate import CubicSpline, PchipInterpolator

    p = np.asarray(points, np.float64)
    t = np.linspace(0, 1, len(p))
    spline = CubicSpline(t, p) if len(p) > 3 else PchipInterpolator(t, p)
    return spline(np.linspace(0, 1, n))


def tube(points: Sequence[Vector] | np.ndarray, radii: Sequence[float] | float, *, n: int = 16) -> Shape:
    """Tube along a smooth curve through the points [k 3]; radii are one number or one per point."""
    path = curve(points, n)
    along = np.broadcast_to(np.asarray(radii, np.float64), (len(points),))
    r = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(points)), along)
    return union([capsule(path[i], path[i + 1], float(r[i]), float(r[i + 1])) for i in range(n - 1)])


def cylinder(a: Vector, b: Vector, radius: float, *, rounding: float = 0.0) -> Shape:
    """Flat-ended cylinder from a to b."""
    p, q = np.asarray(a, np.float64), np.asarray(b, np.float64)
    half = float(np.linalg.norm(q - p)) / 2

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        side = np.sqrt(x * x + y * y) - (radius - rounding)
        end = np.abs(z) - (half - rounding)
        outside = np.sqrt(np.maximum(side, 0) ** 2 + np.maximum(end, 0) ** 2)
        return outside + np.minimum(np.maximum(side, end), 0) - rounding

    upright = Shape((Solid(np.array([-radius, -radius, -half]), np.array([radius, radius, half]), distance),))
    return _along(upright, p, q)


def torus(radius: float, wire: float) -> Shape:
    """Ring in the xy plane."""

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.sqrt((np.sqrt(x * x + y * y) - radius) ** 2 + z * z) - wire

    r = radius + wire
    return Shape((Solid(np.array([-r, -r, -wire]), np.array([r, r, wire]), distance),))


def helix(radius: float, pitch: float, turns: float, wire: float) -> Shape:
    """Coil about +z that starts at z = 0: springs and tendrils."""
    n = max(int(turns * 14), 4)
    a = np.linspace(0, 2 * np.pi * turns, n)
    path = np.stack([radius * np.cos(a), radius * np.sin(a), pitch * a / (2 * np.pi)], axis=1)
    return union([capsule(path[i], path[i + 1], wire) for i in range(n - 1)])


def thread(a: Vector, b: Vector, radius: float, *, pitch: float, depth: float) -> Shape:
    """Screw from a to b: a cylinder whose radius falls by `depth` between the turns."""
    p, q = np.asarray(a, np.float64), np.asarray(b, np.float64)
    half = float(np.linalg.norm(q - p)) / 2

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        turn = np.arctan2(y, x) / (2 * np.pi) - z / pitch
        saw = 2 * np.abs(turn - np.round(turn))
        side = (np.sqrt(x * x + y * y) - (radius - depth * saw)) / np.sqrt(1 + (2 * depth / pitch) ** 2)
        return np.maximum(side, np.abs(z) - half)

    upright = Shape((Solid(np.array([-radius, -radius, -half]), np.array([radius, radius, half]), distance),))
    return _along(upright, p, q)


def loft(stations: Sequence[Sequence[float]], *, power: float = 2.0) -> Shape:
    """Body along z through cross-sections: rows (z, centre_x, centre_y, radius_x, radius_y), z ascending.

    Between stations the five numbers follow a shape-preserving cubic. A power above 2 makes the sections boxy.
    Ends are flat; let the radii go to nearly zero for a pointed or round end.
    """
    from scipy.interpolate import PchipInterpolator

    rows = np.asarray(stations, np.float64)
    z0, z1 = float(rows[0, 0]), float(rows[-1, 0])
    zs = np.linspace(z0, z1, _TABLE)
    cx, cy, rx, ry = PchipInterpolator(rows[:, 0], rows[:, 1:])(zs).T.astype(np.float32)
    rx, ry = np.maximum(rx, 1e-3), np.maximum(ry, 1e-3)
    step = (z1 - z0) / (_TABLE - 1)
    mean = np.sqrt(rx * ry)
    tilt = np.sqrt(
        1
        + np.minimum(np.hypot(np.gradient(mean, step), np.hypot(np.gradient(cx, step), np.gradient(cy, step))), 4) ** 2
    )
    tilt = tilt.astype(np.float32)
    low = np.array([(cx - rx).min(), (cy - ry).min(), z0])
    high = np.array([(cx + rx).max(), (cy + ry).max(), z1])

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        i = np.clip((z - z0) * (1.0 / step) + 0.5, 0, _TABLE - 1).astype(np.int32)
        a, b = (x - cx[i]) / rx[i], (y - cy[i]) / ry[i]
        if power == 2.0:
            norm = np.sqrt(a * a + b * b)
            slope = np.sqrt((a / rx[i]) ** 2 + (b / ry[i]) ** 2)
            side = norm * (norm - 1) / np.maximum(slope, 1e-6)
        else:
            norm = (np.abs(a) ** power + np.abs(b) ** power + 1e-12) ** np.float32(1.0 / power)
            ga, gb = np.abs(a / norm) ** (power - 1) / rx[i], np.abs(b / norm) ** (power - 1) / ry[i]
            side = (norm - 1) / np.maximum(np.sqrt(ga * ga + gb * gb), 1e-6)
        return np.maximum(side / tilt[i], np.maximum(z0 - z, z - z1))

    return Shape((Solid(low, high, distance),))


def lathe(profile: Sequence[Sequence[float]]) -> Shape:
    """Body of revolution about z: rows (z, radius), z ascending."""
    return loft([(z, 0.0, 0.0, r, r) for z, r in profile])


def plate(outline: Sequence[Sequence[float]], thickness: float) -> Shape:
    """Flat plate in the xz plane with a polygonal outline (rows x, z): fins, leaves, boards."""
    p = np.asarray(outline, np.float64)
    half = thickness / 2

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        nearest = np.full(np.broadcast_shapes(x.shape, z.shape), np.inf, np.float32)
        inside = np.zeros(nearest.shape, bool)
        for (ax, az), (bx, bz) in zip(p.tolist(), np.roll(p, -1, axis=0).tolist(), strict=True):
            ex, ez = bx - ax, bz - az
            dx, dz = x - ax, z - az
            t = np.clip((dx * ex + dz * ez) / max(ex * ex + ez * ez, 1e-9), 0, 1)
            nearest = np.minimum(nearest, (dx - t * ex) ** 2 + (dz - t * ez) ** 2)
            if bz != az:
                inside ^= ((az <= z) != (bz <= z)) & (dx < dz * (ex / ez))
        flat = np.where(inside, -np.sqrt(nearest), np.sqrt(nearest))
        return np.maximum(flat, np.abs(y) - half)

    low, high = p.min(axis=0), p.max(axis=0)
    return Shape((Solid(np.array([low[0], -half, low[1]]), np.array([high[0], half, high[1]]), distance),))


def _along(upright: Shape, a: np.ndarray, b: np.ndarray) -> Shape:
    """Move a shape about z, centred at the origin, so that its axis runs from a to b."""
    middle = (a + b) / 2
    return upright.turned(rotation_to(b - a)).moved(*(float(v) for v in middle))
