"""Fruit as a CT (Hounsfield units) or an MRI (0-1000) shows it: stalk up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxlang.volume.phantoms.language import Shape, rotation, smooth_union, union
from voxlang.volume.phantoms.primitives import ball, box, ellipsoid, plate, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (100.0, 100.0, 115.0)
SIZE_XYZ = (108, 108, 124)
PROMPTS = ("fruit", "peel", "flesh", "core", "seeds", "stalk", "leaf", "stone")
KINDS = ("apple", "pear", "orange", "lemon", "tomato", "peach")
PEELS = {
    "red": (0.76, 0.14, 0.12),
    "green": (0.45, 0.66, 0.18),
    "yellow": (0.92, 0.80, 0.22),
    "orange": (0.94, 0.55, 0.12),
}
COLOURS = {
    "apple": ("red", "green", "yellow"),
    "pear": ("green", "yellow"),
    "orange": ("orange",),
    "lemon": ("yellow", "green"),
    "tomato": ("red", "yellow", "green"),
    "peach": ("orange", "red", "yellow"),
}
FLESHES = {
    "apple": (0.95, 0.91, 0.72),
    "pear": (0.94, 0.93, 0.78),
    "orange": (0.96, 0.66, 0.25),
    "lemon": (0.95, 0.90, 0.50),
    "tomato": (0.88, 0.34, 0.24),
    "peach": (0.95, 0.72, 0.36),
}


@dataclass(frozen=True)
class _Stuff:
    """The materials of one fruit under one intensity law."""

    peel: Material
    flesh: Material
    core: Material
    seed: Material
    wood: Material
    leaf: Material


# Mean values of peel, flesh, core, seed, wood, leaf. On CT the flesh is light with air, on MRI the seeds are oily.
LAWS = {
    "CT": (Material("air", -1000.0, (0.0, 0.0, 0.0)), (-1000.0, 700.0), 14.0, (190, -130, 20, 440, -310, -520), 0.0),
    "MRI": (Material("air", 18.0, (0.0, 0.0, 0.0)), (0.0, 1000.0), 10.0, (345, 655, 500, 900, 130, 215), 0.015),
}


def describe(rng: np.random.Generator) -> Scene:
    """An apple, pear, orange, lemon, tomato or peach with its seeds; sometimes a wedge or a half is cut away."""
    law = str(rng.choice(list(LAWS), p=[0.65, 0.35]))
    air, native_range, noise, _, bias = LAWS[law]
    scene = Scene(rng, air, native_range, noise=noise, bias=bias)
    scene.placed(yaw_deg=180, tilt_deg=8, scale=0.15, jitter=2)
    kind = str(rng.choice(KINDS))
    colour = str(rng.choice(COLOURS[kind]))
    stuff = _stuff(scene, law, kind, colour)

    fruit = scene.whole("fruit", ("piece of fruit", "produce", "ripe fruit"), (kind, colour))
    peel = scene.part("peel", fruit, ("rind", "fruit skin", "outer skin"), (colour, "thin"))
    flesh = scene.part("flesh", fruit, ("fruit flesh", "mesocarp", "juicy tissue"), ("soft", "juicy"))
    core = scene.part("core", fruit, ("fruit core", "heart of the fruit", "centre of the fruit"), ("inner",))
    body = _body(rng, kind)
    rind = {"orange": 4.5, "lemon": 4.0}.get(kind, 1.9) * rng.uniform(0.85, 1.2)
    scene.paint(body, peel, stuff.peel)
    pulp = body.grown(-rind)
    scene.paint(pulp, flesh, stuff.flesh)
    if kind in ("apple", "pear"):
        _pome(scene, core, stuff, drop=10.0 if kind == "pear" else 0.0)
    elif kind in ("orange", "lemon"):
        _citrus(scene, flesh, core, stuff, pulp, radius=30.0 if kind == "orange" else 23.0)
    elif kind == "tomato":
        _tomato(scene, flesh, core, stuff, pulp)
    else:
        _peach(scene, core, stuff)
    if rng.random() < 0.35:
        _cut(scene)
    _stalk(scene, fruit, stuff, kind)

    hull = [(stuff.peel, 0.9), (stuff.wood, 0.3), (stuff.leaf, 0.3)]
    inside = [(stuff.core, 0.5), (stuff.flesh, 0.35), (stuff.seed, 0.9)]
    scene.show("surface", [*hull, *inside])
    scene.show("contents", [(stuff.peel, 0.02), (stuff.flesh, 0.012), (stuff.core, 0.12), (stuff.seed, 0.9)])
    scene.show("flesh", [(stuff.flesh, 0.6)])
    scene.show("seeds", [(stuff.seed, 0.9), (stuff.core, 0.06)])
    return scene


def _stuff(scene: Scene, law: str, kind: str, colour: str) -> _Stuff:
    """Materials by the law's table; bands hold the texture, and none reaches its neighbour."""
    _, (low, high), noise, values, _ = LAWS[law]
    unit = (high - low) / 1000
    rgb = (
        PEELS[colour], FLESHES[kind], (0.90, 0.86, 0.66), (0.36, 0.20, 0.10), (0.45, 0.33, 0.18), (0.20, 0.48, 0.16)
    )  # fmt: skip
    names = ("peel", "flesh", "core", "seed", "wood", "leaf")
    return _Stuff(
        *(
            scene.varied(Material(n, v, c, texture=0.6 * noise, grain=6, band=33 * unit), 10 * unit)
            for n, v, c in zip(names, values, rgb, strict=True)
        )
    )


