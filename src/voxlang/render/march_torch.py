"""The ray marcher in plain torch: for CUDA, and differentiable in the values and in the table.

The same samples, weights and light as march_numba.py, written over whole chunks of rays. No empty-space skipping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.march_numba import make_frame
from voxlang.render.settings import RenderSettings

SAMPLES_PER_CHUNK = {"cuda": 1 << 24, "cpu": 1 << 21}


def default_device() -> str:
    """ "cuda" where there is one, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, eq=False)
class TorchRays:
    """What came back along a set of rays, with every sample's weight."""

    rgb: Float[Tensor, "r 3"]
    """Premultiplied colour without background."""
    opacity: Float[Tensor, "r"]
    """Sum of the weights."""
    distance_first: Float[Tensor, "r"]
    """World distance at which the accumulated opacity passes `first_opacity`; inf if never. No gradient."""
    distance_mean: Float[Tensor, "r"]
    """Weighted mean distance; inf if empty."""
    weights: Float[Tensor, "r n"]
    """T_i * alpha_i of every sample; 0 beyond the exit and after termination."""
    points_index: Float[Tensor, "r n 3"]
    """Sample positions in index space, x y z."""


def interpolate(values: Float[Tensor, "z y x"], points_index: Float[Tensor, "r n 3"]) -> Float[Tensor, "r n"]:
    """Trilinear values at index-space points; points outside take the border's value."""
    sizes = torch.tensor(values.shape[::-1], dtype=values.dtype, device=values.device)
    unit = points_index * (2.0 / (sizes - 1.0)) - 1.0
    out = F.grid_sample(values[None, None], unit[None, None], align_corners=True, padding_mode="border")
    return out[0, 0, 0]


def _look_up(table: Float[Tensor, "k 4"], values: Float[Tensor, "r n"]) -> Float[Tensor, "r n 4"]:
    """Linear interpolation in a table over [0, 1]; differentiable in the table and, piecewise, in the values."""
    place = values.clamp(0.0, 1.0) * (len(table) - 1)
    low = place.detach().floor().clamp(max=len(table) - 2).long()
    part = (place - low)[..., None]
    return table[low] * (1.0 - part) + table[low + 1] * part


def _gradient(values: Float[Tensor, "z y x"], points: Float[Tensor, "r n 3"]) -> Float[Tensor, "r n 3"]:
    """Central differences per index at the corners of a sample's cell (clamped at the border), interpolated."""
    out = []
    for axis in (2, 1, 0):
        n = values.shape[axis]
        ahead = values.narrow(axis, 1, n - 1)
        above = torch.cat([ahead, values.narrow(axis, n - 1, 1)], axis)
        below = torch.cat([values.narrow(axis, 0, 1), values.narrow(axis, 0, n - 1)], axis)
        out.append(interpolate(0.5 * (above - below), points))
    return torch.stack(out, -1)


