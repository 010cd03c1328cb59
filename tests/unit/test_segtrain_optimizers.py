import copy

import pytest
import torch
from torch import nn

from voxlang.segtrain.config import PhaseConfig
from voxlang.segtrain.optimizers import NECK_RATE_ALONE, RATES, Optimizers

PHASE = PhaseConfig(name="a", steps=1, sources={"shapes-full": 1.0}, learning_rate=1.0, final_learning_rate=1.0)


def groups() -> dict[str, list[nn.Parameter]]:
    torch.manual_seed(0)
    return {
        "decoder": [nn.Parameter(torch.randn(3, 3))],
        "readers": [nn.Parameter(torch.randn(2))],
        "encoder": [nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(4))],
        "neck": [nn.Parameter(torch.randn(2, 2))],
        "auxiliary": [nn.Parameter(torch.randn(3))],
    }


def rates(optimizers: Optimizers) -> dict[str, float]:
    return {group["name"]: group["lr"] for each in optimizers._each for group in each.param_groups}


def test_rates_of_the_groups():
    optimizers = Optimizers(groups(), weight_decay=0.0)
    optimizers.set_rate(2e-3, PHASE)
    assert rates(optimizers) == pytest.approx({name: 2e-3 * share for name, share in RATES.items()})
    optimizers.set_rate(1e-3, PHASE.model_copy(update={"encoder_rate": 0.5, "train_decoder": False}))
    got = rates(optimizers)
    assert got["neck"] == pytest.approx(0.5e-3 * NECK_RATE_ALONE) and got["matrices"] == pytest.approx(0.5e-3)
    assert got["decoder"] == got["auxiliary"] == pytest.approx(1e-3)


def test_matrices_of_the_encoder_move_alike_in_all_directions():
    """The first update of a matrix is close to orthogonal, with the size that AdamW's would have."""
    parameters = groups()
    matrix = parameters["encoder"][0]
    before = matrix.detach().clone()
    optimizers = Optimizers(parameters, weight_decay=0.0)
    optimizers.set_rate(1e-3, PHASE)
    (matrix * torch.arange(24.0).reshape(6, 4) ** 2).sum().backward()
    optimizers.step()
    update = (before - matrix.detach()) / (1e-3 * 0.2 * 6**0.5)
    singular = torch.linalg.svdvals(update)
    gradient = torch.linalg.svdvals(torch.arange(24.0).reshape(6, 4) ** 2)
    assert gradient[0] / gradient[1] > 10 and singular[0] / singular[1] < 1.8
    assert singular[0] == pytest.approx(1.0, abs=0.35)
    optimizers.zero_grad()
    assert matrix.grad is None


def test_a_saved_state_goes_on_alike():
    one, two = groups(), groups()
    first, second = Optimizers(one, weight_decay=0.01), Optimizers(two, weight_decay=0.01)

    def advance(parameters, optimizers):
        optimizers.set_rate(1e-2, PHASE)
        sum((p**3).sum() for group in parameters.values() for p in group).backward()
        optimizers.step()
        optimizers.zero_grad()

    advance(one, first)
    for group in two:
        for p, q in zip(two[group], one[group], strict=True):
            p.data.copy_(q.data)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    advance(one, first)
    advance(two, second)
    assert all(torch.equal(p, q) for g in one for p, q in zip(one[g], two[g], strict=True))
