"""Shell of a mollusc as a micro-CT shows it (native values 0-255): nautilus, ammonite, snail or turret."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from voxlang.volume.phantoms.language import Shape, Solid, rotation
from voxlang.volume.phantoms.primitives import box, lathe, tube
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (112.0, 112.0, 112.0)
SIZE_XYZ = (112, 112, 112)
PROMPTS = ("shell", "outer wall", "body whorl", "nacre", "aperture", "lip", "septa", "siphuncle", "columella")
AIR = Material("air", 5.0, (0.0, 0.0, 0.0))
SHADES = {
    "white": (0.92, 0.88, 0.80),
    "brown": (0.60, 0.38, 0.22),
    "pink": (0.88, 0.60, 0.56),
    "grey": (0.55, 0.55, 0.52),
    "yellow": (0.86, 0.72, 0.40),
}
# growth of the radius per turn, rise over radius, overlap of the whorls, whether in one plane and so with chambers
KINDS = {
    "nautilus": ((2.6, 3.2), (0.0, 0.0), (1.12, 1.25), True),
    "ammonite": ((1.75, 2.1), (0.0, 0.0), (1.02, 1.1), True),
    "snail": ((1.7, 2.1), (0.8, 1.4), (1.06, 1.15), False),
    "turret": ((1.28, 1.4), (2.2, 3.2), (1.04, 1.12), False),
}


@dataclass(frozen=True)
class Coil:
    """A tube that winds about z while everything grows exponentially: the coil that shells have."""

    radius: float
    """Of the centre line at angle 0, mm."""
    growth: float
    """Rate of the exponential, per radian."""
    rise: float
    """How far the centre line sinks, relative to its radius."""
    width: float
    """Radius of the tube relative to the radius of the centre line."""
    end: float
    """Angle of the mouth, rad."""
    ribs: float = 0.0
    """Relative height of the ribs, 18 a turn."""

    def centre(self, angle: np.ndarray) -> np.ndarray:
        """Points [n 3] of the centre line."""
        ring = self.radius * np.exp(self.growth * angle)
        return np.stack([ring * np.cos(angle), ring * np.sin(angle), -self.rise * ring], axis=1)

    def size(self, angle: np.ndarray) -> np.ndarray:
        """Radius of the tube, mm."""
        return self.width * self.radius * np.exp(self.growth * angle)

    def turns(self, first: float = 0.0, last: float | None = None) -> Shape:
        """The solid tube between two angles."""
        return self.room(0.0, first, last)

    def room(self, wall: float, first: float = 0.0, last: float | None = None, *, bow: float = 0.0) -> Shape:
        """What a wall of this thickness leaves free inside, never within an earlier turn.

        Args:
            wall: mm; 0 gives the solid tube.
            first, last: angles of the ends.
            bow: how far the ends bulge towards the apex in the middle, rad.
        """
        last = self.end if last is None else last
        angle = np.linspace(max(first - 0.1, 0.0), last + bow + 0.1, 200)
        points, size = self.centre(angle), self.size(angle)[:, None] * (1 + self.ribs)
        distance = partial(_coil, self, wall, first, last, bow)
        return Shape((Solid((points - size).min(axis=0), (points + size).max(axis=0), distance),))


def _coil(
    coil: Coil, wall: float, first: float, last: float, bow: float, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Distance to the room inside the coil, turn by turn from the apex outwards."""
    out, theta = np.sqrt(x * x + y * y), np.arctan2(y, x)
    tubes = room = np.full(out.shape, 1e3, np.float32)
    inmost = 0 if wall > 0 else int(max(first, 0.0) / (2 * np.pi))
    for turn in range(inmost, int(last / (2 * np.pi) + 1.5) + 1):
        angle = theta + 2 * np.pi * turn
        ring = coil.radius * np.exp(coil.growth * angle)
        size = coil.width * ring
        away = np.hypot(out - ring, z + coil.rise * ring)
        tube_wall = away - size * (1 + coil.ribs * np.cos(18 * angle)) if coil.ribs else away - size
        bent = angle + bow * np.maximum(1 - (away / size) ** 2, 0) if bow else angle
        piece = np.maximum(tube_wall + wall, np.maximum(first - bent, bent - last) * ring)
        if wall > 0:
            piece = np.maximum(piece, -tubes)
            tubes = np.minimum(tubes, np.maximum(tube_wall, np.maximum(-angle, angle - coil.end) * ring))
        room = np.minimum(room, piece)
    return room / np.sqrt(1 + coil.growth**2)


