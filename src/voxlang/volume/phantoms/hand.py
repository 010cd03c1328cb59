"""Hand as CT shows it: HU, fingers up, palm towards -y; a left hand has its thumb at -x."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from voxlang.volume.phantoms.head import SKINS
from voxlang.volume.phantoms.language import Number, Shape, Vector, rotation, rotation_to, smooth_union, union
from voxlang.volume.phantoms.primitives import ball, capsule, ellipsoid, loft, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import AIR, BONE, FAT, MUSCLE, NOISE_HU, RANGE_HU, SKIN, SPONGY_BONE

BOX_MM = (162.0, 116.0, 246.0)
SIZE_XYZ = (112, 80, 170)
PROMPTS = ("hand", "skin", "finger bones", "palm bones", "wrist bones", "forearm bones", "thumb", "fingernails")
TENDON = Material("tendon", 112.0, (0.90, 0.87, 0.78), texture=4, grain=10, band=20)
NAIL = Material("nail", 200.0, (0.93, 0.74, 0.70), texture=5, grain=6, band=60)
GOLD = Material("gold", 2420.0, (0.95, 0.75, 0.25), texture=10, grain=6, band=300)
POLISH = {
    "natural": (0.95, 0.78, 0.74),
    "red": (0.75, 0.08, 0.12),
    "white": (0.95, 0.94, 0.93),
    "blue": (0.2, 0.3, 0.7),
}
FINGERS = (
    # name, other names, base of the palm bone (x, y, z), its length, phalanges, radius, spread of palm bone and finger
    ("thumb", ("pollex", "thumb finger"), (-7, -9, -49), 42, (31, 25), 9.8, (-34, -40)),
    ("index finger", ("forefinger", "pointer finger"), (1, 0, -42), 63, (40, 24, 18), 8.4, (-5, -7)),
    ("middle finger", ("long finger", "third finger"), (11, 2, -41), 61, (44, 28, 19), 8.6, (0, -1)),
    ("ring finger", ("fourth finger", "annular finger"), (20, 1, -41), 55, (41, 26, 19), 8.1, (4, 6)),
    ("little finger", ("pinky", "small finger"), (28, -1, -44), 51, (32, 19, 17), 7.2, (9, 15)),
)
WRIST = (
    # name, other name, centre, radii
    ("scaphoid", "navicular bone of the hand", (1, -2, -64), (7.5, 7, 7)),
    ("lunate", "semilunar bone", (12, 0, -67), (6.5, 7.5, 7)),
    ("triquetrum", "triquetral bone", (23, 1, -64), (6.5, 6, 6)),
    ("pisiform", "pea bone", (27, -9, -62), (4.6, 4.2, 4.8)),
    ("trapezium", "greater multangular", (-7, -5, -55), (6.5, 7, 6)),
    ("trapezoid", "lesser multangular", (2, 1, -51), (5.5, 6.5, 6)),
    ("capitate", "head bone of the wrist", (12, 1, -52), (6.5, 8, 9)),
    ("hamate", "hooked bone", (23, 0, -52), (7, 8, 8)),
)
JOINTS = {2: ("proximal", "distal"), 3: ("proximal", "middle", "distal")}
NEAR = {"proximal": "first", "middle": "second", "distal": "tip"}


@dataclass(frozen=True, eq=False)
class _Ray:
    """One finger with its palm bone."""

    name: str
    synonyms: tuple[str, ...]
    joints: np.ndarray
    """Points [k 3] from the base of the palm bone to the tip."""
    radius: float
    """Of the finger, mm."""
    back: np.ndarray
    """Unit vector out of the nail."""

    @property
    def stem(self) -> str:
        """Word before "nail" and "bone": "thumb", "index"."""
        return self.name.replace(" finger", "")


def describe(rng: np.random.Generator) -> Scene:
    """Skin with nails over fat, muscles and tendons; wrist bones, palm bones and finger bones, each apart."""
    scene = Scene(rng, AIR, RANGE_HU, noise=NOISE_HU)
    scene.placed(yaw_deg=35, tilt_deg=10, scale=0.12, jitter=2)
    tone, side = str(rng.choice(list(SKINS))), str(rng.choice(["left", "right"]))
    flip = 1.0 if side == "left" else -1.0
    skin, bone = replace(SKIN, rgb=SKINS[tone]), scene.varied(BONE, 120)
    girth, spread, curl = rng.uniform(0.9, 1.12), rng.uniform(0.4, 1.6), rng.uniform(2, 20)
    rays = [_ray(rng, *finger, flip=flip, girth=girth, spread=spread, curl=curl) for finger in FINGERS]

    hand = scene.whole("hand", ("human hand", "palm and fingers", "manus"), (side, "human"))
    cover = scene.part("skin", hand, ("outer surface", "epidermis", "hide of the hand"), (tone, "soft"))
    flesh = scene.part("soft tissue", hand, ("flesh", "fat and muscle"), ("soft",))
    palm = scene.small("palm", cover, ("palm skin", "back of the hand"), (tone,))
    body = _palm(flip, girth)
    fingers = [_finger(ray.joints[1:], ray.radius) for ray in rays]
    web = capsule(rays[0].joints[0], rays[0].joints[1], 12 * girth, rays[0].radius)
    whole = smooth_union(body | web, union(fingers), 7)
    scene.paint(whole, palm, skin)
    for ray, finger in zip(rays, fingers, strict=True):
        digit = scene.small(ray.name, cover, ray.synonyms, (tone,))
        scene.paint(finger, digit, skin)
    fat = scene.small("fat", flesh, ("adipose tissue", "fatty pad"), ("yellow", "soft"))
    scene.paint(whole.grown(-2.7), fat, FAT)
    _muscles(scene, flesh, fat, rays, flip, girth, whole.grown(-4.5))
    _nails(scene, rng, hand, rays)
    _bones(scene, hand, bone, rays, flip)
    if rng.random() < 0.3:
        ring = scene.part("ring", hand, ("finger ring", "gold ring", "jewelry"), ("golden", "metal"))
        a, b = rays[3].joints[1:3]
        hoop = torus(rays[3].radius + 0.6, 1.8).turned(rotation_to(b - a)).moved(*(a + 0.55 * (b - a)))
        scene.paint(hoop, ring, GOLD)

    nails = replace(NAIL, rgb=POLISH[str(rng.choice(list(POLISH), p=[0.55, 0.2, 0.15, 0.1]))])
    hard = [(SPONGY_BONE, 0.7), (bone, 0.95), (GOLD, 0.95)]
    scene.show("surface", [(replace(skin, value=-170, band=300), 0.75), (nails, 0.9), *hard])
    scene.show("bones", hard)
    scene.show("skin over bone", [(skin, 0.06), (MUSCLE, 0.02), *hard])
    scene.show("muscles", [(MUSCLE, 0.35), (TENDON, 0.5), *hard])
    scene.show("contents", [(skin, 0.01), (FAT, 0.01), (MUSCLE, 0.08), (TENDON, 0.2), (SPONGY_BONE, 0.1), (bone, 0.3)])
    return scene


def _ray(
    rng: np.random.Generator,
    name: str,
    synonyms: tuple[str, ...],
    base: Vector,
    length: Number,
    phalanges: tuple[Number, ...],
    radius: Number,
    angles: tuple[Number, Number],
    *,
    flip: float,
    girth: float,
    spread: float,
    curl: float,
) -> _Ray:
    """Bend a finger: every joint turns it further towards the palm."""
    point, joints = np.array(base, np.float64), [np.array(base, np.float64)]
    bend = 16.0 if name == "thumb" else 0.0
    own = np.clip(curl * (0.6 if name == "thumb" else 1.0) + rng.normal(0, 4), 0, 24)
    lean = angles[1] * (0.75 + 0.25 * spread if name == "thumb" else spread)
    for i, bone in enumerate((length, *phalanges)):
        bend += own * (i > 0)
        s, f = np.radians([angles[0] if i == 0 else lean + rng.normal(0, 1.5), bend])
        along = np.array([np.sin(s) * np.cos(f), -np.sin(f), np.cos(s) * np.cos(f)])
        point = point + bone * along
        joints.append(point)
    out = np.array([0.8 if name == "thumb" else 0.0, 1.0, 0.0])
    out -= along * (out @ along)
    mirror = np.array([flip, 1.0, 1.0])
    return _Ray(name, synonyms, np.array(joints) * mirror, radius * girth, out / np.linalg.norm(out) * mirror)


def _finger(joints: np.ndarray, radius: float) -> Shape:
    """Finger through its joints, thickest at its root and round at its tip."""
    r = radius * np.array([1.08, 1.0, 0.94, 0.82])[: len(joints)]
    pieces = [capsule(joints[i], joints[i + 1], r[i], r[i + 1]) for i in range(len(joints) - 1)]
    return union([*pieces, *(ball(1.06 * r[i]).moved(*joints[i]) for i in range(1, len(joints) - 1))])


def _palm(flip: float, girth: float) -> Shape:
    """Forearm, wrist and palm with the balls of the thumb and of the little finger."""
    rows = [(-119, 10, 31, 24), (-82, 10, 28, 19), (-62, 11, 29, 17), (-36, 13, 36, 16), (-6, 14, 39, 14)]
    rows += [(12, 14, 39, 13), (22, 14, 36, 9)]
    slab = loft([(z, flip * cx, 0, rx * girth, ry * girth) for z, cx, rx, ry in rows], power=2.5)
    thenar = ellipsoid(15, 13, 28).turned(rotation(y_deg=-flip * 24)).moved(-flip * 9, -11, -30)
    edge = ellipsoid(11, 11, 30).moved(flip * 33, -8, -32)
    return smooth_union(slab, thenar | edge, 9)


def _muscles(scene: Scene, flesh: int, fat: int, rays: list[_Ray], flip: float, girth: float, under: Shape) -> None:
    """Muscles of the thumb, of the palm and of the forearm; tendons on the back of the hand."""
    muscles = scene.small("muscles", flesh, ("muscle", "muscular tissue"), ("red",))
    thenar = ellipsoid(11, 9, 23).turned(rotation(y_deg=-flip * 24)).moved(-flip * 9, -12, -30)
    edge = ellipsoid(7, 7, 24).moved(flip * 33, -9, -32)
    arm = loft([(-119, flip * 10, -2, 26 * girth, 19 * girth), (-80, flip * 10, -2, 21 * girth, 13 * girth)])
    between = [
        capsule((a.joints[0] + b.joints[0]) / 2 + (0, 0, 8), (a.joints[1] + b.joints[1]) / 2 - (0, 0, 14), 4.0, 3.2)
        for a, b in pairwise(rays[1:])
    ]
    scene.paint([m & under for m in (thenar, edge, arm, *between)], muscles, MUSCLE, inside=(fat,))
    tendons = scene.small("tendons", flesh, ("sinews", "tendon"), ("white", "cord-like"))
    cords = []
    for ray in rays[1:]:
        lift = ray.radius * 0.8 * np.array([0, 1, 0])
        start, wrist = np.array([flip * 11, 16, -108]), np.array([flip * 12, 13, -66])
        cords.append(tube([start, wrist, ray.joints[0] + lift * 1.3, ray.joints[1] + lift], 2.4, n=8))
    scene.paint(cords, tendons, TENDON, inside=(fat, muscles))


def _nails(scene: Scene, rng: np.random.Generator, hand: int, rays: list[_Ray]) -> None:
    """A curved plate on the back of each fingertip."""
    nails = scene.part("fingernails", hand, ("nails", "finger nails", "nail plates"), ("hard", "flat"))
    longer = rng.uniform(0.9, 1.3)
    for ray in rays:
        nail = scene.small(f"{ray.stem} nail", nails, ("nail", "fingernail", f"{ray.stem} fingernail"), ("hard",))
        a, b = ray.joints[-2:]
        along = (b - a) / np.linalg.norm(b - a)
        frame = np.stack([np.cross(ray.back, along), ray.back, along], axis=1)
        plate = ellipsoid(ray.radius * 0.66, 1.9, 6.6 * longer, power=2.6).turned(frame)
        scene.paint(plate.moved(*(b + along * 1.5 + ray.back * ray.radius * 0.80)), nail, NAIL)


def _bones(scene: Scene, hand: int, bone: Material, rays: list[_Ray], flip: float) -> None:
    """Radius and ulna, the wrist, and the long bones of every ray."""
    arm = scene.part("forearm bones", hand, ("lower arm bones", "arm bones"), ("bony", "long"))
    wrist = scene.part("wrist bones", hand, ("carpals", "carpal bones", "wrist skeleton"), ("bony",))
    palm = scene.part("palm bones", hand, ("metacarpals", "metacarpal bones"), ("bony", "long"))
    digits = scene.part("finger bones", hand, ("phalanges", "bones of the fingers"), ("bony", "jointed"))
    shafts = {
        ("radius", "spoke bone"): tube([(2, 0, -119), (2, 0, -98), (1, -1, -80)], (6.5, 7, 10.5), n=8)
        | ellipsoid(12, 9, 6).moved(2, -1, -78),
        ("ulna", "elbow bone"): tube([(22, 3, -119), (23, 3, -98), (23, 3, -78)], (6.2, 5, 6.5), n=8),
    }
    for (name, other), shape in shafts.items():
        part = scene.small(name, arm, (other, f"{name} bone"), ("bony", "long"))
        shape = shape.cut((0, 0, -1), 119)
        _bone(scene, shape if flip > 0 else shape.mirrored(), part, bone)
    for name, other, (x, y, z), radii in WRIST:
        part = scene.small(name, wrist, (other, f"{name} bone"), ("bony", "pebble-like"))
        _bone(scene, ellipsoid(*radii, power=2.6).grown(-0.5).moved(flip * x, y, z), part, bone)
    for ray in rays:
        metacarpal = scene.small(f"{ray.stem} palm bone", palm, (f"{ray.stem} metacarpal", "metacarpal"), ("bony",))
        _bone(scene, _long_bone(ray.joints[0], ray.joints[1], 0.62 * ray.radius), metacarpal, bone)
        for word, a, b in zip(JOINTS[len(ray.joints) - 2], ray.joints[1:], ray.joints[2:], strict=False):
            names = (f"{NEAR[word]} {ray.stem} bone", f"{word} phalanx", "phalanx")
            phalanx = scene.small(f"{word} {ray.stem} phalanx", digits, names, ("bony",))
            tip = word == "distal"
            _bone(
                scene, _long_bone(a, b, (0.48 if tip else 0.56) * ray.radius, short=3.0 if tip else 0.0), phalanx, bone
            )


def _long_bone(a: np.ndarray, b: np.ndarray, radius: float, *, short: float = 0.0) -> Shape:
    """Waisted shaft with a broad base at a and a head at b, a joint's gap away from both ends."""
    length = np.linalg.norm(b - a)
    along = (b - a) / length
    first, last = a + along * (radius + 0.8), b - along * (0.85 * radius + 0.8 + short)
    points = first + np.outer([0.0, 0.3, 0.65, 1.0], last - first)
    return tube(points, (radius, 0.66 * radius, 0.6 * radius, 0.85 * radius), n=8)


def _bone(scene: Scene, shape: Shape, part: int, bone: Material) -> None:
    """Compact bone around spongy bone."""
    scene.paint(shape, part, bone)
    scene.paint(shape.grown(-1.9), part, SPONGY_BONE)
