"""Combustion engine as an industrial CT shows it (native values 0-255): cylinders in a row along x."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Number, Shape, union
from voxlang.volume.phantoms.primitives import ball, box, capsule, cylinder, ellipsoid, thread, torus, tube
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (372.0, 264.0, 318.0)
SIZE_XYZ = (124, 88, 106)
PROMPTS = ("engine", "housing", "pistons", "valves", "bolts", "pipes", "crankshaft", "flywheel")
AIR = Material("air", 4.0, (0.0, 0.0, 0.0))
COVERS = {
    "black": (0.16, 0.16, 0.18),
    "red": (0.68, 0.14, 0.12),
    "blue": (0.15, 0.28, 0.58),
    "orange": (0.85, 0.45, 0.12),
}


def describe(rng: np.random.Generator) -> Scene:
    """A housing with bores, pistons on a crankshaft, valves, bolts, manifolds and a flywheel; sometimes cut open."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=30, tilt_deg=3, scale=0.12, jitter=3)
    paint = str(rng.choice(list(COVERS)))
    plastic = scene.varied(Material("plastic", 55.0, COVERS[paint], texture=2, grain=20, band=15), 4)
    light = scene.varied(Material("aluminium", 100.0, (0.70, 0.72, 0.75), texture=3, grain=25, band=17), 4)
    iron = scene.varied(Material("cast iron", 152.0, (0.45, 0.40, 0.37), texture=3, grain=25, band=19), 4)
    steel = scene.varied(Material("steel", 212.0, (0.82, 0.80, 0.72), texture=3, grain=25, band=28), 5)

    engine = scene.whole("engine", ("motor", "engine block", "combustion engine"), ("metal", "mechanical"))
    housing = scene.part("housing", engine, ("engine casing", "block", "crankcase"), ("grey", "aluminium"))
    n = int(rng.integers(2, 5))
    pitch = min(240.0 / n, 84.0)
    bore, length = pitch * 0.36, pitch * n / 2 + 9
    centres = [(i - (n - 1) / 2) * pitch for i in range(n)]
    phases = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(n) / n

    block = box(length, 50, 58, rounding=7).moved(z=8) | box(length, 60, 36, rounding=8).moved(z=-72)
    head = box(length - 2, 46, 22, rounding=4).moved(z=88)
    fins = union([box(length + 3, 54, 2).moved(z=z) for z in (24.0, 36.0, 48.0)]) if rng.random() < 0.5 else None
    opened = box(400, 200, 400).moved(y=-200 - rng.uniform(0, 12), z=0) if rng.random() < 0.3 else None
    solid = block | head if fins is None else block | head | fins
    scene.paint(solid if opened is None else solid - opened, housing, light)
    inside = (housing,)
    scene.carve(box(length - 9, 51, 28, rounding=5).moved(z=-72), inside=inside)
    liners = scene.small("cylinders", housing, ("bores", "cylinder liners", "sleeves"), ("round", "hollow"))
    for x in centres:
        tube_wall = cylinder((x, 0, -46), (x, 0, 66), bore + 5)
        scene.paint(tube_wall if opened is None else tube_wall - opened, liners, iron, inside=inside)
        scene.carve(cylinder((x, 0, -52), (x, 0, 68), bore), inside=(housing, liners))
    pan = scene.small("oil pan", housing, ("sump", "oil tray"), ("metal",))
    tray = box(length - 6, 50, 10, rounding=6).moved(z=-116)
    scene.paint(tray if opened is None else tray - opened, pan, light)

    _pistons(scene, engine, centres, phases, bore, length, light_metal=iron, steel=steel)
    _valves(scene, rng, engine, housing, centres, pitch, steel=steel, plastic=plastic)
    _pipes(scene, rng, engine, centres, plastic=plastic, iron=iron)
    cover = scene.part("valve cover", engine, ("rocker cover", "top cover", "lid"), (paint, "plastic"))
    lid = box(length - 10, 34, 14, rounding=8).moved(z=122) - box(length - 15, 29, 12, rounding=6).moved(z=117)
    cap = cylinder((centres[0], 0, 134), (centres[0], 0, 144), 12, rounding=3)
    scene.paint(lid | cap, cover, plastic, keep=tuple(p.id for p in scene.parts if p.id != cover))

    bolts = scene.small("bolts", housing, ("screws", "fasteners", "head bolts"), ("threaded", "steel"))
    screws = []
    for x in np.linspace(-length + 9, length - 9, n + 1):
        for y in (-38.0, 38.0):
            screws.append(thread((x, y, 46), (x, y, 108), 5.5, pitch=7, depth=1.6))
            screws.append(cylinder((x, y, 108), (x, y, 117), 9.0))
            screws.append(cylinder((x, y * 1.48, -40), (x, y * 1.48, -30), 6.5))
    scene.paint(screws, bolts, steel)

    metal = [(plastic, 0.22), (light, 0.6), (iron, 0.7), (steel, 0.9)]
    scene.show("surface", metal)
    scene.show("contents", [(plastic, 0.02), (light, 0.03), (iron, 0.5), (steel, 0.9)])
    scene.show("steel", [(steel, 0.9)])
    scene.show("translucent", [(plastic, 0.06), (light, 0.08), (iron, 0.2), (steel, 0.6)])
    return scene


