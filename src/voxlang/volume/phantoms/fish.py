"""Carp-like fish as CT shows it: HU, head towards -y, back up, bent as in swimming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from voxlang.volume.phantoms.language import Number, Shape, rotation, rotation_to, union
from voxlang.volume.phantoms.primitives import ball, capsule, cylinder, ellipsoid, loft, tube
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import AIR, EYE, LIVER, NOISE_HU, RANGE_HU

BOX_MM = (116.0, 350.0, 168.0)
SIZE_XYZ = (70, 210, 100)
PROMPTS = ("fish", "fins", "scales", "bones", "swim bladder", "tail fin", "gills", "left eye")
SIDES = ((1, "left"), (-1, "right"))
COATS = {
    "golden": (0.83, 0.62, 0.22),
    "silver": (0.74, 0.77, 0.80),
    "orange": (0.90, 0.42, 0.14),
    "brown": (0.47, 0.36, 0.22),
    "grey": (0.42, 0.46, 0.50),
}
FLESH = Material("flesh", 58.0, (0.93, 0.74, 0.66), texture=5, grain=9, band=22)
GUT = Material("gut", 24.0, (0.78, 0.60, 0.50), texture=5, grain=8, band=11)
GILL = Material("gill", 142.0, (0.78, 0.14, 0.15), texture=5, grain=5, band=20)
SCALE = Material("scale", 320.0, (0.8, 0.7, 0.4), texture=12, grain=6, band=95)
BONE = Material("fish bone", 680.0, (0.94, 0.91, 0.82), texture=30, grain=8, band=270)
PROFILE = np.array(
    # from snout to tail: y, centre z, radius x, radius z
    [
        (-152, -5, 4, 5),
        (-143, -4, 12, 13),
        (-122, -1, 19, 26),
        (-95, 2, 24, 37),
        (-60, 4, 27, 46),
        (-20, 4, 27, 48),
        (30, 3, 22, 41),
        (70, 1, 14, 29),
        (100, 0, 8, 18),
        (118, 0, 5, 13),
        (132, 0, 3.4, 13),
    ],
    np.float64,
)
FORWARD = rotation(x_deg=90)
"""Turns +z to -y and +y to +z."""


class _Build:
    """The outline of one fish: how wide, how high and how far bent to the side it is at every y."""

    def __init__(self, rng: np.random.Generator) -> None:
        rows = PROFILE * (1.0, 1.0, rng.uniform(0.85, 1.12), 1.0)
        rows[3:8, 3] *= rng.uniform(0.8, 1.08)
        self._at = PchipInterpolator(rows[:, 0], rows[:, 1:])
        self._bend, self._wave = rng.uniform(-20, 20), rng.uniform(0.5, 1.0)

    def sway(self, y: np.ndarray | Number) -> np.ndarray | Number:
        """Sideways shift in mm, growing towards the tail."""
        t = np.clip((np.asarray(y, np.float64) + 100) / 232, 0, 1.4)
        return self._bend * t**1.5 * np.cos(np.pi * self._wave * (1 - t))

    def at(self, y: Number) -> tuple[float, float, float]:
        """Centre z, radius x, radius z at a y."""
        cz, rx, rz = self._at(np.clip(y, PROFILE[0, 0], PROFILE[-1, 0])).tolist()
        return cz, rx, rz

    def body(self, first: Number, last: Number, *, lift: Number = 0.0, wide: Number = 1.0, high: Number = 1.0) -> Shape:
        """The body between two y, its sections narrowed about a centre lifted by a share of the height."""
        rows = []
        for y in np.linspace(last, first, 24):
            cz, rx, rz = self.at(y)
            rows.append((-y, float(self.sway(y)), cz + lift * rz, rx * wide, rz * high))
        return loft(rows).turned(FORWARD)

    def point(self, y: Number, across: Number, up: Number) -> np.ndarray:
        """Point [3] at shares of the radii from the middle line."""
        cz, rx, rz = self.at(y)
        return np.array([float(self.sway(y)) + across * rx, float(y), cz + up * rz])


def describe(rng: np.random.Generator) -> Scene:
    """Skin with scales and fins over flesh; skull, spine and ribs; swim bladder, gut and liver; gills and eyes."""
    scene = Scene(rng, AIR, RANGE_HU, noise=NOISE_HU)
    scene.placed(yaw_deg=20, tilt_deg=8, scale=0.12, jitter=3)
    coat = str(rng.choice(list(COATS)))
    bone, build = scene.varied(BONE, 70), _Build(rng)
    skin = Material("fish skin", -8.0, tuple(0.85 * c for c in COATS[coat]), texture=4, grain=15, band=24)
    scale = replace(SCALE, rgb=COATS[coat])

    fish = scene.whole("fish", ("carp", "freshwater fish", "koi"), (coat, "animal"))
    cover = scene.part("skin", fish, ("outer skin", "hide"), (coat, "slimy"))
    scales = scene.small("scales", cover, ("scale armour", "fish scales"), (coat, "overlapping"))
    flesh = scene.part("flesh", fish, ("fish meat", "fillet", "muscle"), ("pink", "soft"))
    body = build.body(-152, 132)
    fins = _fins(scene, rng, fish, build, skin, bone)
    scene.paint(body, cover, skin)
    scene.paint(_scales(build, rng), scales, scale, keep=fins)
    scene.paint(body.grown(-2.4), flesh, FLESH)
    _innards(scene, rng, fish, build, (flesh,))
    _head(scene, rng, fish, build, bone, flesh, skin, cover)
    _skeleton(scene, fish, build, bone)

    wrap = replace(skin, value=-170, band=300)
    scene.show("surface", [(wrap, 0.6), (EYE, 0.9), (scale, 0.9), (bone, 0.9)])
    scene.show("skeleton", [(bone, 0.9)])
    scene.show("scales", [(scale, 0.5)])
    scene.show("organs", [(GUT, 0.04), (LIVER, 0.12), (GILL, 0.2), (EYE, 0.4), (bone, 0.1)])
    scene.show("contents", [(skin, 0.02), (FLESH, 0.01), (LIVER, 0.06), (GILL, 0.1), (EYE, 0.5), (bone, 0.6)])
    return scene


def _scales(build: _Build, rng: np.random.Generator) -> list[Shape]:
    """Overlapping plates in staggered rows from the gill covers to the tail."""
    plates = []
    step = rng.uniform(7.5, 10.0)
    for row, y in enumerate(np.arange(-68, 126, 0.8 * step)):
        _, rx, rz = build.at(y)
        count = max(int(np.pi * (rx + rz) / 2 / step), 2)
        for k in range(count):
            angle = np.pi * (k + (0.25 if row % 2 else 0.75)) / count
            for side in (1, -1):
                place = build.point(y, side * np.sin(angle), np.cos(angle))
                normal = np.array([side * np.sin(angle) / rx, -0.008, np.cos(angle) / rz])
                disc = ellipsoid(0.58 * step, 0.58 * step, 2.3).turned(rotation_to(normal))
                plates.append(disc.moved(*place))
    return plates


def _fan(build: _Build, roots: Sequence[Sequence[Number]], tips: Sequence[Sequence[Number]], n: int) -> list[Shape]:
    """Rays from points along the roots to points along the tips; rows (across mm, y, z), bent with the body."""
    along = np.linspace(0, 1, n)
    ends = []
    for corners in (roots, tips):
        p = np.asarray(corners, np.float64)
        q = np.stack([np.interp(along, np.linspace(0, 1, len(p)), p[:, k]) for k in range(3)], axis=1)
        ends.append(q + np.stack([build.sway(q[:, 1]), 0 * along, 0 * along], axis=1))
    return [capsule(a, b, 1.5, 1.1) for a, b in zip(*ends, strict=True)]


def _fins(
    scene: Scene, rng: np.random.Generator, fish: int, build: _Build, skin: Material, bone: Material
) -> tuple[int, ...]:
    """Seven fins of skin spread over bony rays; returns their ids."""
    fins = scene.part("fins", fish, ("fin", "swimming fins"), ("thin", "flat"))
    size, spread = rng.uniform(0.85, 1.15), rng.uniform(0.5, 1.0)

    def edge(y: Number, up: Number) -> tuple[Number, Number, Number]:
        return (0.0, y, float(build.point(y, 0, up)[2]))

    back, belly = [edge(y, 0.95) for y in (-32, 5, 48)], [edge(y, -0.95) for y in (58, 82)]
    crest = [(0, y + dy, z + h * size) for (_, y, z), dy, h in zip(back, (14, 24, 20), (28, 20, 15), strict=True)]
    keel = [(0, y + dy, z - h * size) for (_, y, z), dy, h in zip(belly, (20, 16), (26, 12), strict=True)]
    tail = [(0, 130, 11), (0, 131, 0), (0, 130, -11)]
    fork = [(0, 130 + 36 * size, 40 * size), (0, 131 + 18 * size, 0), (0, 130 + 36 * size, -38 * size)]
    shapes = {
        ("dorsal fin", ("back fin", "upper fin")): _fan(build, back, crest, 45),
        ("anal fin", ("belly fin", "lower fin")): _fan(build, belly, keel, 17),
        ("tail fin", ("caudal fin", "fish tail")): _fan(build, tail, fork, 45),
    }
    for side, name in SIDES:
        for kind, words, y, across, up, reach in (
            ("pectoral", ("breast fin", "front side fin"), -74, 0.80, -0.5, (8 + 24 * spread, 34, -14)),
            ("pelvic", ("ventral fin", "rear side fin"), -4, 0.45, -0.86, (4 + 16 * spread, 26, -18)),
        ):
            x, _, z = build.point(y, across, up) - (float(build.sway(y)), 0, 0)
            roots = [(side * x, y, z), (side * (x - 3), y + 5, z - 8)]
            dx, dy, dz = np.multiply(reach, size)
            tips = [(side * (x + dx), y + dy, z + dz + 10), (side * (x + 0.5 * dx), y + 0.8 * dy, z + 1.6 * dz - 4)]
            names = tuple(f"{name} {w}" for w in words)
            shapes[f"{name} {kind} fin", names] = _fan(build, roots, tips, 15)
    ids = []
    for (name, words), rays in shapes.items():
        ids.append(scene.small(name, fins, words, ("thin", "spread")))
        scene.paint(rays, ids[-1], skin)
        scene.paint(rays[::3], ids[-1], replace(bone, value=420.0))
    return tuple(ids)


def _innards(scene: Scene, rng: np.random.Generator, fish: int, build: _Build, inside: tuple[int, ...]) -> None:
    """Swim bladder under the spine; liver, coiled gut and heart below it."""
    guts = scene.part("innards", fish, ("viscera", "entrails", "guts"), ("soft",))
    bowel = scene.small("gut", guts, ("intestine", "bowel"), ("coiled",))
    scene.paint(build.body(-80, 46, lift=-0.34, wide=0.74, high=0.46), bowel, GUT, inside=inside)
    liver = scene.small("liver", guts, ("hepatic organ", "fish liver"), ("brown",))
    lobe = ellipsoid(10, 24, 10).moved(*build.point(-52, 0.25, -0.42))
    scene.paint(lobe.wobbled(rng, 1.5, 18), liver, LIVER, inside=(bowel,))
    heart = scene.small("heart", guts, ("cardiac organ", "fish heart"), ("red",))
    scene.paint(ellipsoid(6, 8, 6).moved(*build.point(-82, 0, -0.6)), heart, GILL)
    bladder = scene.part("swim bladder", fish, ("air bladder", "gas bladder", "fish maw"), ("air-filled", "hollow"))
    size = rng.uniform(0.85, 1.1)
    for name, words, y, radii in (
        ("front chamber", ("anterior chamber", "front bubble"), -46, (11, 24, 12)),
        ("rear chamber", ("posterior chamber", "rear bubble"), 6, (9, 30, 9)),
    ):
        chamber = scene.small(name, bladder, words, ("air-filled",))
        sack = ellipsoid(*radii).scaled(size).moved(*build.point(y, 0, 0.02))
        scene.paint(sack.grown(1.8), chamber, FLESH)
        scene.paint(sack, chamber, AIR)


def _head(
    scene: Scene,
    rng: np.random.Generator,
    fish: int,
    build: _Build,
    bone: Material,
    flesh: int,
    skin: Material,
    cover: int,
) -> None:
    """Skull with gill covers and jaws, mouth, gill arches, eyes and barbels."""
    skull = scene.part("skull", fish, ("head bones", "bony head"), ("bony",))
    case = scene.small("cranium", skull, ("braincase", "skull roof"), ("bony",))
    roof = build.body(-142, -82, wide=0.89, high=0.92).cut((0, 0, -1), -9)
    hollow = build.body(-136, -86, wide=0.68, high=0.76).cut((0, 0, -1), -12)
    scene.paint(roof - hollow, case, bone)
    gape = rng.uniform(0, 6)
    for name, words, z, drop in (
        ("upper jaw", ("maxilla", "upper lip bone"), -1.0, 0.0),
        ("lower jaw", ("mandible", "lower lip bone"), -8.0, gape),
    ):
        jaw = scene.small(name, skull, words, ("bony",))
        arch = tube([(0, -148, z - drop), (8, -141, z - 0.8 * drop), (13, -118, z - 3)], (2.6, 2.6, 2.4), n=8)
        scene.paint(arch.both_sides(), jaw, bone)
    mouth = tube([(0, -156, -5 - gape / 2), (0, -138, -6), (0, -100, -8)], (3.2 + gape / 2, 4.5, 7), n=8)
    scene.paint(mouth, 0, AIR, inside=(flesh, cover))
    gills = scene.part("gills", fish, ("gill arches", "branchiae"), ("red", "feathery"))
    for side, name in SIDES:
        comb = scene.small(f"{name} gill", gills, (f"{name} gill arches", f"{name} branchia"), ("red", "comb-like"))
        arcs = []
        for k in range(4):
            y = -106 + 7 * k
            path = [(side * 5, y - 4, 8), (side * 14, y, 2), (side * 16, y + 1, -8), (side * 6, y - 6, -19)]
            arcs.append(tube(path, 2.5, n=10))
        scene.paint(arcs, comb, GILL)
        lid = scene.small(f"{name} gill cover", skull, (f"{name} operculum", f"{name} gill flap"), ("bony", "curved"))
        plate = build.body(-112, -70, wide=0.93, high=0.95) - build.body(-114, -66, wide=0.78, high=0.88)
        rim = cylinder((-60, -92, -3), (60, -92, -3), 25)
        scene.paint((plate & rim).cut((-side, 0, 0), -6), lid, bone)
    eyes = scene.part("eyes", fish, ("eyeballs", "fish eyes"), ("round",))
    for side, name in SIDES:
        eye = scene.small(f"{name} eye", eyes, (f"{name} eyeball", f"{name} fish eye"), ("round",))
        middle = build.point(-124, side * 0.82, 0.22)
        scene.paint(ball(7.2).moved(*middle), eye, EYE)
        scene.paint(ball(3.0).moved(*middle).moved(x=side * 3.0), eye, replace(EYE, value=240.0))
    barbels = scene.small("barbels", cover, ("whiskers", "feelers"), ("thin", "long"))
    hair = tube([(8, -146, -8), (13, -150, -15), (14, -148, -24)], (1.6, 1.4, 1.1), n=6)
    short = tube([(5, -150, -5), (9, -156, -9), (10, -156, -14)], (1.5, 1.3, 1.1), n=6)
    scene.paint((hair | short).both_sides(), barbels, skin)


def _skeleton(scene: Scene, fish: int, build: _Build, bone: Material) -> None:
    """Vertebrae with spines above, and ribs or spines below."""
    frame = scene.part("bones", fish, ("skeleton", "fish bones", "bony frame"), ("bony", "white"))
    spine = scene.small("spine", frame, ("backbone", "vertebral column", "vertebrae"), ("bony", "segmented"))
    ribs = scene.small("ribs", frame, ("rib bones", "rib cage"), ("thin", "curved"))
    upper = scene.small("neural spines", frame, ("upper spines", "dorsal spines"), ("thin",))
    lower = scene.small("haemal spines", frame, ("lower spines", "tail spines"), ("thin",))
    beads, bows, up, down = [], [], [], []
    for y in np.arange(-86, 126, 6.2):
        thick = float(np.interp(y, (-86, 126), (4.2, 2.4)))
        middle = build.point(y, 0, 0.36 * float(np.clip((118 - y) / 60, 0, 1)))
        step = np.array([float(build.sway(y + 2.2) - build.sway(y - 2.2)) / 2, 2.2, 0.0])
        beads.append(cylinder(middle - step, middle + step, thick, rounding=0.8))
        up.append(capsule(middle, build.point(y + 10, 0, 0.84), 1.5, 1.0))
        if y < 30:
            for side in (1, -1):
                path = [middle, build.point(y + 4, side * 0.74, 0.1), build.point(y + 10, side * 0.76, -0.35)]
                bows.append(tube([*path, build.point(y + 16, side * 0.42, -0.78)], (1.7, 1.5, 1.4, 1.1), n=9))
        else:
            down.append(capsule(middle, build.point(y + 10, 0, -0.84), 1.5, 1.0))
    for shapes, part in ((bows, ribs), (up, upper), (down, lower), (beads, spine)):
        scene.paint(union(shapes), part, bone)
