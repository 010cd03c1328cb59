"""Bonsai: a small tree in a pot, as a CT of a plant shows it (native values 0-255)."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Shape, random_rotation, rotation
from voxlang.volume.phantoms.primitives import ball, box, curve, ellipsoid, loft, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (230.0, 200.0, 240.0)
SIZE_XYZ = (116, 100, 120)
PROMPTS = ("bonsai tree", "pot", "soil", "trunk", "foliage", "branches", "pot rim")
AIR = Material("air", 8.0, (0.0, 0.0, 0.0))
LEAVES = {
    "green": (0.22, 0.52, 0.16),
    "dark green": (0.12, 0.36, 0.17),
    "yellow": (0.83, 0.68, 0.16),
    "red": (0.72, 0.20, 0.14),
    "orange": (0.85, 0.45, 0.12),
}
POTS = {
    "brown": (0.52, 0.30, 0.19),
    "blue": (0.20, 0.33, 0.55),
    "grey": (0.55, 0.55, 0.56),
    "terracotta": (0.74, 0.40, 0.26),
    "white": (0.88, 0.86, 0.82),
}


def describe(rng: np.random.Generator) -> Scene:
    """A pot (round, oval or rectangular), soil, a bent trunk, branches and pads of leaves."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=25, tilt_deg=2, scale=0.1, jitter=3)
    green = str(rng.choice(list(LEAVES), p=[0.5, 0.22, 0.1, 0.1, 0.08]))
    glaze = str(rng.choice(list(POTS)))
    leaf = scene.varied(Material("leaf", 62, LEAVES[green], texture=3.5, grain=10, band=17), 4)
    wood = scene.varied(Material("wood", 112, (0.42, 0.28, 0.17), texture=5, grain=6, band=18), 4)
    earth = scene.varied(Material("soil", 158, (0.27, 0.19, 0.13), texture=6, grain=4, band=18), 4)
    clay = scene.varied(Material("ceramic", 215, POTS[glaze], texture=3, grain=15, band=25), 8)

    tree = scene.whole("bonsai tree", ("bonsai", "potted tree", "miniature tree"), ("potted plant",))
    pot = scene.part("pot", tree, ("planter", "flowerpot", "container", "vessel"), (glaze, "ceramic"))
    inner, level = _pot(scene, rng, pot, clay)
    soil = scene.part("soil", tree, ("earth", "dirt", "potting mix", "ground"), ("brown", "granular"))
    scene.paint(inner.cut((0, 0, 1), level).wobbled(rng, 1.0, 25), soil, earth, keep=(pot,))
    mound = ellipsoid(rng.uniform(30, 42), rng.uniform(24, 32), rng.uniform(7, 12)).moved(z=level - 2)
    scene.paint((mound & inner.moved(z=15)).wobbled(rng, 1.2, 22), soil, earth, keep=(pot,))

    trunk = scene.part("trunk", tree, ("stem", "bole", "main stem"), ("brown", "wooden"))
    roots = scene.small("roots", trunk, ("surface roots", "root flare", "nebari"), ("wooden", "at the base"))
    path, radii = _trunk_path(rng, level + 4)
    start = rng.uniform(0, 360)
    for i in range(int(rng.integers(4, 8))):
        a = np.radians(start + 360 * i / 6 + rng.uniform(-20, 20))
        d = np.array([np.cos(a), np.sin(a)])
        reach = radii[0] * rng.uniform(1.9, 2.8)
        points = [(*(path[0, :2] + d * f * reach), level + h) for f, h in ((0.2, 14), (0.6, 8), (1.0, 1))]
        scene.paint(tube(points, (radii[0] * 0.5, radii[0] * 0.36, 2.0), n=6), roots, wood)
    scene.paint(tube(path, radii, n=28).wobbled(rng, 0.7, 14), trunk, wood, keep=(roots,))

    branches = scene.part("branches", tree, ("limbs", "boughs", "branch"), ("brown", "wooden"))
    foliage = scene.part("foliage", tree, ("leaves", "leafage", "canopy", "greenery", "crown"), (green,))
    pads = _branches(scene, rng, branches, trunk, wood, path, radii)
    for number, (centre, radius) in enumerate(pads, start=1):
        tuft = scene.small(f"leaf cluster {number}", foliage, ("leaf cluster", "leaf pad", "tuft of leaves"), (green,))
        scene.paint(_leaves(rng, centre, radius), tuft, leaf, keep=(trunk, branches, pot, soil, roots))

    opaque = [(leaf, 0.35), (wood, 0.45), (earth, 0.5), (clay, 0.95)]
    if rng.random() < 0.35:
        bloom = Material("blossom", 88, (0.93, 0.55, 0.66), texture=1.5, grain=8, band=7)
        flowers = scene.small("blossoms", foliage, ("flowers", "bloom", "petals"), ("pink",))
        spots = [c + 0.85 * r * _on_ball(rng) * np.array([1, 1, 0.5]) for c, r in pads for _ in range(4)]
        scene.paint([ball(rng.uniform(3.0, 4.4)).moved(*s) for s in spots], flowers, bloom)
        opaque.append((bloom, 0.5))
    scene.show("surface", opaque)
    scene.show("contents", [(m, a if m is not clay and m is not leaf else 0.05) for m, a in opaque])
    scene.show("wood", [(wood, 0.35)])
    scene.show("flat", [(m, 0.8 * a) for m, a in opaque], shading=False)
    return scene


