"""Primitives and their composition against closed forms: volumes, distances, partial volume, painter's order."""

import numpy as np
import pytest

from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.phantoms import primitives as p
from voxlang.volume.phantoms.compose import compose
from voxlang.volume.phantoms.language import Shape, random_rotation, rotation, rotation_to, smooth_union
from voxlang.volume.phantoms.scene import Material, Scene

AIR = Material("air", 0.0, (0.0, 0.0, 0.0))
STUFF = Material("stuff", 100.0, (1.0, 1.0, 1.0))


def at(shape: Shape, *xyz: float) -> float:
    return float(shape.distance(*(np.array([v], np.float32) for v in xyz))[0])


def grid(size=(40, 36, 44), spacing=(0.5, 0.6, 0.5)) -> VolumeGrid:
    origin = tuple(-(n - 1) / 2 * s for n, s in zip(size, spacing, strict=True))
    return VolumeGrid(size, spacing, origin)


def volume_of(shape: Shape) -> float:
    """Volume in mm^3 by summed partial volume on the grid, through the whole painting path."""
    scene = Scene(np.random.default_rng(0), AIR, (-1e6, 1e6), noise=0.0)
    thing = scene.whole("thing", ("object",))
    scene.paint(shape, thing, STUFF)
    g = grid()
    density, _ = compose(scene, g, seed=0)
    return float(density.sum()) / 100.0 * float(np.prod(g.spacing_xyz))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (p.ball(6.0), 4 / 3 * np.pi * 6**3),
        (p.ellipsoid(8, 5, 6), 4 / 3 * np.pi * 8 * 5 * 6),
        (p.box(5, 4, 6), 8 * 5 * 4 * 6),
        (p.cylinder((1, 0, -5), (1, 0, 7), 4), np.pi * 16 * 12),
        (p.cylinder((-4, -3, -5), (4, 3, 5), 3), np.pi * 9 * np.sqrt(200.0)),
        (p.capsule((0, 0, -5), (0, 0, 5), 3), np.pi * 9 * 10 + 4 / 3 * np.pi * 27),
        (p.torus(6, 2), 2 * np.pi**2 * 6 * 4),
        (p.lathe([(-8, 3), (0, 3), (8, 3)]), np.pi * 9 * 16),
        (p.loft([(-6, 0, 0, 6, 3), (6, 0, 0, 6, 3)]), np.pi * 18 * 12),
        (p.plate([(-6, -4), (6, -4), (6, 4), (-6, 4)], 5.0), 12 * 8 * 5),
        (p.plate([(-6, -6), (6, -6), (-6, 6)], 5.0), 72 * 5),
        (p.ball(7) - p.ball(5), 4 / 3 * np.pi * (7**3 - 5**3)),
        (p.ball(7).shell(2), 4 / 3 * np.pi * (7**3 - 5**3)),
        (p.ball(6).cut((0, 0, 1), 0), 2 / 3 * np.pi * 6**3),
        (p.ball(6).cut((1, 1, 0), 0), 2 / 3 * np.pi * 6**3),
        (p.box(5, 5, 5) & p.box(5, 5, 5).moved(x=4), 6 * 10 * 10),
        (p.ball(5).grown(1.5), 4 / 3 * np.pi * 6.5**3),
        (p.box(3, 3, 3).scaled(1.5), 9.0**3),
        (p.ball(3).moved(x=5).both_sides(), 2 * 4 / 3 * np.pi * 27),
    ],
)
def test_volumes_agree_with_closed_forms(shape, expected):
    assert volume_of(shape) == pytest.approx(expected, rel=0.02)


