"""The words of the language: ellipsoids, tubes, boxes, lofts, threads, ... in mm, around the origin or along points.

Each word is a bounding box and a partial application of one of the distance functions in `distances`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from voxlang.volume.phantoms import distances
from voxlang.volume.phantoms.language import Number, Shape, Solid, Vector, rotation_to, union


def ellipsoid(rx: Number, ry: Number, rz: Number, *, power: Number = 2.0) -> Shape:
    """Ellipsoid with semi-axes in mm; a power above 2 squares it (superellipsoid), below 2 makes it a diamond."""
    r = np.array([rx, ry, rz], np.float64)
    inverse = tuple((1.0 / r).tolist())
    if power == 2:
        return Shape((Solid(-r, r, partial(distances.ellipsoid, inverse)),))
    return Shape((Solid(-r, r, partial(distances.superellipsoid, inverse, float(power))),))


def ball(radius: Number) -> Shape:
    """Ball around the origin."""
    return ellipsoid(radius, radius, radius)


def box(hx: Number, hy: Number, hz: Number, *, rounding: Number = 0.0) -> Shape:
    """Box with half edges in mm, edges rounded by a radius."""
    h = np.array([hx, hy, hz], np.float64)
    return Shape((Solid(-h, h, partial(distances.box, tuple((h - rounding).tolist()), float(rounding))),))


def capsule(a: Vector, b: Vector, radius_a: Number, radius_b: Number | None = None) -> Shape:
    """Round-ended rod from a to b whose radius goes linearly from radius_a to radius_b."""
    ra, rb = float(radius_a), float(radius_a if radius_b is None else radius_b)
    p, q = np.asarray(a, np.float64), np.asarray(b, np.float64)
    distance = partial(distances.capsule, tuple(p.tolist()), tuple((q - p).tolist()), ra, rb)
    return Shape((Solid(np.minimum(p - ra, q - rb), np.maximum(p + ra, q + rb), distance),))


def curve(points: Sequence[Vector] | np.ndarray, n: int = 16) -> np.ndarray:
    """n points evenly in parameter along a smooth curve through the given ones (any number of columns)."""
    from scipy.interpolate import CubicSpline, PchipInterpolator

    p = np.asarray(points, np.float64)
    t = np.linspace(0, 1, len(p))
    spline = CubicSpline(t, p) if len(p) > 3 else PchipInterpolator(t, p)
    return spline(np.linspace(0, 1, n))


def tube(points: Sequence[Vector] | np.ndarray, radii: Sequence[Number] | np.ndarray | Number, *, n: int = 16) -> Shape:
    """Tube along a smooth curve through the points [k 3]; radii are one number or one per point."""
    path = curve(points, n)
    along = np.broadcast_to(np.asarray(radii, np.float64), (len(points),))
    r = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(points)), along).tolist()
    return union([capsule(path[i], path[i + 1], r[i], r[i + 1]) for i in range(n - 1)])


def cylinder(a: Vector, b: Vector, radius: Number, *, rounding: Number = 0.0) -> Shape:
    """Flat-ended cylinder from a to b."""
    half = float(np.linalg.norm(np.subtract(b, a))) / 2
    distance = partial(distances.cylinder, float(radius - rounding), half - rounding, float(rounding))
    return _along(radius, half, distance, a, b)


def thread(a: Vector, b: Vector, radius: Number, *, pitch: Number, depth: Number) -> Shape:
    """Screw from a to b: a cylinder whose radius falls by `depth` between the turns."""
    half = float(np.linalg.norm(np.subtract(b, a))) / 2
    return _along(radius, half, partial(distances.thread, float(radius), half, float(pitch), float(depth)), a, b)


def _along(radius: Number, half: Number, distance: distances.Distance, a: Vector, b: Vector) -> Shape:
    """A solid about z, centred at the origin, moved so that its axis runs from a to b."""
    p, q = np.asarray(a, np.float64), np.asarray(b, np.float64)
    corner = np.array([radius, radius, half], np.float64)
    return Shape((Solid(-corner, corner, distance),)).turned(rotation_to(q - p)).moved(*((p + q) / 2).tolist())


def torus(radius: Number, wire: Number) -> Shape:
    """Ring in the xy plane."""
    corner = np.array([radius + wire, radius + wire, wire], np.float64)
    return Shape((Solid(-corner, corner, partial(distances.torus, float(radius), float(wire))),))


def helix(radius: Number, pitch: Number, turns: Number, wire: Number) -> Shape:
    """Coil about +z that starts at z = 0: springs and tendrils."""
    n = max(int(turns * 24), 4) + 1
    a = np.linspace(0, 2 * np.pi * turns, n)
    path = np.stack([radius * np.cos(a), radius * np.sin(a), pitch * a / (2 * np.pi)], axis=1)
    return union([capsule(path[i], path[i + 1], wire) for i in range(n - 1)])


def loft(stations: Sequence[Sequence[Number]], *, power: Number = 2.0) -> Shape:
    """Body along z through cross-sections: rows (z, centre_x, centre_y, radius_x, radius_y), z ascending.

    Between stations the numbers follow a shape-preserving cubic. A power above 2 makes the sections boxy.
    Ends are flat; let the radii go to nearly zero for a pointed or round end.
    """
    from scipy.interpolate import PchipInterpolator

    rows = np.asarray(stations, np.float64)
    z0, z1 = rows[[0, -1], 0].tolist()
    zs = np.linspace(z0, z1, distances.TABLE)
    cx, cy, rx, ry = PchipInterpolator(rows[:, 0], rows[:, 1:])(zs).T
    rx, ry = np.maximum(rx, 1e-3), np.maximum(ry, 1e-3)
    slopes = [np.gradient(v, (z1 - z0) / (distances.TABLE - 1)) for v in (np.sqrt(rx * ry), cx, cy)]
    tilt = np.sqrt(1 + np.minimum(sum(s * s for s in slopes), 16))
    table = np.stack([cx, cy, 1 / rx, 1 / ry, 1 / tilt]).astype(np.float32)
    low = np.array([(cx - rx).min(), (cy - ry).min(), z0])
    high = np.array([(cx + rx).max(), (cy + ry).max(), z1])
    return Shape((Solid(low, high, partial(distances.loft, table, z0, z1, float(power))),))


def lathe(profile: Sequence[Sequence[Number]]) -> Shape:
    """Body of revolution about z: rows (z, radius), z ascending."""
    return loft([(z, 0.0, 0.0, r, r) for z, r in profile])


def plate(outline: Sequence[Sequence[Number]], thickness: Number) -> Shape:
    """Flat plate in the xz plane with a polygonal outline (rows x, z): fins, leaves, boards."""
    p = np.asarray(outline, np.float64)
    half = float(thickness) / 2
    (x0, z0), (x1, z1) = p.min(axis=0), p.max(axis=0)
    return Shape((Solid(np.array([x0, -half, z0]), np.array([x1, half, z1]), partial(distances.plate, p, half)),))
