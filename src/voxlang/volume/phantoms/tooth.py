"""Tooth as a micro-CT shows it (native values 0-255): crown up, roots down."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Shape, rotation, smooth_union, union
from voxlang.volume.phantoms.primitives import ellipsoid, loft, tube
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (16.0, 14.4, 25.6)
SIZE_XYZ = (80, 72, 128)
PROMPTS = ("tooth", "enamel", "dentin", "pulp", "roots", "root canals")
AIR = Material("air", 6.0, (0.0, 0.0, 0.0))
KINDS = {
    # (radius x, radius y, height, cusps at (x, y), roots at (x, y) spreading outwards)
    "molar": (4.9, 4.5, 6.6, ((2.3, 2.0), (-2.3, 2.0), (2.3, -2.0), (-2.3, -2.0)), ((2.3, 0.0), (-2.3, 0.0))),
    "upper molar": (
        4.8,
        4.7,
        6.4,
        ((2.2, 2.1), (-2.2, 2.1), (2.2, -2.1), (-2.2, -2.1)),
        ((2.2, -1.6), (-2.2, -1.6), (0.0, 2.1)),
    ),
    "premolar": (3.6, 4.3, 7.4, ((0.0, 2.0), (0.0, -2.0)), ((0.0, 1.2), (0.0, -1.2))),
    "canine": (3.6, 3.8, 8.6, ((0.0, 0.0),), ((0.0, 0.0),)),
    "incisor": (4.2, 3.2, 9.0, ((1.8, 0.0), (0.0, 0.0), (-1.8, 0.0)), ((0.0, 0.0),)),
}


def describe(rng: np.random.Generator) -> Scene:
    """A molar, premolar, canine or incisor: enamel over dentin, pulp with canals, one to three roots."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=40, tilt_deg=6, scale=0.12, jitter=0.25)
    kind = str(rng.choice(list(KINDS), p=[0.3, 0.25, 0.2, 0.12, 0.13]))
    rx, ry, height, cusps, feet = KINDS[kind]
    soft = scene.varied(Material("pulp", 58.0, (0.80, 0.25, 0.25), texture=3, grain=1.5, band=17), 3)
    shade = (0.92, 0.82, 0.55) if rng.random() < 0.6 else (0.85, 0.70, 0.45)
    core = scene.varied(Material("dentin", 140.0, shade, texture=4, grain=1.2, band=26), 5)
    hard = scene.varied(Material("enamel", 208.0, (0.96, 0.95, 0.90), texture=3, grain=2.5, band=22), 4)

    tooth = scene.whole("tooth", ("human tooth", "dental specimen", "fang"), (kind,))
    enamel = scene.part("enamel", tooth, ("crown", "tooth cap", "white outer layer"), ("white", "hardest"))
    dentin = scene.part("dentin", tooth, ("dentine", "ivory", "tooth core"), ("yellow",))
    roots = scene.part("roots", tooth, ("tooth roots", "root", "legs of the tooth"), ("pointed",))
    pulp = scene.part("pulp", tooth, ("dental pulp", "tooth nerve", "nerve"), ("soft", "red"))

    crown = _crown(rng, rx, ry, height, cusps, blade=kind == "incisor")
    neck = loft(
        [(-4.2, 0, 0, rx * 0.66, ry * 0.68), (-1.0, 0, 0, rx * 0.76, ry * 0.78), (1.2, 0, 0, rx * 0.8, ry * 0.8)]
    )
    scene.paint(neck, dentin, core)
    reach = -rng.uniform(10.0, 12.2)
    paths = []
    for i, (x, y) in enumerate(feet, start=1):
        spread = rng.uniform(0.7, 1.7) if len(feet) > 1 else 1.0
        drift = rng.normal(0, 0.35, 2)
        path = np.array(
            [
                (x * 0.48, y * 0.48, -1.5),
                (x * 0.9 * spread**0.5, y * 0.9 * spread**0.5, -5.0),
                (x * spread + drift[0], y * spread + drift[1], reach * 0.8),
                (x * spread * 0.92 + 2 * drift[0], y * spread * 0.92 + 2 * drift[1], reach + rng.uniform(-0.5, 0.8)),
            ]
        )
        thick = 2.05 if len(feet) > 1 else min(rx, ry) * 0.66
        root = scene.small(f"root {i}", roots, ("tooth root", "root branch"), ("pointed",))
        shape = tube(path, (thick, thick, thick * 0.7, 0.55), n=18)
        scene.paint(shape.cut((0, 0, 1), -2.4), root, core)
        paths.append(path)
    scene.paint(crown.cut((0, 0, -1), 0.9), enamel, hard)
    inner = crown.grown(-rng.uniform(0.95, 1.35)) | neck.grown(-0.5).cut((0, 0, -1), 1.0)
    scene.paint(inner, dentin, core, inside=(enamel,))

    chamber = scene.small("pulp chamber", pulp, ("pulp cavity", "tooth chamber"), ("soft",))
    canals = scene.small("root canals", pulp, ("root canal", "nerve canals"), ("thin", "tubular"))
    hole = rng.uniform(0.42, 0.6)
    scene.paint([tube(p, (hole * 1.5, hole * 1.15, hole, hole * 0.7), n=16) for p in paths], canals, soft)
    room = ellipsoid(rx * 0.44, ry * 0.44, 1.7).moved(z=-0.2)
    horns = [
        tube([(0, 0, 0), (x * 0.55, y * 0.55, 1.2), (x * 0.75, y * 0.75, 2.6)], (0.9, 0.7, 0.3), n=5) for x, y in cusps
    ]
    scene.paint(room | union(horns), chamber, soft)

    looks = [(core, 0.35), (hard, 0.9)]
    if len(cusps) >= 2 and kind != "incisor" and rng.random() < 0.4:
        metal = Material("metal", 246.0, (0.62, 0.64, 0.68), texture=1, grain=3, band=12)
        filling = scene.small("filling", enamel, ("dental filling", "amalgam", "inlay"), ("metallic",))
        pit = ellipsoid(rx * 0.45, ry * 0.4, 1.7).moved(rng.uniform(-0.5, 0.5), 0.2, height - 1.3)
        scene.paint(pit.wobbled(rng, 0.25, 2.5), filling, metal, inside=(enamel, dentin))
        looks.append((metal, 0.95))
    scene.show("surface", looks)
    scene.show("contents", [(soft, 0.25), (core, 0.03), (hard, 0.04), *looks[2:]])
    scene.show("enamel", [(hard, 0.9), *looks[2:]])
    scene.show("dentin", [(core, 0.5)])
    return scene


