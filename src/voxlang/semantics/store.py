"""The semantic field on disk: one safetensors file that says what it was trained on."""

from __future__ import annotations

from pathlib import Path

import torch

from voxlang.core.artifacts import read_artifact, write_artifact
from voxlang.core.errors import ArtifactError
from voxlang.embed.types import EncoderId
from voxlang.geometry.grid import VolumeGrid
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.field import SemanticField

KIND = "semantic-field"


def save_semantics(path: Path | str, field: SemanticField, *, key: str, history: list[dict[str, float | int]]) -> None:
    """Write a trained field with its settings, grid, encoder, the digest of its inputs and its losses."""
    write_artifact(
        path,
        KIND,
        tensors={name: value.detach().cpu().numpy() for name, value in field.state_dict().items()},
        meta={
            "config": field.config.model_dump(mode="json"),
            "grid": field.grid.as_dict(),
            "encoder": field.encoder.as_dict(),
            "key": key,
            "history": history,
        },
    )


def load_semantics(
    path: Path | str, *, key: str | None = None, device: str = "cpu"
) -> tuple[SemanticField, list[dict[str, float | int]]]:
    """Read a field of `save_semantics` and its losses.

    Args:
        path: the file.
        key: digest of the inputs it must have been trained on; None takes any.
        device: torch device.

    Raises:
        ArtifactError: no such file, foreign, damaged, or trained on other inputs.
    """
    tensors, meta = read_artifact(path, KIND)
    if key is not None and meta["key"] != key:
        raise ArtifactError(
            f"a semantic field of inputs {key}",
            got=f"one of inputs {meta['key']}",
            where=str(path),
            do="run main.py --mode=stage2 with the present settings",
        )
    field = SemanticField(
        SemanticsConfig.model_validate(meta["config"]),
        VolumeGrid.from_dict(meta["grid"]),
        EncoderId.from_dict(meta["encoder"]),
    )
    field.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return field.to(device).eval(), meta["history"]
