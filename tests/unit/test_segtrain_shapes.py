import numpy as np
import pytest

from voxlang.segtrain.shapes import SIDE, draw_picture


@pytest.mark.parametrize("stage", ["simple", "full"])
def test_levels_are_nested(stage):
    for seed in range(6):
        small, part, whole = draw_picture(np.random.default_rng(seed), stage).regions
        assert ((part >= 0) == (whole >= 0)).all()
        assert (part[small >= 0] >= 0).all()
        for number in np.unique(part[part >= 0]):
            assert len(np.unique(whole[part == number])) == 1, "a part belongs to one whole"
        for number in np.unique(small[small >= 0]):
            assert len(np.unique(part[small == number])) == 1, "a small thing lies on one part"


def test_simple_pictures_have_many_objects_and_nothing_small():
    pictures = [draw_picture(np.random.default_rng(seed), "simple") for seed in range(8)]
    assert all((p.regions[0] == -1).all() for p in pictures)
    assert np.mean([len(np.unique(p.regions[2])) - 1 for p in pictures]) > 4


def test_full_pictures_have_all_levels():
    pictures = [draw_picture(np.random.default_rng(seed), "full") for seed in range(12)]
    assert sum((p.regions[0] >= 0).any() for p in pictures) > 6
    assert sum(len(np.unique(p.regions[1])) > len(np.unique(p.regions[2])) for p in pictures) > 6


def test_the_generator_decides_the_picture():
    one, two = (draw_picture(np.random.default_rng(3), "full") for _ in range(2))
    other = draw_picture(np.random.default_rng(4), "full")
    assert one.rgb.shape == (SIDE, SIDE, 3)
    assert (one.rgb == two.rgb).all() and (one.regions == two.regions).all()
    assert (one.rgb != other.rgb).any()


def test_what_is_seen_differs_from_the_background():
    for seed in range(4):
        picture = draw_picture(np.random.default_rng(seed), "simple")
        inside, outside = picture.rgb[picture.regions[2] >= 0], picture.rgb[picture.regions[2] < 0]
        assert np.abs(inside.astype(float) - np.median(outside, 0)).max(-1).mean() > 20
