"""Open a file of weights without running anything in it and without reading its values.

Tensors come memory-mapped: names, types and shapes cost almost nothing, values are read when they are touched.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError, safe_open

from voxlang.core.errors import WeightsError

if TYPE_CHECKING:
    import torch

Container = Literal["safetensors", "torch zip", "torch legacy"]

_WRAPPERS = ("model", "state_dict", "model_state_dict", "target_encoder", "teacher", "encoder")
"""Names under which training code keeps the state dict, the preferred first."""
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "sam_model.", "model.")
"""Prefixes of wrapping modules; removed when every key has one."""
_TORN = (
    *(pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, IndexError, TypeError, AttributeError),
    *(struct.error, zipfile.BadZipFile, OverflowError, OSError, AssertionError, ImportError, SafetensorError),
)
"""What torch, its unpickler and safetensors raise on a file that is torn, mutated or holds code. torch opens what is
named *.safetensors with safetensors."""


@dataclass(frozen=True, eq=False)
class WeightsFile:
    """The state dict of a file."""

    path: Path
    """The file itself, also when its folder was named."""
    container: Container
    """How it is stored."""
    state: dict[str, torch.Tensor]
    """Memory-mapped tensors by key, without wrapper and common prefix."""
    wrapper: str
    """Where the state dict lay in the file: a name, a prefix, or empty."""
    others: tuple[str, ...]
    """Entries that are no tensors."""
    metadata: Mapping[str, str]
    """Notes in the header of a safetensors file."""


def read_weights_file(path: str | Path) -> WeightsFile:
    """Open `*.safetensors`, `*.pt` or `*.pth`, or a folder of transformers with `model.safetensors` in it.

    The content decides about the kind, not the suffix. Torch files are read with `weights_only`: a pickle that holds
    code is refused.

    Raises:
        WeightsError: no file, empty, torn, foreign, with code in it, or without tensors.
    """
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        _refuse("a file of weights", "no such file", file, "check the path; a folder must hold model.safetensors")
    with file.open("rb") as f:
        head = f.read(9)
    size = file.stat().st_size
    if size == 0:
        _refuse("a file of weights", "an empty file", file, "download it again")
    if head[:2] == b"PK":
        container: Container = "torch zip"
    elif len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        container = "safetensors"
    elif head[:1] == b"\x80":
        container = "torch legacy"
    else:
        _refuse(
            "a torch or safetensors file",
            f"{size} bytes beginning with {head[:8]!r}",
            file,
            "download it again, or pass another file",
        )
    metadata: Mapping[str, str] = {}
    if container == "safetensors":
        content, metadata = _open_safetensors(file)
    else:
        content = _open_torch(file, container)
    state, wrapper, others = _unwrap(content, file)
    return WeightsFile(file, container, state, wrapper, others, metadata)


def _open_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    try:
        with safe_open(file, framework="pt") as f:
            return {key: f.get_tensor(key) for key in f.keys()}, f.metadata() or {}  # noqa: SIM118  no mapping
    except _TORN as error:
        _refuse("a whole safetensors file", _first_line(error), file, "download it again", error)


def _open_torch(file: Path, container: Container) -> Any:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=container == "torch zip")
    except _TORN as error:
        text = str(error)
        if isinstance(error, pickle.UnpicklingError) and ("Unsupported global" in text or "GLOBAL" in text):
            named = [word for word in text.split() if "." in word and not word.startswith("http")]
            _refuse(
                "tensors and plain values only",
                f"a pickle that calls code: {_code_in(text) or named[:1]}",
                file,
                "ask for a safetensors file, or save the state dict alone where you trust the file",
                error,
            )
        _refuse("a whole torch file", _first_line(error), file, "download it again", error)


def _code_in(text: str) -> str:
    _, _, after = text.partition("GLOBAL ")
    return after.split(" ")[0]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _refuse(expected: str, got: str, file: Path, do: str, cause: Exception | None = None) -> Any:
    raise WeightsError(expected, got=got, where=str(file), do=do) from cause


def _unwrap(content: Any, file: Path) -> tuple[dict[str, torch.Tensor], str, tuple[str, ...]]:
    wrapper, others = "", ()
    if isinstance(content, dict):
        found = next((n for n in _WRAPPERS if isinstance(content.get(n), dict) and _tensors(content[n])), None)
        if found is not None:
            others = tuple(str(k) for k in content if k != found)
            content, wrapper = content[found], found
    state = _tensors(content) if isinstance(content, dict) else {}
    if not state:
        got = f"entries {list(content)[:5]}" if isinstance(content, dict) else type(content).__name__
        _refuse('a state dict, bare or under "model" or "state_dict"', got, file, "pass a checkpoint")
    others += tuple(str(k) for k in content if k not in state)
    prefix = next((p for p in _PREFIXES if all(k.startswith(p) for k in state)), "")
    if prefix:
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state, ".".join(n for n in (wrapper, prefix.rstrip(".")) if n), others


def _tensors(content: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    import torch

    return {
        k: v
        for k, v in content.items()
        if isinstance(k, str) and isinstance(v, torch.Tensor) and v.layout == torch.strided and not v.is_quantized
    }
