"""Throughput and memory of image encoders: forward and train step, float32 and bf16, plain and compiled.

python -m benchmarks.encoders [--json] [--encoders micro tiny sam2_vit_dino_micro] [--size-px 1024] [--compile]

Each case runs in a process of its own, whose peak memory is the case's. Seconds are those of the process's own work
on the CPU (so that other programs beside it do not count), and of the clock on CUDA.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from typing import Annotated

import tyro

PASSES = ("forward", "train step")


def measure(encoder: str, size_px: int, runs: int, *, train: bool, bf16: bool, compiled: bool, threads: int) -> dict:
    """Images per second of the best of `runs` after a warm-up (0: the first pass), and peak memory of this process or
    of the device in MiB. A compiled encoder has two warm-ups: sam2 keeps the position encodings of the first pass, and
    so the second is compiled anew."""
    import torch

    from voxlang.encoders.build import build_image_encoder
    from voxlang.masks.models import config_path

    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    model = build_image_encoder(config_path(encoder)).to(device).train(train)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    forward = torch.compile(model) if compiled else model
    picture = torch.randn(1, 3, size_px, size_px, device=device)

    def once() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16), torch.set_grad_enabled(train):
            levels = forward(picture)["backbone_fpn"]
        if train:
            sum(level.float().square().mean() for level in levels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def seconds() -> float:
        clock = time.perf_counter if cuda else time.process_time
        if cuda:
            torch.cuda.synchronize()
        start = clock()
        once()
        if cuda:
            torch.cuda.synchronize()
        return clock() - start

    warm_ups = 2 if compiled else 1
    times = [seconds() for _ in range(runs + warm_ups)]
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"images_per_second": round(1 / min(times[warm_ups:] or times), 4), "peak_mib": round(peak / 2**20)}


def main(
    json_line: Annotated[bool, tyro.conf.arg(name="json")] = False,
    encoders: tuple[str, ...] = ("micro", "tiny", "sam2_vit_dino_micro", "sam2_vit_ijepa_micro"),
    size_px: int = 1024,
    runs: int = 1,
    compile: bool = False,
    bf16: bool = True,
    train: bool = True,
    threads: int = 1,
) -> None:
    """Measure every case and print a table, or one JSON line."""
    rows = []
    for encoder in encoders:
        for is_train in (False, True) if train else (False,):
            for half in (False, True) if bf16 else (False,):
                for compiled in (False, True) if compile else (False,):
                    settings = {"train": is_train, "bf16": half, "compiled": compiled, "threads": threads}
                    code = (
                        "import json; from benchmarks.encoders import measure; "
                        f"print(json.dumps(measure({encoder!r}, {size_px}, {runs}, **{settings!r})))"
                    )
                    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
                    row = {"encoder": encoder, "pass": PASSES[is_train], "bf16": half, "compiled": compiled}
                    rows.append(row | json.loads(done.stdout.splitlines()[-1]))
                    if not json_line:
                        print(" ".join(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    if json_line:
        best = max(row["images_per_second"] for row in rows)
        summary = {"name": "encoders", "ours": best, "peer": None, "unit": "images/s", "ratio": None}
        print(json.dumps(summary | {"runs": rows, "machine": platform.processor() or platform.machine()}))


if __name__ == "__main__":
    tyro.cli(main)
