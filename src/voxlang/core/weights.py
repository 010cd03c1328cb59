"""Load state dicts strictly, and tell models apart by their weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxlang.core.errors import WeightsError

if TYPE_CHECKING:
    import torch


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
