"""Masks as pictures: index maps for the supervision, coloured panels for people."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int16, Integer, UInt8

from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import MaskError
from voxlang.core.levels import LEVELS
from voxlang.masks.types import MaskHierarchy

OVERLAP_RULE = "the higher score on top, then the smaller mask, then the earlier one"
"""Which of several masks of a level speaks for a pixel; part of the cache's key."""

_LEGEND_ROWS = 8
_TITLE_PX, _ROW_PX, _GAP_PX = 26, 16, 6
_PAPER, _INK = (255, 255, 255), (30, 30, 30)
_MADE_FROM = "made from"


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
    """`panels` of the masks of a picture, with the area and the predicted IoU of each."""
    areas, predicted = hierarchy.masks.areas_px(), hierarchy.masks.predicted_iou
    facts = [f"{area} px, IoU {iou:.2f}" for area, iou in zip(areas, predicted, strict=True)]
    return panels(rgb, index_maps(hierarchy), hierarchy.level, hierarchy.parent, areas=areas, facts=facts)


def panels(
    rgb: UInt8[np.ndarray, "h w 3"],
    index: Int16[np.ndarray, "3 h w"],
    level: Integer[np.ndarray, "n"],
    parent: Integer[np.ndarray, "n"],
    *,
    areas: Integer[np.ndarray, "n"],
    facts: Sequence[str],
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture and one panel per level side by side, with counts above and the largest masks listed below.

    Args:
        rgb: the picture.
        index: mask at each level and pixel, -1 none.
        level: level of each mask.
        parent: parent of each mask, -1 none.
        areas: size of each mask, for the order of the list.
        facts: what the list says of each.
    """
    from PIL import Image, ImageDraw, ImageFont

    large = _enlarged(rgb)
    scale = large.shape[0] // rgb.shape[0]
    maps = index.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = large.shape[:2]
    columns = len(LEVELS) + 1
    size = (columns * width + (columns - 1) * _GAP_PX, _TITLE_PX + height + _GAP_PX + _LEGEND_ROWS * _ROW_PX + _GAP_PX)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    title_font, row_font = ImageFont.load_default(15), ImageFont.load_default(11)
    draw.text((4, 4), f"picture, {len(level)} masks", _INK, title_font)
    sheet.paste(Image.fromarray(large), (0, _TITLE_PX))
    for column, shown in enumerate(reversed(LEVELS), start=1):
        left = column * (width + _GAP_PX)
        of_level = np.flatnonzero(level == shown)
        draw.text((left + 4, 4), f"{shown.label}: {len(of_level)}", _INK, title_font)
        sheet.paste(Image.fromarray(paint_level(large, maps[shown])), (left, _TITLE_PX))
        largest = of_level[np.argsort(-areas[of_level], kind="stable")]
        rows = {int(i): f"{i}{f' in {parent[i]}' if parent[i] >= 0 else ''}: {facts[i]}" for i in largest}
        _draw_legend(draw, row_font, rows, at=(left + 4, _TITLE_PX + height + _GAP_PX))
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


def save_png(path: Path | str, rgb: UInt8[np.ndarray, "h w 3"], *, made_from: str = "") -> None:
    """Write a picture as PNG, whole or not at all; `made_from` is kept in it, for `png_made_from`."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    if made_from:
        about.add_text(_MADE_FROM, made_from)
    with atomic_path(path) as temporary:
        Image.fromarray(rgb).save(temporary, format="PNG", pnginfo=about)


def png_made_from(path: Path) -> str | None:
    """What a picture of `save_png` says it was made from; None where there is no such picture."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.info.get(_MADE_FROM)
    except OSError:  # not there, or no picture
        return None


def _draw_legend(draw, font, rows: Mapping[int, str], *, at: tuple[int, int]) -> None:
    shown = list(rows.items()) if len(rows) <= _LEGEND_ROWS else list(rows.items())[: _LEGEND_ROWS - 1]
    left, top = at
    for row, (i, text) in enumerate(shown):
        y = top + row * _ROW_PX
        draw.rectangle((left, y + 2, left + 10, y + 12), fill=mask_color(i))
        draw.text((left + 16, y), text, _INK, font)
    if len(shown) < len(rows):
        draw.text((left + 16, top + len(shown) * _ROW_PX), f"and {len(rows) - len(shown)} more", _INK, font)


def _enlarged(rgb: np.ndarray) -> np.ndarray:
    """Small pictures by a whole factor, so that titles and legends have room."""
    factor = max(1, -(-200 // min(rgb.shape[:2])))
    return rgb.repeat(factor, axis=0).repeat(factor, axis=1)
