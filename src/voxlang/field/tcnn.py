"""The hash grid of tiny-cuda-nn as a ScalarField; used only where that library is installed and a GPU is there."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import torch
from jaxtyping import Float

from voxlang.core.errors import FieldError
from voxlang.field.hash_grid import FEATURES, hash_levels
from voxlang.field.scalar_field import ScalarField


def tcnn_available() -> bool:
    """Whether tiny-cuda-nn is installed (it is not imported)."""
    return importlib.util.find_spec("tinycudann") is not None


class TcnnField(ScalarField):
    """Hash grid and fully fused network of tiny-cuda-nn.

    Args:
        size_xyz: voxels of the volume that it represents.
        log2_table_size: entries of the table of a level, at most, as a power of two.
        width: units of the two hidden layers; the fused network takes 16, 32, 64 or 128.
        seed: seed of the library's own initialisation.

    Raises:
        FieldError: tiny-cuda-nn is not installed.
    """

    backend = "tcnn"

    def __init__(self, size_xyz: tuple[int, int, int], *, log2_table_size: int, width: int, seed: int) -> None:
        super().__init__(size_xyz)
        if not tcnn_available():
            raise FieldError(
                "the library tinycudann for backend 'tcnn'",
                got="no such module",
                where="FieldConfig.backend",
                do="install tiny-cuda-nn's torch bindings, or use backend 'hash', which needs none",
            )
        import tinycudann

        self.log2_table_size, self.width, self.seed = log2_table_size, width, seed
        levels = hash_levels(self.size_xyz)
        coarsest, finest = max(levels[0]), max(levels[-1])
        self.net = tinycudann.NetworkWithInputEncoding(
            n_input_dims=3,
            n_output_dims=1,
            encoding_config={
                "otype": "HashGrid",
                "n_levels": len(levels),
                "n_features_per_level": FEATURES,
                "log2_hashmap_size": log2_table_size,
                "base_resolution": coarsest,
                "per_level_scale": math.exp(math.log(finest / coarsest) / (len(levels) - 1)),
            },
            network_config={
                "otype": "FullyFusedMLP",
                "activation": "ReLU",
                "output_activation": "None",
                "n_neurons": width,
                "n_hidden_layers": 2,
            },
            seed=seed,
        )

    def points(self, xyz_unit: Float[torch.Tensor, "n 3"]) -> Float[torch.Tensor, "n"]:
        """Unclamped values at points of unit space; differentiable in points and parameters."""
        return self.net((xyz_unit.clamp(-1.0, 1.0) + 1.0) * 0.5)[:, 0].float() + 0.5

    def spec(self) -> dict[str, Any]:
        """JSON-able description from which an empty twin is built."""
        return {
            "backend": self.backend,
            "size_xyz": list(self.size_xyz),
            "log2_table_size": self.log2_table_size,
            "width": self.width,
            "seed": self.seed,
        }


def tcnn_log2_table_size(size_xyz: tuple[int, int, int], n_parameters: int, width: int) -> int:
    """Largest power of two whose hash grid and network stay within `n_parameters` (at least 2^4)."""
    levels = hash_levels(size_xyz)
    coarsest, finest = max(levels[0]), max(levels[-1])
    growth = (finest / coarsest) ** (1.0 / (len(levels) - 1))
    # The library's levels are cubes of the longest axis, and its network pads its inputs and outputs to 16.
    vertices = [math.ceil(coarsest * growth**i + 1) ** 3 for i in range(len(levels))]
    network = width * (-(-FEATURES * len(levels) // 16) * 16 + width + 16)
    spare = (n_parameters - network) // FEATURES
    fitting = [k for k in range(4, 25) if sum(min(2**k, -(-v // 8) * 8) for v in vertices) <= spare]
    return max(fitting, default=4)
