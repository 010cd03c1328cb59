"""The closed form against numbers worked by hand, and folded into a model against the maps it came from."""

import numpy as np
import pytest
import torch

from voxlang.cliptrain.alignment import (
    AffineMap,
    Classes,
    classes_of,
    fold_pictures,
    picture_map,
    whiten_texts,
    whitening,
    with_negatives,
)
from voxlang.cliptrain.config import AlignConfig

EXACT = AlignConfig(scatter=0.0, ridge=1e-12)


def test_classes_by_hand():
    features = np.array([[0.0, 0.0], [2.0, 0.0], [5.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    classes = classes_of(features, np.array([3, 3, 1, 1, -1]))
    np.testing.assert_array_equal(classes.rows, [1, 3])
    np.testing.assert_allclose(classes.means, [[5.0, 3.0], [1.0, 0.0]])
    np.testing.assert_allclose(classes.scatter, [[0.5, 0.0], [0.0, 2.0]])  # +-1 in x of half, +-2 in y of half


def test_whitened_rows_have_the_shrunk_covariance(rng):
    rows = rng.normal(size=(200, 3)) * (3.0, 1.0, 0.1)
    variance = np.linalg.eigvalsh(np.cov(rows.T, bias=True))
    spread = whitening(rows, shrink=0.5)
    after = np.linalg.eigvalsh(np.cov((rows @ spread).T, bias=True))
    np.testing.assert_allclose(after, variance / (variance + 0.5 * variance.mean()), rtol=1e-6)
    np.testing.assert_allclose(spread, spread.T)


def test_pictures_go_to_their_targets_and_scatter_shrinks_them():
    means, scatter = np.array([[-1.0, 0.0], [1.0, 0.0]]), np.diag([0.0, 1.0])
    targets = np.array([[0.0, 2.0], [4.0, 0.0]])
    exact = picture_map(Classes(np.arange(2), means, scatter), targets, EXACT)
    np.testing.assert_allclose(exact(means), targets, atol=1e-6)
    # with scatter 3 along x beside a variance of the means of 1, a quarter of the way is left
    wide = Classes(np.arange(2), means, np.diag([3.0, 1.0]))
    half = picture_map(wide, targets, AlignConfig(scatter=1.0, ridge=1e-12))
    np.testing.assert_allclose(half(means), targets.mean(0) + 0.25 * (targets - targets.mean(0)), atol=1e-6)


def test_the_generic_text_says_what_a_likely_absent_noun_says():
    means = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    classes = Classes(np.arange(3), means, np.eye(3))
    generic, absent = np.array([0.0, 0.5, 0.5]), np.array([[0.3, 0.0, 0.0], [0.0, 0.6, 0.0], [0.1, 0.1, 0.1]])
    pictures = AffineMap(np.eye(3), np.zeros(3))
    config = EXACT.model_copy(update={"absent_quantile": 1.0, "caution": 0.0})
    aligned = with_negatives(pictures, classes, generic, absent, config)
    np.testing.assert_allclose(aligned(means) @ generic, [0.3, 0.6, 0.1], atol=1e-6)
    direction = generic - absent.mean(axis=0)
    moved = aligned(means) - means
    np.testing.assert_allclose(np.cross(moved, direction), 0.0, atol=1e-6)
    careful = with_negatives(pictures, classes, generic, absent, config.model_copy(update={"caution": 2.0}))
    np.testing.assert_allclose(careful(means) - aligned(means), np.tile(2.0 * direction, (3, 1)), atol=1e-6)


@pytest.fixture
def rows(rng):
    return torch.from_numpy(rng.normal(size=(40, 6)).astype(np.float32))


def test_a_map_behind_a_layer_is_folded_into_it(rng, rows):
    layer = torch.nn.Linear(6, 4)
    behind = AffineMap(rng.normal(size=(4, 4)), rng.normal(size=4))
    with torch.no_grad():
        expected = behind(layer(rows).numpy().astype(np.float64))
        fold_pictures(layer, behind)
        np.testing.assert_allclose(layer(rows).numpy(), expected, atol=1e-5)


def test_whitened_texts_have_no_mean_and_even_directions(rows):
    model = torch.nn.Module()
    model.ln_final = torch.nn.LayerNorm(6)
    model.text_projection = torch.nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        whiten_texts(model, model.ln_final(rows), shrink=1e-6)
        vectors = (model.ln_final(rows) @ model.text_projection).numpy()
    np.testing.assert_allclose(vectors.mean(axis=0), 0.0, atol=1e-5)
    covariance = np.cov(vectors.T, bias=True)
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(4), atol=1e-3)
