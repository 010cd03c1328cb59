"""Chest as contrast-enhanced CT shows it: HU, front towards -y, left towards +x."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from voxlang.volume.phantoms.branching import branches
from voxlang.volume.phantoms.language import Shape, Vector, rotation, smooth_union, union
from voxlang.volume.phantoms.primitives import ball, box, capsule, cylinder, ellipsoid, loft, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import (
    AIR,
    BONE,
    FAT,
    LIVER,
    LUNG,
    MUSCLE,
    NOISE_HU,
    RANGE_HU,
    SKIN,
    SPONGY_BONE,
)

BOX_MM = (352.0, 264.0, 328.0)
SIZE_XYZ = (138, 104, 130)
PROMPTS = ("chest", "lungs", "heart", "aorta", "ribs", "spine", "left ventricle", "pulmonary vessels")
SIDES = ((1, "left"), (-1, "right"))
HEART = Material("heart muscle", 138.0, (0.66, 0.24, 0.20), texture=4, grain=15, band=26)
VENOUS = Material("venous blood", 212.0, (0.28, 0.34, 0.72), texture=4, grain=20, band=34)
ARTERIAL = Material("arterial blood", 300.0, (0.82, 0.12, 0.12), texture=5, grain=20, band=40)
CARTILAGE = Material("cartilage", 100.0, (0.80, 0.84, 0.82), texture=5, grain=10, band=14)
CAGE = np.array(
    # inner surface of the rib cage: height, centre y, radius x, radius y
    [(-170, 4, 136, 92), (-60, 4, 132, 92), (0, 6, 124, 87), (50, 10, 106, 75), (88, 16, 80, 57), (112, 22, 50, 38)],
    np.float64,
)


def describe(rng: np.random.Generator) -> Scene:
    """Rib cage and spine around lungs with lobes, a heart with chambers, and the great vessels with their trees."""
    scene = Scene(rng, AIR, RANGE_HU, noise=NOISE_HU)
    scene.placed(yaw_deg=7, tilt_deg=2.5, scale=0.12, jitter=3)
    bone = scene.varied(BONE, 120)
    chest = scene.whole("chest", ("thorax", "upper trunk", "human chest"), ("human",))
    skin = scene.part("skin", chest, ("outer surface", "body surface", "epidermis"), ("soft",))
    flesh = scene.part("soft tissue", chest, ("flesh", "fat and muscle"), ("soft",))
    fat = scene.small("fat", flesh, ("adipose tissue", "fatty tissue"), ("yellow", "soft"))
    muscles = scene.small("muscles", flesh, ("muscle", "chest muscles"), ("red",))

    girth, padding = rng.uniform(0.9, 1.04), rng.uniform(5, 15)
    cage = loft([(z, 0, cy, rx * girth, ry * girth) for z, cy, rx, ry in CAGE])
    body = _body(girth, padding)
    hide = replace(SKIN, rgb=tuple((np.array(SKIN.rgb) * rng.uniform(0.5, 1.05)).clip(0, 1).tolist()))
    bust = ellipsoid(44, 12 + 26 * rng.uniform(0, 1) ** 2, 42).moved(62, -90 * girth - padding, 10)
    trunk, body = body, smooth_union(body, bust.both_sides(), 24)
    scene.paint(body, skin, hide)
    for side, name in SIDES:
        breast = scene.small(f"{name} breast", skin, (f"{name} mamma", f"{name} bosom"), ("soft", "round"))
        around = bust.grown(6) & body
        scene.paint(around if side > 0 else around.mirrored(), breast, hide, inside=(skin,))
    scene.paint(body.grown(-4.5), fat, FAT)
    scene.paint(trunk.grown(-4.5 - padding), muscles, MUSCLE)
    scene.paint(cage.grown(-3), fat, FAT)

    heart = _Heart(rng)
    dome = _belly(scene, chest, cage, rng.uniform(-12, 8), inside=(fat,))
    lobes = _lungs(scene, chest, (cage.grown(-5) - heart.outside.grown(3)) - dome.grown(3), inside=(fat,))
    _airways(scene, chest)
    _vessels(scene, rng, chest, heart, lobes)
    _heart(scene, chest, heart)
    _bones(scene, chest, bone, girth)

    hard = [(SPONGY_BONE, 0.5), (bone, 0.9)]
    blood = [(HEART, 0.12), (VENOUS, 0.2), (ARTERIAL, 0.25)]
    scene.show("surface", [(replace(hide, value=-170, band=300), 0.9), *hard])
    scene.show("bones", hard)
    scene.show("heart and vessels", blood)
    scene.show("lungs", [(LUNG, 0.05), (VENOUS, 0.3), (ARTERIAL, 0.3)])
    scene.show("contents", [(hide, 0.01), (LUNG, 0.02), *blood, *hard])
    scene.show("muscles", [(MUSCLE, 0.35), *hard])
    return scene


def _body(girth: float, padding: float) -> Shape:
    """The outer surface, from the lowest ribs to the neck."""
    g, p = girth, padding
    rows = [
        (-170, 0, 138 * g + p + 12, 94 * g + p + 10),
        (-60, 0, 138 * g + p + 14, 97 * g + p + 12),
        (20, 2, 140 * g + p + 14, 95 * g + p + 14),
        (80, 8, 146 * g + p, 84 * g + p),
        (112, 14, 128, 70 + p / 2),
        (132, 20, 76, 60),
        (170, 22, 58, 56),
    ]
    return loft([(z, 0, cy, rx, ry) for z, cy, rx, ry in rows], power=2.3)


def _lungs(scene: Scene, chest: int, space: Shape, *, inside: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Three lobes on the right and two on the left, apart by thin fissures; returns their ids by side."""
    lungs = scene.part("lungs", chest, ("lung", "breathing organs", "pulmonary tissue"), ("spongy", "air-filled"))
    slant, level = (0.0, 1.0, -0.95), -8.0
    back, front = (tuple(-v for v in slant), -level - 1.2), (slant, level - 1.2)
    ids = {}
    for side, name in SIDES:
        half = (space - ellipsoid(19, 220, 330).moved(side * -1, 30, 0)).cut((-side, 0, 0), -8)
        pieces = {"lower": half.cut(*back), "upper": half.cut(*front)}
        if side < 0:
            pieces["middle"] = pieces["upper"].cut((0, 0.1, 1), 0.5)
            pieces["upper"] = pieces["upper"].cut((0, -0.1, -1), -2.5)
        ids[name] = ()
        for which, shape in pieces.items():
            words = (f"{name} {which} lung lobe", f"{which} lobe", "lung lobe")
            lobe = scene.small(f"{name} {which} lobe", lungs, words, ("spongy",))
            scene.paint(shape, lobe, LUNG, inside=inside)
            ids[name] += (lobe,)
    return ids


