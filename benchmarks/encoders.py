"""Throughput and memory of image encoders: forward and train step, float32 and bf16, plain and compiled.

python -m benchmarks.encoders [--json] [--encoders micro tiny sam2_vit_dino_micro] [--size-px 1024]
    [--train also] [--bf16 also] [--compile no] [--checkpointing]

Each case runs in a process of its own, whose peak memory is the case's. Seconds are those of the process's own work
on the CPU (so that other programs beside it do not count), and of the clock on CUDA. `--train`, `--bf16` and
`--compile` say whether that half of the table is left out ("no"), measured beside the other ("also") or alone ("only").
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from itertools import product
from typing import Annotated, Literal

import tyro

PASSES = ("forward", "train step")
Half = Literal["no", "also", "only"]
_CASES: dict[Half, tuple[bool, ...]] = {"no": (False,), "also": (False, True), "only": (True,)}


def measure(
    encoder: str, size_px: int, runs: int, *, train: bool, bf16: bool, compiled: bool, checkpointing: bool, threads: int
) -> dict:
    """Images per second of the best of `runs` after a warm-up (0: the first pass), and peak memory of this process or
    of the device in MiB. Before compiling, sam2's position encodings of the levels are made: it keeps those of its
    first pass, and would be compiled anew in the second."""
    import torch

    from voxlang.encoders.build import build_image_encoder
    from voxlang.masks.models import config_path

    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    overrides = ["++model.image_encoder.trunk.gradient_checkpointing=true"] if checkpointing else []
    model = build_image_encoder(config_path(encoder), hydra_overrides_extra=overrides).to(device).train(train)
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

    if compiled:
        for stride in (4, 8, 16, 32):
            model.neck.position_encoding(torch.zeros(1, 1, size_px // stride, size_px // stride, device=device))
    times = [seconds() for _ in range(runs + 1)]
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"images_per_second": round(1 / min(times[1:] or times), 5), "peak_mib": round(peak / 2**20)}


def main(
    json_line: Annotated[bool, tyro.conf.arg(name="json")] = False,
    encoders: tuple[str, ...] = ("micro", "tiny", "sam2_vit_dino_micro", "sam2_vit_ijepa_micro"),
    size_px: int = 1024,
    runs: int = 1,
    train: Half = "also",
    bf16: Half = "also",
    compile: Half = "no",
    checkpointing: bool = False,
    threads: int = 1,
) -> None:
    """Measure every case and print a table, or one JSON line.

    Args:
        json_line: one JSON line instead of a row per case.
        encoders: names or YAML files, as for `build_sam2`.
        size_px: side of the picture.
        runs: timed passes after the warm-up, of which the best counts; 0 times the warm-up itself.
        train: the train step.
        bf16: bfloat16 by autocast.
        compile: torch.compile.
        checkpointing: a ViT computes its activations again on the way back instead of keeping them.
        threads: of torch.
    """
    rows = []
    for encoder in encoders:
        for is_train, half, compiled in product(_CASES[train], _CASES[bf16], _CASES[compile]):
            case = {"train": is_train, "bf16": half, "compiled": compiled}
            settings = case | {"checkpointing": checkpointing, "threads": threads}
            code = (
                "import json; from benchmarks.encoders import measure; "
                f"print(json.dumps(measure({encoder!r}, {size_px}, {runs}, **{settings!r})))"
            )
            done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
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
