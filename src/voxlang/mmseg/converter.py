"""The command line of tools/model_converters/sam2hiera2mmseg.py; needs no MMSegmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tyro

from voxlang.core.doors import through_door


def convert(
    source: tyro.conf.Positional[Path],
    target: tyro.conf.Positional[Path],
    analyze: bool = False,
    print_keys: bool = False,
) -> str:
    """Write the trunk of a SAM 2 checkpoint as the backbone HieraSAM2 of MMSegmentation reads it.

    Args:
        source: SAM 2 or 2.1 checkpoint as downloaded, or in the layout of transformers.
        target: *.pth, *.pt or *.safetensors.
        analyze: first say what the checkpoint is: blocks, projections, position embeddings, and the source of each.
        print_keys: first list every key of the checkpoint.
    """
    from voxlang.checkpoints.cli import inspect
    from voxlang.checkpoints.convert import convert_file
    from voxlang.checkpoints.facts import shapes_of
    from voxlang.mmseg.parameters import backbone_text
    from voxlang.mmseg.weights import LAYOUT, read_trunk

    parts = [inspect(source, print_keys=print_keys, analyze=analyze)] if analyze or print_keys else []
    report = convert_file(source, target, to=LAYOUT)
    parts.append(f"{report.text()}\n{target}\n\n{backbone_text(shapes_of(read_trunk(target)), target)}")
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the door; returns the exit status."""
    return through_door(lambda: tyro.cli(convert, args=arguments, prog="sam2hiera2mmseg.py"))
