"""Automatic masks: sam2's own generator beside ours, on one model, in one process, by turns.

python -m benchmarks.masks [--json] [--model tiny] [--points-per-side 32] [--size-px 512] [--runs 3] [--ablation]

Official sizes have random weights with spread scores (benchmarks/random_sam.py); "micro" is the embedded model on a
rendered bonsai. Beside the wall time stands the CPU time of all threads, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.core.runs import machine
from voxlang.masks.fast.decoder import Decoded, FastDecoder
from voxlang.masks.fast.lowrank import LowRankTokens

FOREGROUND = 0.3
"""Share of the picture that the object of the third row covers."""


def times_of(calls: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU seconds of each call, by turns, after one warm-up of each."""
    for call in calls.values():
        call()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(runs):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def scene(model_name: str, size_px: int) -> tuple[Any, np.ndarray, np.ndarray, dict[str, float]]:
    """Model, picture, a foreground, and thresholds at which a share of the answers survives."""
    from benchmarks.random_sam import discs, random_sam
    from voxlang.masks.settings import SamSettings

    if model_name == "micro":
        from voxlang.apps.mask_pictures import render_phantom
        from voxlang.masks.generate import sam_generator_from_settings

        rgb, on_object = render_phantom("bonsai", 7, size_px=size_px)
        generator = sam_generator_from_settings(SamSettings(size="micro"))
        s = generator.settings
        thresholds = {"pred_iou_thresh": s.pred_iou_thresh, "stability_score_thresh": s.stability_score_thresh}
        return generator.model, rgb, on_object, thresholds
    rgb = discs(size_px, size_px)
    v, u = np.mgrid[:size_px, :size_px] - size_px / 2 + 0.5
    disc = np.hypot(v, u) < size_px * (FOREGROUND / np.pi) ** 0.5
    model = random_sam(model_name)
    return model, rgb, disc, spread_thresholds(model, rgb)


def spread_thresholds(model: Any, rgb: np.ndarray) -> dict[str, float]:
    """Thresholds that half of the prompts pass with some mask, and half of those masks again."""
    from voxlang.masks.fast.generator import FastMaskGenerator

    asked = FastMaskGenerator(model, points_per_side=4, pred_iou_thresh=0.0).collect(rgb)
    best = asked.crops[0].scores.reshape(-1, 3).max(1)
    found = FastMaskGenerator(
        model, points_per_side=4, pred_iou_thresh=float(np.median(best)), stability_score_thresh=0.0, box_nms_thresh=1.0
    ).find(rgb)
    stability = float(np.median(found.masks.stability)) if len(found) else 0.5
    return {"pred_iou_thresh": float(np.median(best)), "stability_score_thresh": stability}


def cases(model_name: str, size_px: int, points_per_side: int) -> dict[str, Callable[[], Any]]:
    """The three rows of the table."""
    from voxlang.masks.fast.generator import FastMaskGenerator
    from voxlang.masks.official import official_generator

    model, rgb, foreground, thresholds = scene(model_name, size_px)
    asked = {"points_per_side": points_per_side, **thresholds}
    ours, official = FastMaskGenerator(model, **asked), official_generator(model, **asked)
    return {
        "sam2's generator": lambda: official.generate(rgb),
        "ours": lambda: ours.generate(rgb),
        "ours, points on the object": lambda: ours.find(rgb, foreground=foreground),
    }


class WholeTokens(FastDecoder):
    """sam2's own transformer, whose image tokens are written out for every prompt; the rest as ours."""

    def picture_maps(self, features: Any, *, mask_prompts: bool = False) -> Any:
        """As ours; the features stay at hand for `decode`."""
        self._embedding = features.embedding
        return super().picture_maps(features, mask_prompts=mask_prompts)

    def decode(self, maps: Any, points: Any, masks: Any = None) -> Decoded:
        """Image tokens as 256 factors on the unit vectors, so that what follows need not know."""
        import torch

        tokens = self._prompt_tokens(points)
        b, c = len(tokens), self.channels
        image = (self._embedding + self._prompts.no_mask_embed.weight[0][:, None, None]).expand(b, -1, -1, -1)
        position = self._prompts.get_dense_pe().expand(b, -1, -1, -1)
        tokens, image = self._decoder.transformer(image.contiguous(), position, tokens)
        factors = (image - self._block1.norm4.bias).transpose(1, 2)
        own = LowRankTokens(image.new_zeros(b, self.n_pixels), factors, torch.eye(c).expand(b, -1, -1))
        iou_token = tokens[:, int(self._decoder.pred_obj_scores)]
        return Decoded(tokens, tokens, own, self._decoder.iou_prediction_head(iou_token))

    def _last_attention(self, queries: Any, position: Any, maps: Any, image: Any, places: list[int]) -> Any:
        return queries[:, places]


