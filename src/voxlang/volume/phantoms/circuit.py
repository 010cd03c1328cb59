"""Circuit board as a micro-CT of electronics shows it (native values 0-255): components up."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from voxlang.volume.phantoms.language import Number, Shape, rotation, union
from voxlang.volume.phantoms.primitives import ball, box, capsule, cylinder, torus
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (88.0, 76.0, 27.5)
SIZE_XYZ = (160, 138, 50)
PROMPTS = ("circuit board", "board", "chips", "pins", "capacitors", "resistors", "connector", "traces")
AIR = Material("air", 4.0, (0.0, 0.0, 0.0))
BOARDS = {
    "green": (0.10, 0.42, 0.22),
    "blue": (0.12, 0.25, 0.55),
    "red": (0.60, 0.12, 0.12),
    "black": (0.13, 0.13, 0.14),
}
CASES = {"black": (0.18, 0.18, 0.19), "grey": (0.50, 0.50, 0.52), "beige": (0.76, 0.70, 0.58)}
TOP = -6.0
"""Height of the board's upper face, mm."""


@dataclass
class _Plan:
    """Free places on the board."""

    rng: np.random.Generator
    half_x: float
    half_y: float
    taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    def place(self, hx: float, hy: float, *, tries: int = 60) -> tuple[float, float] | None:
        """Centre of a free rectangle of these half edges, or None when there is no room."""
        for _ in range(tries):
            x = self.rng.uniform(-self.half_x + hx + 2.5, self.half_x - hx - 2.5)
            y = self.rng.uniform(-self.half_y + hy + 2.5, self.half_y - hy - 2.5)
            if self.claim(x, y, hx, hy):
                return float(x), float(y)
        return None

    def claim(self, x: float, y: float, hx: float, hy: float) -> bool:
        """Take a rectangle unless it touches one that is taken."""
        free = all(abs(x - a) > hx + c + 0.9 or abs(y - b) > hy + d + 0.9 for a, b, c, d in self.taken)
        if free:
            self.taken.append((float(x), float(y), hx, hy))
        return free


def describe(rng: np.random.Generator) -> Scene:
    """A board with chips, passive components, a connector, tracks and solder, laid out anew for every seed."""
    scene = Scene(rng, AIR, (0.0, 255.0), noise=3.0)
    scene.placed(yaw_deg=18, tilt_deg=5, scale=0.1, jitter=0.5)
    colour, case = str(rng.choice(list(BOARDS))), str(rng.choice(list(CASES)))
    glass = scene.varied(Material("laminate", 58, BOARDS[colour], texture=2.5, grain=3, band=14), 3)
    epoxy = scene.varied(Material("plastic", 96, CASES[case], texture=2, grain=6, band=14), 3)
    ceramic = scene.varied(Material("ceramic", 136, (0.80, 0.66, 0.42), texture=2, grain=6, band=14), 3)
    copper = scene.varied(Material("copper", 182, (0.85, 0.52, 0.28), texture=2, grain=6, band=18), 3)
    tin = scene.varied(Material("solder", 232, (0.82, 0.84, 0.86), texture=2, grain=6, band=20), 3)

    whole = scene.whole("circuit board", ("printed circuit board", "electronics module", "pcb"), (colour, "electronic"))
    board = scene.part("board", whole, ("substrate", "circuit card", "laminate"), (colour, "flat"))
    plan = _Plan(rng, rng.uniform(27, 33), rng.uniform(20, 25))
    slab = box(plan.half_x, plan.half_y, 1.1, rounding=0.5).moved(z=TOP - 1.1)
    scene.paint(slab, board, glass)
    rings = scene.small("fixing holes", board, ("mounting rings", "screw eyes"), ("round",))
    corners = [(sx * (plan.half_x - 3.2), sy * (plan.half_y - 3.2)) for sx in (-1, 1) for sy in (-1, 1)]
    for x, y in corners:
        plan.claim(x, y, 3.0, 3.0)
    scene.paint([cylinder((x, y, TOP - 2.3), (x, y, TOP + 0.2), 2.8) for x, y in corners], rings, copper)
    scene.carve([cylinder((x, y, TOP - 3), (x, y, TOP + 1), 1.7) for x, y in corners])

    _connector(scene, plan, whole, epoxy, tin)
    pads = _chips(scene, plan, whole, epoxy, ceramic, tin, copper)
    pads += _passives(scene, plan, whole, epoxy, ceramic, tin, copper)
    _traces(scene, plan, whole, pads, copper, keep=tuple(p.id for p in scene.parts if p.id != board))

    scene.show("surface", [(glass, 0.5), (epoxy, 0.6), (ceramic, 0.6), (copper, 0.8), (tin, 0.95)])
    scene.show("contents", [(glass, 0.02), (epoxy, 0.03), (ceramic, 0.15), (copper, 0.5), (tin, 0.9)])
    scene.show("metal", [(copper, 0.7), (tin, 0.95)])
    scene.show("translucent", [(glass, 0.08), (epoxy, 0.07), (ceramic, 0.1), (copper, 0.25), (tin, 0.6)])
    return scene