def _belly(scene: Scene, chest: int, cage: Shape, lift: float, *, inside: tuple[int, ...]) -> Shape:
    """The diaphragm over liver and stomach; returns everything below it."""
    right = ellipsoid(78, 96, 78).moved(-58, 4, -122 + lift)
    left = ellipsoid(72, 92, 68).moved(60, 4, -126 + lift)
    dome = (right | left | ellipsoid(60, 80, 60).moved(0, 0, -128 + lift)) & cage.grown(-4)
    sheet = scene.part("diaphragm", chest, ("midriff", "breathing muscle"), ("dome-shaped", "thin"))
    scene.paint(dome, sheet, MUSCLE, inside=inside)
    liver = scene.part("liver", chest, ("hepatic organ", "hepatic tissue"), ("brown", "large"))
    lobe = (right.grown(-5) | ellipsoid(62, 50, 30).moved(4, -30, -112 + lift)) & cage.grown(-8)
    scene.paint(lobe, liver, LIVER, inside=(sheet,))
    stomach = scene.part("stomach", chest, ("gastric organ", "belly pouch"), ("hollow",))
    sack = ellipsoid(40, 38, 44).moved(62, 0, -118 + lift)
    scene.paint(sack, stomach, replace(MUSCLE, value=40.0), inside=(sheet,))
    bubble = scene.small("stomach bubble", stomach, ("gas in the stomach", "gastric bubble"), ("air-filled",))
    scene.paint(sack.grown(-5).cut((0, 1, 0), -4), bubble, AIR, inside=(stomach,))
    return dome