def describe(rng: np.random.Generator) -> Scene:
    """A coiled shell; those in one plane have chambers with a siphuncle, the others a columella; often cut open."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=180, tilt_deg=20, scale=0.12, jitter=1.5)
    kind, shade = str(rng.choice(list(KINDS))), str(rng.choice(list(SHADES)))
    chalk = scene.varied(Material("shell", 150, SHADES[shade], texture=3, grain=7, band=16), 4)
    pearl = scene.varied(Material("nacre", 206, (0.90, 0.86, 0.84), texture=2, grain=12, band=17), 3)
    ore = scene.varied(Material("pyrite", 243, (0.72, 0.52, 0.22), texture=1, grain=6, band=20), 2)
    sand = scene.varied(Material("sediment", 62, (0.70, 0.58, 0.38), texture=4, grain=4, band=15), 4)
    planar = KINDS[kind][3]
    coil = _coil_of(scene, kind)

    shell = scene.whole("shell", ("seashell", "mollusc shell", "conch"), (kind, shade))
    wall = scene.part("outer wall", shell, ("shell wall", "outer layer of the shell", "outer coat"), (shade, "hard"))
    thick = rng.uniform(4.0, 5.0)
    lumen = coil.room(thick, last=coil.end + 0.15)
    scene.paint(coil.turns(), wall, chalk)
    _whorls(scene, coil, wall, chalk)
    mouth = scene.part("aperture", shell, ("shell opening", "mouth of the shell", "orifice"), (shade, "open"))
    lip = scene.small("lip", mouth, ("shell lip", "edge of the opening", "peristome"), ("thin",))
    scene.paint(coil.turns(coil.end - 0.55), mouth, chalk)
    rim = replace(coil, width=coil.width * 1.06)
    scene.paint(rim.turns(coil.end - 0.16), lip, chalk)
    nacre = scene.part("nacre", shell, ("mother of pearl", "pearl lining", "inner layer"), ("shiny", "inner"))
    scene.paint(coil.room(thick * 0.5), nacre, pearl)
    if not planar:
        _columella(scene, coil, shell, pearl)
    scene.carve(lumen)
    if planar:
        _chambers(scene, coil, shell, nacre, thick, pearl, ore)
    if rng.random() < 0.4:
        fill = scene.part("sediment", shell, ("sand filling", "mud infill", "matrix"), ("granular",))
        inlet = coil.end - rng.uniform(0.35, 0.5) - (0.0 if planar else rng.uniform(1, 5))
        plug = coil.room(thick + 0.3, coil.end - 2.0 if planar else inlet - 2.5, inlet)
        scene.paint(plug.wobbled(rng, 0.8, 9), fill, sand, inside=(0,))
    if rng.random() < 0.45:
        half = box(80, 80, 80).moved(z=80) if planar else box(80, 80, 80).moved(y=-80)
        scene.carve(half if planar else half.turned(rotation(z_deg=rng.uniform(-60, 60))))

    scene.show("surface", [(sand, 0.2), (chalk, 0.8), (pearl, 0.9), (ore, 0.9)])
    scene.show("contents", [(sand, 0.1), (chalk, 0.015), (pearl, 0.07), (ore, 0.9)])
    scene.show("nacre", [(pearl, 0.9)])
    scene.show("translucent", [(sand, 0.03), (chalk, 0.06), (pearl, 0.12), (ore, 0.3)])
    return scene


def _coil_of(scene: Scene, kind: str) -> Coil:
    """The coil of a kind, made to fit the box; the scene's pose sets it upright and in the middle."""
    rng = scene.rng
    growth, rise, overlap, planar = KINDS[kind]
    g, h = rng.uniform(*growth), rng.uniform(*rise)
    width = rng.uniform(*overlap) * (1 - 1 / g) * np.hypot(1, h) / (1 + 1 / g)
    ribs = rng.uniform(0.04, 0.08) if kind == "ammonite" or rng.random() < 0.2 else 0.0
    coil = Coil(1.0, float(np.log(g)) / (2 * np.pi), float(h), float(width), 0.0, float(ribs))
    angle = np.linspace(-8 * np.pi, 0, 400)
    points, size = coil.centre(angle), coil.size(angle)[:, None]
    middle = ((points - size).min(axis=0) + (points + size).max(axis=0)) / 2
    scale = 52.0 / float((np.linalg.norm(points - middle, axis=1) + size[:, 0]).max())
    first = 5.0 / (scale * width)
    end = float(np.log(1 / first) / coil.growth)
    middle = rotation(z_deg=np.degrees(end)) @ middle
    upright = np.eye(4)
    upright[:3, :3] = rotation(x_deg=90) if planar else np.eye(3)
    upright[:3, 3] = -scale * upright[:3, :3] @ middle
    scene.pose = scene.pose @ upright
    return replace(coil, radius=scale * first, end=end)


