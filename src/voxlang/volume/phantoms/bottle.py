"""Bottle with its cap, label and drink, as a security scanner or an industrial CT shows it (Hounsfield units)."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Shape, rotation
from voxlang.volume.phantoms.primitives import ball, box, cylinder, ellipsoid, lathe, loft, plate, thread, torus
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (116.0, 116.0, 264.0)
SIZE_XYZ = (80, 80, 182)
PROMPTS = ("bottle", "cap", "neck", "body", "bottom", "paper label", "liquid", "bubbles")
AIR = Material("air", -1000.0, (0.0, 0.0, 0.0))
GLASSES = {
    "green": (0.20, 0.48, 0.28),
    "brown": (0.45, 0.26, 0.12),
    "clear": (0.78, 0.86, 0.88),
    "blue": (0.22, 0.38, 0.70),
}
CAPS = {"red": (0.80, 0.14, 0.12), "white": (0.92, 0.92, 0.90), "gold": (0.82, 0.66, 0.25), "black": (0.15, 0.15, 0.16)}
LABELS = {"white": (0.93, 0.92, 0.88), "yellow": (0.92, 0.80, 0.35), "red": (0.75, 0.22, 0.20)}
DRINKS = {
    "water": (0.60, 0.75, 0.90),
    "red wine": (0.45, 0.08, 0.16),
    "juice": (0.95, 0.62, 0.15),
    "milk": (0.95, 0.93, 0.88),
}
FLOOR, TOP = -124.0, 118.0
# rows (height, radius) between 0 and 1, of the bottle's height and its greatest radius
SHAPES = {
    "wine": ((0.0, 0.93), (0.02, 1.0), (0.56, 1.0), (0.66, 0.9), (0.75, 0.42), (0.82, 0.36), (1.0, 0.34)),
    "beer": ((0.0, 0.92), (0.03, 1.0), (0.52, 1.0), (0.64, 0.82), (0.8, 0.46), (0.9, 0.4), (1.0, 0.38)),
    "conical": ((0.0, 0.9), (0.05, 1.0), (0.3, 0.98), (0.6, 0.62), (0.78, 0.4), (1.0, 0.36)),
    "jug": ((0.0, 0.88), (0.06, 1.0), (0.62, 1.0), (0.76, 0.78), (0.84, 0.46), (0.88, 0.42), (1.0, 0.42)),
}


def describe(rng: np.random.Generator) -> Scene:
    """A glass bottle, round or square, with a screw cap, a crown cap or a cork, a label and a drink; some cut open."""
    scene = Scene(rng, AIR, (-1000.0, 2600.0), noise=18.0)
    scene.placed(yaw_deg=180, tilt_deg=7, scale=0.12, jitter=2)
    shade, tint = str(rng.choice(list(GLASSES))), str(rng.choice(list(CAPS)))
    drink, print_ = str(rng.choice(list(DRINKS))), str(rng.choice(list(LABELS)))
    stuffs = (
        Material("paper", -560, LABELS[print_], texture=8, grain=8, band=62),
        Material("plastic", -250, CAPS[tint], texture=8, grain=15, band=65),
        Material("liquid", 40, DRINKS[drink], texture=6, grain=40, band=85),
        Material("glass", 1900, GLASSES[shade], texture=20, grain=30, band=330),
        Material("metal", 2480, (0.75, 0.74, 0.70), texture=10, grain=10, band=95),
    )
    paper, plastic, liquid, glass, metal = (scene.varied(m, 20) for m in stuffs)

    kind = str(rng.choice(list(SHAPES)))
    bottle = scene.whole("bottle", ("flask", "drinking bottle", "glass container"), (kind, shade))
    body = scene.part("body", bottle, ("bottle body", "belly of the bottle", "wall of the bottle"), (shade, "glass"))
    shoulder = scene.small("shoulder", body, ("bottle shoulder", "slope of the bottle"), (shade, "sloping"))
    neck = scene.part("neck", bottle, ("bottleneck", "neck of the bottle", "spout"), (shade, "narrow"))
    finish = scene.small("neck ring", neck, ("collar of the neck", "transfer ring"), ("round",))
    mouth = scene.small("mouth", neck, ("bottle mouth", "opening of the bottle", "rim of the bottle"), ("round",))
    bottom = scene.part("bottom", bottle, ("base of the bottle", "bottle base", "floor of the bottle"), (shade, "flat"))
    punt = scene.small("punt", bottom, ("dimple in the base", "push-up"), ("domed",))

    rows = np.array(SHAPES[kind]) * (TOP - FLOOR, rng.uniform(38, 46)) + (FLOOR, 0)
    rows[:, 0] = FLOOR + (rows[:, 0] - FLOOR) * (1 - rng.uniform(0, 0.14))
    power = 4.0 if rng.random() < 0.25 else 2.0
    wall, throat, top = rng.uniform(4.2, 5.4), float(rows[-1, 1]), float(rows[-1, 0])
    outer = loft([(z, 0, 0, r, r) for z, r in rows], power=power)
    hollow = [(FLOOR + wall, rows[0, 1] - wall), *((z, r - wall) for z, r in rows if z > FLOOR + wall + 1)]
    dome = ellipsoid(float(rows[0, 1]) * 0.62, float(rows[0, 1]) * 0.62, rng.uniform(7, 18)).moved(z=FLOOR)
    inner = loft([(z, 0, 0, r, r) for z, r in [*hollow, (top + 8, hollow[-1][1])]], power=power) - dome.grown(wall)
    starts = float(rows[np.argmax(rows[:, 1] < 0.55 * rows[:, 1].max()), 0])
    bends = float(rows[np.flatnonzero(rows[:, 1] > 0.97 * rows[:, 1].max())[-1], 0])

    scene.paint(outer, body, glass)
    scene.paint(outer.cut((0, 0, -1), -bends), shoulder, glass)
    scene.paint(outer.cut((0, 0, -1), -starts), neck, glass)
    scene.paint(outer.cut((0, 0, 1), FLOOR + wall + 3), bottom, glass)
    scene.paint(dome.grown(wall).cut((0, 0, -1), -FLOOR), punt, glass, inside=(bottom, body))
    scene.paint(torus(throat, 2.8).moved(z=top - 22), finish, glass)
    scene.paint(torus(throat - wall / 2, wall * 0.62).moved(z=top - 1.5), mouth, glass)
    scene.carve(inner)
    scene.carve(dome)
    level = FLOOR + (top - FLOOR) * rng.uniform(0.4, 0.72)
    _drink(scene, bottle, inner, level, drink, liquid, wide=float(rows[:, 1].max()) - wall)
    _label(scene, bottle, rows, outer, print_, paper)
    if rng.random() < 0.3:
        half = box(70, 70, 160).moved(y=-70).turned(rotation(z_deg=rng.uniform(0, 360)))
        scene.carve(half)
    _cap(scene, bottle, top, throat, tint, plastic, metal)

    scene.show("surface", [(paper, 0.6), (plastic, 0.5), (liquid, 0.2), (glass, 0.7), (metal, 0.95)])
    scene.show("contents", [(paper, 0.01), (plastic, 0.05), (liquid, 0.4), (glass, 0.03), (metal, 0.6)])
    scene.show("glass", [(glass, 0.7)])
    scene.show("drink", [(liquid, 0.5)])
    scene.show("translucent", [(paper, 0.05), (plastic, 0.08), (liquid, 0.05), (glass, 0.1), (metal, 0.5)])
    return scene


def _drink(scene: Scene, bottle: int, inner: Shape, level: float, drink: str, liquid: Material, *, wide: float) -> None:
    """Liquid whose surface stays level when the bottle leans, with bubbles."""
    rng = scene.rng
    part = scene.part("liquid", bottle, ("drink", "fluid", "beverage"), (drink, "wet"))
    up = np.linalg.inv(scene.pose[:3, :3]) @ np.array([0.0, 0.0, 1.0])
    up /= np.linalg.norm(up)
    fill = inner.cut(up, level * float(up[2]))
    scene.paint(fill, part, liquid)
    skin = scene.small("surface of the liquid", part, ("liquid level", "meniscus"), ("level",))
    scene.paint(fill.cut(-up, -(level * float(up[2]) - 3.5)), skin, liquid, inside=(part,))
    bubbles = scene.small("bubbles", part, ("gas bubbles", "air bubbles", "fizz"), ("round", "many"))
    spots = []
    for _ in range(int(rng.integers(14, 30))):
        turn, out = rng.uniform(0, 2 * np.pi), wide * 0.8 * np.sqrt(rng.uniform(0, 1))
        at = (out * np.cos(turn), out * np.sin(turn), rng.uniform(FLOOR + 16, level - 8))
        spots.append((rng.uniform(2.4, 4.6), at))
    scene.paint([ball(r + 1.7).moved(*at) for r, at in spots], bubbles, liquid, inside=(part,))
    scene.carve([ball(r).moved(*at) for r, at in spots], inside=(bubbles,))


def _label(scene: Scene, bottle: int, rows: np.ndarray, outer: Shape, colour: str, paper: Material) -> None:
    """A paper sheet around part of the belly, with a raised emblem."""
    rng = scene.rng
    label = scene.part("paper label", bottle, ("sticker", "tag of the bottle", "etiquette"), (colour, "paper"))
    emblem = scene.small("emblem", label, ("logo", "badge"), ("printed",))
    straight = rows[rows[:, 1] > 0.9 * rows[:, 1].max(), 0]
    low, high = float(straight[0]) + 12, float(straight[-1]) - 4
    high = max(high, low + 40)
    sheet = (outer.grown(3.4) - outer).cut((0, 0, 1), high).cut((0, 0, -1), -low)
    if rng.random() < 0.6:
        a = np.radians(rng.uniform(45, 85))
        sheet = sheet.cut((np.cos(a), np.sin(a), 0), 0).cut((-np.cos(a), np.sin(a), 0), 0)
    scene.paint(sheet, label, paper)
    turns = np.linspace(0, 2 * np.pi, 11)[:-1]
    size = np.where(np.arange(10) % 2 == 0, 13.0, rng.uniform(6, 12))
    points = np.stack([size * np.sin(turns), size * np.cos(turns)], axis=1).tolist()
    star = plate(points, 60).moved(0, -40, (low + high) / 2)
    scene.paint((outer.grown(5.2) - outer.grown(0.4)) & star, emblem, paper)


def _cap(scene: Scene, bottle: int, top: float, throat: float, tint: str, plastic: Material, metal: Material) -> None:
    """A ribbed screw cap with its thread, a crown cap of metal, or a cork."""
    rng = scene.rng
    style = str(rng.choice(["screw", "crown", "cork"], p=[0.55, 0.25, 0.2]))
    colour = "metal" if style == "crown" else tint
    cap = scene.part("cap", bottle, ("bottle cap", "closure", "stopper"), (style, colour))
    high = min(top + 5.0, 126.0)
    if style == "screw":
        turns = scene.small("cap thread", cap, ("screw thread of the cap", "winding of the cap"), ("helical",))
        ribs = scene.small("cap ribs", cap, ("grip ridges", "knurling"), ("ridged",))
        ring = scene.small("security ring", cap, ("tamper band", "lower ring of the cap"), ("round",))
        low = top - 15
        shell = cylinder((0, 0, low), (0, 0, high), throat + 4.6, rounding=1.5)
        room = cylinder((0, 0, low - 1), (0, 0, top + 0.5), throat + 1.0)
        scene.paint(shell - room, cap, plastic, keep=_others(scene, cap))
        coil = thread((0, 0, low), (0, 0, top - 1), throat + 2.6, pitch=5.0, depth=2.2)
        scene.paint(coil - room.grown(-0.6), turns, plastic, keep=_others(scene, cap))
        bar = cylinder((throat + 4.6, 0, low + 1), (throat + 4.6, 0, high - 2), 1.4)
        bars = [bar.turned(rotation(z_deg=a)) for a in range(0, 360, 18)]
        scene.paint(bars, ribs, plastic)
        band = cylinder((0, 0, low - 5.5), (0, 0, low - 1.5), throat + 4.2) - cylinder(
            (0, 0, low - 7), (0, 0, low), throat + 0.6
        )
        scene.paint(band, ring, plastic, keep=_others(scene, ring))
    elif style == "crown":
        skirt = scene.small("crimped edge", cap, ("cap teeth", "crimps"), ("wavy",))
        lid = lathe([(top - 3, throat + 4.5), (top + 1, throat + 3), (high, throat * 0.9)])
        scene.paint(lid - cylinder((0, 0, top - 4), (0, 0, top + 1.4), throat), cap, metal, keep=_others(scene, cap))
        teeth = [
            ellipsoid(2.4, 2.0, 3.4).moved(x=throat + 4.0, z=top - 2.4).turned(rotation(z_deg=a))
            for a in np.arange(0, 360, 360 / 21)
        ]
        scene.paint(teeth, skirt, metal, keep=_others(scene, cap))
    else:
        head = scene.small("cork head", cap, ("top of the cork", "knob of the stopper"), ("round",))
        rod = lathe([(top - 26, throat - 5.5), (top + 1, throat - 4.2)])
        scene.paint(rod, cap, plastic, keep=_others(scene, cap))
        scene.paint(cylinder((0, 0, top + 0.5), (0, 0, high + 1), throat + 1.5, rounding=2), head, plastic)


def _others(scene: Scene, cap: int) -> tuple[int, ...]:
    """Everything declared before the cap."""
    return tuple(p.id for p in scene.parts if p.id < cap)
