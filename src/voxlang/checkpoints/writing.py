"""Write a state dict tensor by tensor, atomically: the memory needed is that of one tensor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import ConfigError

_TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of the types in the header of a safetensors file."""
SUFFIXES = (".safetensors", ".pt", ".pth")


def write_weights_file(
    path: str | Path, state: Mapping[str, torch.Tensor], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write `*.safetensors`, or a torch file (`*.pt`, `*.pth`) with the bare state dict.

    Args:
        path: target; the suffix chooses the kind.
        state: tensors by key; they may be memory-mapped and may be views of each other.
        metadata: notes for the header of a safetensors file.

    Raises:
        ConfigError: another suffix, or a type that safetensors does not know.
    """
    path = check_suffix(path)
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            _write_safetensors(temporary, state, metadata or {})
        else:
            torch.save({key: _alone(tensor) for key, tensor in state.items()}, temporary)


def check_suffix(path: str | Path) -> Path:
    """The path, when its suffix names a kind of file that can be written.

    Raises:
        ConfigError: another suffix.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"a name ending in {', '.join(SUFFIXES)}", got=path.name, where=str(path), do="rename it")
    return path


def _write_safetensors(path: Path, state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt", **metadata}}
    tensors = sorted(state.items(), key=lambda item: -item[1].element_size())  # wide types first: all lie aligned
    end = 0
    for key, tensor in tensors:
        if tensor.dtype not in _TYPE_NAMES:
            raise ConfigError(
                f"one of the types {', '.join(_TYPE_NAMES.values())}",
                got=f"{tensor.dtype} in {key}",
                where=str(path),
                do="write a .pt file",
            )
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[key] = {
            "dtype": _TYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the values begin at a multiple of eight bytes
    with path.open("wb") as f:
        f.write(len(text).to_bytes(8, "little"))
        f.write(text)
        for _, tensor in tensors:
            f.write(_bytes(tensor))


def _bytes(tensor: torch.Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a storage of its own: torch saves whole storages, and a mapped file is one."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() or not tensor.numel():
        return tensor
    return torch.frombuffer(_bytes(tensor), dtype=tensor.dtype).reshape(tensor.shape)
