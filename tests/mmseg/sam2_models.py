"""Models of sam2's own making, with random weights."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from voxlang.masks.build import read_sam_config
from voxlang.masks.models import RELEASES


def sam2_config(size: str, version: str = "2.1") -> dict[str, Any]:
    """The official configuration in the package sam2."""
    return read_sam_config(next(r.config_name for r in RELEASES if (r.size, r.version) == (size, version)))


@torch.no_grad()
def random_model(config: dict[str, Any]) -> nn.Module:
    """What a configuration describes, in evaluation mode, with nothing left at its usual first value."""
    torch.manual_seed(3)
    model = instantiate(OmegaConf.create(config), _recursive_=True)
    for name, p in model.named_parameters():
        if p.ndim == 1 or "embed" in name:
            p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


def random_trunk(size: str) -> nn.Module:
    """The trunk alone."""
    return random_model(sam2_config(size)["image_encoder"]["trunk"])
