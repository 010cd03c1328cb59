"""The object does not depend on the grid: other sizes and spacings sample the same thing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.phantoms import FAMILIES, make_phantom


def nearest(labels: np.ndarray, source: VolumeGrid, target: VolumeGrid) -> np.ndarray:
    """Labels at the voxel centres of another grid, by the nearest voxel in the world."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in target.size_xyz), indexing="ij"))
    world = np.asarray(target.origin_xyz) + np.moveaxis(index, 0, -1) * np.asarray(target.spacing_xyz)
    at = (world - np.asarray(source.origin_xyz)) / np.asarray(source.spacing_xyz)
    zyx = np.moveaxis(at[..., ::-1], -1, 0)
    return ndimage.map_coordinates(labels, zyx, order=0, mode="nearest").transpose(2, 1, 0)


def test_nearest_puts_a_marked_voxel_where_the_world_says():
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[2, 1, 4] = 7
    source = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
    target = VolumeGrid((2, 2, 2), (4.0, 2.0, 6.0), (0.0, 0.0, 0.0))
    assert np.argwhere(nearest(labels, source, target) == 7).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_64_and_96_agree_on_big_parts(family):
    a = make_phantom(family, 4, size_xyz=(64, 64, 64))
    b = make_phantom(family, 4, size_xyz=(96, 96, 96))
    moved = nearest(b.labels.labels, b.volume.grid, a.volume.grid)
    compared = 0
    for part in a.labels.tree:
        ids = sorted(a.labels.tree.descendants(part.id))
        one, two = a.labels.mask_of(part.id), np.isin(moved, ids)
        thick = ndimage.binary_erosion(one).sum() / max(one.sum(), 1)
        if one.sum() <= 1500:
            continue
        for found, other in ((one, two), (two, one)):
            assert (found & ~ndimage.binary_dilation(other)).sum() < 0.1 * found.sum(), part.name
        if thick > 0.5:
            dice = 2 * (one & two).sum() / (one.sum() + two.sum())
            assert dice > 0.9, (part.name, dice)
        compared += 1
    assert compared >= 1


@given(
    seed=st.integers(0, 2**31 - 1),
    size=st.tuples(st.integers(12, 40), st.integers(12, 40), st.integers(12, 40)),
)
@settings(max_examples=8, deadline=None)
def test_any_size_gives_a_whole_tooth_of_the_same_extent(seed, size):
    p = make_phantom("tooth", seed, size_xyz=size)
    g = p.volume.grid
    assert p.volume.values.shape == size[::-1]
    assert np.allclose(np.asarray(g.spacing_xyz) * size, (16.0, 14.4, 25.6))
    solid = (p.labels.labels > 0).sum() * np.prod(g.spacing_xyz)
    assert 60 < solid < 1200
    assert {m.name for a in p.appearances for m in a.materials} >= {"enamel", "dentin", "pulp"}


@given(spacing=st.tuples(*[st.floats(4.0, 9.0)] * 3))
@settings(max_examples=6, deadline=None)
def test_volume_of_a_part_does_not_depend_on_anisotropic_spacing(spacing):
    reference = make_phantom("engine", 9, spacing_xyz=(4.0, 4.0, 4.0))
    other = make_phantom("engine", 9, spacing_xyz=spacing)
    assert other.volume.grid.spacing_xyz == pytest.approx(spacing)
    volumes = [
        p.labels.mask_of(p.labels.tree.named("housing").id).sum() * np.prod(p.volume.grid.spacing_xyz)
        for p in (reference, other)
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.12)
