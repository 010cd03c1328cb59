"""Truth in pictures, on a hand-made labelled volume."""

from dataclasses import dataclass

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy import ndimage

from voxlang.core.errors import VolumeError
from voxlang.core.levels import Level
from voxlang.geometry.camera import look_at, project
from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.geometry.orbits import cut_open, orbit_camera
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction
from voxlang.scenes.labelled import LabelledView, LabelledVolume, labelled_view, level_maps, part_maps, spread_labels
from voxlang.volume.phantoms.types import Appearance, MaterialLook, Phantom
from voxlang.volume.types import LabelVolume, Part, PartTree, Volume

SETTINGS = RenderSettings(backend="numba", shading=False)
TREE = PartTree(
    (
        Part(1, "toy", Level.WHOLE, None),
        Part(2, "body", Level.PART, 1),
        Part(3, "button", Level.SMALL, 2),
        Part(5, "hat", Level.PART, 1),
    )
)


def transfer_of(*opacity) -> TransferFunction:
    return TransferFunction(np.array([[0, 0.9, 0.2, 0.1], [1, 0.1, 0.4, 1]]), np.array(opacity, float), 1.0)


OPAQUE = transfer_of((0, 0), (0.1, 0), (0.2, 0.95), (1, 0.95))


@dataclass(frozen=True)
class Toy:
    volume: Volume
    labels: LabelVolume


def toy() -> Toy:
    """A body with a button on its -y face and a hat on top (+z); shape z=24, y=16, x=20."""
    labels = np.zeros((24, 16, 20), np.uint16)
    labels[3:14, 4:12, 4:16] = 2
    labels[14:20, 5:11, 6:14] = 5
    labels[6:9, 4:6, 8:12] = 3
    values = np.select([labels == 2, labels == 5, labels == 3], [0.5, 0.7, 0.9], 0.0).astype(np.float32)
    grid = VolumeGrid((20, 16, 24), (1.0, 1.4, 0.8), (3.0, -2.0, 5.0))
    return Toy(Volume(values, grid, (0.0, 255.0), "toy"), LabelVolume(labels, grid, TREE))


def phantom() -> Phantom:
    t = toy()
    looks = (
        Appearance(
            "surface",
            (
                MaterialLook(0.4, 0.6, (0.8, 0.2, 0.2), 0.9, "body"),
                MaterialLook(0.62, 0.8, (0.2, 0.8, 0.2), 0.9, "hat"),
                MaterialLook(0.82, 1.0, (0.2, 0.2, 0.9), 0.9, "button"),
            ),
            True,
        ),
    )
    return Phantom(t.volume, t.labels, looks, "toy", 3, ("body",))


def test_each_label_maps_to_itself_or_its_ancestor():
    maps = level_maps(TREE)
    assert maps.shape == (3, 6)
    assert maps[Level.SMALL].tolist() == [-1, -1, -1, 3, -1, -1]
    assert maps[Level.PART].tolist() == [-1, -1, 2, 2, -1, 5]
    assert maps[Level.WHOLE].tolist() == [-1, 1, 1, 1, -1, 1]


def test_pixels_name_the_part_that_is_in_front():
    t = toy()
    grid = t.volume.grid
    camera = orbit_camera(grid, np.array([0.0, -1.0, 0.0]), width=64, height=64)
    scene = labelled_view(phantom(), OPAQUE, camera, SETTINGS)

    def seen_at(x, y, z):
        (uv,), _ = project(camera, transform_points(grid.world_from_index, np.array([[x, y, z]], float)))
        return scene.part_index[:, int(uv[1]), int(uv[0])].tolist()

    assert seen_at(9.5, 4, 7) == [3, 2, 1]
    assert seen_at(5.5, 4, 11) == [-1, 2, 1]
    assert seen_at(9.5, 5, 17) == [-1, 5, 1]
    assert seen_at(1, 4, 2) == [-1, -1, -1]
    back = labelled_view(phantom(), OPAQUE, orbit_camera(grid, np.array([0, 1.0, 0]), width=64, height=64), SETTINGS)
    assert (back.part_index[Level.SMALL] == -1).all()
    assert set(np.unique(back.part_index[Level.PART])) == {-1, 2, 5}


def test_soft_rims_belong_to_the_part_and_the_mask_covers_the_silhouette():
    t = toy()
    camera = orbit_camera(t.volume.grid, np.array([0.5, -1.0, 0.3]), width=90, height=90)
    scene = LabelledVolume(t.volume, t.labels).view(OPAQUE, camera, SETTINGS)
    solid = scene.view.opacity > 0.35
    assert solid.sum() > 500
    assert (scene.part_index[Level.WHOLE][ndimage.binary_erosion(solid)] == 1).all()
    assert (scene.part_index[:, ndimage.binary_erosion(scene.view.opacity < 0.25)] == -1).all()


