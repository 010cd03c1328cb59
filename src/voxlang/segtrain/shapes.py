"""Layered 2-D shapes with a truth on three levels: the first pictures that the segmentation model sees.

Two stages of a curriculum. "simple": many separate objects of one part each, a picture in which answering "everything"
scores badly. "full": objects made of overlapping parts, parts with small things on them, shaded as if they were solid,
on the plain backgrounds of volume renders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt8

SIDE = 256
"""Pixels along each side of a picture."""

KINDS = 256
"""Numbers that the kinds of parts share, 0 for nothing; see `LabelledPicture.kinds`."""

Stage = Literal["simple", "full"]


@dataclass(frozen=True, eq=False)
class LabelledPicture:
    """A picture and the region of each pixel on each level."""

    rgb: UInt8[np.ndarray, "h w 3"]
    """Colours, 0 to 255."""
    regions: Int16[np.ndarray, "3 h w"]
    """Region number per level (small, part, whole); -1 where the level has none."""
    kinds: Int16[np.ndarray, "3 h w"] | None = None
    """What the pixel shows on each level, as a number below KINDS: 0 nothing, -1 unknown. None: no names."""


@dataclass(frozen=True, eq=False)
class _Stamp:
    """A shape in its window of the picture."""

    rows: slice
    columns: slice
    inside: Bool[np.ndarray, "h w"]
    height: Float32[np.ndarray, "h w"]


def draw_picture(rng: np.random.Generator, stage: Stage) -> LabelledPicture:
    """Draw one random picture of the stage; at least 1 % of it is covered."""
    while True:
        canvas = _Canvas(rng)
        if stage == "simple":
            _draw_simple(canvas, rng)
        else:
            _draw_full(canvas, rng)
        if (canvas.regions[2] >= 0).mean() > 0.01:
            return canvas.finish()


class _Canvas:
    """Colours and regions under construction; later stamps lie on top of earlier ones."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        kind = rng.choice(4, p=[0.45, 0.25, 0.2, 0.1])
        colour = [np.zeros(3), np.ones(3), rng.random(3), rng.random(3)][kind]
        self.rgb = np.broadcast_to(colour.astype(np.float32), (SIDE, SIDE, 3)).copy()
        if kind == 3:
            self.rgb *= np.linspace(rng.uniform(0.5, 1), 1, SIDE, dtype=np.float32)[:, None, None]
        self.regions = np.full((3, SIDE, SIDE), -1, np.int16)
        self.counts = [0, 0, 0]
        azimuth, lift = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.2)
        self.light = np.array([np.cos(azimuth), np.sin(azimuth), lift]) / np.hypot(1, lift)
        self.ambient = rng.uniform(0.2, 0.8)

    def new_region(self, level: int) -> int:
        """Take the next free region number of a level."""
        self.counts[level] += 1
        return self.counts[level] - 1

    def paint(self, stamp: _Stamp, inside: np.ndarray, colour: np.ndarray, opacity: float = 1.0) -> None:
        """Lay a shaded, textured colour over the pixels that are inside."""
        rng = self.rng
        gy, gx = np.gradient(stamp.height)
        normal = np.stack([-gx, -gy, np.full_like(gx, 0.35 / max(8, *stamp.inside.shape) ** 0.5)], -1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
        light = self.ambient + (1 - self.ambient) * np.clip(normal @ self.light, 0, 1)
        if rng.random() < 0.3:
            light = np.full_like(light, rng.uniform(0.7, 1.0))
        shaded = colour[None, None] * light[..., None]
        if rng.random() < 0.5:
            shaded = shaded + _texture(rng, stamp.inside.shape)[..., None] * rng.uniform(0.02, 0.15)
        window = self.rgb[stamp.rows, stamp.columns]
        window[inside] = (1 - opacity) * window[inside] + opacity * shaded[inside]

    def finish(self) -> LabelledPicture:
        """Add noise and a little blur of the whole, round to bytes, and number the regions by what is visible."""
        rng = self.rng
        rgb = self.rgb
        if rng.random() < 0.3:
            from scipy.ndimage import uniform_filter

            rgb = uniform_filter(rgb, (3, 3, 1))
        rgb = rgb + rng.standard_normal(rgb.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.03))
        return LabelledPicture((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8), self.regions)


