"""Time and peak memory of inspecting, loading and converting a checkpoint of a published size.

python -m benchmarks.checkpoints                                             # SAM 1 vit_h, 2.6 GB
python -m benchmarks.checkpoints --layout sam2 --size "large 2.1" --to hf-sam2-video

Every step runs in a process of its own that is forked when torch is loaded and nothing else: the peak includes torch.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro


def write_checkpoint(path: Path, layout: str, size: str) -> None:
    """Write a published size; a block of random numbers is repeated, since only their amount matters here."""
    import torch

    from voxlang.checkpoints.layouts import LAYOUTS
    from voxlang.checkpoints.writing import write_weights_file

    family = LAYOUTS[layout].family
    block = torch.randn(1_000_003, generator=torch.Generator().manual_seed(0))
    state = {}
    for key, shape in family.skeleton(family.published[size]).items():
        n = torch.Size(shape).numel()
        state[key] = block.repeat(-(-n // len(block)))[:n].reshape(shape)
    write_weights_file(path, state)


def load(path: Path) -> None:
    """Build the model and touch every weight."""
    from voxlang.masks.load import load_sam

    sum(float(p.sum()) for p in load_sam(path).parameters())


def inspect(path: Path) -> None:
    """Say what the file is."""
    from voxlang.checkpoints.inspect import inspect_file

    inspect_file(path).summary()


def convert(source: Path, target: Path, layout: str) -> None:
    """Convert the file."""
    from voxlang.checkpoints.convert import convert_file

    convert_file(source, target, to=layout)


def same_bits(a: Path, b: Path) -> bool:
    """Whether two files hold the same keys with the same bits."""
    import torch

    from voxlang.checkpoints.reading import read_weights_file

    first, second = read_weights_file(a).state, read_weights_file(b).state
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def measure(step: Callable[[], object]) -> tuple[float, float, int]:
    """Wall seconds, processor seconds and peak resident bytes of a forked process that runs a step."""
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            step()
            code = 0
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{step} failed")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main(
    layout: str = "sam1",
    size: str = "vit_h",
    to: str = "sam1-stages",
    json_line: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """Print a table, or with --json one line."""
    import torch  # noqa: F401  before the forks, so that no step pays for it

    with tempfile.TemporaryDirectory() as name:
        a, b, c = (Path(name) / file for file in ("a.pt", "b.safetensors", "c.pt"))
        measure(lambda: write_checkpoint(a, layout, size))
        n_bytes = a.stat().st_size
        steps = {
            "inspect": lambda: inspect(a),
            "load": lambda: load(a),
            f"{layout} .pt to {to} .safetensors": lambda: convert(a, b, to),
            f"{to} .safetensors to {layout} .pt": lambda: convert(b, c, layout),
        }
        runs = {}
        for title, step in steps.items():
            wall, processor, peak = measure(step)
            runs[title] = {"wall_s": wall, "processor_s": processor, "peak_bytes": peak, "peak": peak / n_bytes}
            if not json_line:
                times = f"{wall:8.2f} s, {processor:6.2f} s of a core"
                print(f"{title:<42} {times}   peak {peak / 1e9:.2f} GB = {peak / n_bytes:.2f} x the file", flush=True)
        same = same_bits(a, c)
    if json_line:
        print(json.dumps({"name": "checkpoints", "file_bytes": n_bytes, "bit_exact": same, "runs": runs}))
    else:
        print(f"file {n_bytes / 1e9:.2f} GB; there and back the same to the bit: {same}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