def _airways(scene: Scene, chest: int) -> None:
    """Windpipe and the main bronchi with their first branches: a wall around air."""
    airways = scene.part("airways", chest, ("air passages", "respiratory tree"), ("hollow", "air-filled"))
    pipe = scene.small("trachea", airways, ("windpipe", "air pipe"), ("tubular",))
    way = tube([(0, 8, 166), (0, 10, 100), (0, 18, 50)], 8.5, n=6)
    scene.paint(way.grown(2.2), pipe, replace(MUSCLE, value=55.0))
    scene.paint(way, pipe, AIR)
    for side, name in SIDES:
        tree = scene.small(f"{name} bronchi", airways, (f"{name} bronchus", f"{name} main bronchus"), ("branched",))
        hub = (side * 40.0, 22.0, 22.0 if side > 0 else 26.0)
        limbs = tube([(0, 18, 50), (side * 20, 21, 36), hub], (7, 6.5, 6), n=8)
        for target in ((58, 0, 58), (70, -20, 0), (62, 44, -30)):
            limbs |= capsule(hub, (side * target[0], target[1], target[2]), 4.2, 2.6)
        scene.paint(limbs.grown(1.8), tree, replace(MUSCLE, value=55.0))
        scene.paint(limbs, tree, AIR)


class _Heart:
    """Where the heart lies: a frame whose third axis runs from its base to its apex, first axis to the left chamber."""

    def __init__(self, rng: np.random.Generator) -> None:
        axis = np.array([0.62, -0.52, -0.58]) + rng.normal(0, 0.05, 3)
        axis /= np.linalg.norm(axis)
        left = np.array([0.75, 0.62, 0.1])
        left -= axis * (left @ axis)
        left /= np.linalg.norm(left)
        self.frame = np.stack([left, np.cross(axis, left), axis], axis=1)
        self.size = float(rng.uniform(0.92, 1.08))
        self.centre = np.array([16.0, -26.0, -34.0]) + rng.normal(0, 2, 3)
        self.ventricles = self.put(ellipsoid(41, 38, 54).cut((0, 0, -1), 30), (0, 0, 2))
        self.atria = {
            "left": self.put(ellipsoid(22, 22, 17), (15, 2, -38)),
            "right": self.put(ellipsoid(20, 22, 20), (-25, 2, -34)),
        }
        self.outside = self.ventricles | union([a.grown(3) for a in self.atria.values()])

    def put(self, shape: Shape, at: Vector) -> Shape:
        """A shape of the heart's own frame in the body."""
        return shape.moved(*at).scaled(self.size).turned(self.frame).moved(*self.centre)

    def point(self, at: Vector) -> np.ndarray:
        """A point of the heart's own frame in the body."""
        return self.centre + self.size * self.frame @ np.asarray(at, np.float64)


