import math
from dataclasses import replace

import pytest
import torch

from voxlang.segtrain.config import LossConfig
from voxlang.segtrain.data import Batch, DenseTruth
from voxlang.segtrain.losses import balanced_entropy, loss_of, mask_terms, true_iou
from voxlang.segtrain.model import Answers


def test_focal_and_dice_by_hand():
    """Logit ln 3 is p = 0.75: two pixels inside and two outside."""
    logits = torch.full((1, 2, 2), math.log(3.0))
    target = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    focal, dice = mask_terms(logits, target)
    right, wrong = -math.log(0.75), -math.log(0.25)
    assert focal.item() == pytest.approx((0.25**2 * right + 0.75**2 * wrong) / 2, rel=1e-5)
    assert dice.item() == pytest.approx(1 - (2 * 1.5 + 1) / (3 + 2 + 1), rel=1e-5)


def test_balanced_entropy_ignores_the_size_of_the_object():
    logits = torch.full((1, 8, 8), math.log(3.0))
    small, large = torch.zeros(1, 8, 8), torch.ones(1, 8, 8)
    small[0, 0, 0] = 1
    large[0, 0, 0] = 0
    expected = 0.5 * (-math.log(0.75) - math.log(0.25))
    assert balanced_entropy(logits, small).item() == pytest.approx(expected, rel=1e-5)
    assert balanced_entropy(logits, large).item() == pytest.approx(expected, rel=1e-5)


def test_iou_by_hand():
    logits = torch.tensor([[[1.0, 1.0], [1.0, -1.0]]])
    target = torch.tensor([[[1.0, 0.2], [0.6, 1.0]]])
    assert true_iou(logits, target).item() == pytest.approx(2 / 4)
    assert true_iou(-torch.ones(1, 2, 2), torch.zeros(1, 2, 2)).item() == 0


def example(on_object: list[bool]) -> tuple[Answers, Batch]:
    generator = torch.Generator().manual_seed(0)
    k = len(on_object)
    answers = Answers(
        torch.randn(1, k, 4, 4, 4, generator=generator).requires_grad_(),
        torch.full((1, k, 4), 0.25, requires_grad=True),
        torch.randn(1, 2, 3, 4, 4, generator=generator),
        torch.randn(1, 3, 5, 2, 2, generator=generator),
        torch.ones(1, k, 4, 2),
        torch.ones(1, k, 4, 2),
    )
    regions = torch.randint(-1, 3, (1, 3, 4, 4), generator=generator).int()
    dense = DenseTruth(torch.tensor([[3, 9]]), regions, torch.randint(-1, 5, (1, 3, 4, 4), generator=generator))
    batch = Batch(
        torch.zeros(1, 3, 16, 16),
        torch.zeros(1, k, 1, 2),
        torch.ones(1, k, 1, dtype=torch.int32),
        (torch.rand(1, k, 4, 4, 4, generator=generator) > 0.5).float(),
        torch.ones(1, k, 4),
        torch.tensor([on_object]),
        dense,
    )
    return answers, batch


def test_background_asks_only_for_a_low_predicted_iou():
    answers, batch = example([True, False])
    loss_of(answers, batch, LossConfig()).total.backward()
    assert answers.logits.grad[0, 0].abs().sum() > 0
    assert answers.logits.grad[0, 1].abs().sum() == 0
    assert (answers.predicted_iou.grad[0, 1] > 0).all(), "descent lowers it towards 0"


def test_free_tokens_have_no_gradient():
    answers, batch = example([True])
    weights = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    batch = Batch(batch.images, batch.coords, batch.labels, batch.targets, weights, batch.on_object, batch.dense)
    loss_of(answers, batch, LossConfig(), balanced_weight=1.0).total.backward()
    moved = answers.logits.grad[0, 0].abs().sum((-1, -2)) > 0
    assert moved.tolist() == [True, False, True, False]
    assert (answers.predicted_iou.grad[0, 0] != 0).tolist() == [True, False, True, False]


def test_the_total_is_the_weighted_sum():
    answers, batch = example([True, True])
    config = LossConfig(focal=3.0, dice=2.0, predicted_iou=5.0, auxiliary=0.0)
    parts = loss_of(answers, batch, config, token_weight=7.0)
    n = parts.numbers
    assert n["token"] == pytest.approx(0, abs=1e-6)
    assert parts.total.item() == pytest.approx(3 * n["focal"] + 2 * n["dice"] + 5 * n["iou_error"], rel=1e-5)


def test_the_auxiliary_loss_agrees_with_a_loop():
    """Focal, dice and balanced entropy of each asked cell on each level where it shows something, and the kinds."""
    answers, batch = example([True])
    dense = batch.dense
    terms, kinds = [], []
    for level in range(3):
        for n, cell in enumerate(dense.cells[0].tolist()):
            number = dense.regions[0, level].flatten()[cell]
            if number < 0:
                continue
            target = (dense.regions[0, level] == number).float()
            logits = answers.auxiliary_logits[0, n, level]
            focal, dice = mask_terms(logits, target)
            terms.append(20 * focal + dice + balanced_entropy(logits, target))
        for row in (0, 1):
            for column in (0, 1):
                kind = int(dense.kinds[0, level, 2 * row, 2 * column])
                if kind >= 0:
                    entropy = -answers.kind_logits[0, level, :, row, column].log_softmax(0)[kind]
                    kinds.append((entropy, 0.1 if kind == 0 else 1.0))
    kind = sum(entropy * weight for entropy, weight in kinds) / sum(weight for _, weight in kinds)
    expected = sum(terms) / len(terms) + kind
    with_it = loss_of(answers, batch, LossConfig()).total
    without = loss_of(answers, batch, LossConfig(auxiliary=0.0)).total
    assert (with_it - without).item() == pytest.approx(expected.item(), rel=1e-4)
    assert len(terms) >= 3 and len(kinds) >= 3


def test_a_margin_makes_the_best_mask_of_an_unsure_region_full():
    """Every pixel is object in four of ten pictures: the expected IoU is greatest with all pixels in the mask, which a
    cut at one half would leave out."""
    truth = (torch.arange(10) < 4).float()[None, :, None, None, None].expand(1, 10, 4, 4, 4)
    for margin, is_full in ((0.0, False), (0.5, True)):
        logit = torch.zeros(1, requires_grad=True)
        descent = torch.optim.Adam([logit], lr=0.05)
        answers, batch = example([True] * 10)
        batch = replace(batch, targets=truth)
        for _ in range(200):
            answers = replace(answers, logits=logit.expand(1, 10, 4, 4, 4))
            descent.zero_grad()
            loss_of(answers, batch, LossConfig(dice=0.0, auxiliary=0.0), mask_margin=margin).total.backward()
            descent.step()
        assert (logit.item() > 0) == is_full
