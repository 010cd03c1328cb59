"""Carry weights from one layout to another, and files with them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from voxlang.checkpoints.hf_config import hf_config
from voxlang.checkpoints.hiera import HieraConfig
from voxlang.checkpoints.layouts import HIERA, LAYOUTS, SAM2, Config, Layout, layout_named
from voxlang.checkpoints.reading import read_weights_file
from voxlang.checkpoints.rules import ConversionReport, State, joined
from voxlang.checkpoints.sam2 import Sam2Config
from voxlang.checkpoints.sam2_layouts import MEMORY_PARTS, STILL_PARTS
from voxlang.checkpoints.understand import understand
from voxlang.checkpoints.writing import check_suffix, write_weights_file
from voxlang.core.artifacts import write_json
from voxlang.core.errors import ConfigError, WeightsError


@dataclass(frozen=True, eq=False)
class Converted:
    """A state dict in its new layout."""

    state: dict[str, torch.Tensor]
    """Tensors by new key; they share memory with the old ones where they can."""
    report: ConversionReport
    """What happened to every key."""
    config: Config
    """The model's configuration, as inferred."""


def convert_state(
    state: State, to: str, *, source: str = "auto", partial: bool = False, where: str = "state dict"
) -> Converted:
    """Carry a state dict into another layout.

    Args:
        state: tensors by key.
        to: name of the target layout.
        source: name of the layout that the state dict must be in; "auto" finds out.
        partial: allow a source that has less than the target needs (a trunk, or a still model without memory).
        where: name of the file, for errors.

    Raises:
        ConfigError: an unknown layout, or two of different families.
        WeightsError: a state dict that is not whole, in another layout than `source`, or that the target cannot hold.
    """
    target = layout_named(to)
    if source != "auto":
        layout_named(source)
    known = understand(state)
    known.require_whole(where)
    layout = known.match.layout
    if source not in ("auto", layout.name):
        raise WeightsError(
            f"layout {source}", got=f"layout {layout.name}", where=where, do=f"pass --from {layout.name} or --from auto"
        )
    missing = _missing_parts(known.config, layout, target)
    if missing and not partial:
        raise WeightsError(
            f"all that layout {target.name} holds",
            got=f"{layout.title} without {', '.join(missing)}",
            where=where,
            do="use the whole checkpoint, or pass --partial to write what there is",
        )
    config = known.config.trunk if target.family is HIERA and isinstance(known.config, Sam2Config) else known.config
    unmet = target.needs(config)
    if unmet:
        raise WeightsError(
            f"a model with {' and '.join(unmet)}, as {target.title} always has",
            got=f"size {known.size}",
            where=where,
            do="keep the layout: the model would compute something else there",
        )
    converted, writing = target.from_hub(known.hub, config)
    _, reading = layout.to_hub(state)
    return Converted(converted, replace(joined(reading, writing), missing=missing), config)


def _missing_parts(config: Config | None, layout: Layout, target: Layout) -> tuple[str, ...]:
    """Parts of the target that the source does not have, as patterns of hub keys.

    Raises:
        ConfigError: the layouts belong to different models.
    """
    families = {layout.family, target.family}
    if len(families) == 2 and (families != {SAM2, HIERA} or target.name not in ("sam2", "mmseg-hiera")):
        fitting = [x.name for x in LAYOUTS.values() if x.family is layout.family]
        fitting += {SAM2: ["mmseg-hiera"], HIERA: ["sam2"]}.get(layout.family, [])
        raise ConfigError(
            f"one of {', '.join(fitting)} for {layout.family.title}",
            got=target.name,
            where="--to",
            do="choose a layout of the same model",
        )
    if target.part == "trunk":
        return ()
    if isinstance(config, HieraConfig):
        return (*STILL_PARTS, *MEMORY_PARTS)
    is_still = isinstance(config, Sam2Config) and config.memory is None
    return MEMORY_PARTS if is_still and target.part == "whole" else ()


def convert_file(
    source: str | Path, target: str | Path, *, to: str, from_layout: str = "auto", partial: bool = False
) -> ConversionReport:
    """Convert a file; the target is written whole or not at all.

    Args:
        source: safetensors or torch file, or a folder of transformers.
        target: `*.safetensors`, `*.pt` or `*.pth`; for the layouts of transformers also a folder, which receives
            model.safetensors and config.json and is what `from_pretrained` takes.
        to: name of the target layout.
        from_layout: name of the source layout, or "auto".
        partial: as in `convert_state`.

    Raises:
        ConfigError, WeightsError: as in `convert_state`, and for files that cannot be read or written.
    """
    target = Path(target)
    is_folder = target.is_dir() or not target.suffix
    if is_folder and not layout_named(to).name.startswith("hf-"):
        raise ConfigError(
            "a file name", got=f"the folder {target}", where="OUT", do="only layouts of transformers are folders"
        )
    weights = target / "model.safetensors" if is_folder else check_suffix(target)
    file = read_weights_file(source)
    done = convert_state(file.state, to, source=from_layout, partial=partial, where=str(file.path))
    write_weights_file(weights, done.state, metadata={"layout": to})
    if is_folder:
        write_json(target / "config.json", hf_config(to, done.config))
    return done.report
