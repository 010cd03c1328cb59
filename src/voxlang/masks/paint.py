"""Masks as pictures: index maps for the supervision, coloured panels for people."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8

from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import MaskError
from voxlang.core.levels import LEVELS, Level
from voxlang.masks.types import MaskHierarchy

OVERLAP_RULE = "the higher score on top, then the smaller mask, then the earlier one"
"""Which of several masks of a level speaks for a pixel; part of the cache's key."""

_LEGEND_ROWS = 8
_TITLE_PX, _ROW_PX, _GAP_PX = 26, 16, 6
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def index_maps(hierarchy: MaskHierarchy) -> Int16[np.ndarray, "3 h w"]:
    """At each level and pixel the index of the mask that speaks for it, -1 where there is none.

    Where masks of one level overlap, the one with the higher score (predicted IoU times stability) lies on top: a poor
    scrap does not cut holes into a good mask. Of two with the same score it is the smaller one, then the earlier one.

    Raises:
        MaskError: more masks than Int16 can count.
    """
    masks = hierarchy.masks
    if len(masks) > np.iinfo(np.int16).max:
        raise MaskError(
            f"at most {np.iinfo(np.int16).max} masks",
            got=str(len(masks)),
            where="index_maps",
            do="raise the thresholds",
        )
    maps = np.full((len(LEVELS), masks.height, masks.width), -1, np.int16)
    score = np.clip(masks.predicted_iou * masks.stability, 0.0, 1.0)
    for i in np.lexsort((-np.arange(len(masks)), -masks.areas_px(), score)).tolist():
        maps[hierarchy.level[i]][masks.dense(i)] = i
    return maps


def mask_color(index: int) -> tuple[int, int, int]:
    """A bright colour that differs from the ones of the neighbouring indices (hue steps of the golden ratio)."""
    red, green, blue = colorsys.hsv_to_rgb((0.11 + index * 0.61803398875) % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def paint_level(
    rgb: UInt8[np.ndarray, "h w 3"], index: Int16[np.ndarray, "h w"], *, strength: float = 0.6
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in grey with the masks of one index map over it in colour, their borders at full strength.

    Args:
        rgb: the picture.
        index: one level of `index_maps`.
        strength: weight of the colour, 0 to 1.
    """
    grey = np.repeat(rgb.astype(np.float32).mean(axis=2, keepdims=True), 3, axis=2)
    present = np.unique(index[index >= 0])
    table = np.zeros((int(index.max()) + 2, 3), np.float32)
    for i in present:
        table[i] = mask_color(int(i))
    weight = np.where(index >= 0, strength, 0.0)
    edge = np.zeros(index.shape, bool)
    edge[:, 1:] |= index[:, 1:] != index[:, :-1]
    edge[1:] |= index[1:] != index[:-1]
    weight[edge & (index >= 0)] = 1.0
    weight = weight[..., None].astype(np.float32)
    return ((1 - weight) * grey + weight * table[index]).round().astype(np.uint8)


def level_panels(rgb: UInt8[np.ndarray, "h w 3"], hierarchy: MaskHierarchy) -> UInt8[np.ndarray, "H W 3"]:
    """The picture and one panel per level side by side, with counts above and the largest masks listed below."""
    from PIL import Image, ImageDraw, ImageFont

    rgb = _enlarged(rgb)
    scale = rgb.shape[0] // hierarchy.masks.height
    maps = index_maps(hierarchy).repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = rgb.shape[:2]
    columns = len(LEVELS) + 1
    size = (columns * width + (columns - 1) * _GAP_PX, _TITLE_PX + height + _GAP_PX + _LEGEND_ROWS * _ROW_PX + _GAP_PX)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    title_font, row_font = ImageFont.load_default(15), ImageFont.load_default(11)
    areas = hierarchy.masks.areas_px()
    counts = hierarchy.counts()
    for column, level in enumerate((None, *reversed(LEVELS))):
        left = column * (width + _GAP_PX)
        if level is None:
            draw.text((left + 4, 4), f"picture, {len(areas)} masks", _INK, title_font)
            sheet.paste(Image.fromarray(rgb), (left, _TITLE_PX))
            continue
        draw.text((left + 4, 4), f"{level.label}: {counts[level.label]}", _INK, title_font)
        sheet.paste(Image.fromarray(paint_level(rgb, maps[level])), (left, _TITLE_PX))
        _draw_legend(draw, row_font, hierarchy, areas, level=level, at=(left + 4, _TITLE_PX + height + _GAP_PX))
    return np.asarray(sheet)


def stacked(pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "H W 3"]:
    """Pictures one below the other, each with its name above it."""
    from PIL import Image, ImageDraw, ImageFont

    bar = _TITLE_PX + _GAP_PX
    width = max(p.shape[1] for p in pictures.values())
    sheet = Image.new("RGB", (width, sum(bar + p.shape[0] for p in pictures.values())), _PAPER)
    draw, top = ImageDraw.Draw(sheet), 0
    for name, picture in pictures.items():
        draw.text((4, top + _GAP_PX), name, _INK, ImageFont.load_default(18))
        sheet.paste(Image.fromarray(picture), (0, top + bar))
        top += bar + picture.shape[0]
    return np.asarray(sheet)


def save_level_panels(path: Path | str, rgb: UInt8[np.ndarray, "h w 3"], hierarchy: MaskHierarchy) -> None:
    """Write `level_panels` as PNG."""
    save_png(path, level_panels(rgb, hierarchy))


def save_png(path: Path | str, rgb: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write a picture as PNG, whole or not at all."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="PNG")


def _draw_legend(draw, font, hierarchy: MaskHierarchy, areas: np.ndarray, *, level: Level, at: tuple[int, int]) -> None:
    of_level = np.flatnonzero(hierarchy.level == level)
    largest = of_level[np.argsort(-areas[of_level], kind="stable")]
    shown = largest if len(largest) <= _LEGEND_ROWS else largest[: _LEGEND_ROWS - 1]
    left, top = at
    for row, i in enumerate(shown):
        y = top + row * _ROW_PX
        draw.rectangle((left, y + 2, left + 10, y + 12), fill=mask_color(int(i)))
        inside = f" in {hierarchy.parent[i]}" if hierarchy.parent[i] >= 0 else ""
        draw.text((left + 16, y), f"{i}{inside}: {areas[i]} px, IoU {hierarchy.masks.predicted_iou[i]:.2f}", _INK, font)
    if len(shown) < len(largest):
        draw.text((left + 16, top + len(shown) * _ROW_PX), f"and {len(largest) - len(shown)} more", _INK, font)


def _enlarged(rgb: np.ndarray) -> np.ndarray:
    """Small pictures by a whole factor, so that titles and legends have room."""
    factor = max(1, -(-200 // min(rgb.shape[:2])))
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)
