"""Tolerance modes of the fast masks: how far their masks agree with float32, and what they take.

python -m benchmarks.mask_modes [--json] [--model micro] [--views 6] [--size-px 256] [--runs 3] [--compile] [--cuda]

Each mask is matched with the mask of the other set that overlaps it most, both ways. --compile adds torch.compile,
which takes minutes before the first picture on a CPU; --cuda runs on the GPU, and measures CUDA graphs too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence

import numpy as np

from benchmarks.mask_views import render_views
from benchmarks.masks import times_of
from voxlang.core.runs import machine
from voxlang.masks.fast.generator import FastMaskGenerator, FoundMasks
from voxlang.masks.fast.speed import SpeedSettings

REDUCED = {
    "float32": SpeedSettings(),
    "bfloat16 encoder": SpeedSettings(encoder_dtype="bfloat16"),
    "bfloat16 decoder": SpeedSettings(decoder_dtype="bfloat16"),
    "bfloat16 both": SpeedSettings(encoder_dtype="bfloat16", decoder_dtype="bfloat16"),
    "float16 encoder": SpeedSettings(encoder_dtype="float16"),
    "float16 decoder": SpeedSettings(decoder_dtype="float16"),
}
COMPILED = {"torch.compile": SpeedSettings(compile="default")}
RECORDED = {"CUDA graphs": SpeedSettings(compile="cuda-graphs")}


def overlaps(found: FoundMasks, other: FoundMasks) -> np.ndarray:
    """IoU of all pairs [n m], from one matrix product."""
    rows = [np.array([f.dense(i).ravel() for i in range(len(f))], np.float32) for f in (found, other)]
    common = rows[0] @ rows[1].T
    return common / np.maximum(rows[0].sum(1)[:, None] + rows[1].sum(1) - common, 1)


def agreement(found: Sequence[FoundMasks], exact: Sequence[FoundMasks]) -> dict[str, float]:
    """Masks, pictures with another number of masks, and the IoU of best partners both ways: mean and least."""
    best = [np.zeros(0)]
    for mine, theirs in zip(found, exact, strict=True):
        if len(mine) and len(theirs):
            iou = overlaps(mine, theirs)
            best += [iou.max(0), iou.max(1)]
        else:
            best.append(np.zeros(len(mine) + len(theirs)))
    ious = np.concatenate(best)
    return {
        "masks": sum(map(len, found)),
        "other_count": sum(len(a) != len(b) for a, b in zip(found, exact, strict=True)),
        "mean_iou": float(ious.mean()) if len(ious) else 1.0,
        "least_iou": float(ious.min()) if len(ious) else 1.0,
    }


def main(arguments: list[str] | None = None) -> int:
    """Print a table, or one JSON line last with --json."""
    import torch

    from benchmarks.random_sam import random_sam
    from voxlang.masks.generate import sam_generator_from_settings
    from voxlang.masks.settings import SamSettings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--model", default="micro", help="micro has the embedded weights, the others random ones")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each mode after one warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    parser.add_argument("--cuda", action="store_true", help="on the GPU, CUDA graphs included")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    pictures = [
        np.round(255 * view.rgb.clip(0, 1)).astype(np.uint8) for view in render_views(options.views, options.size_px)
    ]
    generator = sam_generator_from_settings(SamSettings(device="cuda" if options.cuda else "cpu"))
    model, asked = generator.model, generator.settings.official_parameters()
    if options.model != "micro":
        model = random_sam(options.model).to(model.device)
    asked["points_per_side"] = options.points_per_side
    modes = REDUCED | (COMPILED if options.compile else {}) | (RECORDED if options.cuda else {})
    generators = {name: FastMaskGenerator(model, speed=speed, **asked) for name, speed in modes.items()}
    found: dict[str, list[FoundMasks]] = {}

    def run(name: str) -> None:
        found[name] = generators[name].find_many(pictures)

    times = times_of({name: lambda name=name: run(name) for name in modes}, options.runs)
    rows = {}
    for name in modes:
        wall, cpu = (statistics.median(t[k] for t in times[name]) / len(pictures) for k in (0, 1))
        rows[name] = agreement(found[name], found["float32"]) | {"wall": wall, "cpu": cpu}
        print(f"{name:18} " + "  ".join(f"{k} {v:.4g}" for k, v in rows[name].items()))
    if options.json:
        print(json.dumps({"name": "mask modes", "unit": "s/picture", "machine": machine(), "rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
