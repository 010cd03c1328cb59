"""A threaded fastening or fitting as an industrial CT shows it (native values 0-255): the axis stands up."""

from __future__ import annotations

import numpy as np

from voxlang.volume.phantoms.language import Number, Shape, rotation
from voxlang.volume.phantoms.primitives import ball, box, cylinder, ellipsoid, helix, lathe, thread, torus
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (84.0, 84.0, 126.0)
SIZE_XYZ = (96, 96, 144)
PROMPTS = ("bolt", "bolt head", "shank", "thread", "nut", "washer", "gasket", "plate")
AIR = Material("air", 5.0, (0.0, 0.0, 0.0))
METALS = {
    "steel": (0.72, 0.73, 0.76),
    "brass": (0.83, 0.66, 0.28),
    "copper": (0.78, 0.47, 0.30),
    "black oxide": (0.22, 0.22, 0.25),
}
PLASTICS = {
    "red": (0.75, 0.15, 0.13),
    "blue": (0.16, 0.32, 0.68),
    "white": (0.90, 0.90, 0.87),
    "green": (0.20, 0.50, 0.30),
}
HEADS = ("hexagonal", "cylindrical", "countersunk", "domed")
TOP, END = 38.0, -56.0


def describe(rng: np.random.Generator) -> Scene:
    """A bolt with head, shank and thread, washers, a nut and often the plates it holds; hollow ones are fittings."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=180, tilt_deg=12, scale=0.15, jitter=2)
    metal, tint = str(rng.choice(list(METALS))), str(rng.choice(list(PLASTICS)))
    stuff = {
        "rubber": Material("plastic", 58.0, PLASTICS[tint], texture=2, grain=12, band=14),
        "plate": Material("aluminium", 105.0, (0.62, 0.66, 0.72), texture=2, grain=12, band=15),
        "nut": Material("nut metal", 158.0, METALS[str(rng.choice(list(METALS)))], texture=2, grain=12, band=16),
        "bolt": Material("bolt metal", 215.0, METALS[metal], texture=2, grain=12, band=20),
    }
    stuff = {name: scene.varied(material, 5) for name, material in stuff.items()}

    kind = str(rng.choice(HEADS))
    radius = rng.uniform(9.0, 14.5)
    bolt = scene.whole("bolt", ("screw bolt", "threaded fastener", "machine screw"), ("mechanical", metal))
    head = scene.part("bolt head", bolt, ("head of the bolt", "screw head", "cap of the bolt"), (kind, metal))
    shank = scene.part("shank", bolt, ("shaft", "bolt shank", "bolt body"), ("cylindrical", metal))
    winding = scene.part("thread", bolt, ("screw thread", "threading", "threaded section"), ("helical", metal))

    split = rng.uniform(4, 16)
    pitch, depth = rng.uniform(4.0, 6.5), rng.uniform(1.7, 2.4)
    scene.paint(cylinder((0, 0, split), (0, 0, TOP), radius), shank, stuff["bolt"])
    scene.paint(thread((0, 0, END + 3), (0, 0, split), radius, pitch=pitch, depth=depth), winding, stuff["bolt"])
    tip = scene.small("tip", winding, ("point of the bolt", "chamfer", "bolt end"), ("conical",))
    scene.paint(lathe([(END, radius - depth - 2.5), (END + 4.0, radius - depth)]), tip, stuff["bolt"])
    ridge = scene.small("thread ridge", winding, ("screw ridge", "thread crest"), ("helical", "sharp"))
    turns = np.floor((split - END - 3) / 2 / pitch)
    crest = helix(radius - 0.5, pitch, 2 * turns, 0.24 * pitch).moved(z=(split + END + 3) / 2 - turns * pitch)
    scene.paint(crest, ridge, stuff["bolt"], inside=(winding,))
    _head(scene, head, stuff["bolt"], kind, radius)
    kept = (shank, winding, tip, ridge)
    low = _stack(scene, bolt, stuff, tint, radius, keep=kept)
    _nut(scene, bolt, stuff, radius, low, keep=kept)
    if rng.random() < 0.35:
        bore = scene.small("bore", shank, ("through hole", "inner channel", "bore wall"), ("hollow",))
        scene.paint(cylinder((0, 0, END), (0, 0, TOP), radius * 0.55), bore, stuff["bolt"])
        scene.carve(cylinder((0, 0, END - 2), (0, 0, 70), radius * 0.4))
    if rng.random() < 0.3:
        knife = box(60, 60, 90).moved(y=-60)
        scene.carve(knife if rng.random() < 0.4 else knife & box(60, 80, 90).moved(x=60))

    for look, alphas in (
        ("surface", (0.25, 0.35, 0.45, 0.95)),
        ("contents", (0.02, 0.02, 0.05, 0.9)),
        ("translucent", (0.05, 0.06, 0.1, 0.35)),
    ):
        scene.show(look, list(zip(stuff.values(), alphas, strict=True)))
    scene.show("bolt alone", [(stuff["bolt"], 0.9)])
    return scene


def _prism(radius: Number, low: Number, high: Number, sides: int = 6) -> Shape:
    """Regular prism about z; the radius is that of the inscribed circle."""
    block = box(2 * radius, 2 * radius, (high - low) / 2).moved(z=(low + high) / 2)
    for a in np.radians(360 / sides) * np.arange(sides):
        block = block.cut((np.cos(a), np.sin(a), 0), radius)
    return block


def _head(scene: Scene, head: int, metal: Material, kind: str, radius: float) -> None:
    """A head with a recess for the tool, or a hexagon with a flange."""
    rng = scene.rng
    tall = radius * rng.uniform(1.0, 1.3)
    if kind == "hexagonal":
        cap = ellipsoid(2.0 * radius, 2.0 * radius, tall + 3).moved(z=TOP)
        scene.paint(_prism(1.6 * radius, TOP, TOP + tall) & cap, head, metal)
        flange = scene.small("head flange", head, ("collar of the head", "washer face"), ("round",))
        scene.paint(cylinder((0, 0, TOP), (0, 0, TOP + 3), 1.95 * radius, rounding=1), flange, metal)
        return
    if kind == "cylindrical":
        shape = cylinder((0, 0, TOP), (0, 0, TOP + tall), 1.6 * radius, rounding=1.5)
        for a in np.arange(0, 360, 15) if rng.random() < 0.5 else ():
            shape = shape - cylinder((1.66 * radius, 0, TOP + 3), (1.66 * radius, 0, TOP + tall), 1.0).turned(
                rotation(z_deg=a)
            )
    elif kind == "countersunk":
        shape = lathe([(TOP, radius), (TOP + 0.8 * tall, 2.0 * radius), (TOP + 0.8 * tall + 2, 2.0 * radius)])
        tall = 0.8 * tall + 2
    else:
        shape = ellipsoid(1.8 * radius, 1.8 * radius, tall).moved(z=TOP).cut((0, 0, -1), -TOP)
    drive = scene.small("socket", head, ("drive recess", "tool recess", "screwdriver slot"), ("hollow",))
    scene.paint(shape, head, metal)
    floor, high = TOP + 0.35 * tall, TOP + tall + 2
    style = str(rng.choice(["hex", "slot", "cross"]))
    if style == "hex":
        key = _prism(0.75 * radius, floor, high)
    else:
        key = box(1.3 * radius, 1.6, (high - floor) / 2).moved(z=(high + floor) / 2)
        key = key if style == "slot" else key | key.turned(rotation(z_deg=90))
    scene.paint(key.grown(1.3), drive, metal, inside=(head,))
    scene.carve(key)


def _stack(
    scene: Scene, bolt: int, stuff: dict[str, Material], tint: str, radius: float, *, keep: tuple[int, ...]
) -> float:
    """Washers, a gasket and clamped plates from the head downwards; returns the height where they end."""
    rng = scene.rng
    z = TOP
    washer = scene.part("washer", bolt, ("washers", "flat ring", "metal disc"), ("round", "flat"))
    hole = cylinder((0, 0, -70), (0, 0, 70), radius + 0.3)
    wide = radius * rng.uniform(2.05, 2.4)
    scene.paint(cylinder((0, 0, z - 2.6), (0, 0, z), wide, rounding=0.6) - hole, washer, stuff["nut"], keep=keep)
    z -= 2.6
    if rng.random() < 0.5:
        spring = scene.small("lock washer", washer, ("spring washer", "split ring"), ("springy",))
        ring = cylinder((0, 0, z - 3.0), (0, 0, z), radius * 1.6) - hole
        gap = box(10, 1.2, 4).turned(rotation(x_deg=25)).moved(x=radius * 1.5, z=z - 1.5)
        scene.paint(ring - gap.turned(rotation(z_deg=rng.uniform(0, 360))), spring, stuff["bolt"], keep=keep)
        z -= 3.0
    gasket = scene.part("gasket", bolt, ("seal", "sealing ring", "o-ring"), (tint, "rubber"))
    thick = rng.uniform(1.8, 2.8)
    scene.paint(torus(radius + thick + 1.5, thick).moved(z=z - thick) - hole, gasket, stuff["rubber"], keep=keep)
    z -= 2 * thick
    if rng.random() < 0.55:
        plate = scene.part("plate", bolt, ("clamped sheet", "flange plate", "bracket"), ("flat", "aluminium"))
        eyes = scene.small("mounting holes", plate, ("screw holes", "hole edges"), ("round",))
        for _ in range(int(rng.integers(1, 3))):
            t = rng.uniform(4, 6.5)
            sheet = box(rng.uniform(24, 29), rng.uniform(24, 29), t / 2, rounding=1).moved(z=z - t / 2)
            scene.paint(sheet - hole, plate, stuff["plate"], keep=keep)
            z -= t
        corners = [(sx * 19.0, sy * 19.0) for sx in (-1, 1) for sy in (-1, 1)]
        scene.paint([cylinder((x, y, z), (x, y, TOP), 4.4) for x, y in corners], eyes, stuff["plate"], inside=(plate,))
        scene.carve([cylinder((x, y, z - 1), (x, y, TOP), 3.1) for x, y in corners], inside=(eyes, plate))
    return z


def _nut(
    scene: Scene, bolt: int, stuff: dict[str, Material], radius: float, low: float, *, keep: tuple[int, ...]
) -> None:
    """A hexagonal, square, wing or cap nut, tight below the stack or loose on the thread; its turns mesh."""
    rng = scene.rng
    kind = str(rng.choice(["hexagonal", "square", "wing", "cap"], p=[0.45, 0.2, 0.2, 0.15]))
    nut = scene.part("nut", bolt, ("screw nut", "threaded nut", "lock nut"), (kind, "metal"))
    tall = radius * rng.uniform(1.3, 1.6)
    z1 = min(low - (0.0 if rng.random() < 0.6 else rng.uniform(3, 9)), 12.0)
    z0 = z1 - tall
    if kind == "cap":
        z0, z1 = END + 10.0, END + 10.0 + tall
    within = cylinder((0, 0, -70), (0, 0, 70), radius - 3.5)
    if kind == "wing":
        body = lathe([(z0, 1.35 * radius), (z1, 1.7 * radius)])
        wings = scene.small("wings", nut, ("ears of the nut", "thumb tabs"), ("flat",))
        tab = ellipsoid(9, 2.2, tall * 0.9).turned(rotation(y_deg=25)).moved(1.9 * radius, 0, z0 + 1)
        tabs = (tab | tab.turned(rotation(z_deg=180))).turned(rotation(z_deg=rng.uniform(0, 180)))
        scene.paint(tabs, wings, stuff["nut"], keep=keep)
    else:
        body = _prism(1.6 * radius, z0, z1, 4 if kind == "square" else 6)
        body = body & cylinder((0, 0, z0), (0, 0, z1), 1.85 * radius, rounding=2)
    scene.paint(body - within, nut, stuff["nut"], keep=keep)
    if kind == "cap":
        dome = scene.small("dome", nut, ("rounded cap", "dome of the nut"), ("round",))
        cap = ball(1.35 * radius).moved(z=z0).cut((0, 0, 1), z0) & box(40, 40, 61).moved(z=0)
        scene.paint(cap - ball(1.1 * radius).moved(z=z0), dome, stuff["nut"], keep=keep)
    insert = scene.small("nylon insert", nut, ("locking ring", "plastic insert"), ("plastic",))
    ring = torus(radius * 1.12, 1.7).moved(z=z0 + 1.6)
    scene.paint(ring, insert, stuff["rubber"], keep=keep)
