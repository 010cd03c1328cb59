"""The truth in a picture: which part each pixel shows, at each level."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Float32, Int16, UInt16
from numba import njit, prange

from voxlang.core.errors import VolumeError
from voxlang.core.levels import LEVELS
from voxlang.geometry.camera import Camera
from voxlang.render.march_numba import FAST, LOCK, leap_end, make_frame, pixel_ray, step_table, table_index, trilinear
from voxlang.render.render import RenderVolume, prepare
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction
from voxlang.render.types import RenderedView
from voxlang.volume.phantoms.types import Phantom
from voxlang.volume.types import LabelVolume, PartTree

MIN_OPACITY = 0.3
"""A pixel shows a part only from this opacity on."""
MAX_BACKGROUND = 0.5
"""A pixel shows no part when unlabelled voxels carry more than this share of its opacity."""


@dataclass(frozen=True, eq=False)
class LabelledView:
    """A rendered view with the part that each pixel shows."""

    view: RenderedView
    """The picture."""
    part_index: Int16[np.ndarray, "3 h w"]
    """Part id at SMALL, PART and WHOLE; -1 where no part of that level is seen."""

    def __post_init__(self) -> None:
        if self.part_index.shape[1:] != self.view.opacity.shape:
            raise VolumeError(
                f"part maps of the picture's size {self.view.opacity.shape}",
                got=f"{self.part_index.shape[1:]}",
                where="LabelledView",
                do="build it with labelled_view",
            )


def level_maps(tree: PartTree) -> Int16[np.ndarray, "3 k"]:
    """For each level, part id by label value: the part itself or its ancestor on that level, else -1; label 0 is -1."""
    top = max((p.id for p in tree), default=0)
    maps = np.full((len(LEVELS), top + 1), -1, np.int16)
    for part in tree:
        for level in LEVELS:
            ancestor = tree.ancestor_at(part.id, level)
            if ancestor is not None:
                maps[level, part.id] = ancestor
    return maps


@njit(cache=True, parallel=True, fastmath=FAST)
def _label_weights(height, width, flat, labels, shape, leap, table, density, matrix, metric, step, stop_opacity, out):
    """Accumulated weight of every label (last axis) on every pixel's ray; the same samples as the picture's."""
    nz, ny, nx = shape
    top = np.float32(len(density) - 1)
    hx, hy, hz = nx - 1.0, ny - 1.0, nz - 1.0
    for index in prange(height * width):
        v, u = index // width, index % width
        dx, dy, dz, enter, leave = pixel_ray(matrix, metric, u, v, nx, ny, nz)
        length = leave - enter
        if length > 0.0:
            ex, ey, ez = matrix[3, 0] + enter * dx, matrix[3, 1] + enter * dy, matrix[3, 2] + enter * dz
            steps = max(int(np.ceil(length / step - 1e-6)), 1)
            through = 1.0
            k = 0
            while k < steps:
                s = (k + 0.5) * step
                if k == steps - 1:
                    s = 0.5 * (k * step + length)
                x = min(max(ex + s * dx, 0.0), hx)
                y = min(max(ey + s * dy, 0.0), hy)
                z = min(max(ez + s * dz, 0.0), hz)
                distance = leap[int(z) >> 3, int(y) >> 3, int(x) >> 3]
                if distance > 0:
                    end = leap_end(distance, x, y, z, ex, ey, ez, dx, dy, dz)
                    k = max(int(np.ceil(min(end, length + step) / step - 0.5)), k + 1)
                    continue
                i = table_index(trilinear(flat, x, y, z, nx, ny, nz), top)
                alpha = np.float64(table[i, 3])
                if alpha > 0.0:
                    if k == steps - 1:
                        alpha = 1.0 - np.exp(-density[i] * (length - k * step))
                    label = labels[(int(z + 0.5) * ny + int(y + 0.5)) * nx + int(x + 0.5)]
                    out[index, label] += through * alpha
                    through -= through * alpha
                    if 1.0 - through > stop_opacity:
                        break
                k += 1


def label_weights(
    volume: RenderVolume,
    labels: UInt16[np.ndarray, "z y x"],
    n_labels: int,
    *,
    transfer: TransferFunction,
    camera: Camera,
    settings: RenderSettings,
) -> Float32[np.ndarray, "h w k"]:
    """Weight that each label's voxels (nearest voxel of each sample) add to each pixel; the sum is the opacity."""
    table, leap = volume.table_and_leap(transfer)
    frame = make_frame(volume.grid, camera, settings)
    out = np.zeros((camera.height * camera.width, n_labels), np.float32)
    with LOCK, numba.parallel_chunksize(1024):
        _label_weights(
            camera.height,
            camera.width,
            volume.values.reshape(-1),
            np.ascontiguousarray(labels).reshape(-1),
            volume.values.shape,
            leap,
            step_table(table, frame.step),
            table[:, 3].astype(np.float64),
            frame.matrix,
            frame.metric,
            frame.step,
            settings.stop_opacity,
            out,
        )
    return out.reshape(camera.height, camera.width, n_labels)


def part_maps(weights: Float32[np.ndarray, "h w k"], tree: PartTree) -> Int16[np.ndarray, "3 h w"]:
    """The part with the greatest weight at each level.

    Each label stands for its ancestor on the level. Labelled voxels without one count together as "none", so that a
    SMALL part is named only where it outweighs what has no SMALL part. Unlabelled voxels (the soft rim of a surface) do
    not count unless they carry more than half of the pixel's opacity; then the pixel shows nothing.
    """
    maps = level_maps(tree)
    opacity = weights.sum(axis=-1)
    seen = (opacity > MIN_OPACITY) & (weights[..., 0] <= MAX_BACKGROUND * opacity)
    out = np.full((len(LEVELS), *opacity.shape), -1, np.int16)
    for level in LEVELS:
        ids = np.unique(maps[level][1:])
        if not (ids >= 0).any():
            continue
        sums = np.stack([weights[..., 1:][..., maps[level][1:] == i].sum(axis=-1) for i in ids], axis=-1)
        out[level] = np.where(seen, ids[np.argmax(sums, axis=-1)], np.int16(-1))
    return out


def label_view(
    volume: RenderVolume,
    labels: LabelVolume,
    transfer: TransferFunction,
    camera: Camera,
    settings: RenderSettings | None = None,
) -> LabelledView:
    """Render a prepared volume and name the part that each pixel shows; see `part_maps` for the rule."""
    settings = settings or RenderSettings()
    if labels.labels.shape != volume.values.shape:
        raise VolumeError(
            f"labels of the volume's shape {volume.values.shape}",
            got=f"{labels.labels.shape}",
            where="label_view",
            do="make both on the same grid",
        )
    n_labels = max((p.id for p in labels.tree), default=0) + 1
    weights = label_weights(
        volume, labels.labels, n_labels, transfer=transfer, camera=camera, settings=settings
    )  # fmt: skip
    return LabelledView(volume.render(transfer, camera, settings), part_maps(weights, labels.tree))


def labelled_view(
    phantom: Phantom, transfer: TransferFunction, camera: Camera, settings: RenderSettings | None = None
) -> LabelledView:
    """One labelled view of a phantom; for many views of one phantom use `prepare` and `label_view`."""
    volume = prepare(phantom.volume.values, phantom.volume.grid)
    return label_view(volume, phantom.labels, transfer, camera, settings)
