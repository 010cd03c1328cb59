"""Train or fine-tune a SAM 2 model: `python training/train.py --config configs/training/sam2_micro.yaml [--smoke]`.

Several GPUs: `torchrun --nproc-per-node 4 training/train.py --config ...`. A stopped training goes on where it was.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import tyro


def main(config: Path, smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False) -> None:
    """Train by a recipe and export the averaged weights.

    Args:
        config: recipe in YAML, see configs/training/.
        smoke: only a few steps on drawn shapes on the CPU, to a temporary folder: a check that everything runs.
    """
    from voxlang.segtrain.config import load_config, smoke_config
    from voxlang.segtrain.export import export_weights
    from voxlang.segtrain.train import train

    recipe = load_config(config)
    if smoke:
        recipe = smoke_config(recipe, tempfile.mkdtemp(prefix="voxlang-smoke-"))
    result = train(recipe)
    path = export_weights(result.student, recipe, steps=result.steps, seconds=result.seconds)
    print(f"{result.steps} steps in {result.seconds:.0f} s, loss {result.last.get('loss', float('nan')):.3f}: {path}")


if __name__ == "__main__":
    tyro.cli(main)