def _pistons(
    scene: Scene,
    engine: int,
    centres: list[float],
    phases: np.ndarray,
    bore: float,
    length: float,
    *,
    light_metal: Material,
    steel: Material,
) -> None:
    """Crankshaft with its webs, and a piston on a rod for each crank; a flywheel and a pulley at the ends."""
    shaft = scene.part("crankshaft", engine, ("crank", "main shaft"), ("steel", "rotating"))
    pistons = scene.part("pistons", engine, ("plungers", "piston"), ("cylindrical",))
    low, throw = -74.0, 19.0
    pieces = [cylinder((-length - 14, 0, low), (length + 8, 0, low), 8.5)]
    for i, (x, phase) in enumerate(zip(centres, phases, strict=True), start=1):
        py, pz = throw * float(np.sin(phase)), low + throw * float(np.cos(phase))
        for web in (x - 11, x + 11):
            middle = (0.58 * py, low + 0.58 * (pz - low))
            pieces.append(cylinder((web - 3.5, *middle), (web + 3.5, *middle), 23))
        pieces.append(cylinder((x - 10, py, pz), (x + 10, py, pz), 7.5))
        top = low + throw * np.cos(phase) + np.sqrt(92.0**2 - (throw * np.sin(phase)) ** 2)
        piston = scene.small(f"piston {i}", pistons, ("piston", "plunger"), ("cylindrical",))
        crown = cylinder((x, 0, top - 16), (x, 0, top + 16), bore - 0.8, rounding=1.5)
        grooves = union([torus(bore - 0.6, 1.5).moved(x, 0, top + h) for h in (4.0, 10.0)])
        hollow = cylinder((x, 0, top - 20), (x, 0, top + 4), bore - 6)
        scene.paint(crown - grooves - hollow, piston, light_metal)
        rod = scene.small(f"connecting rod {i}", pistons, ("connecting rod", "conrod"), ("steel", "slender"))
        ends = cylinder((x - 6, py, pz), (x + 6, py, pz), 12) | cylinder((x - 6, 0, top), (x + 6, 0, top), 8)
        scene.paint(ends | capsule((x, py, pz), (x, 0, top), 6, 5), rod, steel)
    scene.paint(pieces, shaft, steel, keep=tuple(p.id for p in scene.parts if p.name.startswith("connecting")))
    wheel = scene.part("flywheel", engine, ("balance wheel", "disc wheel", "starter wheel"), ("round", "heavy"))
    x = length + 8
    disc = cylinder((x, 0, low), (x + 13, 0, low), 50, rounding=2)
    holes = union([cylinder((x - 5, r[0], low + r[1]), (x + 20, r[0], low + r[1]), 7) for r in _ring(6, 31)])
    scene.paint(disc - holes, wheel, steel)
    pulley = scene.small("pulley", shaft, ("belt wheel", "sheave"), ("round", "grooved"))
    belt = torus(30, 4.5).turned(np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])).moved(-length - 10, 0, low)
    scene.paint(cylinder((-length - 17, 0, low), (-length - 3, 0, low), 30) - belt, pulley, light_metal)


