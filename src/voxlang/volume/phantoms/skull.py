"""Dry skull as CT of a specimen shows it: HU, empty braincase, every tooth apart; face towards -y, left towards +x."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from voxlang.volume.phantoms.language import Shape, rotation, rotation_to, smooth_union, union
from voxlang.volume.phantoms.primitives import ball, box, capsule, cylinder, ellipsoid, loft, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import AIR, BONE, DENTIN, ENAMEL, NOISE_HU, RANGE_HU, SPONGY_BONE

BOX_MM = (176.0, 216.0, 224.0)
SIZE_XYZ = (108, 132, 138)
PROMPTS = ("skull", "cranium", "mandible", "upper teeth", "lower teeth", "facial bones", "frontal bone", "nasal bone")
AGES = {
    "ivory": (0.93, 0.88, 0.76),
    "white": (0.95, 0.94, 0.90),
    "brown": (0.70, 0.54, 0.36),
    "grey": (0.74, 0.72, 0.68),
}
SIDES = ((1, "left"), (-1, "right"))
TEETH = (
    # (kind, width, depth, height of the crown, everyday name), from the midline backwards
    ("incisor", 8.0, 6.5, 10.5, "front tooth"),
    ("incisor", 6.2, 6.0, 9.5, "front tooth"),
    ("canine", 7.0, 7.6, 11.0, "eye tooth"),
    ("premolar", 6.6, 8.6, 8.5, "bicuspid"),
    ("premolar", 6.6, 8.6, 8.2, "bicuspid"),
    ("molar", 9.6, 10.2, 7.6, "back tooth"),
    ("molar", 9.2, 10.0, 7.4, "back tooth"),
    ("molar", 8.4, 9.2, 7.0, "back tooth"),
)


def describe(rng: np.random.Generator) -> Scene:
    """Cranium of six bones with sutures, face with eye sockets and cheek bones, a jaw more or less open, teeth."""
    scene = Scene(rng, AIR, RANGE_HU, noise=NOISE_HU)
    scene.placed(yaw_deg=20, tilt_deg=8, scale=0.12, jitter=2)
    age = str(rng.choice(list(AGES), p=[0.45, 0.25, 0.2, 0.1]))
    bone = replace(scene.varied(BONE, 120), rgb=AGES[age])
    marrow = replace(SPONGY_BONE, rgb=tuple(0.85 * c for c in AGES[age]))
    width, jaw, thick = rng.uniform(0.93, 1.05), rng.uniform(0.92, 1.06), rng.uniform(5.5, 8.0)

    skull = scene.whole("skull", ("death's head", "bony head", "head skeleton"), (age, "bony"))
    orbits = capsule((35 * width, -96, -5), (15, -36, -10), 18.5, 4).both_sides()
    cranium = _cranium(scene, rng, skull, bone, marrow, width, thick, orbits)
    _face(scene, skull, bone, width, jaw, orbits, cranium)
    gape = float(rng.choice([rng.uniform(0, 2), rng.uniform(5, 16)]))
    opened = partial(_turned_about, turn=rotation(x_deg=gape), pivot=(0.0, 3.0, -28.0))
    _mandible(scene, skull, bone, marrow, width, jaw, opened)
    present = rng.random(32) > rng.choice([0.0, 0.08, 0.2])
    _teeth(scene, skull, "upper", present[:16], _still, jaw)
    _teeth(scene, skull, "lower", present[16:], opened, jaw)

    hard = [(marrow, 0.8), (bone, 0.95), (DENTIN, 0.95), (ENAMEL, 0.95)]
    scene.show("surface", hard)
    scene.show("teeth", [(DENTIN, 0.6), (ENAMEL, 0.9)])
    scene.show("translucent", [(marrow, 0.03), (bone, 0.06), (DENTIN, 0.5), (ENAMEL, 0.8)])
    scene.show("spongy bone", [(marrow, 0.4)])
    scene.show("flat", hard, shading=False)
    return scene


def _still(shape: Shape) -> Shape:
    """The shape where it is."""
    return shape


def _turned_about(shape: Shape, *, turn: np.ndarray, pivot: tuple[float, float, float]) -> Shape:
    """The shape turned about a point."""
    x, y, z = pivot
    return shape.moved(-x, -y, -z).turned(turn).moved(x, y, z)


def _cranium(
    scene: Scene,
    rng: np.random.Generator,
    skull: int,
    bone: Material,
    marrow: Material,
    width: float,
    thick: float,
    orbits: Shape,
) -> tuple[int, ...]:
    """A hollow vault on a slanting floor, shared out among its bones; returns their ids."""
    cranium = scene.part("cranium", skull, ("braincase", "skullcap", "calvaria", "brain box"), ("domed", "hollow"))
    dome = ellipsoid(66 * width, 84, 64).moved(y=9, z=24).cut((0, -0.44, -1), 12.8)
    case = smooth_union(dome, ellipsoid(43 * width, 34, 27).moved(y=43, z=-19), 12)
    mastoid = ellipsoid(8, 11, 17).turned(rotation(x_deg=-18, y_deg=-10)).moved(52 * width, 22, -42)
    ear = capsule((90, 6, -22), (46 * width, 8, -20), 4)
    foramen = cylinder((0, 32, -80), (0, 34, -20), 15)
    base = box(19, 24, 9, rounding=5).turned(rotation(x_deg=14)).moved(y=-14, z=-24)
    condyle = ellipsoid(5, 11, 6).turned(rotation(z_deg=-24)).moved(17, 26, -50)
    wall = case.grown(thick).wobbled(rng, 0.5, 24) - case
    whole = [wall, mastoid.both_sides() - case, base - case, condyle.both_sides()]
    brow = tube([(0, -80, 10), (16, -82, 16), (38 * width, -78, 18), (56 * width, -63, 6)], (8, 6, 6, 5), n=10)
    holes = orbits | ear.both_sides() | foramen

    lean, v = float(rng.uniform(0.2, 0.34)), float(rng.uniform(0.2, 0.4))
    coronal = ((0.0, 1.0, -lean), -43.0)
    lambdoid = [((s * v, -1.0, 0.42), -42.0) for s in (1, -1)]
    territory = {
        "frontal bone": (
            ("forehead bone", "brow bone"),
            [*(s.cut(*coronal).cut((0, 1, 0), -15) for s in whole), brow.both_sides() - case],
        ),
        "occipital bone": (
            ("back of the skull", "occiput"),
            [s.cut((0, -1, 0), -18).cut(*lambdoid[0]).cut(*lambdoid[1]) for s in whole],
        ),
    }
    ids = []
    for side, name in SIDES:
        words = (f"{name} parietal", f"{name} side of the skull")
        ids.append(scene.small(f"{name} parietal bone", cranium, words, ("curved",)))
        scene.paint([s.cut((-side, 0, 0), 0) - holes for s in whole], ids[-1], bone)
    for name, (words, shapes) in territory.items():
        ids.append(scene.small(name, cranium, words, ("curved",)))
        scene.paint([s - holes for s in shapes], ids[-1], bone)
    for side, name in SIDES:
        ids.append(scene.small(f"{name} temporal bone", cranium, (f"{name} temple", f"{name} temple bone"), ("flat",)))
        scale = ellipsoid(40, 40, 36).moved(side * 66 * width, 14, -20)
        scene.paint([(s & scale) - holes for s in whole], ids[-1], bone)
    within = case.grown(thick * 0.68) - case.grown(thick * 0.34)
    for part in ids:
        scene.paint(within.cut((0, 0, -1), 6), part, marrow, inside=(part,))
    seams = scene.small("sutures", cranium, ("skull seams", "seams"), ("zigzag", "thin"))
    layer = case.grown(thick + 1) - case.grown(thick * 0.6)
    slabs = [_slab(*coronal), *(_slab(*plane).cut((-np.sign(plane[0][0]), 0, 0), 0) for plane in lambdoid)]
    middle = box(1.2, 90, 90).cut(*_flipped(coronal)).cut((0, 1, -0.42), 42)
    seam = [s.wobbled(rng, 1.6, 11) & layer for s in (*slabs, middle)]
    scene.paint(seam, seams, marrow, inside=tuple(ids[:4]))
    return tuple(ids)


def _flipped(plane: tuple[tuple[float, float, float], float]) -> tuple[tuple[float, float, float], float]:
    """The other half-space of a plane."""
    (x, y, z), offset = plane
    return (-x, -y, -z), -offset


def _slab(normal: tuple[float, float, float], offset: float) -> Shape:
    """The neighbourhood of a plane."""
    n = np.asarray(normal) / np.linalg.norm(normal)
    return box(100, 100, 1.2).turned(rotation_to(n)).moved(*(n * offset))


def _face(
    scene: Scene, skull: int, bone: Material, width: float, jaw: float, orbits: Shape, cranium: tuple[int, ...]
) -> None:
    """Upper jaw around the nose, cheek bones with their arches, rims and walls of the orbits, nasal bone."""
    face = scene.part("facial bones", skull, ("face", "midface", "facial skeleton"), ("bony",))
    upper = scene.small("maxilla", face, ("upper jaw", "upper jawbone"), ("bony",))
    aperture = ellipsoid(11, 34, 15).moved(y=-76, z=-33) | ellipsoid(7, 20, 14).moved(y=-80, z=-20)
    sinus = ellipsoid(10, 15, 12).moved(26 * width, -56, -34).both_sides()
    mouth = box(17 * jaw, 26, 9, rounding=7).moved(y=-42, z=-60)
    rows = [(-63, -58, 28 * jaw, 31), (-54, -58, 29 * jaw, 31), (-46, -58, 30, 29), (-26, -56, 38 * width, 28)]
    block = loft([(z, 0, cy, rx, ry) for z, cy, rx, ry in [*rows, (-10, -54, 40 * width, 26)]])
    flank = tube([(9, -81, 8), (13, -84, -14), (19, -86, -36)], (5, 5, 6), n=6)
    wings = box(3, 7, 15, rounding=2).moved(11, -24, -42).both_sides()
    scene.paint(
        [
            block - orbits - aperture - sinus - mouth,
            wings,
            flank.both_sides() - orbits,
            box(0.9, 22, 20).moved(y=-52, z=-30),
        ],
        upper,
        bone,
    )
    for side, name in SIDES:
        socket = scene.small(f"{name} orbit", face, (f"{name} eye socket", f"{name} eye hole"), ("round", "hollow"))
        cone = capsule((side * 35 * width, -96, -5), (side * 15, -36, -10), 20.5, 6) & ball(44).moved(
            side * 30 * width, -36, -6
        )
        rim = torus(20.5, 4.6).turned(rotation(x_deg=90, z_deg=side * 20)).moved(side * 35 * width, -72, -5)
        scene.paint([cone - orbits, rim - orbits.grown(-1.5) - aperture], socket, bone, keep=(upper, *cranium))
    for side, name in SIDES:
        cheek = scene.small(f"{name} cheekbone", face, (f"{name} zygomatic bone", f"{name} zygoma"), ("bony",))
        body = ellipsoid(14, 12, 12).moved(47 * width, -64, -25) | capsule(
            (55 * width, -60, -20), (56 * width, -61, 6), 6.5, 5
        )
        strut = capsule((44 * width, -62, -30), (28 * width, -66, -48), 9, 6)
        shape = union([body, strut]) - orbits
        scene.paint(shape if side > 0 else shape.mirrored(), cheek, bone, keep=cranium)
        arch = scene.small(
            f"{name} zygomatic arch", face, (f"{name} cheek arch", f"{name} yoke bone"), ("thin", "curved")
        )
        path = [(55 * width, -54, -26), (65 * width, -36, -27), (68 * width, -14, -25), (60 * width, 6, -23)]
        bow = tube(path, (5.5, 4.2, 3.6, 4.5), n=12)
        scene.paint(bow if side > 0 else bow.mirrored(), arch, bone, keep=(cheek,))
    bridge = scene.small("nasal bone", face, ("nose bone", "bridge of the nose"), ("bony",))
    ridge = capsule((0, -83, 8), (0, -94, -11), 6, 6.5) - capsule((0, -70, 0), (0, -90, -22), 6, 8)
    scene.paint(ridge, bridge, bone, keep=cranium)


def _mandible(
    scene: Scene,
    skull: int,
    bone: Material,
    marrow: Material,
    width: float,
    jaw: float,
    opened: Callable[[Shape], Shape],
) -> None:
    """Horseshoe with chin, and on either side an upright branch ending in the joint and a hook."""
    lower = scene.part("mandible", skull, ("lower jaw", "jawbone", "jaw"), ("bony", "movable"))
    body = scene.small("jaw body", lower, ("body of the mandible", "mandibular body"), ("horseshoe-shaped",))
    arch = [(46 * jaw, -8, -66), (40 * jaw, -34, -78), (24 * jaw, -66, -87), (0, -79, -89)]
    base = tube(arch, (7, 6.5, 6.5, 7), n=12)
    ridge = tube([(x * 0.9, y + 2, z + 9) for x, y, z in arch], (5, 5, 5, 5), n=12)
    scene.paint(opened((base | ridge).both_sides()), body, bone)
    scene.paint(opened(base.grown(-3).both_sides()), body, marrow, inside=(body,))
    chin = scene.small("chin", lower, ("mental protuberance", "point of the jaw"), ("bony",))
    scene.paint(opened(ellipsoid(16, 7, 8).moved(y=-81, z=-89)), chin, bone)
    for side, name in SIDES:
        branch = scene.small(f"{name} ramus", lower, (f"{name} jaw branch", f"{name} mandibular ramus"), ("upright",))
        flat = tube([(47 * jaw, -8, -68), (50 * jaw, 0, -50), (54 * width, 4, -32)], (9, 8, 5), n=8)
        front = tube([(46 * jaw, -20, -66), (50 * jaw, -22, -46), (54 * width, -24, -28)], (8, 7, 3), n=8)
        web = capsule((48 * jaw, -12, -64), (51 * jaw, -11, -48), 7, 6)
        knob = ellipsoid(9, 5, 5).moved(54 * width, 4, -30)
        shape = union([flat, front, web, knob])
        scene.paint(opened(shape if side > 0 else shape.mirrored()), branch, bone, keep=(body,))


def _teeth(
    scene: Scene, skull: int, row: str, present: np.ndarray, opened: Callable[[Shape], Shape], jaw: float
) -> None:
    """One dental arch of up to sixteen teeth: enamel crown over a dentin core, root in the jaw."""
    arch = scene.part(f"{row} teeth", skull, (f"{row} dentition", f"teeth of the {row} jaw"), ("white", "hard"))
    up, z = (1, -63.0) if row == "upper" else (-1, -76.5)
    angle = np.linspace(0, np.pi / 2, 200)
    lower = row == "lower"
    x, y = (27.5 - lower) * jaw * np.sin(angle), -83 + 3 * lower + 46 * (1 - np.cos(angle))
    reach = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    scale = 0.97 * reach[-1] / sum(t[1] for t in TEETH)
    slope = np.degrees(np.arctan2(np.gradient(y), np.gradient(x)))
    start = 0.0
    for i, (kind, wide, deep, tall, common) in enumerate(TEETH):
        middle = start + wide * scale / 2
        start += wide * scale
        px, py, turn = (float(np.interp(middle, reach, v)) for v in (x, y, slope))
        crown, root = _tooth(kind, wide * scale, deep, tall, up)
        number = sum(t[0] == kind for t in TEETH[: i + 1])
        for side, name in SIDES:
            if not present[i + 8 * (side < 0)]:
                continue
            words = (f"{row} {kind}", kind, common)
            tooth = scene.small(f"{row} {name} {kind} {number}", arch, words, ("white", name))
            for shape, stuff in ((root, DENTIN), (crown, ENAMEL), (crown.grown(-1.7), DENTIN)):
                placed = shape.turned(rotation(z_deg=turn)).moved(px, py, z)
                scene.paint(opened(placed if side > 0 else placed.mirrored()), tooth, stuff)


def _tooth(kind: str, wide: float, deep: float, tall: float, up: int) -> tuple[Shape, Shape]:
    """Crown and root of a tooth whose neck is at the origin; the root points up (1) or down (-1)."""
    if kind in ("incisor", "canine"):
        crown = ellipsoid(wide / 2, deep / 2, tall / 2 + 1, power=2.4).moved(z=-up * tall / 2)
        return crown, capsule((0, 0, 0), (0, 0, up * 13.0), wide / 2.7, 1.4)
    crown = ellipsoid(wide / 2, deep / 2, tall / 2 + 1, power=3).moved(z=-up * tall / 2)
    crown = crown - ellipsoid(wide * 0.18, deep * 0.22, 1.5).moved(z=-up * (tall + 1))
    feet = [(-0.22, -0.2), (0.22, -0.2), (0.0, 0.24)] if kind == "molar" else [(0.0, 0.0)]
    thick = wide / (4.2 if kind == "molar" else 2.8)
    legs = [capsule((u * wide, v * deep, 0), (1.3 * u * wide, 1.3 * v * deep, up * 12.0), thick, 1.3) for u, v in feet]
    return crown, union(legs)
