"""Weights of a SAM 2 model between training and use: the size of its mask logits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from voxlang.checkpoints.reading import read_weights_file
from voxlang.embed.dense_encoder import read_tower_file

LOGIT_SCALE = "logit_scale"
"""Key of an exported file's metadata: the factor that its mask logits were multiplied with."""


def with_logit_scale(state: Mapping[str, torch.Tensor], factor: float) -> dict[str, torch.Tensor]:
    """The weights of a SAM 2 whose mask logits are `factor` times as large, those it answers and those it is given.

    The last layer of every network that makes masks is multiplied, and the first layer that reads a mask prompt
    divided, so that a mask given back to the model means what it meant before.
    """
    makers = [name for name in state if "output_hypernetworks_mlps." in name]
    last = max((int(name.split(".layers.")[1].split(".")[0]) for name in makers), default=0)
    scaled = {name: state[name] * factor for name in makers if f".layers.{last}." in name}
    reader = "sam_prompt_encoder.mask_downscaling.0.weight"
    return {**state, **scaled, reader: state[reader] / factor}


def read_tower_trunk(path: str | Path) -> dict[str, torch.Tensor]:
    """The trunk of a dense tower's image encoder, in float32.

    Raises:
        ModelMissingError, ArtifactError: as `read_tower_file`.
    """
    prefix = "encoder.trunk."
    _, state = read_tower_file(path, encoder=None)
    return {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}


def read_initial_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Weights to train on from, in float32, with mask logits of the size that training is used to."""
    file = read_weights_file(path)
    state = {name: t.float() for name, t in file.state.items()}
    factor = float(file.metadata.get(LOGIT_SCALE, 1.0))
    return state if factor == 1.0 else with_logit_scale(state, 1.0 / factor)
