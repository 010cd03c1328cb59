"""Affine maps of rows, and the layer that computes one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import nn


@dataclass(frozen=True, eq=False)
class AffineMap:
    """x @ weight + bias."""

    weight: Float[np.ndarray, "e d"]
    """From features to the common space."""
    bias: Float[np.ndarray, "d"]
    """Where a feature of zero goes."""

    def __call__(self, rows: Float[np.ndarray, "n e"]) -> Float[np.ndarray, "n d"]:
        """Rows mapped."""
        return rows @ self.weight + self.bias


def as_layer(affine: AffineMap) -> nn.Linear:
    """The layer that computes a map."""
    layer = nn.Linear(*affine.weight.shape)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(affine.weight.T))
        layer.bias.copy_(torch.from_numpy(affine.bias))
    return layer