def _heart(scene: Scene, chest: int, heart: _Heart) -> None:
    """Muscle with four chambers: thick around the left ventricle, thin around the right one and the atria."""
    organ = scene.part("heart", chest, ("cardiac organ", "heart with chambers"), ("muscular", "red"))
    muscle = scene.small("heart muscle", organ, ("myocardium", "cardiac muscle"), ("red", "muscular"))
    scene.paint(heart.outside, muscle, HEART)
    left = ellipsoid(15, 16, 37).moved(15, 0, 4)
    right = (ellipsoid(22, 31, 44).moved(-17, 0, 0) - left.grown(10)) & ellipsoid(36.5, 33.5, 49)
    for side, _, cavity, blood in (("left", 1, left, ARTERIAL), ("right", -1, right, VENOUS)):
        names = (f"{side} heart chamber", f"{side} lower chamber", "ventricle")
        ventricle = scene.small(f"{side} ventricle", organ, names, ("blood-filled",))
        scene.paint(heart.put(cavity.cut((0, 0, -1), 25), (0, 0, 2)), ventricle, blood)
    for side, blood in (("left", ARTERIAL), ("right", VENOUS)):
        names = (f"{side} upper chamber", f"{side} auricle of the heart", "atrium")
        atrium = scene.small(f"{side} atrium", organ, names, ("blood-filled",))
        scene.paint(heart.atria[side], atrium, blood)


def _vessels(
    scene: Scene, rng: np.random.Generator, chest: int, heart: _Heart, lobes: dict[str, tuple[int, ...]]
) -> None:
    """Aorta, pulmonary arteries and veins with their trees in the lungs, and both great veins."""
    cava = scene.part("great veins", chest, ("vena cava", "caval veins"), ("blue", "tubular"))
    right = heart.point((-25, 2, -34))
    upper = scene.small("superior vena cava", cava, ("upper vena cava", "upper great vein"), ("tubular",))
    path = [(-26, 6, 170), (-27, -2, 110), (-27, -6, 50), right]
    left_arm = tube([(-26, -4, 92), (6, -22, 98), (40, -6, 116), (80, 10, 112)], (7, 7, 6.5, 6), n=10)
    scene.paint(tube(path, (8, 9.5, 10, 10), n=12) | left_arm, upper, VENOUS)
    lower = scene.small("inferior vena cava", cava, ("lower vena cava", "lower great vein"), ("tubular",))
    scene.paint(tube([right, (-24, 6, -78), (-20, 22, -166)], (11, 12, 11), n=10), lower, VENOUS)

    lung = scene.part("pulmonary vessels", chest, ("lung vessels", "pulmonary tree"), ("branched", "tubular"))
    trunk = scene.small("pulmonary trunk", lung, ("pulmonary artery", "main lung artery"), ("tubular",))
    fork = (10.0, -8.0, 34.0)
    stem = tube([heart.point((-16, -14, -20)), (12, -34, 14), fork], (14, 13.5, 12.5), n=8)
    for side, name in SIDES:
        hilum = np.array([side * 42.0, 12.0, 30.0 if side > 0 else 18.0])
        bow = tube([fork, (side * 24.0, 4, 30 if side > 0 else 24), hilum], (11, 10, 8), n=8)
        arteries = scene.small(
            f"{name} pulmonary arteries", lung, (f"{name} lung arteries", f"{name} lung artery tree"), ("branched",)
        )
        out = np.array([side * 0.8, 0.05, 0.0])
        scene.paint(branches(rng, hilum, out, radius=8, reach=112), arteries, VENOUS, inside=lobes[name])
        scene.paint(bow, arteries, VENOUS)
        veins = scene.small(
            f"{name} pulmonary veins", lung, (f"{name} lung veins", f"{name} lung vein tree"), ("branched",)
        )
        twigs, stalks = [], []
        left = heart.point((15, 2, -38))
        for z in (10.0, -26.0):
            gate = np.array([side * 40.0, 8.0, z])
            stalks += [tube([left, (left + gate) / 2 + (0, 3, 0), gate], (7, 6.5, 6), n=6)]
            twigs += branches(rng, gate, np.array([side * 0.8, -0.1, 0.3 * np.sign(z)]), radius=6.5, reach=100, stems=3)
        scene.paint(twigs, veins, ARTERIAL, inside=lobes[name])
        scene.paint(stalks, veins, ARTERIAL)
    scene.paint(stem, trunk, VENOUS)
    _aorta(scene, chest, heart)