def _connector(scene: Scene, plan: _Plan, whole: int, epoxy: Material, tin: Material) -> None:
    """A pin header or a socket at the edge."""
    rng = scene.rng
    half = rng.uniform(7, 11)
    edge = float(rng.choice([-1, 1]))
    x, y = rng.uniform(-1, 1) * (plan.half_x - half - 7), edge * (plan.half_y - 3.6)
    plan.claim(x, y, half, 4.0)
    plug = scene.part("connector", whole, ("header", "port", "plug connector"), ("plastic",))
    pins = scene.small("connector pins", plug, ("header pins", "plug contacts"), ("metal", "thin"))
    if rng.random() < 0.5:
        shell = box(half, 3.4, 3.4, rounding=0.4) - box(half - 1.3, 2.1, 3.4).moved(z=1.6)
        high = TOP + 4.6
    else:
        shell, high = box(half, 2.8, 1.4, rounding=0.3).moved(z=-2.0), TOP + 7.5
    scene.paint(shell.moved(x, y, TOP + 3.4), plug, epoxy)
    n = int(2 * (half - 1.4) / 2.2)
    spots = [(x + (i - (n - 1) / 2) * 2.2, y + dy) for i in range(n) for dy in (-1.1, 1.1)]
    scene.paint([box(0.42, 0.42, (high - TOP + 4) / 2).moved(a, b, (high + TOP - 4) / 2) for a, b in spots], pins, tin)


