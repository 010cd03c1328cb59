"""The maps of both towers against numbers worked by hand, and as layers against the maps they came from."""

import numpy as np
import pytest
import torch

from voxlang.cliptrain.affine import AffineMap, as_layer
from voxlang.cliptrain.alignment import (
    Classes,
    classes_of,
    picture_map,
    whiten_texts,
    whitening,
    with_negatives,
    without_last_layer,
)
from voxlang.cliptrain.config import AlignConfig, ModelConfig
from voxlang.cliptrain.model import build_image_tower
from voxlang.cliptrain.naming import Choices, Names, naming_loss, taught_names

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


def test_a_map_becomes_the_last_layer_of_the_image_tower(rng):
    config = ModelConfig(image_size=32, embed_dim=16, vision_layers=(1, 1, 1, 1), vision_width=2)
    visual, _ = build_image_tower(config, 5, seed=0)
    visual.eval()
    pixels = torch.from_numpy(rng.normal(size=(3, 3, 32, 32)).astype(np.float32))
    last = visual.attnpool.c_proj
    with torch.no_grad():
        said = visual(pixels)
        with without_last_layer(visual):
            before = visual(pixels)
        assert visual.attnpool.c_proj is last and before.shape == (3, 64)
        torch.testing.assert_close(last(before), said, atol=1e-5, rtol=1e-4)
        new = AffineMap(rng.normal(size=(64, 7)), rng.normal(size=7))
        visual.attnpool.c_proj = as_layer(new)
        np.testing.assert_allclose(visual(pixels).numpy(), new(before.numpy()), atol=1e-4)


def test_names_are_told_apart_where_the_mean_pictures_are_not(rng):
    """Kind 0 lies on both sides of kind 1 in x, so means say little; the noun they share is no mistake."""
    kinds = rng.integers(0, 2, 400)
    features = np.stack([np.where(kinds == 0, 3.0 * rng.choice((-1, 1), 400), 0.0), rng.normal(size=400)], 1)
    features = np.column_stack([features, np.abs(features[:, 0])]).astype(np.float32)
    concepts = np.column_stack([kinds, np.full((400, 2), -1)])
    concepts[:40, 0] = -1
    names = Names(np.eye(4)[[0, 1, 2]], np.array([[True, False, True], [False, True, True]]), np.eye(4)[[3]])
    start = AffineMap(1e-3 * rng.normal(size=(3, 4)), np.array([0.5, 0.5, 0.5, 0.5]))
    config = AlignConfig(naming_steps=200, naming_rate=3e-2, logit_scale=20.0)
    taught = taught_names(start, features, concepts, names, config, seed=0)
    choice = (taught(features) @ np.eye(4)[:, [0, 1, 3]]).argmax(axis=1)
    assert (choice == kinds).mean() > 0.99, "the absent noun is chosen by none"
    again = taught_names(start, features, concepts, names, config, seed=0)
    np.testing.assert_array_equal(again.weight, taught.weight)
    idle = config.model_copy(update={"naming_steps": 0})
    same = taught_names(start, features, concepts, names, idle, seed=0)
    np.testing.assert_allclose(same.weight, start.weight, rtol=1e-6)


def test_names_of_a_table_leave_out_what_training_may_not_use():
    from voxlang.cliptrain.concepts import ConceptTable
    from voxlang.core.levels import Level
    from voxlang.volume.types import Part, PartTree

    tree = PartTree(
        (Part(1, "bonsai tree", Level.WHOLE, None, ("bonsai", "miniature tree")), Part(2, "pot", Level.PART, 1))
    )
    asked = []
    names = Names.of(ConceptTable([("bonsai", tree)]), lambda nouns: asked.append(nouns) or np.zeros((len(nouns), 2)))
    assert asked[0] == ["bonsai tree", "bonsai", "pot"], "miniature tree is held out"
    np.testing.assert_array_equal(names.right, [[True, True, False], [False, False, True]])
    assert len(names.absent) == len(asked[1]) > 20 and not set(asked[0]) & set(asked[1])


def test_a_choice_holds_a_noun_of_every_kind_with_pictures_and_all_absent_ones(rng):
    vectors = np.eye(6)
    names = Names(
        vectors[:4],
        np.array([[True, True, False, False], [False, False, True, False], [False] * 3 + [True]]),
        vectors[4:],
    )
    concepts = np.array([[0, -1, -1], [1, 0, -1], [-1, -1, -1]])
    choices = Choices(names, concepts)
    drawn = set()
    for _ in range(20):
        texts, right = choices.draw(concepts, rng)
        own = int(texts[0].argmax())
        drawn.add(own)
        np.testing.assert_array_equal(texts, vectors[[own, 2, 4, 5]], "concept 2 has no picture")
        np.testing.assert_array_equal(right, [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert drawn == {0, 1}, "each noun of a kind comes up"


def test_naming_loss_by_hand():
    texts = torch.eye(3)
    pictures = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.6, 0.8], [1.0, 1.0, 1.0]])
    right = torch.tensor([[True, False, False], [True, True, False], [False, False, False]])
    share = lambda logits, own: np.exp(np.asarray(logits)[own]).sum() / np.exp(logits).sum()
    third = 5.0 / np.sqrt(3.0)
    by_pictures = -np.log([share([5.0, 0.0, 0.0], [0]), share([0.0, 3.0, 4.0], [0, 1])]).mean()
    by_texts = -np.log([share([5.0, 0.0, third], [0, 1]), share([0.0, 3.0, third], [1])]).mean()
    assert float(naming_loss(pictures, texts, right, 5.0)) == pytest.approx(by_pictures + by_texts, rel=1e-5)
    assert float(naming_loss(pictures[2:], texts, right[2:], 5.0)) == 0.0


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
