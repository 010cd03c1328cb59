"""The language of primitives: solids by (approximate) signed distance, and what can be done to them.

A `Shape` is a union of solids. Each solid has a bounding box and a distance function over coordinate arrays in the
object frame (mm, +z up): negative inside, about the distance in mm near the surface. Operations act on every
solid of the union, so a tree of a thousand leaves is still evaluated leaf by leaf, each in its own box.

Distances are partial applications of module-level functions, never closures: a scene makes thousands of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

Distance = Callable[..., np.ndarray]
"""(x, y, z) arrays in mm -> signed distance in mm."""
Vector = Sequence[float | int | np.integer | np.floating] | np.ndarray
Number = float | int | np.integer | np.floating
"""What a description may write for a length, an angle or a value; whole numbers need no dot."""


@dataclass(frozen=True, eq=False)
class Solid:
    """One bounded solid."""

    low: np.ndarray
    """Lower corner of the bounding box, mm."""
    high: np.ndarray
    """Upper corner of the bounding box, mm."""
    distance: Distance
    """(x, y, z) arrays in mm -> signed distance in mm, near the surface to first order."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A union of solids, closed under the operations below."""

    solids: tuple[Solid, ...]

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Signed distance to the union in mm."""
        result = self.solids[0].distance(x, y, z)
        for solid in self.solids[1:]:
            result = np.minimum(result, solid.distance(x, y, z))
        return result

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounding box (low, high) of the union in mm."""
        return np.min([s.low for s in self.solids], axis=0), np.max([s.high for s in self.solids], axis=0)

    def __or__(self, other: Shape) -> Shape:
        return Shape(self.solids + other.solids)

    def __sub__(self, other: Shape) -> Shape:
        return Shape(tuple(_subtract(s, other) for s in self.solids))

    def __and__(self, other: Shape) -> Shape:
        both = [_intersect(a, b) for a in self.solids for b in other.solids]
        return Shape(tuple(s for s in both if (s.low < s.high).all()))

    def moved(self, x: Number = 0.0, y: Number = 0.0, z: Number = 0.0) -> Shape:
        """Translate by mm."""
        by = np.array([x, y, z], np.float64)
        offset = tuple(by.tolist())
        return Shape(tuple(Solid(s.low + by, s.high + by, partial(_moved, s.distance, offset)) for s in self.solids))

    def turned(self, rotation: np.ndarray) -> Shape:
        """Rotate about the origin by a 3x3 matrix."""
        m = np.asarray(rotation, dtype=np.float64)
        back = m.T.tolist()
        return Shape(
            tuple(Solid(*_turned_box(s.low, s.high, m), partial(_turned, s.distance, back)) for s in self.solids)
        )

    def scaled(self, factor: Number) -> Shape:
        """Scale about the origin."""
        f = float(factor)
        return Shape(tuple(Solid(s.low * f, s.high * f, partial(_scaled, s.distance, f)) for s in self.solids))

    def mirrored(self) -> Shape:
        """The other side: x -> -x."""
        flip = np.array([-1.0, 1.0, 1.0])
        return Shape(
            tuple(
                Solid(
                    np.minimum(s.low * flip, s.high * flip),
                    np.maximum(s.low * flip, s.high * flip),
                    partial(_mirrored, s.distance),
                )
                for s in self.solids
            )
        )

    def both_sides(self) -> Shape:
        """Union with the mirror image."""
        return self | self.mirrored()

    def grown(self, by: Number) -> Shape:
        """Offset the surface outwards by mm (inwards if negative)."""
        g = float(by)
        more = max(g, 0.0)
        return Shape(tuple(Solid(s.low - more, s.high + more, partial(_grown, s.distance, g)) for s in self.solids))

    def shell(self, thickness: Number) -> Shape:
        """The outer layer of this thickness in mm."""
        half = float(thickness) / 2.0
        return Shape(tuple(Solid(s.low, s.high, partial(_shell, s.distance, half)) for s in self.solids))

    def cut(self, normal: Vector, offset: Number) -> Shape:
        """Keep the half-space normal . p <= offset (normal is made unit length)."""
        n = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
        axis = int(np.argmax(np.abs(n)))
        upper, lower = np.full(3, np.inf), np.full(3, -np.inf)
        if n[axis] > 1.0 - 1e-9:
            upper[axis] = offset
        elif n[axis] < -1.0 + 1e-9:
            lower[axis] = -offset
        plane = (*n.tolist(), float(offset))
        return Shape(
            tuple(
                Solid(np.maximum(s.low, lower), np.minimum(s.high, upper), partial(_cut, s.distance, plane))
                for s in self.solids
            )
        )

    def wobbled(self, rng: np.random.Generator, amplitude: Number, wavelength: Number) -> Shape:
        """Displace the surface by smooth noise of about this amplitude and wavelength (mm)."""
        k, phase = waves(rng, wavelength, 7)
        terms = [(*row, p) for row, p in zip(k.tolist(), phase.tolist(), strict=True)]
        gain, margin = float(amplitude) / np.sqrt(3.5).item(), 1.5 * amplitude
        return Shape(
            tuple(
                Solid(s.low - margin, s.high + margin, partial(_wobbled, s.distance, terms, gain)) for s in self.solids
            )
        )