def _aorta(scene: Scene, chest: int, heart: _Heart) -> None:
    """Ascending aorta, arch with the arteries of neck and arms, descending aorta."""
    aorta = scene.part("aorta", chest, ("main artery", "great artery"), ("red", "tubular"))
    root = heart.point((4, -2, -24))
    rise = tube([root, (-10, -20, 24), (-12, -14, 54)], (14, 14.5, 13.5), n=8)
    arch = tube([(-12, -14, 54), (-4, -6, 72), (12, 14, 76), (25, 32, 56)], (13.5, 13.5, 13, 12), n=12)
    down = tube([(25, 32, 56), (26, 38, 10), (22, 38, -90), (13, 34, -168)], (12, 11.5, 11, 10.5), n=12)
    limbs = [
        tube([(-6, -8, 76), (-18, -4, 100), (-30, 4, 126), (-26, 6, 170)], (6.5, 6, 5, 4.5), n=8),
        tube([(-18, -4, 104), (-46, 8, 122), (-92, 14, 112)], (5.5, 5, 4.5), n=8),
        tube([(2, 2, 80), (14, 4, 112), (22, 8, 170)], (5, 4.5, 4.5), n=8),
        tube([(12, 18, 82), (22, 16, 110), (50, 12, 122), (92, 16, 112)], (5.5, 5, 5, 4.5), n=8),
    ]
    for name, words, shape in (
        ("descending aorta", ("thoracic aorta", "lower aorta"), down),
        ("ascending aorta", ("rising aorta", "aortic root"), rise),
        ("aortic arch", ("arch of the aorta", "bow of the aorta"), arch),
        ("arch branches", ("neck arteries", "carotid arteries", "subclavian arteries"), union(limbs)),
    ):
        scene.paint(shape, scene.small(name, aorta, words, ("red", "tubular")), ARTERIAL)


