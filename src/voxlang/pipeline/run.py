"""What all stages of a run share: settings, folder, clock, logs, and the input."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from voxlang.core.artifacts import read_json
from voxlang.core.device import device_of
from voxlang.core.errors import ConfigError, QueryError
from voxlang.core.levels import Level
from voxlang.core.resources import StageClock
from voxlang.core.runs import RunDirectory
from voxlang.embed.encoder import load_encoder
from voxlang.embed.types import ImageTextEncoder
from voxlang.geometry.grid import VolumeGrid
from voxlang.pipeline.config import PipelineConfig
from voxlang.render.transfer import TransferFunction
from voxlang.tracking.tracker import Tracker
from voxlang.volume.types import LabelVolume, Part, PartTree, Volume

_APART = 0.1
"""Voxels by which labels may lie beside their volume: file formats round positions."""


@dataclass(frozen=True, eq=False)
class RunInput:
    """The volume of a run, with its truth where there is one."""

    volume: Volume
    truth: LabelVolume | None
    transfers: tuple[TransferFunction, ...]
    """Transfer functions, in the order in which views take them."""
    source: str
    """Path, or family and seed."""
    prompts: tuple[str, ...] = ()
    """Good prompts, where the input knows some (phantoms do)."""


class Run:
    """One run in progress: every stage receives it and leaves its results in `folder`."""

    def __init__(self, config: PipelineConfig, tracker: Tracker, folder: RunDirectory, clock: StageClock) -> None:
        self.config, self.tracker, self.folder, self.clock = config, tracker, folder, clock

    @cached_property
    def input(self) -> RunInput:
        """The input, loaded once."""
        with self.clock.stage("load volume"):
            return load_input(self.config)

    @cached_property
    def encoder(self) -> ImageTextEncoder:
        """The image-text encoder, loaded once."""
        return load_encoder(self.config.embed)

    @cached_property
    def device(self) -> str:
        """torch device."""
        return str(device_of(self.config.device))


def require_truth(run: Run) -> LabelVolume:
    """The truth of the run's volume.

    Raises:
        QueryError: it has none.
    """
    if run.input.truth is None:
        raise QueryError(
            "truth to score against",
            got="a volume without labels",
            where="--mode=evaluate",
            do="pass --volume.labels labels.nii.gz with --volume.label-names names.json",
        )
    return run.input.truth


@contextmanager
def open_run(config: PipelineConfig) -> Iterator[Run]:
    """Start (or continue) the run that the settings name; closes the logs at the end."""
    folder = RunDirectory(config.runs_dir, config.run_name)
    seeds = {"phantom": config.volume.seed, "views": config.views.seed, "semantics": config.semantics.seed}
    folder.start(config.model_dump(mode="json"), seeds=seeds, device=config.device)
    with Tracker(folder.path, config.tracking) as tracker:
        tracker.log_parameters(config.model_dump(mode="json"))
        tracker.add_tags(
            "voxlang", f"mode-{config.mode}", config.sam.family, f"{config.sam.family}-{config.sam.resolved().size}"
        )
        yield Run(config, tracker, folder, StageClock(folder.stages_path))


def load_input(config: PipelineConfig) -> RunInput:
    """Read the volume file or build the phantom, with truth and transfer functions.

    Raises:
        VolumeError: the file cannot be used.
        ConfigError: "phantom" transfer functions for a file, or labels that do not lie on the volume's grid.
    """
    from voxlang.render.presets import resolve_transfers

    settings = config.volume
    if not settings.path:
        return _phantom_input(config)
    from voxlang.volume.read import load_volume

    volume = load_volume(
        settings.path,
        size_xyz=settings.size_xyz,
        dtype=settings.dtype,
        endian=settings.endian,
        spacing_xyz=settings.spacing_xyz,
    )
    if any(t.startswith("phantom") for t in config.views.transfers):
        raise ConfigError(
            'transfer functions for a file: "auto", a preset or a JSON file',
            got=f"{list(config.views.transfers)}",
            where="views.transfers",
            do='pass --views.transfers auto (the "phantom" ones belong to phantoms)',
        )
    transfers = resolve_transfers(config.views.transfers, volume)
    truth = load_truth(config)
    if truth is not None:
        require_same_grid(truth.grid, volume.grid, where=settings.labels)
    return RunInput(volume, truth, tuple(transfers), settings.path)


def _phantom_input(config: PipelineConfig) -> RunInput:
    from voxlang.render.presets import resolve_transfers, transfer_from_appearance
    from voxlang.volume.phantoms import make_phantom

    settings = config.volume
    phantom = make_phantom(settings.family, settings.seed, size_xyz=settings.size_xyz, spacing_xyz=settings.spacing_xyz)
    transfers: list[TransferFunction] = []
    for spec in config.views.transfers:
        kind, _, name = spec.partition(":")
        if kind != "phantom":
            transfers += resolve_transfers([spec], phantom.volume)
            continue
        looks = [a for a in phantom.appearances if not name or a.name == name]
        if not looks:
            raise ConfigError(
                f"phantom, or phantom:NAME with a name out of {[a.name for a in phantom.appearances]}",
                got=repr(spec),
                where="views.transfers",
                do="use one of these",
            )
        transfers += [transfer_from_appearance(a, phantom.volume.grid) for a in looks]
    source = f"phantom {settings.family}, seed {settings.seed}"
    return RunInput(phantom.volume, phantom.labels, tuple(transfers), source, phantom.demo_prompts)


def load_truth(config: PipelineConfig) -> LabelVolume | None:
    """The label map given as truth, every label a part of its own; None when none is given.

    Raises:
        ConfigError: a label map without names, or names that are no such JSON.
    """
    settings = config.volume
    if not settings.labels:
        return None
    from voxlang.volume.read import load_labels
    from voxlang.volume.write import load_label_names, names_path

    labels, grid = load_labels(settings.labels, spacing_xyz=settings.spacing_xyz)
    if settings.label_names:
        names = _names_from_json(Path(settings.label_names))
    elif names_path(settings.labels).is_file():
        names = load_label_names(settings.labels)
    else:
        raise ConfigError(
            "names for the labels",
            got="none",
            where=settings.labels,
            do='pass --volume.label-names names.json with {"1": "liver", ...}',
        )
    parts = tuple(Part(i, name.replace("_", " "), Level.PART, None) for i, name in sorted(names.items()))
    return LabelVolume(labels, grid, PartTree(parts))


def require_same_grid(labels: VolumeGrid, volume: VolumeGrid, *, where: str) -> None:
    """Refuse labels whose voxels are not those of the volume: flipped or shifted ones would be scored all the same.

    Where a file does not say where its voxels lie (unit "voxel"), the sizes alone are compared.

    Raises:
        ConfigError: other sizes, or the same voxel at another place.
    """
    placed = "voxel" not in (labels.unit, volume.unit)
    if labels.size_xyz == volume.size_xyz and not (placed and volume.voxels_apart(labels) > _APART):
        return
    rounded = lambda numbers: np.round(numbers, 4).tolist()
    said = [
        f"size {g.size_xyz}, spacing {rounded(g.spacing_xyz)}, origin {rounded(g.origin_xyz)}, "
        f"direction {rounded(g.direction)}"
        for g in (volume, labels)
    ]
    raise ConfigError(
        f"labels on the volume's grid ({said[0]})",
        got=said[1],
        where=where,
        do="resample the labels onto the volume by nearest neighbour (SimpleITK: Resample(labels, volume, Transform(), "
        "sitkNearestNeighbor)), or save both from the same tool",
    )


def _names_from_json(path: Path) -> dict[int, str]:
    content = read_json(path)
    names = content.get("labels", content) if isinstance(content, dict) else None
    try:
        return {int(k): str(v) for k, v in names.items()}
    except (AttributeError, ValueError) as error:
        raise ConfigError(
            'a JSON object {"1": "liver", ...}, alone or under "labels"',
            got=json.dumps(content)[:80],
            where=str(path),
            do="correct the file",
        ) from error
