"""Time and peak memory of inspecting, loading and converting checkpoints of real sizes, with random weights.

python -m benchmarks.checkpoints                                             # a ViT-H-sized SAM 1
python -m benchmarks.checkpoints --layout sam2 --size "large 2.1" --to hf-sam2-video
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = {
    "inspect": "from voxlang.checkpoints.inspect import inspect_file; inspect_file(r'{a}').summary()",
    "load": "from voxlang.masks.load import load_sam; m = load_sam(r'{a}'); sum(p.sum() for p in m.parameters())",
    "convert to safetensors": "from voxlang.checkpoints.convert import convert_file; "
    "convert_file(r'{a}', r'{folder}/b.safetensors', to='{to}')",
    "convert to torch": "from voxlang.checkpoints.convert import convert_file; "
    "convert_file(r'{folder}/b.safetensors', r'{folder}/c.pt', to='{back}')",
}
"""What a fresh process runs; `load` touches every weight."""


def write_random(path: Path, layout: str, size: str) -> None:
    """Write a published size with random weights in a hub layout."""
    import torch

    from voxlang.checkpoints.layouts import LAYOUTS
    from voxlang.checkpoints.writing import write_weights_file

    family = LAYOUTS[layout].family
    g = torch.Generator().manual_seed(0)
    skeleton = family.skeleton(family.published[size])
    write_weights_file(path, {k: torch.randn(s, generator=g) for k, s in skeleton.items()})


def measure(code: str) -> tuple[float, int]:
    """Seconds and peak resident bytes of a fresh process that runs this code, torch's import taken out of the time."""
    wrapped = (
        "import resource, time, torch; t = time.perf_counter()\n"
        f"{code}\n"
        "print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", wrapped], capture_output=True, text=True, check=True)
    seconds, peak = out.stdout.split()[-2:]
    return float(seconds), int(peak)


def compare_bits(a: Path, b: Path) -> bool:
    """Whether two files hold the same keys with the same bits."""
    import torch

    from voxlang.checkpoints.reading import read_weights_file

    first, second = read_weights_file(a).state, read_weights_file(b).state
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def main() -> None:
    """Print a table, or with --json one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", default="sam1")
    parser.add_argument("--size", default="vit_h")
    parser.add_argument("--to", default="sam1-stages")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        a = Path(folder) / "a.pt"
        subprocess.run(
            [
                *(sys.executable, "-c"),
                "from pathlib import Path; from benchmarks.checkpoints import write_random; "
                f"write_random(Path(r'{a}'), '{arguments.layout}', '{arguments.size}')",
            ],
            check=True,
        )
        size = a.stat().st_size
        rows = {}
        for name, code in STEPS.items():
            filled = code.format(a=a, folder=folder, to=arguments.to, back=arguments.layout)
            seconds, peak = measure(filled)
            rows[name] = {"seconds": seconds, "peak_bytes": peak, "peak_over_file": peak / size}
            if not arguments.json:
                print(
                    f"{name:<24} {seconds:7.2f} s   peak {peak / 1e9:5.2f} GB = {peak / size:4.2f} x the file",
                    flush=True,
                )
        same = compare_bits(a, Path(folder) / "c.pt")
    if arguments.json:
        print(json.dumps({"name": "checkpoints", "file_bytes": size, "bit_exact": same, "runs": rows}))
    else:
        print(f"file {size / 1e9:.2f} GB; there and back the same to the bit: {same}")


if __name__ == "__main__":
    main()
