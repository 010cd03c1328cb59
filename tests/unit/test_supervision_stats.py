"""Statistics by hand, the texts, and a figure that opens."""

import json

import numpy as np
import pytest

from voxlang.core.errors import CacheError, ConfigError
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import look_at
from voxlang.supervision.cache import write_cache
from voxlang.supervision.level_figure import level_figure, save_level_figure
from voxlang.supervision.stats import cache_stats, compare_caches, format_statistics
from voxlang.supervision.types import ViewTarget

INPUTS = {"volume": "v1", "cameras": "c1"}


def with_levels(levels, covered):
    """A 10x10 view whose level `l` covers `covered[l]` rows, with score 0.1 x (row + 1)."""
    n = len(levels)
    position = np.array([3.0, 2.0, 1.0])
    camera = look_at(position, np.zeros(3), up_world=(0.0, 0.0, 1.0), fov_y_deg=35.0, width=10, height=10)
    index = np.full((3, 10, 10), -1, np.int16)
    for level, rows in enumerate(covered):
        index[level, :rows] = 0
    return ViewTarget(
        camera,
        "transfer",
        index,
        np.ones((n, 1), np.float16),
        np.asarray(levels, np.int16),
        np.full(n, -1, np.int16),
        0.1 * np.arange(1, n + 1, dtype=np.float32),
        EncoderId("open_clip", "tiny", "w", "p", 1),
        "key",
    )


@pytest.fixture
def targets():
    return [with_levels([0, 0, 1, 2], (3, 5, 8)), with_levels([0, 2, 2, 2], (1, 0, 10))]


def test_numbers_by_hand(targets):
    statistics = cache_stats(targets)
    small, part, whole = statistics.rows
    assert (statistics.n_views, statistics.n_masks) == (2, 8)
    assert (small.count, part.count, whole.count) == (3, 1, 4)
    assert (small.share, part.share, whole.share) == (0.375, 0.125, 0.5)
    assert (small.coverage, part.coverage, whole.coverage) == pytest.approx((0.2, 0.25, 0.9))
    assert statistics.coverage == pytest.approx(0.9)
    assert (part.per_view_mean, part.per_view_min, part.per_view_max) == (0.5, 0, 1)
    assert (whole.per_view_mean, whole.per_view_min, whole.per_view_max) == (2.0, 1, 3)
    assert small.mean_score == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    assert whole.mean_score == pytest.approx((0.4 + 0.2 + 0.3 + 0.4) / 4)
    assert json.loads(json.dumps(statistics.as_dict()))["levels"]["part"]["count"] == 1


def test_no_views_and_no_masks_give_zeros():
    for statistics in (cache_stats([]), cache_stats([with_levels([], (0, 0, 0))])):
        assert statistics.n_masks == 0 and all(r.share == 0.0 and r.mean_score == 0.0 for r in statistics.rows)
        assert " - " in format_statistics(statistics) + " "


def test_table(targets):
    assert format_statistics(cache_stats(targets), title="demo").splitlines() == [
        "demo: 8 masks in 2 views, 90.0% of the pixels covered",
        "level   masks   share  pixels  per view  min  max  score",
        "small       3   37.5%   20.0%       1.5    1    2  0.133",
        "part        1   12.5%   25.0%       0.5    0    1  0.300",
        "whole       4   50.0%   90.0%       2.0    1    3  0.325",
    ]


def test_comparison_names_shifts_and_changed_inputs(tmp_path, targets):
    paths = [tmp_path / "a" / "sam_cache_2views.pkl", tmp_path / "b" / "sam_cache_1views.pkl"]
    write_cache(paths[0], targets, inputs=INPUTS)
    write_cache(paths[1], targets[:1], inputs=INPUTS | {"cameras": "c2"})
    comparison = compare_caches(paths)
    assert list(comparison.statistics) == ["sam_cache_2views.pkl", "sam_cache_1views.pkl"]
    assert "sam_cache_1views.pkl: small +12.5, part +12.5, whole -25.0" in comparison.text
    assert "differs from sam_cache_2views.pkl in: cameras" in comparison.text
    assert comparison.as_dict()["changed_inputs"] == {"sam_cache_1views.pkl": {"cameras": ["c1", "c2"]}}
    json.dumps(comparison.as_dict())


def test_comparison_of_equal_names_and_equal_inputs(tmp_path, targets):
    paths = [tmp_path / "a" / "c.pkl", tmp_path / "b" / "c.pkl"]
    for path in paths:
        write_cache(path, targets, inputs=INPUTS)
    comparison = compare_caches(paths)
    assert list(comparison.statistics) == [str(p) for p in paths]
    assert "from the same inputs" in comparison.text
    assert len(compare_caches([paths[0], paths[0]]).statistics) == 2
    assert list(compare_caches(paths[:1]).statistics) == ["c.pkl"]
    with pytest.raises(CacheError, match="at least one"):
        compare_caches([])


def test_figure_shows_the_numbers(targets):
    statistics = cache_stats(targets)
    figure = level_figure({"one": statistics, "two": cache_stats(targets[:1])})
    shares, coverage, per_view = figure.axes
    assert [bar.get_height() for bar in shares.patches] == pytest.approx([37.5, 12.5, 50.0, 50.0, 25.0, 25.0])
    assert [bar.get_height() for bar in coverage.patches[:3]] == pytest.approx([20.0, 25.0, 90.0])
    assert [bar.get_height() for bar in per_view.patches[:3]] == pytest.approx([1.5, 0.5, 2.0])
    assert [t.get_text() for t in shares.get_xticklabels()] == ["small", "part", "whole"]


def test_figure_files(tmp_path, targets):
    from PIL import Image

    named = {"one": cache_stats(targets)}
    with Image.open(save_level_figure(tmp_path / "levels.png", named)) as picture:
        assert picture.width > 800
    assert "<svg" in save_level_figure(tmp_path / "levels.svg", named).read_text()
    with pytest.raises(ConfigError, match=r"levels\.bmp"):
        save_level_figure(tmp_path / "levels.bmp", named)
