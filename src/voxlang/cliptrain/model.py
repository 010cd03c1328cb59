"""The student: an open_clip model built from the recipe, its preprocessing, and pictures made different each time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from voxlang.cliptrain.config import ModelConfig
from voxlang.core.errors import ConfigError
from voxlang.embed.clip_directory import WEIGHTS_NAME, text_settings
from voxlang.embed.open_clip_encoder import new_clip_model

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PREPROCESS: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}
"""Grey, the background of masked crops, becomes 0."""


def vision_cfg(config: ModelConfig) -> dict[str, Any]:
    """The image tower in open_clip's words."""
    return {
        "image_size": config.image_size,
        "layers": list(config.vision_layers),
        "width": config.vision_width,
        "head_width": 64,
    }


def model_cfg(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """open_clip's configuration: a small convolutional tower and a small transformer."""
    return {
        "embed_dim": config.embed_dim,
        "vision_cfg": vision_cfg(config),
        "text_cfg": text_settings(
            tokenizer,
            context_length=config.context_length,
            width=config.text_width,
            heads=config.text_heads,
            layers=config.text_layers,
        ),
    }


def build_model(config: ModelConfig, tokenizer: Tokenizer, *, seed: int) -> nn.Module:
    """A model with random weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = new_clip_model(model_cfg(config, tokenizer))
    with torch.no_grad():
        model.logit_scale.fill_(3.0)
    return model


def build_image_tower(config: ModelConfig, n_concepts: int, *, seed: int) -> tuple[nn.Module, nn.Module]:
    """(image tower, classifier of concepts on its vectors), with random weights that depend on the seed alone."""
    text = {"context_length": 4, "vocab_size": 4, "width": 8, "heads": 1, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = new_clip_model({"embed_dim": config.embed_dim, "vision_cfg": vision_cfg(config), "text_cfg": text})
        head = nn.Linear(config.embed_dim, n_concepts)
    return model.visual.to(memory_format=torch.channels_last), head


@torch.no_grad()
def start_from_model(visual: nn.Module, folder: Path | str) -> list[str]:
    """Take an earlier model's image tower wherever shapes agree; returns the names that keep their own weights.

    Raises:
        ConfigError: no weights there, or none that fit.
    """
    from safetensors.torch import load_file

    path = Path(folder) / WEIGHTS_NAME
    stored = load_file(path) if path.is_file() else {}
    state = visual.state_dict()
    fitting = {n: w for n, v in state.items() if (w := stored.get(f"visual.{n}")) is not None and w.shape == v.shape}
    if len(fitting) < len(state) // 2:
        raise ConfigError(
            "weights of an image tower of the recipe's shape",
            got=f"{len(fitting)} of {len(state)} that fit",
            where=str(path),
            do="name the folder of such a model, or leave image_start empty",
        )
    visual.load_state_dict(state | fitting)
    return sorted(state.keys() - fitting.keys())


def image_pixels(images: torch.Tensor) -> torch.Tensor:
    """Bytes [n h w 3] as the image tower wants them: normalised float [n 3 h w]."""
    mean, std = (torch.tensor(PREPROCESS[k]).view(1, 3, 1, 1).to(images.device) for k in ("mean", "std"))
    pixels = (images.permute(0, 3, 1, 2).float() / 255.0 - mean) / std
    return torch.where(pixels.abs() < 0.01, torch.zeros_like(pixels), pixels)  # grey of 127 or 128 is background


def augmented(
    pixels: torch.Tensor, sided: torch.Tensor, generator: torch.Generator, *, strength: float = 1.0
) -> torch.Tensor:
    """Turn, shift, zoom, mirror, colour, blur and roughen normalised pictures [n 3 h w].

    Args:
        pixels: pictures whose background is 0.
        sided: [n], pictures that must not be mirrored because their name has a side.
        generator: on the CPU; the same state gives the same pictures.
        strength: factor on everything but mirroring.
    """
    n = len(pixels)
    draw = lambda *shape: torch.rand(*shape, generator=generator).to(pixels.device) * 2.0 - 1.0
    angle, zoom = 0.35 * strength * draw(n) ** 3, 1.0 + 0.12 * strength * draw(n)
    mirror = torch.where((draw(n) > 0) & ~sided, -1.0, 1.0)
    cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    shift = 0.08 * strength * draw(n, 2)
    rows = [torch.stack([cos * mirror, -sin, shift[:, 0]], 1), torch.stack([sin * mirror, cos, shift[:, 1]], 1)]
    grid = torch.nn.functional.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    moved = torch.nn.functional.grid_sample(pixels, grid, mode="bilinear", align_corners=False)
    inside = moved.abs().sum(1, keepdim=True) > 1e-3
    gain = 1.0 + 0.15 * strength * draw(n, 1, 1, 1) + 0.06 * strength * draw(n, 3, 1, 1)
    offset = 0.25 * strength * draw(n, 1, 1, 1) + 0.12 * strength * draw(n, 3, 1, 1)
    out = torch.where(inside, moved * gain + offset, moved)
    soft = torch.nn.functional.avg_pool2d(out, 3, stride=1, padding=1, count_include_pad=False)
    out = torch.where(draw(n, 1, 1, 1) > 1.0 - 0.6 * strength, soft, out)
    rough = 0.08 * strength * torch.randn(out.shape, generator=generator).to(out.device) * (draw(n, 1, 1, 1) > 0.0)
    return out + rough * inside
