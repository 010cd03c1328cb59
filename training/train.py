"""Train or fine-tune a SAM 2 model: `python training/train.py --config configs/training/sam2_micro.yaml [--smoke]`.

Another image encoder: `--encoder-type dino --encoder-ckpt facebook/dinov2-large --freeze-vit`, docs/encoders.md.
Own pictures: `--images FOLDER --annotations coco.json`.
Several GPUs: `torchrun --nproc-per-node 4 training/train.py --config ...`.
"""

from __future__ import annotations

import sys

import tyro

from voxlang.core.doors import through_door
from voxlang.segtrain.command import TrainCommand, run_training

if __name__ == "__main__":
    sys.exit(through_door(lambda: run_training(tyro.cli(TrainCommand))))