def _chips(
    scene: Scene, plan: _Plan, whole: int, epoxy: Material, ceramic: Material, tin: Material, copper: Material
) -> list[tuple[float, float]]:
    """A ball-grid chip, then ones with legs; returns where tracks may end."""
    rng = scene.rng
    chips = scene.part("chips", whole, ("integrated circuits", "microchips", "processors"), ("square", "plastic"))
    legs = scene.small("pins", chips, ("chip legs", "leads", "terminals"), ("metal", "thin"))
    dies = scene.small("dies", chips, ("silicon dies", "chip cores"), ("inner",))
    solder = scene.part("solder", whole, ("solder joints", "soldering", "joints"), ("metal", "shiny"))
    balls = scene.small("solder balls", solder, ("ball grid", "solder bumps"), ("round", "metal"))
    pads, feet, cores, number = [], [], [], 0
    for kind in ("grid", "quad", str(rng.choice(["dual", "quad"])), str(rng.choice(["dual", "grid"]))):
        hx = rng.uniform(6, 8) if kind == "grid" else rng.uniform(4, 6)
        hy = rng.uniform(2.4, 3.2) if kind == "dual" else hx
        hx = rng.uniform(5, 7.5) if kind == "dual" else hx
        at = plan.place(hx + 1.6, hy + 1.6)
        if at is None:
            continue
        x, y = at
        number += 1
        chip = scene.small(f"chip {number}", chips, ("microchip", "integrated circuit", "chip package"), ("flat",))
        lift = 1.5 if kind == "grid" else 0.7
        tall = rng.uniform(0.9, 1.3) if kind != "dual" else rng.uniform(1.3, 1.8)
        scene.paint(box(hx, hy, tall, rounding=0.3).moved(x, y, TOP + lift + tall), chip, epoxy)
        cores.append(box(hx * 0.45, hy * 0.45, 0.45).moved(x, y, TOP + lift + tall * 0.9))
        if kind == "grid":
            n = int(2 * (hx - 0.8) / 1.9)
            line = (np.arange(n) - (n - 1) / 2) * 1.9
            grid = [ball(0.78).moved(x + a, y + b, TOP + 0.75) for a in line for b in line]
            scene.paint(grid, balls, tin)
            pads += [(x + hx * s, y) for s in (-1, 1)]
            if rng.random() < 0.4:
                _heat_sink(scene, whole, copper, x, y, hx, TOP + lift + 2 * tall)
            continue
        for out_x, out_y, reach, along in ((0, 1, hy, hx), (0, -1, hy, hx), (1, 0, hx, hy), (-1, 0, hx, hy)):
            if kind == "dual" and out_x:
                continue
            n = int(2 * (along - 0.4) / 1.5)
            for s in (np.arange(n) - (n - 1) / 2) * 1.5:
                a, b = x + out_x * reach + abs(out_y) * s, y + out_y * reach + abs(out_x) * s
                tip = (a + 1.5 * out_x, b + 1.5 * out_y)
                feet.append(capsule((a, b, TOP + lift + tall * 0.8), (*tip, TOP + 0.35), 0.42))
                pads.append(tip)
    scene.paint(feet, legs, tin, keep=tuple(p.id for p in scene.parts if p.name.startswith("chip ")))
    scene.paint(cores, dies, ceramic)
    return pads


def _heat_sink(scene: Scene, whole: int, metal: Material, x: float, y: float, half: float, low: float) -> None:
    """A block of fins on a chip."""
    if any(p.name == "heat sink" for p in scene.parts):
        return
    sink = scene.part("heat sink", whole, ("cooler", "radiator of the chip", "cooling block"), ("metal", "finned"))
    fins = scene.small("cooling fins", sink, ("fins of the cooler", "ribs of the cooler"), ("thin", "parallel"))
    scene.paint(box(half * 0.9, half * 0.9, 0.8).moved(x, y, low + 0.8), sink, metal)
    line = np.arange(-half * 0.8, half * 0.85, 2.2)
    scene.paint([box(0.55, half * 0.9, 2.2).moved(x + s, y, low + 3.4) for s in line], fins, metal, keep=(sink,))


