"""Masks and their hierarchy on one picture: panels as PNG, the tree as text and JSON."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.doors import through_door
from voxlang.core.levels import LEVELS, level_from_name
from voxlang.masks.settings import SamSettings

if TYPE_CHECKING:
    from voxlang.masks.types import MaskHierarchy


class MaskDemoConfig(BaseModel):
    """Find all masks of one picture and sort them into Small, Part and Whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: Path | None = None
    """Picture file (PNG, JPEG, ...). Without it a phantom is rendered."""
    out: Path = Path("runs/mask_demo")
    """Folder for the panels (PNG) and the tree (JSON)."""
    sam: SamSettings = SamSettings()
    """The settings of stage 2's masks."""
    family: str = "bonsai"
    """Phantom to render when no image is given."""
    seed: int = 7
    """Seed of that phantom."""
    view_size: int = Field(384, ge=32, le=4096)
    """Pixels along each side of the rendered view."""


@dataclass(frozen=True, eq=False)
class MaskDemoResult:
    """What the demo found and where it lies."""

    hierarchy: MaskHierarchy
    """The masks with their levels."""
    panels_path: Path
    """PNG: the picture and one panel per level."""
    tree_path: Path
    """JSON: settings, counts and one row per mask."""
    seconds: float
    """Time for the masks, without building the model."""


def run_mask_demo(config: MaskDemoConfig) -> MaskDemoResult:
    """Make the picture, its masks and their levels, and write panels and tree.

    Raises:
        VoxlangError: an unreadable image, unknown settings or missing weights.
    """
    from voxlang.apps.mask_pictures import object_on_plain_background, render_phantom
    from voxlang.core.artifacts import write_json
    from voxlang.core.pictures import read_rgb
    from voxlang.masks.generate import sam_generator_from_settings
    from voxlang.masks.levels import partition_levels
    from voxlang.masks.paint import index_maps, paint_level, save_level_panels, save_png

    generator = sam_generator_from_settings(config.sam)
    if config.image is None:
        name, rgb, object_mask = (
            f"{config.family}_{config.seed}",
            *render_phantom(config.family, config.seed, size_px=config.view_size),
        )
    else:
        name, rgb = config.image.stem, read_rgb(config.image)
        object_mask = object_on_plain_background(rgb)
    start = time.perf_counter()
    masks = generator.generate(rgb, foreground=object_mask if config.sam.skip_empty else None)
    hierarchy = partition_levels(masks, object_mask, rule=config.sam.resolved().level_rule)
    seconds = time.perf_counter() - start

    panels_path = config.out / f"{name}_levels.png"
    tree_path = config.out / f"{name}_tree.json"
    save_level_panels(panels_path, rgb, hierarchy)
    for level, index in zip(LEVELS, index_maps(hierarchy), strict=True):
        save_png(config.out / f"{name}_{level.label}.png", paint_level(rgb, index))
    write_json(
        tree_path,
        {
            "picture": str(config.image or name),
            "size": [rgb.shape[1], rgb.shape[0]],
            "sam": generator.settings.model_dump(mode="json"),
            "generator_id": generator.id,
            "seconds": round(seconds, 3),
            "masks_before_levels": len(masks),
            "counts": hierarchy.counts(),
            "masks": hierarchy.tree_rows(),
        },
    )
    return MaskDemoResult(hierarchy, panels_path, tree_path, seconds)


def tree_text(hierarchy: MaskHierarchy) -> str:
    """The hierarchy as indented lines, larger masks first: level, index, area, predicted IoU."""
    rows = hierarchy.tree_rows()
    lines: list[str] = []

    def add(parent: int, depth: int) -> None:
        children = [r for r in rows if r["parent"] == parent]
        for row in sorted(children, key=lambda r: (-level_from_name(r["level"]), -r["area_px"], r["index"])):
            name = f"{'  ' * depth}{row['level']} {row['index']}"
            lines.append(f"{name:<20} {row['area_px']:>8} px   predicted IoU {row['predicted_iou']:.2f}")
            add(row["index"], depth + 1)

    add(-1, 0)
    return "\n".join(lines) if lines else "no masks"


def main() -> int:
    """Entry of the door; returns the exit status."""
    import tyro

    return through_door(lambda: _summary(run_mask_demo(tyro.cli(MaskDemoConfig, prog="sam_demo_enhanced.py"))))


def _summary(result: MaskDemoResult) -> str:
    counts = ", ".join(f"{name} {n}" for name, n in result.hierarchy.counts().items())
    return (
        f"{tree_text(result.hierarchy)}\n\n{counts} in {result.seconds:.1f} s\n"
        f"panels: {result.panels_path}\ntree:   {result.tree_path}"
    )
