"""Flame with its smoke as a simulation or a tomogram of temperature shows it (kelvin): no objects, only a field.

All parts but the named regions follow from the field's own values: smoke, mantle, core and hot spots are what lies
above a temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from voxlang.volume.phantoms.language import union, waves
from voxlang.volume.phantoms.primitives import box, torus
from voxlang.volume.phantoms.scene import Material, Scene

BOX_MM = (90.0, 90.0, 140.0)
SIZE_XYZ = (96, 96, 150)
PROMPTS = ("flame", "core", "mantle", "smoke", "hot spots", "flame tips", "vortices")
AIR = Material("air", 300.0, (0.0, 0.0, 0.0))
BASE, ROOF, STEPS = -60.0, 68.0, 512
SMOKE, MANTLE, CORE = 430.0, 900.0, 1350.0
"""Temperatures at which the parts begin, K."""
KINDS = ("candle", "bonfire", "plume", "whirl")
FIRES = {
    "orange": ((0.93, 0.45, 0.10), (0.98, 0.80, 0.30), (1.0, 0.97, 0.85)),
    "blue": ((0.20, 0.35, 0.85), (0.45, 0.70, 0.95), (0.92, 0.96, 1.0)),
    "red": ((0.75, 0.15, 0.08), (0.95, 0.50, 0.12), (1.0, 0.88, 0.45)),
    "green": ((0.15, 0.55, 0.30), (0.50, 0.85, 0.45), (0.92, 1.0, 0.85)),
}
FUMES = {"grey": (0.50, 0.50, 0.52), "white": (0.85, 0.85, 0.86), "brown": (0.45, 0.36, 0.28), "black": (0.2, 0.2, 0.2)}


@dataclass(frozen=True)
class Strand:
    """A rising column of heat."""

    path: np.ndarray
    """[STEPS 4] at even heights from BASE to ROOF: centre x, centre y, 1 / width, heat on the axis."""


@dataclass(frozen=True)
class Ring:
    """A vortex ring that rolls warm gas up."""

    height: float
    """Of its centre, mm."""
    radius: float
    """Of its core line, mm."""
    width: float
    """Of its warm core, mm."""
    heat: float
    """At its core."""


def temperature(
    strands: Sequence[Strand],
    rings: Sequence[Ring],
    sway: Sequence[tuple[np.ndarray, np.ndarray, float]],
    peak: float,
    x: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
) -> np.ndarray:
    """Kelvin at points: columns and rings, flowing into one another, swayed by waves that grow with height.

    Args:
        strands: columns of heat.
        rings: vortex rings.
        sway: (wave vectors [2 n 3], phases [2 n], amplitude in mm); half of the waves push along x, half along y.
        peak: heat that becomes 2000 K.
        x, y, z: mm.
    """
    climb = np.clip((z - BASE) * (1.0 / 70.0), 0.03, 1.3)
    dx = dy = np.float32(0)
    for k, phase, amplitude in sway:
        rows = [(*row, p) for row, p in zip(k.tolist(), phase.tolist(), strict=True)]
        pushes = [np.sin(a * x + b * y + c * z + p) for a, b, c, p in rows]
        half = len(pushes) // 2
        dx, dy = dx + amplitude * climb * sum(pushes[:half]), dy + amplitude * climb * sum(pushes[half:])
    x, y = x + dx, y + dy
    total = np.zeros(np.broadcast(x, y, z).shape, np.float32)
    i = np.clip((z - BASE) * ((STEPS - 1) / (ROOF - BASE)) + 0.5, 0, STEPS - 1).astype(np.int32)
    for strand in strands:
        cx, cy, inverse, heat = (column[i] for column in strand.path.T.astype(np.float32))
        u = ((x - cx) ** 2 + (y - cy) ** 2) * inverse**2
        total += (heat * np.exp(-u)) ** 3
    out = np.sqrt(x * x + y * y)
    for ring in rings:
        a, b = out - ring.radius, z - ring.height
        d = np.sqrt(a * a + b * b)
        roll = 0.8 + 0.2 * np.cos(np.arctan2(b, a) - d * (5.0 / ring.width))
        total += (ring.heat * roll * np.exp(-((d / ring.width) ** 2))) ** 3
    return (300.0 + 1700.0 / peak * np.cbrt(total)).astype(np.float32)


def describe(rng: np.random.Generator) -> Scene:
    """A candle flame, a bonfire, a plume or a fire whirl, with smoke above and vortex rings in it."""
    scene = Scene(rng, AIR, (250.0, 2250.0), noise=9.0)
    scene.placed(yaw_deg=180, tilt_deg=6, scale=0.1, jitter=1.5)
    kind, fire, fume = str(rng.choice(KINDS)), str(rng.choice(list(FIRES))), str(rng.choice(list(FUMES)))
    strands, rings = _columns(rng, kind), _rings(rng, kind)
    sway = [(*waves(rng, length, 6), size) for length, size in ((45.0, rng.uniform(1.5, 3.4)), (17.0, 0.9))]
    at = np.meshgrid(np.linspace(-42, 42, 29), np.linspace(-42, 42, 29), np.linspace(-66, 68, 46), indexing="ij")
    heat = temperature(strands, rings, sway, 1.0, *at) - 300.0
    peak = float(np.quantile(heat, 0.9995)) / 1700.0
    field = partial(temperature, strands, rings, sway, peak)
    kelvin = 300.0 + heat / peak
    hottest = float(np.quantile(kelvin[kelvin > CORE], 0.9))

    flame = scene.whole("flame", ("fire", "burning gas", "blaze"), (kind, fire, "hot"))
    smoke = scene.part("smoke", flame, ("fumes", "smoke cloud", "warm gas"), (fume, "warm"))
    mantle = scene.part("mantle", flame, ("flame mantle", "outer flame", "flame envelope"), (fire, "hot"))
    core = scene.part("core", flame, ("flame core", "inner flame", "hot zone"), ("bright", "hot"))
    spots = scene.small("hot spots", core, ("hottest points", "temperature peaks", "hotspots"), ("hottest",))
    tips = scene.small("flame tips", mantle, ("flickers", "licks of flame", "tongues of fire"), ("pointed",))
    foot = scene.small("flame base", mantle, ("foot of the flame", "root of the flame"), ("low",))
    eddies = scene.small("vortices", smoke, ("eddies", "whirls", "smoke rings"), ("swirling", "round"))
    scene.pour(field, [(SMOKE, smoke), (MANTLE, mantle), (CORE, core), (hottest, spots)])
    heights = at[2][(kelvin >= MANTLE) & (kelvin < CORE)]
    low, high = np.quantile(heights, 0.12), np.quantile(heights, 0.78)
    scene.paint(box(60, 60, 50).moved(z=high + 50), tips, None, inside=(mantle,))
    scene.paint(box(60, 60, 50).moved(z=low - 50), foot, None, inside=(mantle,))
    curls = union([torus(r.radius, 1.1 * r.width).moved(z=r.height) for r in rings])
    scene.paint(curls, eddies, None, inside=(smoke,))

    fog, outer, inner, white = (
        Material(name, (start + end) / 2, rgb, band=(end - start) / 2 - 12)
        for name, start, end, rgb in zip(
            ("smoke", "mantle", "core", "hot spot"),
            (SMOKE, MANTLE, CORE, hottest),
            (MANTLE, CORE, hottest, 2240.0),
            (FUMES[fume], *FIRES[fire]),
            strict=True,
        )
    )
    scene.show("surface", [(fog, 0.025), (outer, 0.25), (inner, 0.6), (white, 0.9)])
    scene.show("contents", [(fog, 0.012), (outer, 0.035), (inner, 0.25), (white, 0.9)])
    scene.show("core", [(inner, 0.6), (white, 0.9)])
    scene.show("mantle", [(outer, 0.45)])
    scene.show("smoke", [(fog, 0.35)])
    scene.show("glow", [(fog, 0.015), (outer, 0.05), (inner, 0.12), (white, 0.3)], shading=False)
    return scene


def _columns(rng: np.random.Generator, kind: str) -> list[Strand]:
    """The burning columns of a kind, and the column of smoke above them."""
    z = np.linspace(BASE, ROOF, STEPS)
    count = {"candle": 1, "plume": 1, "bonfire": int(rng.integers(4, 8)), "whirl": int(rng.integers(2, 4))}[kind]
    top = rng.uniform(62, 84) if kind != "plume" else rng.uniform(40, 52)
    twist, start = rng.uniform(0.06, 0.12) * rng.choice([-1, 1]), rng.uniform(0, 2 * np.pi)
    strands = []
    for i in range(count):
        turn = start + 2 * np.pi * i / count
        away, tall = 0.0, top
        if kind == "bonfire":
            away, tall = rng.uniform(5, 15), top * rng.uniform(0.55, 1.0)
        elif kind == "whirl":
            away = rng.uniform(6, 8)
        t = (z - BASE) / tall
        spin = turn + (twist * (z - BASE) if kind == "whirl" else 0)
        reach = away * (1 - 0.55 * np.clip(t, 0, 1.2) if kind == "bonfire" else 0.6 + 0.7 * np.clip(t, 0, 1.5))
        belly = rng.uniform(11, 15) * {"candle": 1.25, "plume": 1.2}.get(kind, 0.8)
        wide = belly * (0.35 + 1.15 * np.clip(t, 0, 1) * np.exp(1 - 2.4 * np.clip(t, 0, 1.6)) + 0.2 * np.clip(t, 0, 2))
        burn = np.clip((z - BASE) / 5.0, 0, 1) * (1.0 - 0.1 * t) / (1 + np.exp(9.0 * (t - 0.88)))
        strands.append(Strand(np.stack([reach * np.cos(spin), reach * np.sin(spin), 1 / wide, burn], axis=1)))
    t = np.clip((z - BASE) / (ROOF - BASE), 0, 1)
    lean = rng.uniform(-9, 9, 2)
    rise = rng.uniform(0.17, 0.22) * np.clip(2.2 * t, 0, 1)
    strands.append(Strand(np.stack([lean[0] * t**2, lean[1] * t**2, 1 / (11 + rng.uniform(8, 16) * t), rise], axis=1)))
    return strands


def _rings(rng: np.random.Generator, kind: str) -> list[Ring]:
    """Vortex rings in the smoke; a plume ends in a big one, like a mushroom."""
    if kind == "plume":
        cap = Ring(rng.uniform(14, 30), rng.uniform(17, 22), rng.uniform(10, 13), rng.uniform(0.3, 0.34))
        return [cap, Ring(cap.height - rng.uniform(26, 32), rng.uniform(12, 15), 6.5, 0.25)]
    heights = BASE + rng.uniform(84, 92) + np.arange(int(rng.integers(1, 3))) * 24
    return [Ring(float(h), rng.uniform(12, 19), rng.uniform(6, 8.5), rng.uniform(0.26, 0.3)) for h in heights]