def _crown(
    rng: np.random.Generator,
    rx: float,
    ry: float,
    height: float,
    cusps: tuple[tuple[float, float], ...],
    *,
    blade: bool,
) -> Shape:
    """Outer form of the crown: a squarish barrel that ends in cusps, or in a blade."""
    if blade:
        rows = [(-1.5, 0, 0, rx * 0.72, ry * 0.82), (0.6, 0, 0, rx * 0.8, ry * 0.86)]
        rows += [(height * 0.5, 0, 0, rx, ry * 0.6), (height, 0, -0.3, rx * 1.02, ry * 0.2)]
        return loft(rows, power=2.3).wobbled(rng, 0.15, 5)
    top = 0.86 if len(cusps) > 1 else 0.35
    rows = [(-1.5, 0, 0, rx * 0.78, ry * 0.8), (0.5, 0, 0, rx * 0.86, ry * 0.88), (height * 0.45, 0, 0, rx, ry)]
    rows += [(height * 0.82, 0, 0, rx * top, ry * top), (height * 0.92, 0, 0, rx * top * 0.6, ry * top * 0.6)]
    body = loft(rows, power=2.6 if len(cusps) == 4 else 2.1)
    for x, y in cusps:
        lift = rng.uniform(-0.4, 0.3)
        size = (1.9, 1.9, 2.3) if len(cusps) > 1 else (1.9, 1.9, 3.4)
        lean = rotation(x_deg=float(4 * y), y_deg=float(-4 * x))
        body = smooth_union(body, ellipsoid(*size).turned(lean).moved(x, y, height * 0.72 + lift), 1.0)
    return body.wobbled(rng, 0.12, 3)