def union(shapes: Sequence[Shape]) -> Shape:
    """Union of several shapes."""
    return Shape(tuple(s for shape in shapes for s in shape.solids))


def smooth_union(a: Shape, b: Shape, radius: Number) -> Shape:
    """One solid in which both flow into each other with a fillet of about this radius (mm).

    Source: the polynomial smooth minimum, min(a, b) - h^2 r / 4 with h = max(r - |a - b|, 0) / r.
    """
    (la, ha), (lb, hb) = a.box, b.box
    margin = radius / 4
    return Shape(
        (Solid(np.minimum(la, lb) - margin, np.maximum(ha, hb) + margin, partial(_blended, a, b, float(radius))),)
    )


def rotation(x_deg: Number = 0.0, y_deg: Number = 0.0, z_deg: Number = 0.0) -> np.ndarray:
    """3x3 matrix that turns about x, then y, then z."""
    (cx, sx), (cy, sy), (cz, sz) = ((np.cos(a), np.sin(a)) for a in np.radians([x_deg, y_deg, z_deg]))
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """3x3 rotation, uniform over all orientations."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.linalg.det(q)


def rotation_to(direction: Vector) -> np.ndarray:
    """3x3 rotation that takes +z to a direction."""
    w = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
    u = np.cross(np.eye(3)[int(np.argmin(np.abs(w)))], w)
    u /= np.linalg.norm(u)
    return np.stack([u, np.cross(w, u), w], axis=1)


def waves(rng: np.random.Generator, wavelength: Number, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors [n 3] (rad/mm) in random directions with wavelengths around the given one, and phases [n]."""
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = direction * (2 * np.pi / (wavelength * rng.uniform(0.7, 1.6, (n, 1))))
    return k, rng.uniform(0, 2 * np.pi, n)


def _moved(inner: Distance, by: tuple[float, ...], x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return inner(x - by[0], y - by[1], z - by[2])


def _turned(inner: Distance, m: list[list[float]], x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return inner(*(a * x + b * y + c * z for a, b, c in m))


def _turned_box(low: np.ndarray, high: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c, h = m @ ((low + high) / 2), np.abs(m) @ ((high - low) / 2)
    return c - h, c + h


def _scaled(inner: Distance, factor: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return inner(x / factor, y / factor, z / factor) * factor


def _mirrored(inner: Distance, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return inner(-x, y, z)


def _grown(inner: Distance, by: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return inner(x, y, z) - by


def _shell(inner: Distance, half: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.abs(inner(x, y, z) + half) - half


def _cut(inner: Distance, plane: tuple[float, ...], x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    a, b, c, d = plane
    return np.maximum(inner(x, y, z), a * x + b * y + c * z - d)


def _wobbled(
    inner: Distance, terms: list[tuple[float, ...]], gain: float, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    noise = sum(np.sin(kx * x + ky * y + kz * z + p) for kx, ky, kz, p in terms)
    return inner(x, y, z) + gain * noise


def _blended(a: Shape, b: Shape, radius: float, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    da, db = a.distance(x, y, z), b.distance(x, y, z)
    h = np.maximum(radius - np.abs(da - db), 0.0) / radius
    return np.minimum(da, db) - h * h * (radius / 4.0)


def _less(inner: Distance, hole: Shape, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.maximum(inner(x, y, z), -hole.distance(x, y, z))


def _both(a: Distance, b: Distance, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.maximum(a(x, y, z), b(x, y, z))


def _subtract(solid: Solid, other: Shape) -> Solid:
    near = tuple(o for o in other.solids if (o.low < solid.high).all() and (o.high > solid.low).all())
    return Solid(solid.low, solid.high, partial(_less, solid.distance, Shape(near))) if near else solid


def _intersect(a: Solid, b: Solid) -> Solid:
    return Solid(np.maximum(a.low, b.low), np.minimum(a.high, b.high), partial(_both, a.distance, b.distance))
