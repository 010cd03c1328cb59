"""Random labelled pictures of phantoms: looks, cameras, light, background and noise drawn from one generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float32

from voxlang.core.errors import ConfigError
from voxlang.core.levels import Level
from voxlang.geometry.camera import Camera
from voxlang.geometry.orbits import camera_directions, cut_open, orbit_camera
from voxlang.render.presets import transfer_from_appearance
from voxlang.render.render import visible_grid
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction
from voxlang.render.types import RenderedView
from voxlang.scenes.labelled import LabelledView, LabelledVolume
from voxlang.scenes.scans import general_looks, jittered_look
from voxlang.volume.phantoms import FAMILIES, make_phantom
from voxlang.volume.phantoms.types import Appearance, Phantom

Background = Literal["black", "white", "plain", "gradient"]
BACKGROUNDS: tuple[Background, ...] = ("black", "white", "plain", "gradient")


@dataclass(frozen=True)
class SceneRanges:
    """How far scenes vary."""

    width: int = 256
    """Picture width in pixels."""
    height: int = 256
    """Picture height in pixels."""
    color_jitter: float = 0.10
    """Standard deviation added to each colour channel of each material."""
    alpha_jitter: float = 0.35
    """Standard deviation of the log factor on each material's density."""
    hide: float = 0.10
    """Probability that a material of a look with several is hidden."""
    fov_y_deg: tuple[float, float] = (20.0, 50.0)
    """Vertical field of view."""
    margin: tuple[float, float] = (0.75, 1.3)
    """Distance factor around the fit to the visible box; below 1 cuts corners off."""
    shaded: float = 0.8
    """Probability of gradient shading."""
    noise: float = 0.03
    """Largest standard deviation of the pixel noise."""
    cut: float = 0.0
    """Probability that a plane across the viewing axis cuts the thing open."""
    cut_depth: tuple[float, float] = (0.2, 0.65)
    """Part of the depth that a cut takes away."""
    general_looks: float = 0.0
    """Probability of a look that does not know the object, see `voxlang.scenes.scans.general_looks`."""
    min_visible: float = 0.02
    """Share of the picture that must show a part; emptier pictures are drawn again, at most five times."""


class SceneSource:
    """One phantom, prepared once, from which many scenes are drawn."""

    def __init__(self, phantom: Phantom) -> None:
        self.phantom = phantom
        self.labelled = LabelledVolume(phantom.volume, phantom.labels)

    @cached_property
    def _general_looks(self) -> tuple[TransferFunction, ...]:
        return general_looks(self.phantom.volume)

    def draw(self, rng: np.random.Generator, ranges: SceneRanges | None = None) -> LabelledView:
        """A labelled picture with a random look, camera, light, background and noise."""
        ranges = ranges or SceneRanges()
        for _ in range(6):
            scene = self._draw_once(rng, ranges)
            if (scene.part_index[Level.WHOLE] >= 0).mean() >= ranges.min_visible:
                break
        return scene

    def _draw_once(self, rng: np.random.Generator, ranges: SceneRanges) -> LabelledView:
        transfer = self._look(rng, ranges)
        camera = random_camera(self.phantom, transfer, rng, ranges)
        settings = random_settings(rng, ranges)
        scene = self.labelled.view(transfer, camera, settings)
        background = random_background(rng, camera.height, camera.width)
        rgb = scene.view.rgb + (1.0 - scene.view.opacity)[..., None] * background
        rgb = rgb + rng.uniform(0.0, ranges.noise) * rng.normal(size=rgb.shape)
        rgb = np.clip(rgb * rng.uniform(0.85, 1.15), 0.0, 1.0).astype(np.float32)
        view = scene.view
        view = RenderedView(
            view.camera, rgb, view.opacity, view.distance_first, view.distance_mean, view.transfer_id
        )  # fmt: skip
        return LabelledView(view, scene.part_index)

    def _look(self, rng: np.random.Generator, ranges: SceneRanges) -> TransferFunction:
        if ranges.general_looks > 0 and rng.random() < ranges.general_looks:
            look = self._general_looks[int(rng.integers(len(self._general_looks)))]
            return jittered_look(look, rng, color_jitter=ranges.color_jitter, alpha_jitter=ranges.alpha_jitter)
        appearance = self.phantom.appearances[int(rng.integers(len(self.phantom.appearances)))]
        return transfer_from_appearance(jittered(appearance, rng, ranges), self.phantom.volume.grid)


