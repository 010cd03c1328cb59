"""Fields on disk: one safetensors file with the parameters and what they are parameters of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from voxlang.core.artifacts import read_artifact, write_artifact
from voxlang.core.errors import ArtifactError, FieldError
from voxlang.core.settings import stored_settings
from voxlang.field.build import field_from_spec
from voxlang.field.config import FieldConfig
from voxlang.field.fit import FieldFit, measure_psnr_db
from voxlang.field.scalar_field import ScalarField
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.types import Volume

KIND = "scalar-field"


@dataclass(frozen=True)
class FieldMeta:
    """What a stored field represents and how it came about."""

    grid: VolumeGrid
    """Grid of the volume; unit space of the field is its box of voxel centres."""
    volume_digest: str
    """`Volume.digest` of the volume."""
    volume_name: str
    """Its name."""
    value_range: tuple[float, float]
    """Native values of 0 and 1."""
    config: FieldConfig
    """Settings of the fit."""
    psnr_db: float
    """PSNR over the whole grid, of the field as it was fitted (float32)."""
    seconds: float
    """Seconds of fitting."""

    @staticmethod
    def of(volume: Volume, config: FieldConfig, fit: FieldFit) -> FieldMeta:
        """The description of a fit of `volume`."""
        return FieldMeta(
            volume.grid, volume.digest, volume.name, volume.value_range, config, float(fit.psnr_db), float(fit.seconds)
        )


@dataclass(frozen=True)
class StoredField:
    """What writing a field came to."""

    n_bytes: int
    """Size of the file."""
    psnr_db: float
    """PSNR over the whole grid of what the file holds."""
    psnr_loss_db: float
    """What half precision cost; 0 in full precision."""


def save_field(
    path: Path | str, field: ScalarField, meta: FieldMeta, *, half_precision_for: Volume | None = None
) -> StoredField:
    """Write a field atomically.

    Args:
        path: target, by custom `*.safetensors`.
        field: the field.
        meta: what it represents.
        half_precision_for: its volume: parameters are rounded to float16, and the PSNR that this costs is measured
            against it and recorded. None keeps float32.

    Raises:
        FieldError: a volume that is not the one in `meta`, or parameters that float16 cannot hold.
    """
    state = {name: t.detach().cpu() for name, t in field.state_dict().items()}
    stored_psnr_db = meta.psnr_db
    if half_precision_for is not None:
        _check_digest(meta, half_precision_for.digest, "save_field(half_precision_for=...)")
        state = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
        if any(not torch.isfinite(t).all() for t in state.values() if t.is_floating_point()):
            raise FieldError(
                "parameters within float16's range of +-65504",
                got="a larger one",
                where=str(path),
                do="store the field in full precision",
            )
        rounded = field_from_spec(field.spec())
        rounded.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in state.items()})
        stored_psnr_db = measure_psnr_db(rounded.to(field.device), half_precision_for)
    description = {
        "spec": field.spec(),
        "grid": meta.grid.as_dict(),
        "volume_digest": meta.volume_digest,
        "volume_name": meta.volume_name,
        "value_range": list(meta.value_range),
        "config": meta.config.model_dump(),
        "psnr_db": _json_number(meta.psnr_db),
        "stored_psnr_db": _json_number(stored_psnr_db),
        "seconds": meta.seconds,
    }
    write_artifact(path, KIND, tensors={name: t.numpy() for name, t in state.items()}, meta=description)
    loss = 0.0 if stored_psnr_db == meta.psnr_db else meta.psnr_db - stored_psnr_db
    return StoredField(Path(path).stat().st_size, stored_psnr_db, loss)


def load_field(
    path: Path | str, *, volume_digest: str | None = None, device: str = "cpu"
) -> tuple[ScalarField, FieldMeta]:
    """Read a file of `save_field`; returns the field, in float32, and what it represents.

    Args:
        path: the file.
        volume_digest: digest of the volume that the field must represent; None takes any.
        device: torch device.

    Raises:
        FieldError: no such file, not one of ours, another schema or version, or a field of another volume.
    """
    try:
        tensors, description = read_artifact(path, KIND)
        config = stored_settings(FieldConfig, description["config"], where=str(path))
    except ArtifactError as error:
        raise FieldError(error.expected, got=error.got, where=error.where, do=error.do) from error
    meta = FieldMeta(
        VolumeGrid.from_dict(description["grid"]),
        description["volume_digest"],
        description["volume_name"],
        tuple(description["value_range"]),
        config,
        float(description["psnr_db"]),
        float(description["seconds"]),
    )
    if volume_digest is not None:
        _check_digest(meta, volume_digest, str(path))
    field = field_from_spec(description["spec"])
    field.load_state_dict({name: _tensor(array) for name, array in tensors.items()})
    return field.to(device), meta


def _tensor(array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.array(array))
    return tensor.float() if tensor.is_floating_point() else tensor


def _json_number(value: float) -> Any:
    """JSON has no infinity; its name reads back through float()."""
    return value if np.isfinite(value) else "inf"


def _check_digest(meta: FieldMeta, digest: str, where: str) -> None:
    if meta.volume_digest != digest:
        raise FieldError(
            f"a field of the volume with digest {digest}",
            got=f"a field of {meta.volume_name!r} with digest {meta.volume_digest}",
            where=where,
            do="run stage 1 on this volume, or pass the volume of the field",
        )
