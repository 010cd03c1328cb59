"""The truth in a picture: which part each pixel shows, at each level."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt16
from numba import prange
from scipy.ndimage import uniform_filter

from voxlang.core.errors import VolumeError
from voxlang.core.levels import LEVELS
from voxlang.geometry.camera import Camera
from voxlang.render.kernels import LOCK, kernel, label_weights
from voxlang.render.march_numba import make_frame, step_table
from voxlang.render.render import RenderVolume, prepare
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction
from voxlang.render.types import RenderedView
from voxlang.volume.phantoms.types import Phantom
from voxlang.volume.types import LabelVolume, PartTree, Volume

MIN_OPACITY = 0.3
"""A pixel shows a part only from this opacity on."""
MAX_BACKGROUND = 0.5
"""A pixel shows no part when unlabelled voxels carry more than this share of its opacity."""
SEEN_PX, SHOWN_PX = 3, 5
"""Neighbourhoods, in pixels, over which it is decided whether and what a pixel shows; see `part_maps`."""

HIDDEN_ALPHA = 1e-3
"""A part whose typical value has no more opacity than this over one unit distance counts as hidden."""


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


def _offsets(reach: float) -> np.ndarray:
    """Voxel offsets (z, y, x) within a distance, nearest first."""
    r = int(reach)
    steps = np.stack(np.meshgrid(*[np.arange(-r, r + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    length = np.linalg.norm(steps, axis=1)
    order = np.argsort(length, kind="stable")
    return steps[order][(length[order] <= reach) & (length[order] > 0)]


@kernel(parallel=True)
def _spread(labels, shown, offsets, out):
    nz, ny, nx = labels.shape
    for row in prange(nz * ny):
        z, y = row // ny, row % ny
        for x in range(nx):
            own = labels[z, y, x]
            out[z, y, x] = own
            if shown[own]:
                continue
            for k in range(len(offsets)):
                a, b, c = z + offsets[k, 0], y + offsets[k, 1], x + offsets[k, 2]
                if 0 <= a < nz and 0 <= b < ny and 0 <= c < nx and shown[labels[a, b, c]]:
                    out[z, y, x] = labels[a, b, c]
                    break


def spread_labels(
    labels: UInt16[np.ndarray, "z y x"], shown: Bool[np.ndarray, "k"], *, reach: float = 2.0
) -> UInt16[np.ndarray, "z y x"]:
    """Labels in which voxels that are not `shown` take the label of the nearest shown voxel within `reach` voxels.

    The soft rim of a surface lies half outside its part: there a transfer function already shows the part, in voxels
    that belong to air or to a hidden neighbour.

    Args:
        labels: part ids, 0 for background.
        shown: by label, whether the transfer function shows the part's typical value.
        reach: in voxels, up to about 3.
    """
    out = np.empty_like(labels)
    with LOCK:
        _spread(labels, shown, _offsets(reach), out)
    return out


def part_maps(weights: Float32[np.ndarray, "h w k"], tree: PartTree) -> Int16[np.ndarray, "3 h w"]:
    """The part with the greatest weight at each level, from the weight of each label (last axis) on each pixel.

    Each label stands for its ancestor on the level. Labels without one count together as "none", so that a SMALL part
    is named only where it outweighs what has no SMALL part. Background does not count unless it carries more than half
    of the pixel's opacity; then the pixel shows nothing.

    Where two parts weigh about the same, as through a translucent wall, single pixels flicker between them, and nobody
    would draw such a region. So a pixel shows something if most of its 3x3 neighbourhood does, and what it shows is
    decided by the mean weights of the 5x5 pixels around it.
    """
    maps = level_maps(tree)
    opacity = weights.sum(axis=-1)
    seen = (opacity > MIN_OPACITY) & (weights[..., 0] <= MAX_BACKGROUND * opacity)
    seen = uniform_filter(seen.astype(np.float32), SEEN_PX, mode="nearest") > 0.5
    out = np.full((len(LEVELS), *opacity.shape), -1, np.int16)
    shown = uniform_filter(weights, (SHOWN_PX, SHOWN_PX, 1), mode="nearest")[seen]
    for level in LEVELS:
        ids = np.unique(maps[level][1:])
        if (ids >= 0).any():
            members = (maps[level][1:, None] == ids[None, :]).astype(np.float32)
            out[level][seen] = ids[np.argmax(shown[:, 1:] @ members, axis=-1)]
    return out


def _typical_values(values: np.ndarray, labels: LabelVolume) -> np.ndarray:
    """Median value of each label's voxels, by label; 0 where a label does not occur."""
    top = max((p.id for p in labels.tree), default=0)
    order = np.argsort(labels.labels.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(labels.labels.reshape(-1), minlength=top + 1))
    pieces = np.split(values.reshape(-1)[order], ends[:-1])
    return np.array([float(np.median(piece)) if len(piece) else 0.0 for piece in pieces])


class LabelledVolume:
    """A volume and its labels, made ready for many labelled views."""

    def __init__(self, volume: Volume, labels: LabelVolume) -> None:
        if labels.labels.shape != volume.values.shape:
            raise VolumeError(
                f"labels of the volume's shape {volume.values.shape}",
                got=f"{labels.labels.shape}",
                where="LabelledVolume",
                do="make both on the same grid",
            )
        self.grid = volume.grid
        self.tree = labels.tree
        self.volume: RenderVolume = prepare(volume.values, volume.grid)
        self._labels = np.ascontiguousarray(labels.labels)
        self._typical = _typical_values(volume.values, labels)
        self._spread: dict[bytes, np.ndarray] = {}

    def shown_labels(self, transfer: TransferFunction) -> UInt16[np.ndarray, "z y x"]:
        """Labels with the rims given to the parts that the transfer function shows; see `spread_labels`."""
        shown = transfer.alpha(self._typical) > HIDDEN_ALPHA
        shown[0] = False
        key = shown.tobytes()
        if key not in self._spread:
            if len(self._spread) >= 8:
                self._spread.pop(next(iter(self._spread)))
            self._spread[key] = spread_labels(self._labels, shown)
        return self._spread[key]

    def label_weights(
        self, transfer: TransferFunction, camera: Camera, settings: RenderSettings
    ) -> Float32[np.ndarray, "h w k"]:
        """Weight that each label's voxels add to each pixel (every sample counts for its nearest voxel)."""
        table, leap = self.volume.table_and_leap(transfer)
        frame = make_frame(self.grid, camera, settings)
        n_labels = max((p.id for p in self.tree), default=0) + 1
        out = np.zeros((camera.height * camera.width, n_labels), np.float32)
        labels = self.shown_labels(transfer).reshape(-1)
        with LOCK, numba.parallel_chunksize(1024):
            label_weights(
                camera.height,
                camera.width,
                self.volume.values.reshape(-1),
                labels,
                self.volume.values.shape,
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

    def view(self, transfer: TransferFunction, camera: Camera, settings: RenderSettings | None = None) -> LabelledView:
        """Render one view and name the part that each pixel shows; see `part_maps` for the rule."""
        settings = settings or RenderSettings()
        weights = self.label_weights(transfer, camera, settings)
        return LabelledView(self.volume.render(transfer, camera, settings), part_maps(weights, self.tree))


def labelled_view(
    phantom: Phantom, transfer: TransferFunction, camera: Camera, settings: RenderSettings | None = None
) -> LabelledView:
    """One labelled view of a phantom; for many views of one phantom keep a `LabelledVolume`."""
    return LabelledVolume(phantom.volume, phantom.labels).view(transfer, camera, settings)
