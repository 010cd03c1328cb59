"""Relevancy spreads within like values, stops at edges, and agrees with a dense solution."""

import numpy as np
import pytest

from voxlang.geometry.grid import VolumeGrid
from voxlang.query.config import QueryConfig
from voxlang.query.spread import spread_relevancy

GRID = VolumeGrid((7, 5, 4), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0))
SHAPE = GRID.shape_zyx


def spread(relevancy, values, voxel=None, seen=None, **settings):
    voxel = np.arange(GRID.n_voxels) if voxel is None else voxel
    seen = np.ones(len(voxel), np.float32) if seen is None else seen
    return spread_relevancy(relevancy, voxel, seen, values, GRID, QueryConfig(**settings))


def top_by_hand(before, after, threshold=0.5):
    """Stretched so that as many of `after` reach the peak of `before` as were within a tenth of it."""
    peak = np.quantile(before, 0.999)
    share = min(max(np.mean(before >= 0.9 * peak), 0.001), 0.1) if peak > threshold else 0.001
    return np.clip(after * peak / np.quantile(after, 1.0 - share), 0.0, 1.0)


def dense_answer(relevancy, voxel, seen, values, config):
    """The system written out voxel by voxel."""
    n, spacing = len(voxel), np.asarray(GRID.spacing_xyz)[::-1]
    at = np.stack(np.unravel_index(voxel, SHAPE), axis=1)
    reach = config.spread * max(GRID.extent_world)
    confidence = 0.1 + 0.9 * np.minimum(seen, 1.0)
    low, high = np.quantile(values.reshape(-1)[voxel], (0.01, 0.99))
    stop = config.spread_value * (high - low)
    matrix = np.diag(confidence.astype(np.float64))
    for i in range(n):
        for j in range(n):
            step = np.abs(at[i] - at[j])
            if step.sum() != 1:
                continue
            change = (values[tuple(at[i])] - values[tuple(at[j])]) / stop
            weight = (np.exp(-(change**2)) + 1e-3) * (reach / spacing[step.argmax()]) ** 2
            matrix[i, i] += weight
            matrix[i, j] -= weight
    found = np.linalg.solve(matrix, (confidence * relevancy).T).T
    return np.stack([top_by_hand(*rows) for rows in zip(relevancy, found, strict=True)])


def test_it_solves_the_system_written_out_densely(rng):
    values = 0.5 + 0.1 * rng.random(SHAPE, dtype=np.float32) ** 4  # many alike, some not
    voxel = np.sort(rng.choice(GRID.n_voxels, 90, replace=False))
    seen = rng.random(90, dtype=np.float32) * 2.0
    relevancy = rng.random((3, 2, 90), dtype=np.float32)
    config = QueryConfig()
    got = spread(relevancy, values, voxel, seen)
    by_hand = dense_answer(relevancy.reshape(6, 90), voxel, seen, values, config).reshape(3, 2, 90)
    np.testing.assert_allclose(got, by_hand, atol=5e-3)
    assert np.abs(got - relevancy).max() > 0.1


def test_wrong_voxels_are_outvoted_within_a_thing_and_edges_hold(rng):
    values = np.zeros(SHAPE, np.float32)
    values[:, :, 4:] = 0.5
    thing = (values > 0).reshape(-1)
    relevancy = np.where(thing, 0.9, 0.2).astype(np.float32)
    wrong = rng.choice(GRID.n_voxels, 25, replace=False)
    relevancy[wrong] = np.where(thing[wrong], 0.2, 0.9)
    ((got,), *_) = spread(np.tile(relevancy, (3, 1, 1)), values, spread=0.5)
    assert ((relevancy > 0.55) != thing).sum() == 25
    np.testing.assert_array_equal(got > 0.55, thing)
    assert got[thing].min() - got[~thing].max() > 0.2


def test_neither_the_unit_of_values_nor_an_implant_makes_two_things_alike():
    """Metal of thrice the range of all else makes every other normalised value three times smaller."""
    values = np.repeat(np.array([0.2, 0.2, 0.2, 0.3, 0.3, 0.9, 0.9], np.float32)[None, None], 4, 0).repeat(5, 1)
    first = values.reshape(-1) < 0.25
    relevancy = np.tile(np.where(first, 0.9, 0.1).astype(np.float32), (3, 1, 1))
    contrast = lambda got: float(got[0, 0, first].mean() - got[0, 0, ~first].mean())
    plain = spread(relevancy, values, spread=1.0)
    np.testing.assert_allclose(spread(relevancy, values * 2000.0 - 1000.0, spread=1.0), plain, atol=1e-3)
    metal = values / 3.0
    metal[0, 0, 6] = 1.0
    assert contrast(plain) > 0.6 and contrast(spread(relevancy, metal, spread=1.0)) > 0.6
    by_all = spread(relevancy, metal, spread=1.0, spread_value=0.034 / 0.233)  # what it is where the metal counts
    assert contrast(by_all) < 0.45


def test_voxels_that_were_hardly_seen_follow_those_that_were():
    values = np.zeros(SHAPE, np.float32)
    half = np.indices(SHAPE)[2].reshape(-1) < 4
    relevancy = np.tile(np.where(half, 0.9, 0.1).astype(np.float32), (3, 1, 1))
    even = spread(relevancy, values, spread=0.2)
    believed = spread(relevancy, values, seen=np.where(half, 5.0, 0.0).astype(np.float32), spread=0.2)
    assert even[..., ~half].mean() < 0.5 < 0.6 < believed[..., ~half].mean()


