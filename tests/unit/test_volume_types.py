"""Volume, PartTree and LabelVolume: what they refuse and what they answer."""

import numpy as np
import pytest

from voxlang.core.errors import VolumeError
from voxlang.core.levels import Level
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.types import LabelVolume, Part, PartTree, Volume

GRID = VolumeGrid((5, 4, 3))
TREE = PartTree(
    (
        Part(1, "tree", Level.WHOLE, None, ("bonsai",), ("green",)),
        Part(2, "foliage", Level.PART, 1, ("leaves",)),
        Part(3, "leaf", Level.SMALL, 2),
        Part(4, "knot", Level.SMALL, 1),
    )
)


def ramp() -> np.ndarray:
    return np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize(
    ("values", "value_range", "message"),
    [
        (np.zeros((5, 4, 3), np.float32), (0.0, 1.0), r"\(3, 4, 5\).*got shape \(5, 4, 3\)"),
        (np.full((3, 4, 5), np.nan, np.float32), (0.0, 1.0), "60 NaN or infinite"),
        (ramp(), (1.0, 1.0), "lower < upper"),
    ],
)
def test_volumes_that_contradict_themselves(values, value_range, message):
    with pytest.raises(VolumeError, match=message):
        Volume(values, GRID, value_range, "bad")


def test_native_and_normalised_are_inverse():
    volume = Volume(ramp(), GRID, (-1000.0, 3000.0), "ct")
    assert volume.normalised(0.0) == 0.25
    assert volume.normalised(4000.0) == 1.25
    np.testing.assert_allclose(volume.native_values(), -1000 + 4000 * ramp(), atol=1e-3)


def test_the_digest_sees_values_grid_and_range_but_no_name():
    volume = Volume(ramp(), GRID, (0.0, 1.0), "a")
    assert Volume(np.asfortranarray(ramp()), GRID, (0.0, 1.0), "b").digest == volume.digest
    changed = ramp()
    changed[1, 1, 1] += 1e-6
    others = (
        Volume(changed, GRID, (0.0, 1.0), "a"),
        Volume(ramp(), VolumeGrid((5, 4, 3), (1.0, 1.0, 2.0)), (0.0, 1.0), "a"),
        Volume(ramp(), GRID, (0.0, 2.0), "a"),
    )
    assert len({volume.digest, *(o.digest for o in others)}) == 4


def test_the_tree_knows_its_family():
    assert TREE.descendants(1) == {1, 2, 3, 4}
    assert TREE.descendants(2) == {2, 3}
    assert TREE.ancestor_at(3, Level.PART) == 2
    assert TREE.ancestor_at(3, Level.SMALL) == 3
    assert TREE.ancestor_at(4, Level.PART) is None
    assert TREE.named(" Leaves ").id == 2
    assert TREE[4].name == "knot"
    assert (len(TREE), [p.id for p in TREE]) == (4, [1, 2, 3, 4])
    with pytest.raises(VolumeError, match=r"\['foliage', 'knot', 'leaf', 'tree'\]; got 'trunk'"):
        TREE.named("trunk")
    assert PartTree.from_list(TREE.as_list()) == TREE


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((Part(1, "a", Level.PART, None), Part(1, "b", Level.PART, None)), "ids must be unique"),
        ((Part(0, "a", Level.PART, None),), "ids must be unique and >= 1"),
        ((Part(1, "a", Level.PART, 7),), "'a' has the unknown parent 7"),
        ((Part(1, "a", Level.PART, None), Part(2, "b", Level.PART, 1)), "parent that is not on a higher level"),
    ],
)
def test_trees_that_are_none(parts, message):
    with pytest.raises(VolumeError, match=message):
        PartTree(parts)


def test_a_mask_holds_everything_below_its_part():
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[0, 0, 1], labels[1, 2, 3], labels[2, 1, 4] = 2, 3, 4
    volume = LabelVolume(labels, GRID, TREE)
    assert np.argwhere(volume.mask_of(2)).tolist() == [[0, 0, 1], [1, 2, 3]]
    assert volume.mask_of(1).sum() == 3
    labels = labels.copy()
    labels[2, 3, 4] = 9
    with pytest.raises(VolumeError, match=r"values without a part: \[9\]"):
        LabelVolume(labels, GRID, TREE)
