"""Cameras: the OpenCV frame by hand, rays and projection against each other, orbits that hold the volume."""

import dataclasses

import numpy as np
import pytest

from voxlang.core.errors import ConfigError, GeometryError
from voxlang.geometry.camera import Camera, look_at, project, rays_world
from voxlang.geometry.grid import VolumeGrid
from voxlang.geometry.orbits import camera_directions, cut_open, fibonacci_directions, orbit_camera, orbit_cameras

GRID = VolumeGrid((9, 5, 3), (1.0, 2.0, 4.0), (5.0, -3.0, 2.0))


def front_camera(width: int = 8, height: int = 4) -> Camera:
    """Stands at y = -10, looks along +y, up is +z: right is +x, down is -z."""
    return look_at(
        np.array([0.0, -10.0, 0.0]), np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=90.0, width=width, height=height
    )


def test_look_at_axes_by_hand():
    pose = front_camera().T_world_camera
    np.testing.assert_allclose(pose[:3, 0], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pose[:3, 1], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(pose[:3, 2], [0, 1, 0], atol=1e-12)


def test_projection_by_hand():
    # 90 degrees over 4 pixels: focal length 2. The point (1, 0, 3) is 10 in front, 1 right, 3 up.
    uv, depth = project(front_camera(), np.array([[1.0, 0.0, 3.0]]))
    np.testing.assert_allclose(uv, [[4 + 2 * 1 / 10, 2 - 2 * 3 / 10]])
    np.testing.assert_allclose(depth, [10.0])


def test_points_behind_have_negative_depth():
    assert project(front_camera(), np.array([[0.0, -20.0, 0.0]]))[1][0] < 0


def test_rays_meet_the_pixel_centres_they_start_from(rng):
    camera = orbit_camera(GRID, rng.normal(size=3), width=7, height=5)
    origin, directions = rays_world(camera)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)
    for v, u in ((0, 0), (4, 6), (2, 3)):
        uv, _ = project(camera, (origin + 3.7 * directions[v, u])[None])
        np.testing.assert_allclose(uv[0], [u + 0.5, v + 0.5], atol=1e-9)


def test_scaled_camera_sees_the_same_field_of_view(rng):
    camera = front_camera()
    point = np.array([[0.7, 0.0, 1.1]])
    np.testing.assert_allclose(project(camera.scaled(16, 8), point)[0], project(camera, point)[0] * 2)


def test_view_along_up_has_an_answer():
    camera = orbit_camera(GRID, np.array([0.0, 0.0, 1.0]), width=8, height=8, up_world=(0.0, 0.0, 1.0))
    np.testing.assert_allclose(camera.forward_world, [0, 0, -1], atol=1e-12)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (80, 40), (30, 90)])
def test_orbit_cameras_hold_every_corner(width, height, rng):
    corners = np.array(np.meshgrid([0, 8], [0, 4], [0, 2])).reshape(3, -1).T.astype(float)
    world = corners * [1, 2, 4] + [5, -3, 2]
    for camera in orbit_cameras(GRID, 12, width=width, height=height, rng=rng):
        uv, depth = project(camera, world)
        assert (depth > 0).all()
        assert (uv >= 0).all()
        assert (uv <= [width, height]).all()


def test_even_directions_are_even():
    directions = fibonacci_directions(20)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)
    cosines = directions @ directions.T - 2 * np.eye(20)
    nearest_deg = np.degrees(np.arccos(cosines.max(axis=1)))
    assert nearest_deg.min() > 30.0, "20 even directions are about 45 degrees apart"
    np.testing.assert_allclose(directions.mean(axis=0), 0.0, atol=0.03)


def test_directions_depend_on_the_generator_alone():
    first = camera_directions(6, placement="random", rng=np.random.default_rng(3))
    again = camera_directions(6, placement="random", rng=np.random.default_rng(3))
    other = camera_directions(6, placement="random", rng=np.random.default_rng(4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_dictionary_round_trip_and_digest():
    camera = front_camera()
    again = Camera.from_dict(camera.as_dict())
    assert again.digest == camera.digest
    assert camera.scaled(16, 8).digest != camera.digest


@pytest.mark.parametrize(("share", "near"), [(0.0, 9.0), (0.25, 11.0), (0.75, 15.0)])
def test_a_cut_takes_a_share_of_the_depth_by_hand(share, near):
    # Voxel centres from y = -1 to y = 7, seen from y = -10 along +y: depths 9 to 17.
    grid = VolumeGrid((9, 5, 3), (1.0, 2.0, 4.0), (-4.0, -1.0, -4.0))
    assert cut_open(front_camera(), grid, share).near_depth == pytest.approx(near)


def test_a_cut_is_part_of_the_camera():
    cut = cut_open(orbit_camera(GRID, np.array([1.0, 2.0, 3.0]), width=7, height=5), GRID, 0.4)
    whole = dataclasses.replace(cut, near_depth=0.0)
    assert cut.near_depth > 0 and cut.digest != whole.digest
    assert Camera.from_dict(cut.as_dict()).digest == cut.digest
    assert cut.scaled(14, 10).near_depth == cut.near_depth
    former = whole.as_dict()
    del former["near_depth"]
    assert Camera.from_dict(former).digest == whole.digest
    for share in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="share"):
            cut_open(whole, GRID, share)
    with pytest.raises(GeometryError, match="near_depth"):
        dataclasses.replace(whole, near_depth=-1.0)


def test_impossible_cameras_are_refused():
    mirrored = np.diag([1.0, 1.0, -1.0, 1.0])
    with pytest.raises(GeometryError, match="determinant"):
        Camera(np.eye(3), mirrored, 4, 4)
    with pytest.raises(GeometryError, match="1x1"):
        Camera(np.eye(3), np.eye(4), 0, 4)
    with pytest.raises(GeometryError, match="field of view"):
        look_at(np.zeros(3), np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=30.0, width=4, height=4)
    with pytest.raises(ConfigError, match="placement"):
        camera_directions(0, placement="even", rng=np.random.default_rng(0))
