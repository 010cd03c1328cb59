"""The trunk's tensors in a file, under the names that the backbone has for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from voxlang.checkpoints.convert import convert_state
from voxlang.checkpoints.reading import read_weights_file

if TYPE_CHECKING:
    import torch

LAYOUT = "mmseg-hiera"
"""The backbone's layout among those of `voxlang.checkpoints`."""


def read_trunk(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the trunk in a SAM 2 checkpoint of any layout, or in a converted one, memory-mapped.

    Raises:
        WeightsError: no file, a broken or unsafe one, or one without a whole trunk.
    """
    return convert_state(read_weights_file(path).state, LAYOUT, where=str(path)).state
