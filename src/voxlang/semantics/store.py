"""Stage 2 on disk: the semantic field and the lifted masks, each with the digest of what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix

from voxlang.core.artifacts import read_artifact, write_artifact
from voxlang.core.errors import ArtifactError
from voxlang.core.levels import LEVELS
from voxlang.core.settings import stored_settings
from voxlang.embed.types import EncoderId
from voxlang.geometry.grid import VolumeGrid
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.field import SemanticField
from voxlang.semantics.lifting import LiftedMasks

KIND = "semantic-field"
LIFTED_KIND = "lifted-masks-of-pictures"


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
        ArtifactError: no such file, foreign, damaged, of another version, or trained on other inputs.
    """
    tensors, meta = read_artifact(path, KIND)
    _require_key(meta["key"], key, path)
    field = SemanticField(
        stored_settings(SemanticsConfig, meta["config"], where=str(path)),
        VolumeGrid.from_dict(meta["grid"]),
        EncoderId.from_dict(meta["encoder"]),
    )
    field.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    return field.to(device).eval(), meta["history"]


def save_lifted(path: Path | str, lifted: LiftedMasks, *, key: str, inputs: Mapping[str, str]) -> None:
    """Write lifted masks; weights in half precision, which is far finer than their use.

    Args:
        path: the file.
        lifted: the masks.
        key: digest of all that they were made from.
        inputs: digest by name of what decided the pictures.
    """
    tensors = {name: getattr(lifted, name) for name in ("voxel", "seen", "vectors", "level", "view")}
    for name, matrix in _matrices(lifted).items():
        tensors[f"{name}_data"] = matrix.data.astype(np.float16)
        tensors[f"{name}_column"] = matrix.indices.astype(np.int32)
        tensors[f"{name}_start"] = matrix.indptr.astype(np.int64)
    meta = {"grid": lifted.grid.as_dict(), "encoder": lifted.encoder.as_dict(), "key": key, "inputs": dict(inputs)}
    write_artifact(path, LIFTED_KIND, tensors=tensors, meta=meta)


def load_lifted(path: Path | str, *, key: str | None = None) -> tuple[LiftedMasks, dict[str, str]]:
    """Read a file of `save_lifted`: the masks, and the digests of what decided their pictures.

    Raises:
        ArtifactError: no such file, foreign, damaged, or made from other inputs than `key` says.
    """
    tensors, meta = read_artifact(path, LIFTED_KIND)
    _require_key(meta["key"], key, path)
    n_seen, n_masks = len(tensors["s_start"]) - 1, len(tensors["vectors"])

    def matrix(name: str, shape: tuple[int, int]) -> csr_matrix:
        data = tensors[f"{name}_data"].astype(np.float32)
        return csr_matrix((data, tensors[f"{name}_column"], tensors[f"{name}_start"]), shape=shape)

    weights = tuple(matrix(level.letter, (n_seen, n_masks)) for level in LEVELS)
    mix, votes = (matrix(name, (len(tensors["voxel"]), n_seen)) for name in ("mix", "votes"))
    plain = {name: tensors[name] for name in ("voxel", "seen", "vectors", "level", "view")}
    grid, encoder = VolumeGrid.from_dict(meta["grid"]), EncoderId.from_dict(meta["encoder"])
    lifted = LiftedMasks(weights=weights, mix=mix, votes=votes, grid=grid, encoder=encoder, **plain)
    return lifted, meta["inputs"]


def _matrices(lifted: LiftedMasks) -> dict[str, csr_matrix]:
    return {"mix": lifted.mix, "votes": lifted.votes} | {
        level.letter: w for level, w in zip(LEVELS, lifted.weights, strict=True)
    }


def _require_key(got: str, wanted: str | None, path: Path | str) -> None:
    if wanted is not None and got != wanted:
        raise ArtifactError(
            f"a file made from inputs {wanted}",
            got=f"one made from inputs {got}",
            where=str(path),
            do="run main.py --mode=stage2 with the present settings",
        )
