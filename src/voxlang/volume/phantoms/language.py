"""The language of primitives: solids by (approximate) signed distance, and what can be done to them.

A `Shape` is a union of solids. Each solid has a bounding box and a distance function over coordinate arrays in the
object frame (mm, +z up): negative inside, about the distance in mm near the surface. Operations act on every
solid of the union, so a tree of a thousand leaves is still evaluated leaf by leaf, each in its own box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
Vector = Sequence[float] | np.ndarray


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

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Shape:
        """Translate by mm."""

        def act(s: Solid) -> Solid:
            offset = np.array([x, y, z], np.float64)
            ox, oy, oz = offset.tolist()
            return Solid(s.low + offset, s.high + offset, lambda px, py, pz: s.distance(px - ox, py - oy, pz - oz))

        return self._each(act)

    def turned(self, rotation: np.ndarray) -> Shape:
        """Rotate about the origin by a 3x3 matrix."""
        m = np.asarray(rotation, dtype=np.float32)

        def act(s: Solid) -> Solid:
            low, high = _turned_box(s.low, s.high, m)
            return Solid(low, high, lambda x, y, z: s.distance(*_apply(m.T, x, y, z)))

        return self._each(act)

    def scaled(self, factor: float) -> Shape:
        """Scale about the origin."""
        factor = float(factor)
        return self._each(
            lambda s: Solid(
                s.low * factor,
                s.high * factor,
                lambda x, y, z: s.distance(x / factor, y / factor, z / factor) * factor,
            )
        )

    def mirrored(self) -> Shape:
        """The other side: x -> -x."""

        def act(s: Solid) -> Solid:
            low, high = s.low.copy(), s.high.copy()
            low[0], high[0] = -s.high[0], -s.low[0]
            return Solid(low, high, lambda x, y, z: s.distance(-x, y, z))

        return self._each(act)

    def both_sides(self) -> Shape:
        """Union with the mirror image."""
        return self | self.mirrored()

    def grown(self, by: float) -> Shape:
        """Offset the surface outwards by mm (inwards if negative)."""
        by = float(by)
        return self._each(
            lambda s: Solid(s.low - max(by, 0.0), s.high + max(by, 0.0), lambda x, y, z: s.distance(x, y, z) - by)
        )

    def shell(self, thickness: float) -> Shape:
        """The outer layer of this thickness in mm."""
        half = float(thickness) / 2.0
        return self._each(lambda s: Solid(s.low, s.high, lambda x, y, z: np.abs(s.distance(x, y, z) + half) - half))

    def cut(self, normal: Vector, offset: float) -> Shape:
        """Keep the half-space normal . p <= offset (normal is made unit length)."""
        n = np.asarray(normal, dtype=np.float64) / np.linalg.norm(normal)
        (a, b, c), offset = n.tolist(), float(offset)

        def act(s: Solid) -> Solid:
            low, high = s.low.copy(), s.high.copy()
            axis = int(np.argmax(np.abs(n)))
            if abs(n[axis]) > 1.0 - 1e-9:
                if n[axis] > 0:
                    high[axis] = min(high[axis], offset)
                else:
                    low[axis] = max(low[axis], -offset)
            return Solid(low, high, lambda x, y, z: np.maximum(s.distance(x, y, z), a * x + b * y + c * z - offset))

        return self._each(act)

    def wobbled(self, rng: np.random.Generator, amplitude: float, wavelength: float) -> Shape:
        """Displace the surface by smooth noise of about this amplitude and wavelength (mm)."""
        k, phase = _waves(rng, wavelength, 7)
        gain = np.float32(amplitude / np.sqrt(3.5))

        def noise(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
            total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
            for (kx, ky, kz), p in zip(k, phase, strict=True):
                total += np.sin(kx * x + ky * y + kz * z + p)
            return total * gain

        return self._each(
            lambda s: Solid(
                s.low - 1.5 * amplitude,
                s.high + 1.5 * amplitude,
                lambda x, y, z: s.distance(x, y, z) + noise(x, y, z),
            )
        )

    def _each(self, act: Callable[[Solid], Solid]) -> Shape:
        return Shape(tuple(act(s) for s in self.solids))


def union(shapes: Sequence[Shape]) -> Shape:
    """Union of several shapes."""
    return Shape(tuple(s for shape in shapes for s in shape.solids))


def smooth_union(a: Shape, b: Shape, radius: float) -> Shape:
    """One solid in which both flow into each other with a fillet of about this radius (mm).

    Source: the polynomial smooth minimum, min(a, b) - h^2 r / 4 with h = max(r - |a - b|, 0) / r.
    """
    (la, ha), (lb, hb) = a.box, b.box

    def distance(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        da, db = a.distance(x, y, z), b.distance(x, y, z)
        h = np.maximum(radius - np.abs(da - db), 0.0) / radius
        return np.minimum(da, db) - h * h * (radius / 4.0)

    return Shape((Solid(np.minimum(la, lb) - radius / 4, np.maximum(ha, hb) + radius / 4, distance),))


def rotation(x_deg: float = 0.0, y_deg: float = 0.0, z_deg: float = 0.0) -> np.ndarray:
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


def _waves(rng: np.random.Generator, wavelength: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Wave vectors [n 3] (rad/mm) with wavelengths around the given one, and phases [n]."""
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = direction * (2 * np.pi / (wavelength * rng.uniform(0.7, 1.6, (n, 1))))
    return k.astype(np.float32), rng.uniform(0, 2 * np.pi, n).astype(np.float32)


def _apply(m: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return tuple(m[i, 0] * x + m[i, 1] * y + m[i, 2] * z for i in range(3))


def _turned_box(low: np.ndarray, high: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre, half = (low + high) / 2, (high - low) / 2
    c, h = m @ centre, np.abs(m) @ half
    return c - h, c + h


def _subtract(solid: Solid, other: Shape) -> Solid:
    near = tuple(o for o in other.solids if (o.low < solid.high).all() and (o.high > solid.low).all())
    if not near:
        return solid
    hole = Shape(near)
    return Solid(solid.low, solid.high, lambda x, y, z: np.maximum(solid.distance(x, y, z), -hole.distance(x, y, z)))


def _intersect(a: Solid, b: Solid) -> Solid:
    return Solid(
        np.maximum(a.low, b.low),
        np.minimum(a.high, b.high),
        lambda x, y, z: np.maximum(a.distance(x, y, z), b.distance(x, y, z)),
    )
