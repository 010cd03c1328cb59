"""The command line of tools/checkpoint.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from voxlang.core.doors import through_door

LayoutName = Literal["sam1", "sam1-stages", "hf-sam", "sam2", "hf-sam2", "hf-sam2-video", "mmseg-hiera"]
"""Names of `checkpoints.layouts.LAYOUTS`, written out so that `--help` needs no torch."""


def inspect(file: tyro.conf.Positional[Path], print_keys: bool = False, analyze: bool = False) -> str:
    """Say what a file of weights is; nothing in it is run.

    Args:
        file: safetensors or torch file, or a folder of transformers.
        print_keys: list every key with its shape and type.
        analyze: list every inferred value with its source, and every block of the image encoder.
    """
    from voxlang.checkpoints.inspect import inspect_file

    found = inspect_file(file)
    parts = [found.summary()]
    if analyze:
        parts += [found.facts(), found.blocks()]
    if print_keys:
        parts.append(found.key_list())
    return "\n\n".join(parts)


def convert(
    source: tyro.conf.Positional[Path],
    target: tyro.conf.Positional[Path],
    to: LayoutName,
    from_: Annotated[LayoutName | Literal["auto"], tyro.conf.arg(name="from")] = "auto",
    partial: bool = False,
) -> str:
    """Write a file of weights in another layout.

    Args:
        source: safetensors or torch file, or a folder of transformers.
        target: *.safetensors, *.pt or *.pth; for the hf- layouts also a folder, which from_pretrained takes.
        to: layout to write.
        from_: layout of the source; "auto" finds out.
        partial: also write a model that lacks parts of the target, such as a trunk alone.
    """
    from voxlang.checkpoints.convert import convert_file

    report = convert_file(source, target, to=to, from_layout=from_, partial=partial)
    return f"{report.text()}\n{target}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the door; returns the exit status."""
    return through_door(
        lambda: tyro.extras.subcommand_cli_from_dict(
            {"inspect": inspect, "convert": convert}, args=arguments, prog="tools/checkpoint.py"
        )
    )