def march_rays(
    values: Float[Tensor, "z y x"],
    grid: VolumeGrid,
    table: Float[Tensor, "k 4"],
    camera: Camera,
    settings: RenderSettings,
    *,
    pixels: Tensor | None = None,
) -> TorchRays:
    """March the rays of some pixels (flat indices v * width + u, default all) in one piece.

    Differentiable in `values` and `table` through colour, opacity, weights and mean distance; positions are constants
    and the termination and first-hit rules are piecewise constant.

    Args:
        values: normalised, on the device that computes.
        grid: where the voxels lie.
        table: r, g, b and density per world length at evenly spread values.
        camera: the view.
        settings: sampling and light.
        pixels: int64 flat indices.
    """
    device, dtype = values.device, values.dtype
    frame = make_frame(grid, camera, settings)
    pixels = torch.arange(camera.height * camera.width, device=device) if pixels is None else pixels.to(device)
    u = (pixels % camera.width).double() + 0.5
    v = torch.div(pixels, camera.width, rounding_mode="floor").double() + 0.5
    uv1 = torch.stack([u, v, torch.ones_like(u)], -1)
    metric = torch.as_tensor(frame.metric, device=device)
    matrix = torch.as_tensor(frame.matrix, device=device)
    per_depth = (uv1 @ metric[:3].T).norm(dim=-1)
    direction = (uv1 @ matrix[:3].T) / per_depth[:, None]
    origin = matrix[3]
    top = torch.tensor([n - 1.0 for n in grid.size_xyz], dtype=torch.float64, device=device)
    flat = direction.abs() < 1e-12
    safe = torch.where(flat, torch.ones_like(direction), direction)
    t0, t1 = -origin / safe, (top - origin) / safe
    outside = (flat & ((origin < 0) | (origin > top))).any(-1)
    huge = torch.full_like(t0, 1e30)
    enter = torch.where(flat, torch.zeros_like(t0), torch.minimum(t0, t1)).amax(-1)
    enter = torch.maximum(enter, metric[3, 0] * per_depth)
    leave = torch.where(flat, huge, torch.maximum(t0, t1)).amin(-1)
    length = torch.where(outside, torch.zeros_like(leave), (leave - enter).clamp(min=0.0))
    steps = torch.where(length > 0, torch.ceil(length / frame.step - 1e-6).clamp(min=1.0), torch.zeros_like(length))
    n = max(int(steps.max()), 1)
    k = torch.arange(n, device=device, dtype=torch.float64)
    begin = k * frame.step
    size = torch.minimum(torch.full_like(begin, frame.step), (length[:, None] - begin).clamp(min=0.0))
    size = torch.where(k == steps[:, None] - 1, length[:, None] - begin, size) * (k < steps[:, None])
    s = begin + 0.5 * size
    points = origin + (enter[:, None] + s)[..., None] * direction[:, None]
    points = torch.minimum(points.clamp(min=0.0), top).to(dtype)
    distance = (enter[:, None] + s).to(dtype)
    looked = _look_up(table.to(dtype), interpolate(values, points))
    alpha = -torch.expm1(-looked[..., 3] * size.to(dtype))
    through = torch.cumprod(1.0 - alpha, dim=-1)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1]], -1)
    weights = before * alpha * (1.0 - before.detach() <= settings.stop_opacity)
    color = looked[..., :3]
    if settings.shading:
        lit, shine = _light(values, points, direction, frame.light, frame.spacing, settings)
        if camera.near_depth > 0:
            start = origin + enter[:, None] * direction
            cut = ((start > 1e-6) & (start < top - 1e-6)).all(-1)
            face = cut[:, None] & (s < metric[3, 1])
            lit, shine = torch.where(face, settings.ambient + settings.diffuse, lit), torch.where(face, 0.0, shine)
        color = (color * lit[..., None] + shine[..., None]).clamp(max=1.0)
    opacity = weights.sum(-1)
    reached = torch.cumsum(weights.detach(), -1) > settings.first_opacity
    infinite = torch.full_like(opacity, math.inf)
    at = reached.to(torch.uint8).argmax(-1, keepdim=True)
    first = torch.where(reached.any(-1), distance.gather(-1, at)[:, 0], infinite)
    moment = (weights * distance).sum(-1)
    mean = torch.where(opacity > 0, moment / opacity.clamp(min=1e-20), infinite)
    return TorchRays((weights[..., None] * color).sum(1), opacity, first, mean, weights, points)


def _light(
    values: Tensor,
    points: Tensor,
    direction: Tensor,
    light: np.ndarray,
    spacing_xyz: np.ndarray,
    settings: RenderSettings,
) -> tuple[Tensor, Tensor]:
    """Factor on the colour and white highlight per sample, as `kernels.light_factors`."""
    gradient = _gradient(values, points)
    spacing = torch.as_tensor(spacing_xyz, dtype=points.dtype, device=points.device)
    along = direction.to(points.dtype)[:, None]
    length = (gradient / spacing).square().sum(-1).clamp(min=1e-30).sqrt()
    toward_eye = -(gradient * along).sum(-1) / length
    if light[3] > 0:
        toward = torch.as_tensor(light[:3], dtype=points.dtype, device=points.device)
        cosine = (gradient * toward).sum(-1) / length
        half = (cosine + toward_eye) / ((toward - along) * spacing).norm(dim=-1).clamp(min=1e-12)
        side = torch.where(toward_eye < 0, -1.0, 1.0)
        cosine, half = (cosine * side).clamp(min=0.0), (half * side).clamp(min=0.0)
    else:
        cosine = toward_eye.abs()
        half = cosine
    floor = settings.gradient_floor / float(spacing_xyz.min())
    trust = torch.where(length < 1e-14, torch.zeros_like(length), length / (length + floor + 1e-30))
    lit = settings.ambient + settings.diffuse * (1.0 - trust * (1.0 - cosine))
    return lit, settings.specular * trust * half.clamp(1e-6, 1.0) ** settings.specular_power


@torch.no_grad()
def march_picture_torch(
    values: Float[Tensor, "z y x"],
    grid: VolumeGrid,
    table: Float32[np.ndarray, "k 4"],
    camera: Camera,
    settings: RenderSettings,
) -> Float32[np.ndarray, "h w 6"]:
    """As `march_numba.march_picture`, in chunks of rays that fit the device's memory."""
    device_table = torch.from_numpy(table).to(values.device)
    diagonal = float(np.linalg.norm(grid.extent_world))
    samples = diagonal / (settings.step_voxels * min(grid.spacing_xyz)) + 1
    rays = max(int(SAMPLES_PER_CHUNK.get(values.device.type, 1 << 21) / samples), 64)
    pieces = []
    for start in range(0, camera.height * camera.width, rays):
        stop = min(start + rays, camera.height * camera.width)
        pixels = torch.arange(start, stop, device=values.device)
        out = march_rays(values, grid, device_table, camera, settings, pixels=pixels)
        scalars = torch.stack([out.opacity, out.distance_first, out.distance_mean], -1)
        pieces.append(torch.cat([out.rgb, scalars], -1).cpu())
    return torch.cat(pieces).reshape(camera.height, camera.width, 6).float().numpy()
