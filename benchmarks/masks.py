"""Automatic masks of one view with the embedded micro SAM 2: ours beside sam2's own generator on the same model.

python -m benchmarks.masks [--json] [--points-per-side 32] [--size-px 256] [--runs 5]
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Annotated

import numpy as np
import tyro


def seconds_of(call: Callable[[], object], runs: int) -> list[float]:
    """Wall times after one warm-up."""
    call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def main(
    json_line: Annotated[bool, tyro.conf.arg(name="json")] = False,
    points_per_side: int = 32,
    size_px: int = 256,
    runs: int = 5,
    threads: int = 2,
) -> None:
    """Time the masks of a rendered bonsai."""
    import torch

    from voxlang.apps.mask_pictures import render_phantom
    from voxlang.core.places import find_file
    from voxlang.masks.generate import SamGenerator, sam_generator_from_settings
    from voxlang.masks.levels import partition_levels
    from voxlang.masks.models import MICRO_CHECKPOINT
    from voxlang.masks.settings import SamSettings

    torch.set_num_threads(threads)
    rgb, on_object = render_phantom("bonsai", 7, size_px=size_px)
    settings = SamSettings(size="micro", points_per_side=points_per_side, device="cpu")
    if find_file(MICRO_CHECKPOINT) is None:
        from voxlang.masks.build import build_sam2_model

        generator = SamGenerator(build_sam2_model("micro"), settings, config_digest="untrained")
    else:
        generator = sam_generator_from_settings(settings)
    rows = {
        "sam2's generator": seconds_of(lambda: generator.official.generate(rgb), runs),
        "ours, all points": seconds_of(lambda: generator.generate(rgb), runs),
        "ours, points on the object": seconds_of(lambda: generator.generate(rgb, foreground=on_object), runs),
    }
    masks = generator.generate(rgb, foreground=on_object)
    rows[f"levels of {len(masks)} masks"] = seconds_of(lambda: partition_levels(masks, on_object), runs)
    medians = {name: statistics.median(times) for name, times in rows.items()}
    if json_line:
        ours, peer = medians["ours, points on the object"], medians["sam2's generator"]
        line = {"name": "masks", "ours": ours, "peer": peer, "unit": "s/view", "ratio": peer / ours, "runs": runs}
        print(json.dumps(line | {"machine": f"{platform.processor() or platform.machine()}, {threads} threads"}))
        return
    print(f"{size_px}x{size_px}, {points_per_side}^2 points, object on {100 * np.mean(on_object):.0f} % of the pixels")
    for name, times in rows.items():
        print(f"{name:<30} {medians[name]:8.3f} s   spread {min(times):.3f} to {max(times):.3f}")


if __name__ == "__main__":
    tyro.cli(main)