def test_distances_by_hand():
    assert at(p.ball(2), 5, 0, 0) == pytest.approx(3)
    assert at(p.box(1, 2, 3), 4, 6, 3) == pytest.approx(5)
    assert at(p.box(1, 2, 3), 0, 0, 2.5) == pytest.approx(-0.5)
    assert at(p.capsule((0, 0, 0), (10, 0, 0), 1, 3), 5, 6, 0) == pytest.approx(4)
    assert at(p.torus(5, 1), 5, 0, 3) == pytest.approx(2)
    assert at(p.cylinder((0, 0, -2), (0, 0, 2), 3), 0, 0, 6) == pytest.approx(4)
    assert at(p.ellipsoid(4, 2, 1), 4, 0, 0) == pytest.approx(0, abs=1e-6)
    assert at(p.ellipsoid(4, 2, 1), 0, 0, 1.1) == pytest.approx(0.1, rel=0.15)
    assert at(p.ellipsoid(4, 2, 1, power=4), 4, 0, 0) == pytest.approx(0, abs=1e-3)
    assert at(p.ellipsoid(4, 2, 1, power=4), 3, 1.5, 0.5) < 0 < at(p.ellipsoid(4, 2, 1), 3, 1.5, 0.5)


def test_a_thread_alternates_between_its_radii():
    screw = p.thread((0, 0, -10), (0, 0, 10), 4, pitch=2, depth=1)
    profile = [at(screw, 3.5, 0, z) for z in np.linspace(-4, 4, 81)]
    inside = np.array(profile) < 0
    assert np.count_nonzero(np.diff(inside.astype(int)) == 1) == 4
    assert at(screw, 2.9, 0, 0.3) < 0 < at(screw, 4.1, 0, 0.3)


def test_a_helix_returns_above_its_start_after_a_turn():
    coil = p.helix(5, 3, 2, 0.5)
    for turn in (0, 1, 2):
        assert at(coil, 5, 0, 3 * turn) == pytest.approx(-0.5, abs=0.05)
    assert at(coil, 5, 0, 1.5) > 0.5


def test_the_middle_of_a_body_is_inside():
    assert at(p.ellipsoid(4, 2, 3), 0, 0, 0) == pytest.approx(-2, rel=1e-3)
    assert at(p.loft([(-5, 0, 0, 3, 3), (5, 0, 0, 3, 3)]), 0, 0, 0) == pytest.approx(-3, rel=1e-3)
    assert at(p.ellipsoid(4, 2, 3, power=3), 0, 0, 0) < -1


