"""Branching tubes: trees of vessels that fan out from a stem."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Number, Shape
from voxlang.volume.phantoms.primitives import capsule


def branches(
    rng: np.random.Generator,
    start: np.ndarray,
    direction: np.ndarray,
    *,
    radius: Number,
    reach: Number,
    stems: int = 5,
    spread: Number = 1.0,
    thinnest: Number = 1.3,
) -> list[Shape]:
    """A tree that fans out from a point until its twigs are thin.

    Each branch parts into two whose radii obey Murray's law (the cubes add up) and which lean away from each other.

    Args:
        rng: of the angles and lengths.
        start: root [3] in mm.
        direction: where the tree heads [3].
        radius: of the root in mm.
        reach: about how far the twigs get, mm.
        stems: branches that leave the root.
        spread: how far the stems lean away from the direction (1: about 45 degrees).
        thinnest: radius in mm below which a branch does not part again.
    """
    heading = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    pieces: list[Shape] = []
    first = float(radius) * stems ** (-1.0 / 3.0)
    steps = 1 + int(np.ceil(3 * np.log2(max(first / float(thinnest), 1.0))))
    shrink = 0.84
    length = float(reach) * (1 - shrink) / (1 - shrink**steps)
    turn = rng.uniform(0, 2 * np.pi)
    side, other = _across(heading)
    growing = []
    for k in range(stems):
        angle = turn + 2 * np.pi * k / stems
        lean = np.cos(angle) * side + np.sin(angle) * other
        growing.append((np.asarray(start, np.float64), heading + spread * rng.uniform(0.5, 1.2) * lean, first, length))
    while growing:
        at, way, thick, long = growing.pop()
        way = way / np.linalg.norm(way)
        end = at + way * long * rng.uniform(0.8, 1.2)
        u, v = _across(way)
        angle = rng.uniform(0, 2 * np.pi)
        lean = np.cos(angle) * u + np.sin(angle) * v
        share = rng.uniform(0.35, 0.65)
        pieces.append(capsule(at, end, thick, 0.9 * thick))
        if thick >= thinnest:
            for part, sign in ((share, 1.0), (1 - share, -1.0)):
                child = way + sign * lean * rng.uniform(0.35, 0.7) + 0.15 * heading
                growing.append((end, child, thick * part ** (1.0 / 3.0), long * shrink))
    return pieces


def _across(way: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to a unit vector and to each other."""
    x, y, z = way.tolist()
    u = np.array([y, -x, 0.0]) if abs(z) < 0.9 else np.array([0.0, z, -y])
    a, b, c = u = u / np.linalg.norm(u)
    return u, np.array([y * c - z * b, z * a - x * c, x * b - y * a])