def _pot(scene: Scene, rng: np.random.Generator, pot: int, clay: Material) -> tuple[Shape, float]:
    """Paint the pot with rim and feet; returns its inside and the level of the soil."""
    rim = scene.small("pot rim", pot, ("rim", "lip of the pot", "pot edge"), ("ceramic",))
    feet = scene.small("pot feet", pot, ("feet", "pot legs", "supports"), ("ceramic",))
    low, height = -108.0, rng.uniform(34, 48)
    high = low + height
    kind = str(rng.choice(["round", "oval", "rectangular"]))
    power = 7.0 if kind == "rectangular" else 2.0
    rx = rng.uniform(52, 62) if kind == "round" else rng.uniform(66, 80)
    ry = rx if kind == "round" else rng.uniform(42, 52)
    flare, wall = rng.uniform(0.76, 0.9), rng.uniform(4.5, 6)
    belly = rng.uniform(0.0, 0.06)
    rows = [(low, flare), (low + 0.5 * height, (flare + 1) / 2 + belly), (high, 1.0)]
    outer = loft([(z, 0, 0, rx * f, ry * f) for z, f in rows], power=power)
    hollow = [(low + wall + 2, flare), (low + 0.5 * height, (flare + 1) / 2 + belly), (high + 20, 1.0)]
    inner = loft([(z, 0, 0, rx * f - wall, ry * f - wall) for z, f in hollow], power=power)
    lip = loft([(high - 7, 0, 0, rx + 4, ry + 4), (high, 0, 0, rx + 5, ry + 5)], power=power)
    scene.paint(outer - inner, pot, clay)
    scene.paint(lip - inner, rim, clay)
    if kind == "round":
        foot = torus(rx * flare * 0.75, 4.5).moved(z=low - 1.5)
    else:
        foot = box(10, 7, 4.5, rounding=2).moved(rx * flare - 17, ry * flare - 12, low - 2).both_sides()
        foot = foot | foot.turned(rotation(z_deg=180))
    scene.paint(foot, feet, clay, keep=(pot,))
    return inner, high - rng.uniform(3, 7)