def _body(rng: np.random.Generator, kind: str) -> Shape:
    """The outer form, about the origin. A spindle torus has the dimples of an apple."""
    if kind in ("apple", "tomato"):
        ring, wire = (15.5, 21.5) if kind == "apple" else (18.0, 20.5)
        tall = rng.uniform(5, 9) if kind == "apple" else rng.uniform(0, 3)
        low = torus(ring * rng.uniform(0.78, 0.9), wire * 0.95).moved(z=-tall)
        body = smooth_union(torus(ring, wire).moved(z=tall * 0.6), low, 12)
        if kind == "tomato":
            turns = 2 * np.pi * np.arange(int(rng.integers(4, 7)))
            lobes = turns / len(turns) + rng.uniform(0, 6)
            for a in lobes if rng.random() < 0.6 else ():
                lobe = ellipsoid(17, 17, 19).moved(24.5 * np.cos(a), 24.5 * np.sin(a), 0)
                body = smooth_union(body, lobe, 5)
        return body.wobbled(rng, 0.8, 40)
    if kind == "pear":
        neck = ellipsoid(15, 15, 22).moved(rng.uniform(-4, 4), 0, rng.uniform(20, 26))
        return smooth_union(ellipsoid(33, 33, 29).moved(z=-14), neck, 26).wobbled(rng, 0.9, 45)
    if kind == "lemon":
        belly = ellipsoid(29, 29, 34)
        return smooth_union(belly, ellipsoid(7, 7, 43).moved(1, 0, -1), 14).wobbled(rng, 0.6, 14)
    if kind == "peach":
        halves = ellipsoid(31, 34, 35).moved(x=4.0).both_sides()
        return halves.wobbled(rng, 0.7, 40)
    return ellipsoid(37, 37, 37 * rng.uniform(0.9, 1.02)).wobbled(rng, 0.5, 9)


def _pome(scene: Scene, core: int, stuff: _Stuff, *, drop: float) -> None:
    """Core of five chambers like a star, with a seed or two in each."""
    rng = scene.rng
    heart = ellipsoid(11.5, 11.5, 15).moved(z=-drop).wobbled(rng, 1.0, 12)
    scene.paint(heart, core, stuff.core)
    start = rng.uniform(0, 360)
    seeds, rooms = [], []
    for i in range(5):
        turn = rotation(z_deg=start + 72 * i)
        rooms.append(ellipsoid(4.2, 2.0, 6.5).moved(x=5.6).turned(turn).moved(z=-drop))
        seed = ellipsoid(2.2, 1.7, 4.4).turned(rotation(y_deg=rng.uniform(-15, 15)))
        seeds.append(seed.moved(5.8 + rng.uniform(-0.6, 0.6), 0, rng.uniform(-1, 1)).turned(turn).moved(z=-drop))
    scene.carve(rooms, inside=(core,))
    kept = seeds[: int(rng.integers(3, 6))]
    for number, seed in enumerate(kept, start=1):
        scene.paint(seed, _seed(scene, core, number), stuff.seed)


