"""The tables of docs/encoders.md, made from the encoders themselves."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from voxlang.encoders.describe import EncoderDescription, describe_encoder

_SECTION = re.compile(r"^(### [^\n]+ \(`(?P<encoder>[^`]+)`\)\n)\n?(?P<body>.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def described(encoder: str) -> EncoderDescription:
    """The description of an encoder at the size of its model's pictures; a ViT is built without storage.

    Args:
        encoder: a size, a YAML file, or a name in configs/sam2.

    Raises:
        ConfigError: an encoder that cannot be built.
    """
    import torch

    from voxlang.encoders.build import build_image_encoder
    from voxlang.encoders.compose import compose_sam2
    from voxlang.encoders.options import VIT_TRUNK
    from voxlang.masks.models import config_path

    path = config_path(encoder)
    config = compose_sam2(path)
    is_vit = config["image_encoder"]["trunk"]["_target_"] == VIT_TRUNK
    with torch.device("meta") if is_vit else contextlib.nullcontext():
        built = build_image_encoder(path)
    return describe_encoder(built, config["image_size"], config["image_size"], name=path.stem)


def sections(page: str) -> dict[str, str]:
    """What stands below each heading ``### Title (`encoder`)``, by encoder."""
    return {found["encoder"]: found["body"].strip() for found in _SECTION.finditer(page)}


def write_tables(path: Path) -> list[str]:
    """Put the present tables below the headings of the page; the text around them stays. Returns the encoders.

    Raises:
        ValueError: a page without such headings.
    """
    from voxlang.core.artifacts import write_text

    page = path.read_text("utf-8")
    encoders = list(sections(page))
    if not encoders:
        raise ValueError(f"{path} has no headings as: ### Title (`encoder`)")
    write_text(path, _SECTION.sub(lambda m: f"{m[1]}\n{described(m['encoder']).as_markdown()}\n\n", page))
    return encoders
