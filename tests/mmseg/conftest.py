"""One picture for all tests of the backbone."""

import pytest
import torch


@pytest.fixture
def picture():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(11))