def test_a_spread_of_zero_and_no_voxels_leave_all_as_it_is(rng):
    relevancy = rng.random((3, 2, GRID.n_voxels), dtype=np.float32)
    assert spread(relevancy, np.zeros(SHAPE, np.float32), spread=0.0) is relevancy
    none = np.zeros((3, 2, 0), np.float32)
    assert spread(none, np.zeros(SHAPE, np.float32), voxel=np.zeros(0, np.int64)).shape == none.shape


@pytest.mark.parametrize("prompts", [1, 3])
def test_an_even_relevancy_stays_and_tops_keep_their_height(prompts, rng):
    values = rng.random(SHAPE, dtype=np.float32)
    even = np.full((3, prompts, GRID.n_voxels), 0.3, np.float32)
    np.testing.assert_allclose(spread(even, values), even, atol=1e-4)
    mixed = 0.9 * rng.random((3, prompts, GRID.n_voxels), dtype=np.float32)
    got = spread(mixed, np.zeros(SHAPE, np.float32), spread=0.5)
    assert got.min() >= 0.0 and got.max() <= 1.0 and got.dtype == np.float32
    near = (mixed >= 0.9 * np.quantile(mixed, 0.999, axis=-1, keepdims=True)).mean(axis=-1).clip(0.001, 0.1)
    reached = [np.quantile(r, 1.0 - n) for r, n in zip(got.reshape(-1, got.shape[-1]), near.ravel(), strict=True)]
    np.testing.assert_allclose(reached, np.quantile(mixed, 0.999, axis=-1).ravel(), atol=1e-4)
    assert (got.std(axis=-1) < 0.5 * mixed.std(axis=-1)).all()


def test_a_thin_thing_in_noise_is_still_found():
    """One bright slice whose relevancy leaks into the rest: its peak must not sink below the threshold."""
    values = np.zeros(SHAPE, np.float32)
    relevancy = np.full((3, 1, GRID.n_voxels), 0.1, np.float32)
    relevancy[:, 0, :12] = 0.62
    got = spread(relevancy, values, spread=0.3)
    assert np.quantile(got, 0.99) > 0.5


def test_a_large_thing_keeps_its_size_and_what_was_not_found_is_not_found(rng):
    """One bright half, noisy: after averaging a few voxels in its middle must not say how high the rest should be."""
    values = np.zeros(SHAPE, np.float32)
    half = np.indices(SHAPE)[2].reshape(-1) < 4
    noisy = np.where(half, 0.9 * rng.random(GRID.n_voxels, dtype=np.float32) ** 0.2, 0.1).astype(np.float32)
    got = spread(np.tile(noisy, (3, 1, 1)), values, spread=0.1)[0, 0]
    near = noisy >= 0.9 * np.quantile(noisy, 0.999)
    assert near.mean() > 0.1  # so a tenth of all voxels counts
    assert (got >= np.quantile(noisy, 0.999) - 1e-5).sum() == pytest.approx(0.1 * GRID.n_voxels, abs=1)
    low = spread(np.tile(0.5 * noisy, (3, 1, 1)), values, spread=0.1)
    assert np.quantile(0.5 * noisy, 0.999) < 0.5
    np.testing.assert_allclose(np.quantile(low[0, 0], 0.999), np.quantile(0.5 * noisy, 0.999), atol=1e-5)


def long_bar(rng):
    """A bar whose one end alone was seen: evidence has 1,500 voxels to travel."""
    grid = VolumeGrid((1500, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    seen = (np.indices(grid.shape_zyx)[2].reshape(-1) < 300).astype(np.float32)
    relevancy = np.tile(rng.random(grid.n_voxels, dtype=np.float32) ** 3, (3, 1, 1))
    values = np.zeros(grid.shape_zyx, np.float32)
    return relevancy, np.arange(grid.n_voxels), seen, values, grid, QueryConfig(prompts=("bar",), spread=1.0)


def test_evidence_reaches_the_far_end_of_a_long_thing(rng):
    relevancy, voxel, seen, values, grid, config = long_bar(rng)
    got = spread_relevancy(relevancy, voxel, seen, values, grid, config)[0, 0].reshape(4, 1500)
    reach = 1500.0**2 * (1.0 + 1e-3)
    along = 2.0 * np.eye(1500) - np.eye(1500, k=1) - np.eye(1500, k=-1)
    along[0, 0] = along[-1, -1] = 1.0
    # the four rows are as one: they are far nearer than the ends
    confidence, wanted = (a.reshape(4, 1500).mean(axis=0) for a in (0.1 + 0.9 * seen, relevancy[0, 0]))
    by_hand = np.linalg.solve(np.diag(confidence) + reach * along, confidence * wanted)
    by_hand = top_by_hand(relevancy[0, 0], by_hand)
    np.testing.assert_allclose(got.mean(axis=0), by_hand, atol=0.02)


def test_a_spread_that_does_not_come_to_rest_is_told(rng, monkeypatch):
    monkeypatch.setattr("voxlang.query.spread._STEPS", 5)
    with pytest.warns(UserWarning, match="of 'bar' has not come to rest after 5 steps"):
        spread_relevancy(*long_bar(rng))
