"""The three-head semantic field: position and scalar value in, one vector per level out."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional as F

from voxlang.core.levels import LEVELS
from voxlang.embed.types import EncoderId
from voxlang.geometry.grid import VolumeGrid
from voxlang.semantics.config import SemanticsConfig


class SemanticField(nn.Module):
    """Dense multi-resolution feature grids and an encoded scalar value, a small MLP, three linear heads.

    The heads are linear and have no bias, so composition and head commute:
    ``head(sum_i w_i h_i) = sum_i w_i head(h_i)``. Composite the hidden feature, apply the head once per pixel.
    """

    def __init__(self, config: SemanticsConfig, grid: VolumeGrid, encoder: EncoderId) -> None:
        super().__init__()
        self.config, self.grid, self.encoder = config, grid, encoder
        generator = torch.Generator().manual_seed(config.seed)
        longest = max(grid.extent_world)
        shapes = [
            tuple(max(2, round(cells * float(e) / longest)) for e in grid.extent_world[::-1])
            for cells in config.grid_levels
        ]
        self.grids = nn.ParameterList(
            [nn.Parameter(torch.randn(1, config.grid_features, *shape, generator=generator) * 0.1) for shape in shapes]
        )
        width_in = config.grid_features * len(shapes) + 1 + 2 * config.value_frequencies
        self.layer_in = _linear(width_in, config.hidden, generator)
        self.layer_mid = _linear(config.hidden, config.hidden, generator)
        self.heads = nn.Parameter(
            torch.randn(len(LEVELS), encoder.dim, config.hidden, generator=generator) / config.hidden**0.5
        )

    def hidden(self, xyz_unit: Float[Tensor, "n 3"], value: Float[Tensor, "n"]) -> Float[Tensor, "n k"]:
        """The feature that is composited, at points in unit space with their normalised scalar value."""
        where = xyz_unit.view(1, -1, 1, 1, 3)
        features = [
            F.grid_sample(g, where, align_corners=True, padding_mode="border")[0, :, :, 0, 0].T for g in self.grids
        ]
        frequencies = torch.pi * 2.0 ** torch.arange(self.config.value_frequencies, device=value.device)
        angles = value[:, None] * frequencies
        inputs = torch.cat([*features, value[:, None], angles.sin(), angles.cos()], dim=-1)
        first = F.relu(self.layer_in(inputs))
        return first + F.relu(self.layer_mid(first))

    def forward(self, xyz_unit: Float[Tensor, "n 3"], value: Float[Tensor, "n"]) -> Float[Tensor, "3 n d"]:
        """Unit vectors per level at points; for few points only, see `scores` for volumes."""
        return F.normalize(torch.einsum("ldk,nk->lnd", self.heads, self.hidden(xyz_unit, value)), dim=-1)

    def smoothness(self) -> Float[Tensor, ""]:
        """Mean squared difference of neighbouring cells, summed over grids; differentiable."""
        return sum(torch.diff(g, dim=axis).square().mean() for g in self.grids for axis in (2, 3, 4))

    @torch.no_grad()
    def scores(
        self,
        xyz_unit: Float32[np.ndarray, "n 3"],
        value: Float32[np.ndarray, "n"],
        text_vectors: Float32[np.ndarray, "t d"],
        *,
        chunk: int = 65536,
    ) -> Float32[np.ndarray, "3 t n"]:
        """Cosine of each level's vector with each text vector at many points, without making the vectors.

        With h the hidden feature and A a head, ``cos = (A^T t) . h / sqrt(h^T (A^T A) h)``: two small products a point.
        """
        device = self.heads.device
        projected = torch.einsum("ldk,td->ltk", self.heads, torch.from_numpy(text_vectors).to(device))
        gram = torch.einsum("ldk,ldj->lkj", self.heads, self.heads)
        out = np.empty((len(LEVELS), len(text_vectors), len(xyz_unit)), np.float32)
        for start in range(0, len(xyz_unit), chunk):
            stop = min(start + chunk, len(xyz_unit))
            h = self.hidden(
                torch.from_numpy(xyz_unit[start:stop]).to(device), torch.from_numpy(value[start:stop]).to(device)
            )
            norm = torch.einsum("nk,lkj,nj->ln", h, gram, h).clamp_min(1e-12).sqrt()
            cosine = torch.einsum("ltk,nk->ltn", projected, h) / norm[:, None]
            out[:, :, start:stop] = cosine.cpu().numpy()
        return out


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(n_out, n_in, generator=generator) * (2.0 / n_in) ** 0.5)
        layer.bias.zero_()
    return layer


def points_of_voxels(
    grid: VolumeGrid, voxel: np.ndarray, values: Float32[np.ndarray, "z y x"]
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n"]]:
    """Unit coordinates (x, y, z) and scalar values of voxels given by flat C-order index in [z, y, x]."""
    zyx = np.stack(np.unravel_index(voxel, grid.shape_zyx), axis=-1)
    size = np.asarray(grid.size_xyz)
    xyz = (2.0 * zyx[:, ::-1] / (size - 1) - 1.0).astype(np.float32)
    return np.ascontiguousarray(xyz), values.reshape(-1)[voxel].astype(np.float32)