def _ring(n: int, radius: Number) -> list[tuple[float, float]]:
    """n points on a circle."""
    return [(radius * float(np.cos(a)), radius * float(np.sin(a))) for a in 2 * np.pi * np.arange(n) / n]


def _valves(
    scene: Scene,
    rng: np.random.Generator,
    engine: int,
    housing: int,
    centres: list[float],
    pitch: float,
    *,
    steel: Material,
    plastic: Material,
) -> None:
    """Two valves and a spark plug above each bore, under a camshaft."""
    valves = scene.part("valves", engine, ("poppet valves", "inlet and exhaust valves", "valve"), ("steel", "slender"))
    cam = scene.small("camshaft", valves, ("cam shaft", "cams"), ("steel",))
    plugs = scene.small("spark plugs", housing, ("ignition plugs", "igniters"), ("ceramic",))
    lifts, stems, lobes = rng.uniform(0, 7, 2 * len(centres)), [], []
    for i, x in enumerate(centres):
        for j, side in enumerate((-1, 1)):
            vx, z = x + side * pitch * 0.17, 69 - lifts[2 * i + j]
            scene.carve(cylinder((vx, 0, z - 3), (vx, 0, 80), pitch * 0.15), inside=(housing,))
            stems.append(cylinder((vx, 0, z), (vx, 0, z + 42), 3.6))
            stems.append(cylinder((vx, 0, z - 2.5), (vx, 0, z + 2.5), pitch * 0.14, rounding=1))
            lobes.append(ellipsoid(5, 11, 7).moved(vx, 3, z + 50))
        scene.paint(cylinder((x, -46, 96), (x, -22, 80), 5) | ball(7).moved(x, -48, 98), plugs, plastic)
    scene.paint(stems, valves, steel)
    scene.paint(
        [cylinder((centres[0] - 20, 0, 116), (centres[-1] + 20, 0, 116), 5), *lobes], cam, steel, keep=(valves,)
    )


def _pipes(
    scene: Scene, rng: np.random.Generator, engine: int, centres: list[float], *, plastic: Material, iron: Material
) -> None:
    """Intake manifold in front, exhaust manifold behind; hollow."""
    pipes = scene.part("pipes", engine, ("tubes", "manifolds", "ducts"), ("hollow", "tubular"))
    for name, side, stuff, words in (
        ("intake pipes", -1, plastic, ("intake manifold", "inlet pipes")),
        ("exhaust pipes", 1, iron, ("exhaust manifold", "exhaust tubes")),
    ):
        part = scene.small(name, pipes, words, ("hollow", "curved"))
        drop = rng.uniform(-34, -14) if side > 0 else rng.uniform(8, 26)
        outer, inner = [], []
        far = 84.0
        for x in centres:
            path = [(x, side * 42, 86), (x, side * 66, 88), (x * 0.95, side * far, 84 + drop)]
            outer.append(tube(path, 11.5, n=8))
            inner.append(tube([(x, side * 40, 86), *path[1:]], 7.5, n=8))
        end = 24 * rng.choice([-1, 1])
        run = [
            (centres[0] - 6, side * far, 84 + drop),
            (0, side * (far + 4), 84 + drop),
            (centres[-1] + 6, side * far, 84 + drop),
        ]
        down = [(end, side * far, 84 + drop), (end, side * (far + 16), 50 + drop), (end, side * (far + 16), -30 + drop)]
        outer += [tube(run, 14, n=10), *([tube(down, 13, n=10)] if side > 0 else [])]
        inner += [
            tube(run, 9.5, n=10),
            *([tube([*down[:2], (end, side * (far + 16), -60)], 9, n=10)] if side > 0 else []),
        ]
        before = tuple(p.id for p in scene.parts if p.id != part)
        scene.paint(outer, part, stuff, keep=before)
        scene.carve(Shape(union(inner).solids), inside=(part,))