def _seed(scene: Scene, core: int, number: int) -> int:
    """Declare one single seed."""
    return scene.small(f"seed {number}", core, ("pip", "fruit pip", "kernel"), ("brown", "hard"))


def _citrus(scene: Scene, flesh: int, core: int, stuff: _Stuff, pulp: Shape, *, radius: float) -> None:
    """Segments between thin walls around a pithy axis, seeds near it."""
    rng = scene.rng
    n = int(rng.integers(8, 12))
    start = rng.uniform(0, 360)
    axis = ellipsoid(4.6, 4.6, radius * 0.95)
    scene.paint(pulp, flesh, stuff.core)
    scene.paint(axis, core, stuff.core)
    half = 180 / n
    left, right = ((np.sin(np.radians(s * half)), np.cos(np.radians(s * half))) for s in (-1, 1))
    inner = pulp.grown(-1.2)
    seeds = []
    for number in range(1, n + 1):
        turn = rotation(z_deg=start + 2 * half * number)
        sector = box(radius * 0.9, radius, radius * 2).moved(x=radius * 0.9)
        sector = sector.cut((left[0], left[1], 0), -0.75).cut((right[0] * -1, -right[1], 0), -0.75)
        segment = scene.small(f"segment {number}", flesh, ("fruit segment", "wedge", "carpel"), ("juicy",))
        scene.paint((sector.turned(turn) & inner) - axis, segment, stuff.flesh)
        if rng.random() < 0.55 or number == 1:
            seed = ellipsoid(3.2, 2.0, 4.6).turned(rotation(y_deg=rng.uniform(-25, 25)))
            seeds.append(seed.moved(8.6, rng.uniform(-0.6, 0.6), rng.uniform(-7, 7)).turned(turn))
    group = scene.small("seeds", core, ("pips", "kernels", "fruit seeds"), ("hard",))
    scene.paint(seeds, group, stuff.seed)


def _tomato(scene: Scene, flesh: int, core: int, stuff: _Stuff, pulp: Shape) -> None:
    """Chambers of jelly with many small seeds around a firm core."""
    rng = scene.rng
    n = int(rng.integers(3, 6))
    start = rng.uniform(0, 360)
    wall = pulp.grown(-rng.uniform(4.0, 6.0))
    chambers = scene.small("seed chambers", flesh, ("locules", "jelly chambers"), ("wet",))
    rooms, seeds = [], []
    for i in range(n):
        turn = rotation(z_deg=start + 360 * i / n)
        room = ellipsoid(11.5, min(52.0 / n, 15.0), 13.5, power=2.6).moved(x=19.5).turned(turn)
        rooms.append(room & wall)
        for _ in range(int(44 / n)):
            at = rng.normal(size=3)
            at *= np.array([7.5, 34.0 / n, 9.0]) * rng.uniform(0.6, 1.0) / np.linalg.norm(at)
            seeds.append(ellipsoid(2.3, 1.7, 1.1).turned(rotation(*rng.uniform(0, 360, 2))).moved(*at).moved(x=17))
            seeds[-1] = seeds[-1].turned(turn)
    scene.paint(ellipsoid(12, 12, 15).wobbled(rng, 1.2, 12), core, stuff.core)
    scene.paint(rooms, chambers, stuff.core)
    group = scene.small("seeds", core, ("pips", "kernels", "fruit seeds"), ("small", "many"))
    scene.paint(seeds, group, stuff.seed, inside=(chambers, core))


def _peach(scene: Scene, core: int, stuff: _Stuff) -> None:
    """A wrinkled stone with a softer kernel, in a reddish zone of firmer flesh."""
    rng = scene.rng
    size = rng.uniform(0.9, 1.15)
    scene.paint(ellipsoid(16 * size, 14 * size, 19 * size).wobbled(rng, 0.8, 10), core, stuff.core)
    stone = scene.small("stone", core, ("pit", "drupe stone", "fruit stone"), ("hard", "wrinkled"))
    hard = ellipsoid(12.5 * size, 10.5 * size, 15.5 * size).wobbled(rng, 0.9, 5)
    scene.paint(hard, stone, stuff.seed)
    almond = ellipsoid(6.5 * size, 4.5 * size, 9.5 * size)
    scene.paint(almond, _seed(scene, core, 1), stuff.flesh)