def _texture(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth noise, or stripes, of amplitude 1."""
    if rng.random() < 0.3:
        angle, pitch = rng.uniform(0, np.pi), rng.uniform(3, 16)
        y, x = np.mgrid[: shape[0], : shape[1]]
        return np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / pitch).astype(np.float32)
    from scipy.ndimage import zoom

    cells = int(rng.integers(3, 24))
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    return zoom(coarse, (shape[0] / cells, shape[1] / cells), order=1, grid_mode=True, mode="nearest")[
        : shape[0], : shape[1]
    ]


def _stamp(rng: np.random.Generator, centre: np.ndarray, radius: float) -> _Stamp | None:
    """A random shape around a centre (row, column) in pixels; None where nothing of it lies in the picture."""
    reach = radius + 1
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, SIDE).astype(int)
    if (high - low < 3).any():
        return None
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]].astype(np.float32)
    y, x = (y - np.float32(centre[0])) / np.float32(radius), (x - np.float32(centre[1])) / np.float32(radius)
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u, v = cos * x + sin * y, cos * y - sin * x
    inside_value = _SHAPES[rng.choice(len(_SHAPES), p=_SHARES)](rng, u, v)
    inside = inside_value > 0
    if inside.sum() < 8:
        return None
    height = np.sqrt(np.clip(inside_value, 0, 1), dtype=np.float32)
    return _Stamp(slice(low[0], high[0]), slice(low[1], high[1]), inside, height)


def _superellipse(rng, u, v):
    power, aspect = rng.uniform(1.5, 6), rng.uniform(0.35, 1)
    return 1 - np.abs(u) ** np.float32(power) - np.abs(v / np.float32(aspect)) ** np.float32(power)


def _blob(rng, u, v):
    angle, edge = np.arctan2(v, u), np.float32(0.7)
    for k in range(2, 7):
        edge = edge + np.float32(rng.normal() * 0.22 / k) * np.cos(k * angle + np.float32(rng.uniform(0, 6.3)))
    edge = np.clip(edge, 0.15, 1)
    return 1 - (u * u + v * v) / (edge * edge)


def _arc(rng, u, v):
    """A bent rod: branches, vessels, legs."""
    bend, width = np.float32(rng.uniform(-0.5, 0.5)), np.float32(rng.uniform(0.07, 0.3))
    distance = np.hypot(v - bend * (u * u - np.float32(0.4)), np.maximum(np.abs(u) - np.float32(0.8), 0))
    return 1 - (distance / width) ** 2


def _polygon(rng, u, v):
    """A convex polygon cut by random half planes."""
    value = np.ones_like(u)
    start = rng.uniform(0, 2 * np.pi)
    sides = int(rng.integers(3, 8))
    for angle in start + 2 * np.pi * (np.arange(sides) + rng.uniform(-0.25, 0.25, sides)) / sides:
        reach = np.float32(rng.uniform(0.45, 0.75))
        value = np.minimum(value, 1 - (np.float32(np.cos(angle)) * u + np.float32(np.sin(angle)) * v) / reach)
    return np.where(u * u + v * v < 1, value, -1)


def _ring(rng, u, v):
    """A shell seen in section."""
    aspect, wall = np.float32(rng.uniform(0.5, 1)), np.float32(rng.uniform(0.08, 0.25))
    return 1 - ((np.hypot(u, v / aspect) - (1 - wall)) / wall) ** 2


def _clump(rng, u, v):
    """Many small discs, often apart: leaves, teeth, seeds."""
    value = np.full_like(u, -1)
    size = rng.uniform(0.1, 0.25)
    for _ in range(int(rng.integers(4, 14))):
        place = rng.normal(size=2) * 0.4
        place *= min(1, 0.85 / (np.hypot(*place) + 1e-6))
        r = np.float32(size * rng.uniform(0.6, 1.3))
        value = np.maximum(value, 1 - ((u - np.float32(place[0])) ** 2 + (v - np.float32(place[1])) ** 2) / (r * r))
    return value


_SHAPES = (_superellipse, _blob, _arc, _polygon, _ring, _clump)
_SHARES = (0.24, 0.22, 0.18, 0.16, 0.08, 0.12)


def _draw_simple(canvas: _Canvas, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(5, 12))):
        stamp = _stamp(rng, rng.uniform(0.08, 0.92, 2) * SIDE, rng.uniform(0.06, 0.22) * SIDE)
        if stamp is None:
            continue
        canvas.paint(stamp, stamp.inside, rng.random(3))
        whole, part = canvas.new_region(2), canvas.new_region(1)
        window = canvas.regions[:, stamp.rows, stamp.columns]
        window[2][stamp.inside], window[1][stamp.inside], window[0][stamp.inside] = whole, part, -1


def _draw_full(canvas: _Canvas, rng: np.random.Generator) -> None:
    objects = int(rng.choice([1, 2, 3, 4], p=[0.5, 0.25, 0.15, 0.1]))
    for _ in range(objects):
        if objects == 1:  # as a camera frames it
            centre, reach = rng.uniform(0.38, 0.62, 2) * SIDE, rng.uniform(0.25, 0.48) * SIDE
        else:
            centre, reach = rng.uniform(0.2, 0.8, 2) * SIDE, rng.uniform(0.13, 0.35) * SIDE
        whole, base = canvas.new_region(2), rng.random(3)
        for _ in range(int(rng.integers(1, 7))):
            _draw_part(canvas, rng, whole, centre, reach, base)


def _draw_part(
    canvas: _Canvas, rng: np.random.Generator, whole: int, centre: np.ndarray, reach: float, base: np.ndarray
) -> None:
    place = centre + rng.normal(size=2) * reach * 0.45
    radius = reach * rng.uniform(0.3, 0.85)
    stamp = _stamp(rng, place, radius)
    if stamp is None:
        return
    part, colour = canvas.new_region(1), np.clip(base + rng.normal(size=3) * rng.uniform(0.08, 0.4), 0, 1)
    canvas.paint(stamp, stamp.inside, colour, opacity=1.0 if rng.random() < 0.75 else rng.uniform(0.5, 0.95))
    window = canvas.regions[:, stamp.rows, stamp.columns]
    window[2][stamp.inside], window[1][stamp.inside], window[0][stamp.inside] = whole, part, -1
    alike = rng.random() < 0.3
    small_colour = np.clip(colour + rng.normal(size=3) * 0.4, 0, 1)
    for _ in range(int(rng.choice([0, 1, 2, 3, 5, 8], p=[0.35, 0.15, 0.15, 0.15, 0.1, 0.1]))):
        small = _stamp(rng, place + rng.normal(size=2) * radius * 0.4, max(4.0, radius * rng.uniform(0.12, 0.5)))
        if small is None:
            continue
        on_part = small.inside & (canvas.regions[1, small.rows, small.columns] == part)
        if on_part.sum() < 12:
            continue
        tint = small_colour if alike else np.clip(colour + rng.normal(size=3) * 0.4, 0, 1)
        canvas.paint(small, on_part, tint)
        canvas.regions[0, small.rows, small.columns][on_part] = canvas.new_region(0)