def _trunk_path(rng: np.random.Generator, ground: float) -> tuple[np.ndarray, np.ndarray]:
    """Points [7 3] and radii of the trunk: upright, slanting, S-shaped or windswept."""
    style = str(rng.choice(["upright", "slanting", "curved", "windswept"], p=[0.2, 0.2, 0.4, 0.2]))
    t = np.linspace(0, 1, 7)
    lean = {"upright": 0.0, "slanting": 32.0, "curved": 8.0, "windswept": 46.0}[style] * rng.choice([-1, 1])
    bend = {"upright": 3.0, "slanting": 6.0, "curved": 19.0, "windswept": 9.0}[style] * rng.choice([-1, 1])
    height = rng.uniform(126, 148) * (0.88 if style in ("slanting", "windswept") else 1.0)
    x = lean * t + bend * np.sin(t * np.pi * rng.uniform(1.6, 2.2)) * (0.3 + 0.7 * t) - lean * 0.45
    y = rng.uniform(-7, 7) * np.sin(t * np.pi * rng.uniform(1, 2))
    path = np.stack([x, y, ground - 8 + height * t], axis=1)
    base = rng.uniform(9.5, 14)
    return path, base * (1 - t) ** 0.8 + 2.2


def _branches(
    scene: Scene,
    rng: np.random.Generator,
    branches: int,
    trunk: int,
    wood: Material,
    path: np.ndarray,
    radii: np.ndarray,
) -> list[tuple[np.ndarray, float]]:
    """Paint branches with their twigs from the trunk outwards; returns pads of leaves as (centre, radius)."""
    twigs = scene.small("twigs", branches, ("sprigs", "thin branches", "branchlets"), ("thin", "wooden"))
    n = int(rng.integers(5, 9))
    spine, thick = curve(path, 60), np.interp(np.linspace(0, 1, 60), np.linspace(0, 1, 7), radii)
    pads = [(spine[-1] + (0, 0, 6.0), rng.uniform(25, 31))]
    side = rng.uniform(0, 2 * np.pi)
    for i in range(n):
        t = 0.42 + 0.5 * (i + rng.uniform(-0.2, 0.2)) / n
        at = int(np.clip(t, 0.35, 0.95) * 59)
        side += np.radians(rng.uniform(115, 165))
        out = np.array([np.cos(side), np.sin(side) * 0.85, 0.0])
        length = rng.uniform(46, 64) * (1.25 - 0.75 * t)
        sag = rng.uniform(-0.08, 0.3)
        points = spine[at] + np.outer([0, 0.35, 0.7, 1.0], out * length)
        points[:, 2] += np.array([0, 0.6, 0.75, 1.0]) * sag * length
        points[1:3, :2] += rng.normal(0, 2.5, (2, 2))
        r = max(thick[at] * 0.52, 2.4)
        scene.paint(tube(points, (r, r * 0.8, r * 0.6, 1.8), n=10), branches, wood, keep=(trunk,))
        pads.append((points[-1] + (0, 0, 5.0), rng.uniform(22, 30) * (1.2 - 0.35 * t)))
        sprigs = []
        for _ in range(5):
            root = points[int(rng.integers(1, 4))]
            tip = points[-1] + rng.normal(0, 1, 3) * (11, 11, 3) + (0, 0, 6)
            sprigs.append(tube([root, (root + tip) / 2 + (0, 0, 2), tip], (1.6, 1.3, 1.1), n=5))
        scene.paint(sprigs, twigs, wood, keep=(trunk, branches))
    return pads


def _leaves(rng: np.random.Generator, centre: np.ndarray, radius: float) -> list[Shape]:
    """A flat, domed pad of many small leaves, denser towards its upper surface."""
    count = int(0.24 * radius**2) + 25
    leaves = []
    for _ in range(count):
        direction = _on_ball(rng)
        if direction[2] < -0.25:
            direction[2] *= -0.6
        at = centre + direction * radius * rng.uniform(0.45, 1.0) * np.array([1.0, 1.0, 0.56])
        leaf = ellipsoid(rng.uniform(3.6, 5.6), rng.uniform(2.8, 4.2), rng.uniform(1.5, 2.2))
        leaves.append(leaf.turned(random_rotation(rng)).moved(*at))
    leaves.append(ellipsoid(radius * 0.62, radius * 0.62, radius * 0.26).moved(*centre))
    return leaves


def _on_ball(rng: np.random.Generator) -> np.ndarray:
    """A unit vector, uniform over directions."""
    v = rng.normal(size=3)
    return v / np.linalg.norm(v)