def test_turning_takes_points_along():
    assert np.allclose(rotation(z_deg=90) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation(x_deg=90) @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(rotation_to((1, 2, 2)) @ [0, 0, 3], [1, 2, 2])
    turned = p.box(3, 1, 1).turned(rotation(z_deg=90))
    assert at(turned, 0, 2.5, 0) < 0 < at(turned, 2.5, 0, 0)
    low, high = turned.box
    assert np.allclose(low, [-1, -3, -1]) and np.allclose(high, [1, 3, 1])


def test_random_rotations_are_rotations(rng):
    for _ in range(20):
        m = random_rotation(rng)
        assert np.allclose(m @ m.T, np.eye(3)) and np.linalg.det(m) == pytest.approx(1)


def test_mirroring_changes_sides():
    one = p.ball(1).moved(x=4, y=2).mirrored()
    assert at(one, -4, 2, 0) == pytest.approx(-1, abs=1e-4) and at(one, 4, 2, 0) > 6


def test_a_smooth_union_fills_the_corner_and_leaves_the_far_ends():
    a, b = p.ball(3).moved(x=-2.5), p.ball(3).moved(x=2.5)
    blend = smooth_union(a, b, 2.0)
    assert at(a | b, 0, 2.0, 0) > 0 > at(blend, 0, 2.0, 0)
    assert at(blend, 5.5, 0, 0) == pytest.approx(0, abs=1e-6)


def test_wobble_stays_within_its_box_and_keeps_the_volume(rng):
    shape = p.ball(6).wobbled(rng, 0.8, 6)
    assert volume_of(shape) == pytest.approx(4 / 3 * np.pi * 216, rel=0.12)
    assert np.allclose(shape.box[1], 7.2)


def test_a_curve_passes_through_its_points():
    points = np.array([[0, 0, 0], [1, 2, 0], [3, 1, 1], [4, 0, 5], [5, 5, 5]], float)
    assert np.allclose(p.curve(points, 9)[::2], points)


def test_strokes_cover_each_other_in_order_with_a_soft_edge():
    """A half-space boundary through voxel centres at 0.25 voxels covers 1/4: worked by hand on one row."""
    scene = Scene(np.random.default_rng(0), AIR, (0.0, 200.0), noise=0.0)
    body = scene.whole("body", ("thing",))
    core = scene.small("core", body, ("kernel",))
    scene.paint(p.box(10, 10, 10).cut((1, 0, 0), 0.25), body, STUFF)
    scene.paint(p.box(10, 10, 10).cut((1, 0, 0), -2.0), core, Material("core", 200.0, (1.0, 0.0, 0.0)))
    density, labels = compose(scene, VolumeGrid((7, 2, 2), (1.0, 1.0, 1.0), (-3.0, 0.0, 0.0)), seed=0)
    assert density[0, 0].tolist() == pytest.approx([200, 150, 100, 75, 0, 0, 0])
    assert labels[0, 0].tolist() == [core, core, body, body, 0, 0, 0]


def test_keep_and_inside_guard_what_is_there():
    scene = Scene(np.random.default_rng(0), AIR, (0.0, 100.0), noise=0.0)
    a, b, c = scene.whole("a", ("x",)), scene.whole("b", ("y",)), scene.whole("c", ("z",))
    scene.paint(p.ball(5), a, STUFF)
    scene.paint(p.box(2, 2, 8), b, STUFF, keep=(a,))
    scene.paint(p.box(8, 2, 2), c, STUFF, inside=(b,))
    _, labels = compose(scene, grid(), seed=0)
    z, y, x = 22, 18, 20
    assert labels[z, y, x] == a
    assert labels[z + 13, y, x] == b
    assert not (labels == c).any() and not (labels == a)[:, :, :2].any()


def test_textures_are_functions_of_the_world_not_of_the_grid():
    scene = Scene(np.random.default_rng(0), AIR, (0.0, 200.0), noise=0.0)
    body = scene.whole("body", ("thing",))
    scene.paint(p.box(20, 20, 20), body, Material("stuff", 100.0, (1.0, 1.0, 1.0), texture=10, grain=9))
    fine, _ = compose(scene, VolumeGrid((21, 11, 13), (0.5, 0.5, 0.5), (-5.0, 1.0, 0.0)), seed=3)
    coarse, _ = compose(scene, VolumeGrid((11, 6, 7), (1.0, 1.0, 1.0), (-5.0, 1.0, 0.0)), seed=3)
    assert np.allclose(fine[::2, ::2, ::2], coarse, atol=1e-2)
    assert 3 < fine.std() < 20


def test_noise_and_bias_have_the_asked_size():
    scene = Scene(np.random.default_rng(0), Material("air", 50.0, (0.0, 0.0, 0.0)), (0.0, 100.0), noise=4.0)
    density, _ = compose(scene, grid(), seed=1)
    assert density.std() == pytest.approx(4.0, rel=0.02) and density.mean() == pytest.approx(50, abs=0.1)
    scene = Scene(np.random.default_rng(0), Material("air", 50.0, (0.0, 0.0, 0.0)), (0.0, 100.0), noise=0.0, bias=0.1)
    density, _ = compose(scene, grid(), seed=1)
    assert 0.5 < density.std() < 12 and np.abs(np.diff(density, axis=0)).max() < 1.5


def test_the_pose_moves_the_object_in_the_world():
    scene = Scene(np.random.default_rng(0), AIR, (0.0, 100.0), noise=0.0)
    part = scene.whole("ball", ("sphere",))
    scene.paint(p.ball(2), part, STUFF)
    scene.pose[:3, 3] = (4.0, -3.0, 5.0)
    g = grid()
    _, labels = compose(scene, g, seed=0)
    iz, iy, ix = (v.mean() for v in np.nonzero(labels))
    assert np.allclose(np.array(g.origin_xyz) + np.array(g.spacing_xyz) * [ix, iy, iz], [4, -3, 5], atol=0.05)