def jittered(appearance: Appearance, rng: np.random.Generator, ranges: SceneRanges) -> Appearance:
    """The appearance with other colours and opacities; the bands of values stay, at least one material shows."""
    visible = [i for i, m in enumerate(appearance.materials) if m.alpha > 0]
    hidden = {i for i in visible if len(visible) > 1 and rng.random() < ranges.hide}
    if len(hidden) == len(visible):
        hidden = set()
    materials = []
    for i, m in enumerate(appearance.materials):
        rgb = np.clip(np.asarray(m.rgb) + rng.normal(0.0, ranges.color_jitter, 3), 0.0, 1.0)
        factor = float(np.exp(rng.normal(0.0, ranges.alpha_jitter)))
        alpha = 0.0 if i in hidden else float(1.0 - (1.0 - min(m.alpha, 0.995)) ** factor)
        materials.append(replace(m, rgb=tuple(float(c) for c in rgb), alpha=alpha))
    return replace(appearance, materials=tuple(materials))


def random_camera(
    phantom: Phantom, transfer: TransferFunction, rng: np.random.Generator, ranges: SceneRanges
) -> Camera:
    """A camera from anywhere around what the transfer function shows, mostly upright, sometimes rolled or cutting."""
    direction = camera_directions(1, placement="random", rng=rng)[0]
    up = (0.0, 0.0, 1.0)
    if rng.random() < 0.25:
        up = tuple(float(v) for v in rng.normal(size=3))
    shown = visible_grid(phantom.volume.values, phantom.volume.grid, transfer)
    camera = orbit_camera(
        shown,
        direction,
        width=ranges.width,
        height=ranges.height,
        up_world=up,
        fov_y_deg=float(rng.uniform(*ranges.fov_y_deg)),
        margin=float(rng.uniform(*ranges.margin)),
        fit="box",
    )
    if ranges.cut > 0 and rng.random() < ranges.cut:
        camera = cut_open(camera, shown, float(rng.uniform(*ranges.cut_depth)))
    return camera


def random_settings(rng: np.random.Generator, ranges: SceneRanges) -> RenderSettings:
    """Random light over a black background."""
    light = None
    if rng.random() < 0.5:
        light = (float(rng.uniform(-0.8, 0.8)), float(rng.uniform(-0.8, 0.5)), -1.0)
    return RenderSettings(
        shading=bool(rng.random() < ranges.shaded),
        ambient=float(rng.uniform(0.2, 0.5)),
        diffuse=float(rng.uniform(0.5, 0.9)),
        specular=float(rng.uniform(0.0, 0.35)),
        specular_power=float(rng.uniform(8.0, 50.0)),
        light_direction_camera=light,
    )


def random_background(
    rng: np.random.Generator, height: int, width: int, *, kind: Background | None = None
) -> Float32[np.ndarray, "h w 3"]:
    """A black, white, plain or gradient backdrop."""
    kind = kind or BACKGROUNDS[int(rng.choice(len(BACKGROUNDS), p=(0.35, 0.2, 0.25, 0.2)))]
    picture = np.zeros((height, width, 3), np.float32)
    if kind == "white":
        picture[:] = 1.0
    elif kind == "plain":
        picture[:] = rng.uniform(0.0, 1.0, 3)
    elif kind == "gradient":
        ends = rng.uniform(0.0, 1.0, (2, 3))
        angle = rng.uniform(0.0, 2.0 * np.pi)
        x, y = np.linspace(-0.5, 0.5, width)[None, :], np.linspace(-0.5, 0.5, height)[:, None]
        t = np.clip(0.5 + (x * np.cos(angle) + y * np.sin(angle)) / 1.2, 0.0, 1.0)[..., None]
        picture[:] = ends[0] + t * (ends[1] - ends[0])
    return picture


def random_scene(
    rng: np.random.Generator,
    family: str,
    *,
    source: SceneSource | None = None,
    ranges: SceneRanges | None = None,
    size_xyz: tuple[int, int, int] | None = None,
) -> LabelledView:
    """A random labelled picture of a family.

    Args:
        rng: everything is drawn from it.
        family: one of the phantom families.
        source: a prepared phantom to draw from; without it a new phantom is made with a seed from `rng`.
        ranges: how far scenes vary.
        size_xyz: voxels of a new phantom.

    Raises:
        ConfigError: a source of another family.
        VolumeError: unknown family.
    """
    if source is None:
        seed = int(rng.integers(1 << 31))
        source = SceneSource(make_phantom(family, seed, size_xyz=size_xyz))
    elif source.phantom.family != family:
        raise ConfigError(
            f"a source of the family {family!r}",
            got=repr(source.phantom.family),
            where="random_scene",
            do=f"prepare a phantom of the family, out of {list(FAMILIES)}",
        )
    return source.draw(rng, ranges)
