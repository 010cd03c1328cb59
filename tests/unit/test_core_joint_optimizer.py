"""Several optimizers with one state: it goes back whole; that of other groups is refused before any is taken."""

import pytest
import torch

from voxlang.core.errors import ConfigError
from voxlang.core.joint_optimizer import JointOptimizer


def optimizers(*groups: tuple[int, ...]) -> JointOptimizer:
    each = []
    for sizes in groups:
        parts = [{"params": [torch.nn.Parameter(torch.ones(2)) for _ in range(n)]} for n in sizes]
        each.append(torch.optim.SGD(parts, lr=0.5, momentum=0.9))
    return JointOptimizer(*each)


def step(joint: JointOptimizer) -> None:
    for optimizer in joint._each:
        for group in optimizer.param_groups:
            for k, p in enumerate(group["params"]):
                p.grad = torch.full_like(p, k + 1.0)
        optimizer.step()


def test_the_state_goes_back_into_each():
    one, other = optimizers((2, 1), (3,)), optimizers((2, 1), (3,))
    step(one)
    other.load_state_dict(one.state_dict())
    for a, b in zip(one._each, other._each, strict=True):
        for p, q in zip(a.param_groups[0]["params"], b.param_groups[0]["params"], strict=True):
            assert torch.equal(a.state[p]["momentum_buffer"], b.state[q]["momentum_buffer"])


@pytest.mark.parametrize("groups", [((2, 2), (3,)), ((2,), (3,)), ((2, 1),)])
def test_the_state_of_other_groups_is_refused_and_nothing_is_taken(groups):
    joint, other = optimizers((2, 1), (3,)), optimizers(*groups)
    step(other)
    with pytest.raises(ConfigError, match=r"groups of \[\[2, 1\], \[3\]\]") as error:
        joint.load_state_dict(other.state_dict())
    assert str([list(sizes) for sizes in groups]) in str(error.value)
    assert "run_dir" in str(error.value)
    assert not any(optimizer.state for optimizer in joint._each)
