"""Muon in float32: the same as torch's own, which is in bfloat16, and as its definition by singular values."""

import copy

import numpy as np
import pytest
import torch

from voxlang.core.device import quick_bfloat16
from voxlang.core.muon import Muon, orthogonal

COEFFICIENTS = (3.4445, -4.775, 2.0315)


def by_singular_values(matrix: torch.Tensor) -> np.ndarray:
    u, s, vt = np.linalg.svd(matrix.numpy().astype(np.float64), full_matrices=False)
    s = s / np.linalg.norm(s)
    for _ in range(5):
        s = COEFFICIENTS[0] * s + COEFFICIENTS[1] * s**3 + COEFFICIENTS[2] * s**5
    assert (np.abs(s - 1) < 0.6).all()
    return (u * s) @ vt


@pytest.mark.parametrize("shape", [(7, 19), (19, 7), (8, 8)])
def test_singular_values_go_through_the_polynomial_and_vectors_stay(shape):
    matrix = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))
    kept = matrix.clone()
    got = orthogonal(matrix, coefficients=COEFFICIENTS, steps=5, eps=1e-7)
    np.testing.assert_allclose(got.numpy(), by_singular_values(matrix), atol=1e-4)
    assert torch.equal(matrix, kept)


def test_moves_matrices_as_torch_would_in_full_precision_and_takes_its_state(monkeypatch):
    exact = lambda matrix, *_: torch.from_numpy(by_singular_values(matrix).astype(np.float32))
    monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", exact)
    torch.manual_seed(0)
    start = [torch.randn(6, 11), torch.randn(12, 5), torch.randn(4, 4)]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    one = Muon([{"params": ours[:2], "name": "some"}, {"params": ours[2:]}], weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=1e-3, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        if step == 2:
            one.load_state_dict({**one.state_dict(), "state": copy.deepcopy(other.state_dict()["state"])})
        for optimizer, parameters in ((one, ours), (other, theirs)):
            for group in optimizer.param_groups:
                group["lr"] = 0.02
            for p, p0 in zip(parameters[:2], start, strict=False):
                p.grad = torch.cos(p0 * (step + 1))
            optimizer.step()
    for p, q, p0 in zip(ours, theirs, start, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-5)
        assert torch.equal(p, p0) == (p is ours[2])
    assert torch.equal(ours[2], start[2]), "no gradient, no step"


def test_a_closure_is_asked_for_the_loss():
    p = torch.nn.Parameter(torch.eye(3))
    optimizer = Muon([p], weight_decay=0.0)

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert (p**2).sum().item() < 3.0


def test_bfloat16_is_quick_only_where_the_processor_has_wide_registers(monkeypatch):
    for capability, quick in (("AVX512", True), ("AVX2", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        assert quick_bfloat16(torch.device("cpu")) is quick
    assert quick_bfloat16(torch.device("cuda"))
