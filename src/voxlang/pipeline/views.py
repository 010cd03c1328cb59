"""The views of a run: which cameras, through which transfer functions, and their pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import distance_transform_edt, uniform_filter
from tqdm import tqdm

from voxlang.core.digest import digest_array, digest_json
from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.geometry.orbits import cut_open, orbit_cameras
from voxlang.masks.paint import save_png
from voxlang.pipeline.run import Run
from voxlang.pipeline.stage1 import values_to_render
from voxlang.render.render import RenderVolume, prepare, visible_grid
from voxlang.render.transfer import TransferFunction
from voxlang.render.types import RenderedView
from voxlang.semantics.fill import Look

_SHOWN_ALPHA = 0.02
"""Opacity per unit distance from which a voxel counts as shown."""
_VOXELS_TO_JUDGE = 2e6
"""Of larger volumes about so many voxels are looked at to judge what is hidden."""


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """Everything needed to render the views of a run, and the digests that name it."""

    volume: RenderVolume
    """The values that are rendered."""
    shots: tuple[tuple[Camera, TransferFunction], ...]
    """Camera and transfer function of each view."""
    inputs: dict[str, str]
    """Digest by name of all that decides the pictures."""


def plan_views(run: Run) -> ViewPlan:
    """Place the cameras around what the transfer functions show; the views take the transfer functions in turn."""
    values = values_to_render(run)
    views, transfers, grid = run.config.views, run.input.transfers, run.input.volume.grid
    up = views.up_world or ((0.0, 0.0, 1.0) if grid.unit != "voxel" else (0.0, 1.0, 0.0))
    box = _box_of(values, grid, transfers)
    cameras = orbit_cameras(
        box,
        views.n,
        width=views.width,
        height=views.height,
        rng=np.random.default_rng(views.seed),
        placement=views.placement,
        up_world=up,
        fov_y_deg=views.fov_y_deg,
        fit="box",
    )
    looks = {t.id: t for t in transfers} if views.cut_share else {}
    hidden = {key: hidden_share(values, grid, look) for key, look in looks.items()}
    hides = [hidden[t.id] >= views.cut_hidden for t in transfers if t.id in hidden]
    if hides and not any(hides):
        print(
            f"views: none is cut open, as no transfer function hides {views.cut_hidden:.0%} of what it shows; "
            "--views.cut-hidden 0 cuts those of all"
        )
    cuts = cut_depths(views.n, hides, views.cut_share, views.cut_depth)
    cameras = [c if cut is None else cut_open(c, box, cut) for c, cut in zip(cameras, cuts, strict=True)]
    shots = tuple((c, transfers[i % len(transfers)]) for i, c in enumerate(cameras))
    inputs = {
        "volume": run.input.volume.digest,
        "rendered values": digest_array(values),
        "transfer functions": digest_json([t.id for _, t in shots]),
        "cameras": digest_of_cameras(cameras),
        "resolution": digest_json([[c.width, c.height, c.K.tolist()] for c, _ in shots]),
        "render settings": run.config.render.digest,
    }
    return ViewPlan(prepare(values, grid), shots, inputs)


def digest_of_cameras(cameras: Sequence[Camera]) -> str:
    """Names where the cameras stand, which way they look, and what they cut; resolution apart.

    Cameras that cut nothing keep the digest from before there were cuts, so that caches made then stay good.
    """
    poses = [[c.T_world_camera.tolist(), list(c.up_world)] + [c.near_depth] * (c.near_depth > 0) for c in cameras]
    return digest_json([digest_json(pose) for pose in poses])


def hidden_share(values: Float32[np.ndarray, "z y x"], grid: VolumeGrid, transfer: TransferFunction) -> float:
    """Part of the voxels that a transfer function shows which no view can show, in [0, 1].

    Those that lie deeper inside what is shown than a tenth of the light comes, at its median density.
    """
    step = max(1, round((values.size / _VOXELS_TO_JUDGE) ** (1 / 3)))
    values = values[::step, ::step, ::step]
    spacing = [step * s for s in grid.spacing_xyz[::-1]]
    shown = np.pad(transfer.alpha(values) > _SHOWN_ALPHA, 1)
    if not shown.any():
        return 0.0
    reach = np.log(10.0) / float(np.median(transfer.density(values[shown[1:-1, 1:-1, 1:-1]])))
    return float((distance_transform_edt(shown, sampling=spacing)[shown] > max(reach, *spacing)).mean())


def cut_depths(n: int, hides: Sequence[bool], share: float, depth: tuple[float, float]) -> list[float | None]:
    """For each of `n` views the part of the depth that is cut away, None for none.

    The views are dealt in turn to the transfer functions; of each that hides something the same share is cut, and the
    depths of any few cuts lie apart (golden ratio).
    """
    out: list[float | None] = []
    n_cuts = 0
    for i in range(n):
        turn, look = divmod(i, max(len(hides), 1))
        if any(hides) and hides[look] and np.floor((turn + 1) * share + 1e-9) > np.floor(turn * share + 1e-9):
            out.append(depth[0] + (depth[1] - depth[0]) * ((0.5 + n_cuts * 0.618034) % 1.0))
            n_cuts += 1
        else:
            out.append(None)
    return out


def render_views(run: Run, plan: ViewPlan, *, save: bool = True) -> list[RenderedView]:
    """Render all views of a plan, write them as PNG and log them."""
    folder = run.folder.folder("views")
    out = []
    for i, (camera, transfer) in enumerate(tqdm(plan.shots, desc="render views", disable=None)):
        view = plan.volume.render(transfer, camera, run.config.render)
        out.append(view)
        if save:
            save_png(picture_of_view(folder, i), picture_bytes(view.rgb))
            cut = ", cut open" if camera.near_depth > 0 else ""
            run.tracker.log_image("views", view.rgb, i, caption=transfer.name + cut)
    if save:
        drop_surplus(folder, len(out))
    return out


def picture_of_view(folder: Path, i: int) -> Path:
    """The file of view `i` in a folder of pictures of views."""
    return folder / f"view_{i:03d}.png"


def drop_surplus(folder: Path, n: int) -> None:
    """Remove the pictures that an earlier run of more than `n` views left in a folder."""
    kept = {picture_of_view(folder, i) for i in range(n)}
    for path in set(folder.glob("view_*.png")) - kept:
        path.unlink()


def run_render(run: Run) -> list[RenderedView]:
    """Plan and render the views of a run."""
    with run.clock.stage("render"):
        views = render_views(run, plan_views(run))
    print(f"render: {len(views)} views -> {run.folder.folder('views')}")
    return views


def visible_voxels(
    values: Float32[np.ndarray, "z y x"], transfers: tuple[TransferFunction, ...], *, min_alpha: float = _SHOWN_ALPHA
) -> np.ndarray:
    """Voxels [z y x] to which some transfer function gives an opacity above `min_alpha` per unit distance.

    With them those that most of their 26 neighbours and themselves are: noise puts single voxels inside a thing out of
    reach of a narrow band.
    """
    shown = np.zeros(values.shape, bool)
    for z, plane in enumerate(values):
        for transfer in transfers:
            shown[z] |= transfer.alpha(plane) > min_alpha
    return shown | (uniform_filter(shown.astype(np.float32), size=3) > 0.5)


def looks_of(plan: ViewPlan) -> Iterator[Look]:
    """What each transfer function of a plan shows, one at a time, with the numbers of its views."""
    views: dict[str, list[int]] = {}
    for i, (_, transfer) in enumerate(plan.shots):
        views.setdefault(transfer.id, []).append(i)
    for numbers in views.values():
        yield Look(visible_voxels(plan.volume.values, (plan.shots[numbers[0]][1],)), tuple(numbers))


def picture_bytes(rgb: Float32[np.ndarray, "h w 3"]) -> np.ndarray:
    """Colours in [0, 1] as uint8."""
    return np.round(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)


def _box_of(
    values: Float32[np.ndarray, "z y x"], grid: VolumeGrid, transfers: tuple[TransferFunction, ...]
) -> VolumeGrid:
    """The crop of the grid that holds what any of the transfer functions shows."""
    boxes = [visible_grid(values, grid, t) for t in transfers]
    to_index = grid.index_from_world
    low = np.min([np.round(transform_points(to_index, np.asarray(b.origin_xyz))) for b in boxes], axis=0)
    high = np.max(
        [np.round(transform_points(to_index, np.asarray(b.origin_xyz))) + np.asarray(b.size_xyz) for b in boxes],
        axis=0,
    )
    origin = transform_points(grid.world_from_index, low)
    size = tuple(int(n) for n in high - low)
    return VolumeGrid(size, grid.spacing_xyz, tuple(float(v) for v in origin), grid.direction, grid.unit)
