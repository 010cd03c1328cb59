"""From names and settings to a field: which backend, how large, and the empty twin of a stored one."""

from __future__ import annotations

from typing import Any

import torch

from voxlang.core.errors import FieldError
from voxlang.field.config import BACKENDS, FieldConfig
from voxlang.field.dense import DenseField
from voxlang.field.hash_grid import HashField, hash_table_size
from voxlang.field.scalar_field import ScalarField
from voxlang.field.tcnn import TcnnField, tcnn_available, tcnn_log2_table_size

_FIELDS: dict[str, type[ScalarField]] = {"dense": DenseField, "hash": HashField, "tcnn": TcnnField}


def choose_backend(name: str, device: str | torch.device) -> str:
    """The backend behind a name on a device: "auto" is dense on the CPU, tcnn or hash on CUDA.

    Raises:
        FieldError: unknown name, or tcnn where it cannot run.
    """
    cuda = torch.device(device).type == "cuda"
    if name == "auto":
        return "dense" if not cuda else "tcnn" if tcnn_available() else "hash"
    if name not in BACKENDS:
        raise FieldError(
            f"a backend out of {', '.join(BACKENDS)}",
            got=repr(name),
            where="field backend",
            do="use one of these names",
        )
    if name == "tcnn" and not (cuda and tcnn_available()):
        raise FieldError(
            "a CUDA device and the library tinycudann for backend 'tcnn'",
            got=f"device {device}, tinycudann {'installed' if tcnn_available() else 'not installed'}",
            where="field backend",
            do="use backend 'dense' on the CPU or 'hash' on CUDA, which need no further library",
        )
    return name


def build_point_field(
    size_xyz: tuple[int, int, int], config: FieldConfig, *, backend: str, n_parameters: int, generator: torch.Generator
) -> ScalarField:
    """An untrained hash or tcnn field of at most `n_parameters`."""
    if backend == "hash":
        table_size = hash_table_size(size_xyz, n_parameters, config.width)
        return HashField(size_xyz, table_size=table_size, width=config.width, generator=generator)
    log2_table_size = tcnn_log2_table_size(size_xyz, n_parameters, config.width)
    return TcnnField(size_xyz, log2_table_size=log2_table_size, width=config.width, seed=config.seed)


def field_from_spec(spec: dict[str, Any]) -> ScalarField:
    """An empty field of the kind that `ScalarField.spec` described.

    Raises:
        FieldError: a backend that this version does not know.
    """
    settings = {key: tuple(v) if isinstance(v, list) else v for key, v in spec.items() if key != "backend"}
    backend = spec.get("backend")
    if backend not in _FIELDS:
        raise FieldError(
            f"a stored field of a backend out of {', '.join(_FIELDS)}",
            got=repr(backend),
            where="field_from_spec",
            do="fit the field again with this version",
        )
    if backend != "tcnn":
        settings["generator"] = torch.Generator().manual_seed(0)
    return _FIELDS[backend](settings.pop("size_xyz"), **settings)