def _whorls(scene: Scene, coil: Coil, wall: int, chalk: Material) -> None:
    """Name the turns: the body whorl at the mouth, numbered ones before it, the apex at the beginning."""
    last = scene.small("body whorl", wall, ("last whorl", "final turn", "outermost coil"), ("big",))
    scene.paint(coil.turns(coil.end - 2 * np.pi), last, chalk)
    at, number = coil.end - 2 * np.pi, 1
    while at > 3.2 * np.pi:
        whorl = scene.small(f"whorl {number}", wall, ("spiral turn", "coil of the shell", "volution"), ("coiled",))
        scene.paint(coil.turns(at - 2 * np.pi, at), whorl, chalk)
        at, number = at - 2 * np.pi, number + 1
    apex = scene.small("apex", wall, ("tip of the shell", "first whorls", "protoconch"), ("small",))
    scene.paint(coil.turns(0.0, at), apex, chalk)


def _columella(scene: Scene, coil: Coil, shell: int, pearl: Material) -> None:
    """The pillar on the axis, around which the whorls wind."""
    pillar = scene.part("columella", shell, ("central pillar", "axis of the shell", "inner column"), ("central",))
    top, low = -coil.rise * coil.radius, float(coil.centre(np.array([coil.end]))[0, 2])
    wide = 0.16 * coil.radius * np.exp(coil.growth * coil.end)
    scene.paint(lathe([(low, wide), (top, 1.2)]), pillar, pearl)


def _chambers(scene: Scene, coil: Coil, shell: int, nacre: int, thick: float, pearl: Material, ore: Material) -> None:
    """Bowed walls between the chambers, and the cord that runs through them."""
    rng = scene.rng
    septa = scene.part("septa", shell, ("chamber walls", "partitions", "dividing walls"), ("thin", "curved"))
    at, step = coil.end - rng.uniform(2.0, 2.9), rng.uniform(0.3, 0.42)
    first, number = at, 1
    while at > 0.5 and coil.size(np.array([at]))[0] > thick + 3.5:
        septum = scene.small(f"septum {number}", septa, ("chamber wall", "partition"), ("thin", "curved"))
        half = 1.0 / float(coil.size(np.array([at]))[0] / coil.width)
        plate = coil.room(thick * 0.8, at - half, at + half, bow=rng.uniform(0.2, 0.3))
        scene.paint(plate, septum, pearl, inside=(0,))
        at, number = at - step, number + 1
    cord = scene.part("siphuncle", shell, ("siphon tube", "inner cord", "strand through the chambers"), ("tubular",))
    angle = np.linspace(max(at, 0.4), first + 0.15, 24)
    radii = np.maximum(coil.size(angle) * 0.15, 2.0)
    scene.paint(tube(coil.centre(angle), radii, n=72), cord, ore)