def test_a_hidden_part_leaves_its_rim_to_the_part_that_shows():
    t = toy()
    only_button = transfer_of((0, 0), (0.72, 0), (0.74, 0.95), (1, 0.95))
    camera = orbit_camera(t.volume.grid, np.array([0.0, -1.0, 0.0]), width=64, height=64)
    scene = LabelledVolume(t.volume, t.labels).view(only_button, camera, SETTINGS)
    assert set(np.unique(scene.part_index[Level.SMALL])) == {-1, 3}
    assert (scene.part_index[Level.SMALL][ndimage.binary_erosion(scene.view.opacity > 0.35)] == 3).all()


def test_a_cut_names_what_it_lays_open():
    t = toy()
    inside = t.labels.labels.copy()
    inside[7:10, 7:9, 8:12] = 3
    values = np.where(inside == 3, np.float32(0.9), t.volume.values)
    volume = LabelledVolume(
        Volume(values, t.volume.grid, (0.0, 255.0), "toy"), LabelVolume(inside, t.volume.grid, TREE)
    )
    back = orbit_camera(t.volume.grid, np.array([0.0, 1.0, 0.0]), width=64, height=64)
    assert (volume.view(OPAQUE, back, SETTINGS).part_index[Level.SMALL] == -1).all()
    (uv,), _ = project(back, transform_points(t.volume.grid.world_from_index, np.array([[9.5, 7.5, 8.0]])))
    laid_open = volume.view(OPAQUE, cut_open(back, t.volume.grid, 0.5), SETTINGS).part_index
    assert laid_open[:, int(uv[1]), int(uv[0])].tolist() == [3, 2, 1]


def test_label_weights_sum_to_the_opacity():
    t = toy()
    camera = look_at(
        np.array([40.0, -60.0, 30.0]), t.volume.grid.centre_world,
        up_world=(0.0, 0.0, 1.0), fov_y_deg=30.0, width=40, height=30,
    )  # fmt: skip
    volume = LabelledVolume(t.volume, t.labels)
    foggy = transfer_of((0, 0.0), (0.1, 0.01), (1, 0.08))
    weights = volume.label_weights(foggy, camera, SETTINGS)
    opacity = volume.volume.render(foggy, camera, SETTINGS).opacity
    assert opacity.max() > 0.3
    np.testing.assert_allclose(weights.sum(-1), opacity, atol=2e-5)


def test_part_maps_follow_the_written_rule():
    def at(**by_label):
        weights = np.zeros((1, 1, 6), np.float32)
        for label, weight in by_label.items():
            weights[0, 0, int(label[1:])] = weight
        return part_maps(weights, TREE)[:, 0, 0].tolist()

    assert at(_2=0.5, _3=0.4) == [-1, 2, 1]
    assert at(_2=0.3, _3=0.4) == [3, 2, 1]
    assert at(_2=0.2, _3=0.25, _5=0.4) == [-1, 2, 1]
    assert at(_5=0.5, _0=0.4) == [-1, 5, 1]
    assert at(_5=0.4, _0=0.5) == [-1, -1, -1]
    assert at(_5=0.29) == [-1, -1, -1]


def test_single_pixels_do_not_flicker():
    """A chequerboard of two parts of nearly the same weight is one region, a hole is closed, a speck goes."""
    weights = np.zeros((12, 12, 6), np.float32)
    weights[:, :9, 2] = 0.45
    weights[:, :9, 5] = np.where(np.indices((12, 9)).sum(0) % 2, 0.55, 0.3)
    weights[5, 4] = 0
    weights[3, 11, 5] = 0.9
    part = part_maps(weights, TREE)[Level.PART]
    assert (part[2:10, 2:7] == 2).all() and (part[:, :8] >= 0).all() and (part[:, 10:] == -1).all()
    for row in range(2, 10):
        for column in range(2, 7):
            mean = weights[row - 2 : row + 3, column - 2 : column + 3].mean((0, 1))
            assert part[row, column] == int(np.argmax(mean)), "by a plain loop"


def test_spreading_reaches_two_voxels_and_takes_the_nearest():
    labels = np.zeros((3, 5, 12), np.uint16)
    labels[1, 2, 2], labels[1, 2, 8] = 4, 6
    shown = np.array([False, False, False, False, True, False, True])
    out = spread_labels(labels, shown)
    assert out[1, 2].tolist() == [4, 4, 4, 4, 4, 0, 6, 6, 6, 6, 6, 0]
    assert out[0, 2, 2] == 4 and out[1, 0, 8] == 6 and out[0, 0, 2] == 0
    shown[4] = False
    assert spread_labels(labels, shown)[1, 2].tolist() == [0, 0, 4, 0, 0, 0, 6, 6, 6, 6, 6, 0]


def test_labels_of_another_grid_and_maps_of_another_size_are_refused():
    t = toy()
    other = LabelVolume(np.zeros((16, 24, 20), np.uint16), VolumeGrid((20, 24, 16)), TREE)
    with pytest.raises(VolumeError, match="same grid"):
        LabelledVolume(t.volume, other)
    camera = orbit_camera(t.volume.grid, np.array([0.0, -1.0, 0.0]), width=8, height=6)
    view = labelled_view(phantom(), OPAQUE, camera, SETTINGS).view
    with pytest.raises((VolumeError, TypeCheckError)):
        LabelledView(view, np.zeros((3, 5, 8), np.int16))