def _passives(
    scene: Scene, plan: _Plan, whole: int, epoxy: Material, ceramic: Material, tin: Material, copper: Material
) -> list[tuple[float, float]]:
    """Capacitors (cans), resistors (blocks with metal ends), sometimes a coil; returns where tracks may end."""
    rng = scene.rng
    cans = scene.part("capacitors", whole, ("condensers", "electrolytic cans", "capacitor bank"), ("cylindrical",))
    joints = next(p.id for p in scene.parts if p.name == "solder")
    pads: list[tuple[float, float]] = []
    for i in range(1, int(rng.integers(3, 6))):
        r = rng.uniform(2.2, 3.8)
        at = plan.place(r, r)
        if at is None:
            continue
        x, y = at
        high = TOP + rng.uniform(5.5, 11)
        can = scene.small(f"capacitor {i}", cans, ("condenser", "electrolytic capacitor"), ("cylindrical", "round"))
        body = cylinder((x, y, TOP + 0.4), (x, y, high), r, rounding=0.5)
        groove = torus(r, 0.45).moved(x, y, TOP + 2.0)
        scene.paint(body - groove, can, ceramic)
        scene.paint([ball(0.9).moved(x + s * r * 0.5, y, TOP - 2.2) for s in (-1, 1)], joints, tin)
        pads += [(x + r, y), (x - r, y)]
    if rng.random() < 0.6 and (at := plan.place(4.6, 4.6)) is not None:
        coil = scene.part("inductor", whole, ("choke", "coil", "ferrite ring"), ("round",))
        turns = scene.small("winding", coil, ("copper winding", "wire turns"), ("copper", "coiled"))
        ring = torus(3.0, 1.3).moved(*at, TOP + 1.8)
        scene.paint(ring, coil, epoxy)
        loop = torus(1.55, 0.42).turned(rotation(x_deg=90)).moved(x=3.0)
        loops = [loop.turned(rotation(z_deg=a)) for a in range(0, 300, 27)]
        scene.paint(union(loops).moved(*at, TOP + 1.8), turns, copper, keep=(coil,))
    blocks = scene.part("resistors", whole, ("chip resistors", "small blocks", "resistor array"), ("small", "boxy"))
    ends = scene.small("end caps", blocks, ("metal ends", "terminations"), ("metal",))
    caps: list[Shape] = []
    for i in range(1, int(rng.integers(9, 16))):
        long, wide = (2.4, 1.3) if rng.random() < 0.5 else (1.3, 2.4)
        at = plan.place(long, wide)
        if at is None:
            continue
        x, y = at
        block = scene.small(f"resistor {i}", blocks, ("chip resistor", "surface-mount block"), ("small",))
        scene.paint(box(long, wide, 0.9).moved(x, y, TOP + 0.9), block, ceramic)
        across = long < wide
        step = (0.0, 2.0) if across else (2.0, 0.0)
        for s in (-1, 1):
            end = (x + s * step[0], y + s * step[1])
            caps.append(box(1.4 if across else 0.7, 0.7 if across else 1.4, 1.0).moved(*end, TOP + 0.9))
            pads.append(end)
    scene.paint(caps, ends, tin)
    return pads


def _traces(
    scene: Scene,
    plan: _Plan,
    whole: int,
    pads: list[tuple[float, float]],
    copper: Material,
    *,
    keep: tuple[int, ...],
) -> None:
    """Tracks on both faces, each a few straight runs between two pads, with plated holes where they change sides."""
    rng = scene.rng
    traces = scene.part("traces", whole, ("conductor tracks", "copper tracks", "printed wires"), ("copper", "thin"))
    vias = scene.small("vias", traces, ("plated holes", "through contacts"), ("round", "tiny"))
    order = rng.permutation(len(pads))[: 2 * min(24, len(pads) // 2)]
    tracks, holes = [], []
    for i, j in order.reshape(-1, 2):
        (ax, ay), (bx, by) = pads[int(i)], pads[int(j)]
        corner = (bx, ay) if rng.random() < 0.5 else (ax, by)
        faces = (TOP, TOP - 2.2) if rng.random() < 0.5 else (TOP, TOP)
        for (px, py), (qx, qy), z in (((ax, ay), corner, faces[0]), (corner, (bx, by), faces[1])):
            tracks.append(_run(px, py, qx, qy, z))
        if faces[0] != faces[1]:
            holes += [cylinder((x, y, TOP - 2.5), (x, y, TOP + 0.3), 0.95) for x, y in (corner, (bx, by))]
    edge = box(plan.half_x - 0.7, plan.half_y - 0.7, 20)
    scene.paint(union(tracks) & edge, traces, copper, keep=keep)
    if not holes:
        holes = [cylinder((*pads[0], TOP - 2.5), (*pads[0], TOP + 0.3), 0.95)]
    scene.paint(holes, vias, copper, keep=keep)


def _run(px: Number, py: Number, qx: Number, qy: Number, z: Number) -> Shape:
    """A straight track, 1.2 mm wide, half sunk into a face of the board."""
    hx, hy = abs(qx - px) / 2 + 0.6, abs(qy - py) / 2 + 0.6
    return box(hx, hy, 0.6).moved((px + qx) / 2, (py + qy) / 2, z)
