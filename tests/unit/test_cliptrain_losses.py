"""The loss against loops written by hand."""

import numpy as np
import pytest
import torch

from voxlang.cliptrain.config import LossConfig
from voxlang.cliptrain.losses import (
    Relations,
    auxiliary_loss,
    calibration_loss,
    contrast_loss,
    distillation_loss,
    relation_loss,
)

LOGITS = torch.tensor([[3.0, 1.0, -0.5, 0.25, 2.0], [0.5, -1.0, 2.5, 1.5, 0.0], [0.1, 0.2, 0.3, 0.4, 0.5]])
RIGHT = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
WRONG = torch.tensor([[0, 0, 1.0, 0, 0.3], [1.0, 0, 0, 0, 1.0], [1.0, 1.0, 1.0, 0, 1.0]])
GENERIC = torch.tensor([False, False, False, True, False])
RELATIONS = Relations(RIGHT, WRONG, GENERIC)


def contrast_by_hand():
    logits, total = LOGITS.numpy().astype(float), []
    for b in range(3):
        right = np.flatnonzero(RIGHT[b]) if RIGHT[b].any() else np.flatnonzero(GENERIC)
        weight = WRONG[b].numpy().astype(float).copy()
        weight[[m for m in np.flatnonzero(GENERIC) if m not in right]] = 1.0
        against = sum(w * np.exp(v) for w, v in zip(weight, logits[b], strict=True))
        total.append(np.mean([-np.log(np.exp(logits[b, m]) / (np.exp(logits[b, m]) + against)) for m in right]))
    return np.mean(total)


def test_contrast_equals_the_sum_written_out():
    assert contrast_loss(LOGITS, RELATIONS).item() == pytest.approx(contrast_by_hand(), rel=1e-5)


def test_neutral_texts_do_not_count():
    moved = LOGITS.clone()
    moved[1, 1] = 50.0
    assert contrast_loss(moved, RELATIONS).item() == pytest.approx(contrast_loss(LOGITS, RELATIONS).item())
    config = LossConfig()
    assert calibration_loss(moved, RELATIONS, config).item() == pytest.approx(
        calibration_loss(LOGITS, RELATIONS, config).item()
    )


def test_calibration_equals_the_margins_written_out():
    config = LossConfig(margin_right=2.0, margin_wrong=1.0, hardest=2)
    soft = lambda x: np.log1p(np.exp(x))
    above = np.mean([np.mean([soft(2.0 - 2.75), soft(2.0 - 0.75)]), soft(2.0 - 1.0)])
    below = [[soft(1 - 0.75), 0.3 * soft(1 + 1.75)], [soft(1 - 1.0), soft(1 - 1.5)], [soft(1 + 0.1), soft(1 - 0.1)]]
    assert calibration_loss(LOGITS, RELATIONS, config).item() == pytest.approx(above + np.mean(below), rel=1e-5)


def test_descent_puts_right_above_generic_above_wrong():
    logits = torch.zeros(2, 4, requires_grad=True)
    relations = Relations(
        torch.tensor([[True, False, False, False], [False, True, False, False]]),
        torch.tensor([[0, 1.0, 0, 1.0], [1.0, 0, 0, 1.0]]),
        torch.tensor([False, False, True, False]),
    )
    optimizer = torch.optim.SGD([logits], lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        (contrast_loss(logits, relations) + calibration_loss(logits, relations, LossConfig())).backward()
        optimizer.step()
    scores = logits.detach()
    assert scores[0, 0] > scores[0, 2] + 1.5 and scores[0, 2] > scores[0, 1] + 1.0 and scores[0, 2] > scores[0, 3] + 1.0
    assert scores[1, 1] > scores[1, 2] > scores[1, 0]


def test_distillation_is_zero_for_the_targets_and_counts_angles():
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]), dim=-1)
    assert distillation_loss(vectors, vectors).item() == pytest.approx(0.0, abs=1e-6)
    assert distillation_loss(vectors, -vectors).item() == pytest.approx(2.0)
    turned = vectors[:, [1, 2, 0]]
    assert relation_loss(vectors, turned).item() == pytest.approx(0.0, abs=1e-6), "a rotation keeps all angles"
    cosine = 2.0 / np.sqrt(10.0)
    assert relation_loss(vectors, vectors[[0, 0]]).item() == pytest.approx(2 * (1 - cosine) ** 2 / 4, rel=1e-4)


def test_auxiliary_shares_a_crop_among_its_concepts_and_skips_junk():
    logits = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 1.0], [9.0, 9.0, 0.0]])
    concepts = torch.tensor([[0, -1, -1], [1, 2, -1], [-1, -1, -1]])
    share = lambda row, k: -np.log(np.exp(row[k]) / np.exp(row).sum())
    rows = logits.numpy()
    by_hand = (share(rows[0], 0) + 0.5 * (share(rows[1], 1) + share(rows[1], 2))) / 2
    assert auxiliary_loss(logits, concepts).item() == pytest.approx(by_hand, rel=1e-5)
