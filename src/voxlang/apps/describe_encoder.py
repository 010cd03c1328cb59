"""`--mode=describe-encoder`: an image encoder's table, its drawing, and pictures of what its levels see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sam2.modeling.backbones.image_encoder import ImageEncoder

    from voxlang.encoders.describe import EncoderDescription

_WINDOWED, _GLOBAL, _LEVEL = "#8ab6d6", "#e0995e", "#9bbf85"


class DescribeEncoderConfig(BaseModel):
    """Explain the image encoder of a SAM 2 model: stages, windows, shapes, parameters, operations, features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str = "micro"
    """A size (micro, tiny, small, base_plus, large), a YAML file, or a name in configs/sam2."""
    checkpoint: Path | None = None
    """Weights of the whole model; without them the features are those of random weights."""
    overrides: tuple[str, ...] = ()
    """Hydra overrides of the YAML."""
    height: int | None = Field(None, gt=0)
    """Height of the picture in pixels; by default the model's image_size."""
    width: int | None = Field(None, gt=0)
    """Width of the picture in pixels; by default its height."""
    image: Path | None = None
    """Picture whose features are shown; by default a rendered phantom."""
    out: Path = Path("runs/encoders")
    """Folder; a folder of the encoder's name is made inside it."""


def run_describe_encoder(config: DescribeEncoderConfig) -> str:
    """Describe an encoder, write table, drawing and feature pictures, and return the table and where they lie.

    Raises:
        ConfigError, ModelMissingError, WeightsError: an encoder that cannot be built.
        MaskError: a size that it does not take.
    """
    from voxlang.core.artifacts import write_json, write_text
    from voxlang.encoders.build import build_image_encoder
    from voxlang.encoders.compose import compose_sam2
    from voxlang.encoders.describe import describe_encoder
    from voxlang.masks.models import config_path

    path = config_path(config.encoder)
    encoder = build_image_encoder(path, config.checkpoint, config.overrides)
    height = config.height or int(compose_sam2(path, config.overrides)["image_size"])
    width = config.width or height
    description = describe_encoder(encoder, height, width, name=path.stem)
    folder = config.out / path.stem
    text = description.as_markdown()
    write_text(folder / "table.md", text + "\n")
    write_json(folder / "description.json", description.as_dict())
    draw_encoder(folder / "drawing.png", description)
    save_level_pictures(folder, encoder, _picture(config.image, height, width))
    return f"{text}\n\n{folder}: table.md, description.json, drawing.png, features_stride*.png"


def draw_encoder(path: Path, description: EncoderDescription) -> None:
    """Draw the blocks of the trunk as bars, as tall as their maps, and beside them the levels that leave the neck."""
    import matplotlib

    from voxlang.core.artifacts import atomic_path

    matplotlib.use("Agg")
    from matplotlib.patches import Patch
    from matplotlib.pyplot import close, subplots

    figure, (left, right) = subplots(1, 2, figsize=(13, 4.5), width_ratios=(3, 1.6), layout="constrained")
    _draw_blocks(left, description)
    _draw_levels(right, description)
    left.legend(
        handles=[Patch(color=_WINDOWED, label="windows"), Patch(color=_GLOBAL, label="whole map")], frameon=False
    )
    total = f"{description.parameters['total'] / 1e6:.1f} M parameters, {description.gflop['total']:.1f} GFLOP"
    figure.suptitle(f"{description.name}: {description.trunk}, {description.height}x{description.width}, {total}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    close(figure)


def _draw_blocks(axes: Axes, description: EncoderDescription) -> None:
    tallest = max(b.rows for stage in description.stages for b in stage)
    for number, stage in enumerate(description.stages, 1):
        for block in stage:
            colour = _GLOBAL if block.window == 0 else _WINDOWED
            axes.bar(block.index, block.rows, width=0.8, color=colour, edgecolor="#444444" if block.pools else colour)
            if block.window and len(stage) < 20:
                axes.text(block.index, block.rows, str(block.window), ha="center", va="bottom", fontsize=7)
        middle = (stage[0].index + stage[-1].index) / 2
        label = f"stage {number}\n{stage[-1].channels} channels\nstride {stage[-1].stride}"
        axes.text(middle, tallest * 1.12, label, ha="center", va="bottom", fontsize=8)
    axes.set_ylim(0, tallest * 1.45)
    axes.set_xlabel("block (framed: pools its queries 2x2)")
    axes.set_ylabel("rows of the map, with the side of the windows")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_levels(axes: Axes, description: EncoderDescription) -> None:
    """The pyramid from the coarsest level, on top, to the finest; arrows where a level hears the one above it."""
    n = len(description.levels)
    for i, level in enumerate(description.levels):
        channels, rows, columns = level.neck_shape
        width = 0.25 + 0.75 * (n - i) / n
        axes.barh(i, width, left=-width / 2, height=0.5, color=_LEVEL if level.used else "#dddddd")
        note = "" if level.used else " (dropped)"
        text = f"stride {level.stride}: {level.trunk_shape[0]} to {channels} x {rows} x {columns}{note}"
        axes.text(0, i, text, ha="center", va="center", fontsize=8)
        if level.top_down:
            axes.annotate("", xy=(0, i + 0.27), xytext=(0, i + 0.73), arrowprops={"arrowstyle": "->"})
    axes.set_title("neck: the levels, arrows top down", fontsize=9)
    axes.set_xlim(-0.85, 0.85)
    axes.axis("off")


def save_level_pictures(folder: Path, encoder: ImageEncoder, rgb: np.ndarray) -> list[Path]:
    """Write the picture, and the three main directions of each level's features as colours, enlarged to it."""
    import torch
    from PIL import Image

    from voxlang.core.artifacts import atomic_path
    from voxlang.encoders.describe import level_features, principal_colours
    from voxlang.encoders.pixels import PIXEL_MEAN, PIXEL_STD

    normal = torch.from_numpy(
        ((rgb / 255.0 - np.array(PIXEL_MEAN)) / np.array(PIXEL_STD)).transpose(2, 0, 1)[None].astype(np.float32)
    )
    panels = {"picture.png": rgb}
    for features in level_features(encoder, normal):
        stride = rgb.shape[0] // features.shape[1]
        small = Image.fromarray(principal_colours(features))
        panels[f"features_stride{stride}.png"] = np.asarray(
            small.resize((rgb.shape[1], rgb.shape[0]), Image.Resampling.NEAREST)
        )
    for name, panel in panels.items():
        with atomic_path(folder / name) as temporary:
            Image.fromarray(panel).save(temporary)
    return [folder / name for name in panels]


def _picture(image: Path | None, height: int, width: int) -> np.ndarray:
    from PIL import Image

    from voxlang.apps.mask_pictures import render_phantom
    from voxlang.core.pictures import read_rgb

    rgb = read_rgb(image) if image is not None else render_phantom("bonsai", 7, size_px=min(height, 512))[0]
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
