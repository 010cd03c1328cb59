"""Read state dicts from files without running code in them, and load them strictly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from voxlang.core.errors import WeightsError

if TYPE_CHECKING:
    import torch


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from `*.safetensors` or from a torch file that holds it bare or under "model".

    Torch files are read with `weights_only=True`: no code in them is run.

    Raises:
        WeightsError: broken, unsafe or not a state dict.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            "a whole file of weights (safetensors, or a torch file of tensors only)",
            got=(str(error) or type(error).__name__).splitlines()[0],
            where=str(path),
            do="download the file again",
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            'a state dict, bare or under "model"',
            got=f"keys {list(content)[:5]}" if isinstance(content, dict) else type(content).__name__,
            where=str(path),
            do="pass a SAM 2 checkpoint",
        )
    return state


def load_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], *, where: str) -> None:
    """Load a state dict strictly: the same names and the same shapes.

    Raises:
        WeightsError: names the first ten keys that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    reshaped = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or unexpected or reshaped:
        groups = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        got = "; ".join(f"{len(keys)} {name}: {', '.join(keys[:10])}" for name, keys in groups if keys)
        raise WeightsError(
            f"weights with the model's {len(own)} tensors",
            got=got,
            where=where,
            do="pass the configuration that belongs to these weights (--sam.size or --sam.config)",
        )
    model.load_state_dict(state, strict=True)


def weights_digest(model: torch.nn.Module) -> str:
    """Digest of all names, types, shapes and values of a model's state dict; the same whatever file they came from."""
    import hashlib

    import torch

    h = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        h.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        h.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()