def _bones(scene: Scene, chest: int, bone: Material, girth: float) -> None:
    """Twelve vertebrae with discs, ten pairs of ribs with their cartilage, breastbone and shoulder girdle."""
    spine = scene.part("spine", chest, ("backbone", "vertebral column"), ("bony",))
    discs = scene.small("discs", spine, ("intervertebral discs", "spinal discs"), ("soft",))
    cage = [PchipInterpolator(CAGE[:, 0], CAGE[:, k] * (1 if k == 1 else girth)) for k in (1, 2, 3)]
    heights = 118.0 - 24.5 * np.arange(12)
    back = [float(cage[0](min(z, 112.0)) + cage[2](min(z, 112.0))) for z in heights]
    for i, (z, y) in enumerate(zip(heights, back, strict=True), start=1):
        y, r = y - 21 - 0.9 * i, 13.5 + 0.5 * i
        names = ("chest vertebra", "vertebra", f"T{i}")
        vertebra = scene.small(f"thoracic vertebra {i}", spine, names, ("bony",))
        body = cylinder((0, y, z - 9.5), (0, y, z + 9.5), r, rounding=4)
        if i > 1:
            scene.paint(cylinder((0, y, z + 9), (0, y, z + 15), r - 1, rounding=2), discs, CARTILAGE)
        arch = torus(12, 4.5).moved(0, y + r + 5, z) | capsule((0, y + r + 16, z), (0, y + r + 23, z - 18), 4.5, 3)
        wings = capsule((10, y + r - 2, z), (30, y + r + 8, z + 2), 5, 4).both_sides()
        scene.paint([body, arch, wings], vertebra, bone)
        scene.paint(body.grown(-4.5), vertebra, SPONGY_BONE)

    ribs = scene.part("ribs", chest, ("rib cage", "costal bones"), ("curved", "bony"))
    gristle = scene.small("rib cartilage", ribs, ("costal cartilage", "gristle of the ribs"), ("soft",))
    for i in range(10):
        last = (0.80 if i else 0.86) - 0.05 * max(i - 6, 0)
        turn = np.linspace(0.08, last, 12) * np.pi
        height = heights[i] + 2 - (18 + 4.2 * min(i, 7)) * (turn / np.pi) ** 1.3
        points = _along_cage(cage, turn, height)
        neck = (12.0 + 0.4 * i, back[i] - 10.0, heights[i] + 3)
        bow = tube([neck, *points], 4.6, n=26)
        tip = points[-1]
        goal = np.array([13.0, 0.0, max(78.0 - 17 * i, -30.0)])
        goal[1] = _along_cage(cage, np.array([np.pi]), goal[2:])[0, 1]
        middle = (tip + goal) / 2 + (6.0, -4.0, -6.0 if i > 4 else 0.0)
        for side, name in SIDES:
            rib = scene.small(f"{name} rib {i + 1}", ribs, (f"{name} costal bone", "rib"), ("curved", "bony"))
            bridge = tube([tip, middle, goal], 4.2, n=6)
            scene.paint(bridge if side > 0 else bridge.mirrored(), gristle, CARTILAGE)
            scene.paint(bow if side > 0 else bow.mirrored(), rib, bone)

    plate = scene.part("sternum", chest, ("breastbone", "chest bone"), ("flat", "bony"))
    for name, words, (wide, tall), z in (
        ("sternum body", ("body of the breastbone", "gladiolus"), (14, 48), 8.0),
        ("manubrium", ("handle of the breastbone", "upper breastbone"), (22, 19), 74.0),
    ):
        y = float(_along_cage(cage, np.array([np.pi]), np.array([z]))[0, 1])
        tilt = rotation(x_deg=-12 if z > 50 else -8)
        shape = box(wide, 6, tall, rounding=5).turned(tilt).moved(0, y, z)
        part = scene.small(name, plate, words, ("flat", "bony"))
        scene.paint(shape, part, bone)
        scene.paint(shape.grown(-3), part, SPONGY_BONE)
    girdle = scene.part("shoulder bones", chest, ("shoulder girdle", "pectoral girdle"), ("bony",))
    for side, name in SIDES:
        collar = scene.small(f"{name} collarbone", girdle, (f"{name} clavicle", "clavicle"), ("thin", "bony"))
        y = float(_along_cage(cage, np.array([np.pi]), np.array([88.0]))[0, 1])
        rod = tube([(20, y - 2, 90), (56, y + 8, 100), (96, 4, 106), (118, 22, 104)], 5.6, n=12)
        scene.paint(rod if side > 0 else rod.mirrored(), collar, bone)
        blade = scene.small(f"{name} shoulder blade", girdle, (f"{name} scapula", "scapula"), ("flat", "bony"))
        flat = ellipsoid(33, 4.5, 52, power=1.7).turned(rotation(x_deg=-8, z_deg=-40)).moved(94 * girth, 60 * girth, 54)
        ridge = tube(
            [(72 * girth, 78 * girth, 76), (100 * girth, 64 * girth, 92), (118 * girth, 42 * girth, 100)],
            (3.5, 4.5, 6),
            n=8,
        )
        shape = union([flat, ridge, ball(9).moved(115 * girth, 38 * girth, 90)])
        scene.paint(shape if side > 0 else shape.mirrored(), blade, bone)


def _along_cage(cage: list[PchipInterpolator], turn: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Points [k 3] on the rib cage: angle from the spine (0) round to the breastbone (pi), at a height in mm."""
    z = np.clip(height, CAGE[0, 0], CAGE[-1, 0])
    cy, rx, ry = (f(z) for f in cage)
    return np.stack([(rx + 1) * np.sin(turn), cy + (ry + 1) * np.cos(turn), height], axis=1)
