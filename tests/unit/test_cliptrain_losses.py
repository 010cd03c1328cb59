"""The losses against loops written by hand."""

import numpy as np
import pytest
import torch

from voxlang.cliptrain.losses import concept_loss, distillation_loss, relation_loss


def test_distillation_is_zero_for_the_targets_and_counts_angles():
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]), dim=-1)
    assert distillation_loss(vectors, vectors).item() == pytest.approx(0.0, abs=1e-6)
    assert distillation_loss(vectors, -vectors).item() == pytest.approx(2.0)
    turned = vectors[:, [1, 2, 0]]
    assert relation_loss(vectors, turned).item() == pytest.approx(0.0, abs=1e-6), "a rotation keeps all angles"
    cosine = 2.0 / np.sqrt(10.0)
    assert relation_loss(vectors, vectors[[0, 0]]).item() == pytest.approx(2 * (1 - cosine) ** 2 / 4, rel=1e-4)


def test_the_classifier_shares_a_crop_among_its_concepts_and_skips_junk():
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0], [9.0, 9.0, 0.0]])
    concepts = torch.tensor([[0, -1, -1], [1, 2, -1], [-1, -1, -1]])
    share = lambda row, k: -np.log(np.exp(row[k]) / np.exp(row).sum())
    rows = logits.numpy()
    by_hand = (share(rows[0], 0) + 0.5 * (share(rows[1], 1) + share(rows[1], 2))) / 2
    assert concept_loss(logits, concepts).item() == pytest.approx(by_hand, rel=1e-5)