def _cut(scene: Scene) -> None:
    """Take away a half or a quarter, seeds in it included."""
    rng = scene.rng
    knife = box(60, 60, 80).moved(y=-60 - rng.uniform(-1, 4))
    if rng.random() < 0.6:
        knife = knife & box(60, 80, 80).moved(x=60)
    scene.carve(knife)


def _stalk(scene: Scene, fruit: int, stuff: _Stuff, kind: str) -> None:
    """A bent stalk on a star of sepals, which is big on tomatoes, and mostly a leaf."""
    rng = scene.rng
    stalk = scene.part("stalk", fruit, ("fruit stem", "peduncle", "pedicel"), ("brown", "woody", "thin"))
    top = {"apple": 17.0, "tomato": 11.0, "pear": 42.0, "lemon": 40.0, "peach": 31.0}.get(kind, 34.0)
    lean = rng.uniform(-6, 6, 2)
    length = rng.uniform(12, 18) if kind != "apple" else rng.uniform(18, 24)
    points = [(0, 0, top - 4), (lean[0] * 0.2, lean[1] * 0.2, top + length * 0.5), (*lean, top + length)]
    points[2] = (points[2][0], points[2][1], min(points[2][2], 54.0))
    scene.paint(tube(points, (1.9, 1.6, 2.3), n=8), stalk, stuff.wood)
    calyx = scene.small("calyx", stalk, ("sepals", "leafy crown"), ("green",))
    long = 22.0 if kind == "tomato" else 8.0
    turns = rng.uniform(0, 360) + 72 * np.arange(5) + rng.uniform(-8, 8, 5)
    tips = top + (rng.uniform(4, 10, 5) if kind == "tomato" else rng.uniform(1, 4, 5))
    arms = [
        tube([(0, 0, top), (0.45 * long, 0, tip), (long, 0, tip)], (2.4, 2.0, 1.1), n=6).turned(rotation(z_deg=a))
        for a, tip in zip(turns, tips, strict=True)
    ]
    scene.paint(union(arms) | ball(3.0).moved(z=top), calyx, stuff.leaf, keep=(stalk,))
    if rng.random() < 0.75:
        _leaf(scene, fruit, stuff, foot=points[1], keep=(stalk,))


def _leaf(scene: Scene, fruit: int, stuff: _Stuff, *, foot: Sequence[float], keep: tuple[int, ...]) -> None:
    """A pointed blade, cut out of a thin bowl, with a midrib."""
    rng = scene.rng
    leaf = scene.part("leaf", fruit, ("leaf blade", "fruit leaf", "leaflet"), ("green", "flat"))
    rib = scene.small("midrib", leaf, ("leaf vein", "main vein"), ("thin",))
    long, wide, bend = rng.uniform(30, 40), rng.uniform(8, 11), rng.uniform(35, 70)
    t = np.linspace(0, 1, 9)
    edge = wide * np.sin(np.pi * t**0.8) ** 0.8
    outline = [*zip(t * long, edge, strict=True), *zip(t[-2:0:-1] * long, -edge[-2:0:-1], strict=True)]
    turn = rotation(y_deg=rng.uniform(-25, 15), z_deg=rng.uniform(0, 360)) @ rotation(x_deg=90 + rng.uniform(-35, 35))
    bowl = ball(bend).shell(2.2).moved(long / 2, 1.1 - bend, 0)
    scene.paint((plate(outline, 20) & bowl).turned(turn).moved(*foot), leaf, stuff.leaf, keep=keep)
    sag = bend - np.sqrt(bend**2 - (t * long - long / 2) ** 2)
    vein = tube(np.stack([t * long * 0.9, 0.6 - sag, 0 * t], axis=1), 1.3, n=9)
    scene.paint(vein.turned(turn).moved(*foot), rib, stuff.wood, keep=keep)
