"""Lobster as CT shows it (native values 0-255): head towards -y, left towards +x, shell over meat."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Number, Shape, Vector, rotation, smooth_union, union
from voxlang.volume.phantoms.primitives import ball, capsule, ellipsoid, loft, tube
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (256.0, 420.0, 164.0)
SIZE_XYZ = (96, 156, 62)
PROMPTS = ("lobster", "claws", "tail", "legs", "antennae", "carapace", "tail fan", "meat")
AIR = Material("air", 6.0, (0.0, 0.0, 0.0))
SHELLS = {
    "red": (0.78, 0.20, 0.12),
    "brown": (0.45, 0.28, 0.16),
    "blue": (0.18, 0.30, 0.52),
    "orange": (0.88, 0.47, 0.15),
}
FORWARD = rotation(x_deg=90)
"""Takes a loft's +z to the front (-y) and its +y to the top (+z)."""


def describe(rng: np.random.Generator) -> Scene:
    """Carapace, a ringed tail with its fan, two unequal claws, eight legs, long antennae, eyes, and the meat inside."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=20, tilt_deg=3, scale=0.12, jitter=3)
    tone = str(rng.choice(list(SHELLS), p=[0.5, 0.2, 0.15, 0.15]))
    meat = scene.varied(Material("meat", 68.0, (0.93, 0.78, 0.68), texture=4, grain=10, band=19), 4)
    shell = scene.varied(Material("shell", 142.0, SHELLS[tone], texture=5, grain=8, band=32), 6)
    dark = Material("eye", 215.0, (0.08, 0.07, 0.08), texture=3, grain=8, band=30)

    animal = scene.whole("lobster", ("crustacean", "crayfish", "shellfish"), (tone,))
    back = scene.part("carapace", animal, ("back shell", "body shell", "cephalothorax", "armour"), (tone, "hard"))
    tail = scene.part("tail", animal, ("abdomen", "ringed tail", "pleon"), (tone, "segmented"))
    claws = scene.part("claws", animal, ("pincers", "chelae", "nippers"), (tone, "large"))
    legs = scene.part("legs", animal, ("walking legs", "limbs", "feet"), (tone, "thin"))
    feelers = scene.part("antennae", animal, ("feelers", "antenna", "whiskers"), (tone, "long", "thin"))
    flesh = scene.part("meat", animal, ("flesh", "muscle", "soft body"), ("soft", "white"))

    _legs(scene, rng, legs, shell)
    _antennae(scene, rng, feelers, shell)
    _claws(scene, rng, claws, shell, meat, flesh)
    _tail(scene, rng, tail, shell, meat, flesh)
    rows = [(-22, 0, 0, 23, 20), (5, 0, 0, 28, 25), (45, 0, 0, 25, 24), (74, 0, 3, 16, 16), (88, 0, 6, 7, 7)]
    body = loft(rows, power=2.3).turned(FORWARD)
    groove = loft([(18, 0, 3, 29.5, 26.5), (20.5, 0, 3, 29.5, 26.5), (23, 0, 3, 29.5, 26.5)]).turned(FORWARD)
    scene.paint(body.wobbled(rng, 0.6, 12) - groove.shell(2.0), back, shell)
    scene.paint(body.grown(-4.2), flesh, meat)
    rostrum = scene.small("rostrum", back, ("beak", "nose spike", "horn"), ("pointed",))
    spike = tube([(0, 8, 74), (0, 13, 92), (0, 18, 108)], (6, 4.5, 1.5), n=8).turned(FORWARD)
    scene.paint(spike, rostrum, shell, keep=(flesh,))
    eyes = scene.small("eyes", back, ("eye stalks", "eyeballs", "eye"), ("black", "round"))
    scene.paint(ball(5.0).moved(12, -86, 15).both_sides(), eyes, dark)

    looks = [(meat, 0.25), (shell, 0.8), (dark, 0.9)]
    scene.show("surface", looks)
    scene.show("contents", [(meat, 0.25), (shell, 0.035), (dark, 0.5)])
    scene.show("shell", [(shell, 0.9), (dark, 0.9)])
    scene.show("translucent", [(meat, 0.1), (shell, 0.12), (dark, 0.8)])
    return scene


def _limb(points: list[Vector], radii: tuple[Number, ...]) -> Shape:
    """Straight members with a knob at each joint."""
    members = [capsule(a, b, ra, rb) for a, b, ra, rb in zip(points, points[1:], radii, radii[1:], strict=False)]
    return union([*members, *(ball(r * 1.2).moved(*p) for p, r in zip(points[1:-1], radii[1:], strict=False))])


def _legs(scene: Scene, rng: np.random.Generator, legs: int, shell: Material) -> None:
    """Four walking legs on either side."""
    for side, name in ((1, "left"), (-1, "right")):
        part = scene.small(f"{name} legs", legs, (f"{name} walking legs", f"legs on the {name}"), ("thin", "jointed"))
        shapes = []
        for i in range(4):
            y = -48 + 19 * i
            sweep = (-26 + 20 * i) + rng.normal(0, 6)
            knee, foot = rng.uniform(8, 20), rng.uniform(-32, -22)
            points = [(16, y, -12), (40, y + 0.2 * sweep, -4), (64, y + 0.6 * sweep, knee), (94, y + 1.1 * sweep, foot)]
            limb = _limb(points, (5.6, 4.8, 4.0, 2.6))
            shapes.append(limb if side > 0 else limb.mirrored())
        scene.paint(shapes, part, shell)


def _antennae(scene: Scene, rng: np.random.Generator, feelers: int, shell: Material) -> None:
    """Two long antennae that sweep back or forwards, and two pairs of short ones."""
    scene.paint([capsule((5, -84, 8), (9, -122, 18 + 4 * k), 2.6, 2.0).both_sides() for k in (0, 2)], feelers, shell)
    for side, name in ((1, "left"), (-1, "right")):
        part = scene.small(f"{name} antenna", feelers, (f"{name} feeler",), ("long", "thin"))
        out, up = rng.uniform(40, 80), rng.uniform(24, 46)
        if rng.random() < 0.65:
            path = [(9, -82, 7), (20, -104, 14), (out * 0.8, -70, up), (out, 0, up), (out * 1.1, 80, up * 0.6)]
        else:
            path = [(9, -82, 7), (14, -104, 12), (out * 0.4, -130, up * 0.7), (out * 0.8, -154, up)]
        shape = tube(path, (4.4, 3.4, *[2.7] * (len(path) - 3), 2.0), n=30)
        scene.paint(shape if side > 0 else shape.mirrored(), part, shell)


def _claws(scene: Scene, rng: np.random.Generator, claws: int, shell: Material, meat: Material, flesh: int) -> None:
    """A crusher and a cutter: arm, palm, a fixed and a movable finger with teeth."""
    heavy = int(rng.choice([-1, 1]))
    for side, name in ((1, "left"), (-1, "right")):
        part = scene.small(f"{name} claw", claws, (f"{name} pincer", f"{name} chela"), ("strong",))
        size = rng.uniform(1.12, 1.25) if side == heavy else rng.uniform(0.85, 0.98)
        spread, open_deg = rng.uniform(46, 66), rng.uniform(8, 26)
        arm = _limb([(16, -66, -4), (34, -80, 0), (spread, -84, 4), (spread + 4, -104, 4)], (6.5, 7.5, 9, 8.5))
        palm = ellipsoid(17, 11, 30, power=2.2).moved(z=24)
        fixed = tube([(8, 0, 38), (12, 0, 62), (3, 0, 82)], (9.5, 7, 2), n=8)
        thumb = tube([(0, 0, 0), (-5, 0, 20), (2, 0, 42)], (8.5, 6.5, 2), n=8)
        thumb = thumb.turned(rotation(y_deg=-open_deg)).moved(-8, 0, 40)
        teeth = [ball(2.6).moved(4 - 0.5 * k, 0, 52 + 7 * k) for k in range(4)]
        hand = union([palm, fixed, thumb, *teeth]).scaled(size).turned(FORWARD)
        turn = rotation(z_deg=float(rng.uniform(-14, 16)))
        hand = hand.turned(turn).moved(spread + 4, -100, 4)
        core = (
            union([palm.grown(-4), fixed.grown(-3.5)])
            .scaled(size)
            .turned(FORWARD)
            .turned(turn)
            .moved(spread + 4, -100, 4)
        )
        for shape, target, stuff in ((arm | hand, part, shell), (core, flesh, meat)):
            scene.paint(shape if side > 0 else shape.mirrored(), target, stuff)


def _tail(scene: Scene, rng: np.random.Generator, tail: int, shell: Material, meat: Material, flesh: int) -> None:
    """Six rings along an arc, and the fan of five blades at the end."""
    curl = np.radians(rng.uniform(-1, 6))
    at, heading, rings, cores = np.array([0.0, 18.0, 1.0]), 0.0, [], []
    for i in range(6):
        r = 24.5 - 1.9 * i
        ring = loft([(-13, 0, 0, r * 0.9, r * 0.72), (0, 0, 0, r, r * 0.84), (13, 0, 0, r * 0.84, r * 0.7)], power=2.3)
        pose = rotation(x_deg=90 - np.degrees(heading))
        rings.append((ring, pose, at.copy()))
        cores.append(at.copy())
        heading += curl
        at = at + 18.5 * np.array([0.0, np.cos(heading), -np.sin(heading)])
    for i, (ring, pose, place) in enumerate(reversed(rings)):
        part = scene.small(f"tail segment {6 - i}", tail, ("tail ring", "tail segment"), ("ring-shaped",))
        scene.paint(ring.turned(pose).moved(*place), part, shell)
    scene.paint(tube([*cores, at], (14, 13, 11.5, 10, 8.7, 7.2, 3), n=16), flesh, meat)
    fan = scene.small("tail fan", tail, ("fan", "uropods", "tail fin"), ("flat", "spread"))
    blades = []
    for angle in (-52.0, -27.0, 0.0, 27.0, 52.0):
        blade = ellipsoid(11, 3.2, 24, power=2.3).moved(z=-24)
        pose = rotation(x_deg=90 - np.degrees(heading)) @ rotation(y_deg=angle)
        blades.append(blade.turned(pose).moved(*(at - 8 * np.array([0, np.cos(heading), -np.sin(heading)]))))
    scene.paint(smooth_union(blades[2], union(blades), 2.0), fan, shell)