def ablation(model_name: str, size_px: int, points_per_side: int) -> dict[str, Callable[[], Any]]:
    """Ours with one saving taken back at a time."""
    from unittest import mock

    import torch

    from voxlang.masks.fast import ask, candidates, upscale
    from voxlang.masks.fast.encode import encode_pictures
    from voxlang.masks.fast.generator import FastMaskGenerator
    from voxlang.masks.fast.resize import measure_reference

    model, rgb, _, thresholds = scene(model_name, size_px)
    asked = {"points_per_side": points_per_side, **thresholds}
    ours, whole = FastMaskGenerator(model, **asked), FastMaskGenerator(model, **asked)
    whole._decoder = WholeTokens(model)
    late = FastMaskGenerator(model, **asked | {"pred_iou_thresh": 0.0})

    def without(target: Any, name: str, value: Any) -> Callable[[], Any]:
        def call() -> Any:
            with mock.patch.object(target, name, value):
                return ours.find(rgb)

        return call

    return {
        "ours": lambda: ours.find(rgb),
        "image tokens written out, sam2's transformer": lambda: whole.find(rgb),
        "masks of all prompts, then the IoU filter": lambda: late.refilter(
            late.collect(rgb), pred_iou_thresh=thresholds["pred_iou_thresh"]
        ),
        "chunks of 64 prompts": without(ask, "_CACHE_BYTES", 1 << 40),
        "upscaling in one strip": without(upscale, "STRIP", 1 << 30),
        "whole enlarged logits instead of regions": without(candidates, "measure", measure_reference),
        "(the encoder's part of ours)": torch.inference_mode()(lambda: encode_pictures(model, [rgb])),
    }


def peak_memory(name: str, options: argparse.Namespace) -> int:
    """Bytes that a row needs at its peak above the loaded model, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.masks", "--only", name, "--model", options.model]
    command += ["--points-per-side", str(min(options.points_per_side, 12)), "--size-px", str(options.memory_size_px)]
    command += ["--threads", str(options.threads)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def report_memory(options: argparse.Namespace) -> None:
    """What `peak_memory` runs: one row, then the growth of the process."""
    import resource

    import psutil

    rows = cases(options.model, options.size_px, options.points_per_side)
    before = psutil.Process().memory_info().rss
    rows[options.only]()
    print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def save_chart(path: Path, medians: dict[str, float], title: str) -> None:
    """Bars of the medians, the peer first."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.5 * len(medians)), layout="constrained")
    bars = axes.barh(list(medians), list(medians.values()), color=["#8a8a8a"] + ["#2f6f9f"] * (len(medians) - 1))
    peer = next(iter(medians.values()))
    axes.bar_label(bars, [f"{v:.2f} s  ({peer / v:.1f}x)" for v in medians.values()], padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(medians.values()))
    axes.set_xlabel("CPU seconds per picture")
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables, or one JSON line last with --json."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--model", default="tiny", help="micro (embedded weights), tiny, small, base_plus or large")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--size-px", type=int, default=512)
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each row after one warm-up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ablation", action="store_true", help="also take one saving back at a time")
    parser.add_argument("--memory", action="store_true", help="also measure the peak memory of each row")
    parser.add_argument("--memory-size-px", type=int, default=1024)
    parser.add_argument("--picture", type=Path, help="save a chart of the medians there")
    parser.add_argument("--only", help="run one row and print its peak memory")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.only:
        report_memory(options)
        return 0
    question = (options.model, options.size_px, options.points_per_side)
    times = times_of(cases(*question), options.runs)
    title = f"{options.model}, {options.size_px}x{options.size_px}, {options.points_per_side}^2 points"
    wall = {name: statistics.median(t[0] for t in rows) for name, rows in times.items()}
    cpu = {name: statistics.median(t[1] for t in rows) for name, rows in times.items()}
    print_table(title, times)
    if options.ablation:
        print_table(title + ", one saving taken back", times_of(ablation(*question), options.runs))
    if options.memory:
        for name in ("sam2's generator", "ours"):
            print(f"peak memory at {options.memory_size_px} px, {name}: {peak_memory(name, options) / 2**20:.0f} MiB")
    if options.picture:
        save_chart(options.picture, cpu, title)
    if options.json:
        peer = "sam2's generator"
        line = {
            "name": f"masks {title}",
            "ours": wall["ours"],
            "peer": wall[peer],
            "unit": "s",
            "ratio": wall[peer] / wall["ours"],
            "runs": options.runs,
            "machine": machine(),
            "cpu_ratio": cpu[peer] / cpu["ours"],
            "rows": {name: {"wall": wall[name], "cpu": cpu[name]} for name in times},
        }
        print(json.dumps(line))
    return 0


def print_table(title: str, times: dict[str, list[tuple[float, float]]]) -> None:
    """Median and spread of each row, and how many times less than the first row it takes."""
    first = [statistics.median(column) for column in zip(*next(iter(times.values())), strict=True)]
    print(f"{title}\n{'':44} {'wall s':>8} {'spread':>15} {'times':>6} {'CPU s':>8} {'times':>6}")
    for name, rows in times.items():
        wall, cpu = ([t[k] for t in rows] for k in (0, 1))
        w, c = statistics.median(wall), statistics.median(cpu)
        spread = f"{min(wall):.2f} to {max(wall):.2f}"
        print(f"{name:44} {w:8.2f} {spread:>15} {first[0] / w:6.2f} {c:8.2f} {first[1] / c:6.2f}")


if __name__ == "__main__":
    sys.exit(main())
