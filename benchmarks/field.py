"""Stage 1 against plain resampling: PSNR at equal parameter count, within 60 and within 150 seconds.

The peer stores the volume on a smaller grid (trilinear resampling) of at most as many numbers as the field and reads it
back with grid_sample. Run: ``python -m benchmarks.field [--json] [--volume PATH] [--param-fraction F] [--runs N]``;
without a volume a head phantom of 128x256x256 voxels is made.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from voxlang.field.config import FieldConfig
from voxlang.field.fit import FieldFit, fit_field
from voxlang.field.lattice import unit_coordinates
from voxlang.field.scalar_field import psnr_db
from voxlang.volume.types import Volume

BUDGETS = ((60.0, "default"), (150.0, "quality"))
"""Seconds and the preset that is tried within them."""


def resampled_psnr_db(volume: Volume, n_parameters: int) -> float:
    """PSNR of the volume stored on an evenly smaller grid of at most `n_parameters` numbers, read back trilinearly."""
    size = np.asarray(volume.grid.size_xyz)
    factor = (n_parameters / size.prod()) ** (1 / 3)
    smaller = tuple(int(n) for n in np.maximum(np.floor(size * factor), 2))
    values = torch.from_numpy(volume.values)[None, None]
    grid = torch.nn.functional.interpolate(values, smaller[::-1], mode="trilinear", align_corners=True)
    x, y, z = (unit_coordinates(n) for n in volume.grid.size_xyz)
    squared_error = 0.0
    for i, plane in enumerate(volume.values):
        points = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None], z[i]), dim=-1)[None, None]
        read = torch.nn.functional.grid_sample(grid, points, align_corners=True, padding_mode="border")
        squared_error += float(np.square(read[0, 0, 0].numpy().astype(np.float64) - plane).sum())
    return psnr_db(squared_error, volume.values.size)


def measure(volume: Volume, *, seconds: float, preset: str, param_fraction: float, runs: int) -> dict[str, object]:
    """Fit `runs` times within a budget; medians, with the share of parameters and what the fit cost."""
    fits: list[FieldFit] = []
    cpu: list[float] = []
    for seed in range(runs):
        began = time.process_time()
        config = FieldConfig(preset=preset, param_fraction=param_fraction, seconds=seconds, seed=seed)
        fits.append(fit_field(volume, config))
        cpu.append(time.process_time() - began)
    return {
        "budget_s": seconds,
        "preset": preset,
        "psnr_db": round(statistics.median(f.psnr_db for f in fits), 2),
        "spread_db": round(max(f.psnr_db for f in fits) - min(f.psnr_db for f in fits), 3),
        "seconds": round(statistics.median(f.seconds for f in fits), 1),
        "cpu_seconds": round(statistics.median(cpu), 1),
        "n_parameters": fits[-1].n_parameters,
        "parameter_share": round(fits[-1].parameter_share, 4),
        "byte_ratio": round(fits[-1].byte_ratio, 3),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--volume", type=Path, help="volume file; a head phantom when missing")
    parser.add_argument("--param-fraction", type=float, default=0.5, help="parameters as a share of the voxels")
    parser.add_argument("--runs", type=int, default=1, help="fits per budget; medians are printed")
    arguments = parser.parse_args()
    if arguments.volume:
        from voxlang.volume.read import load_volume

        volume = load_volume(arguments.volume)
    else:
        from voxlang.volume.phantoms import make_phantom

        volume = make_phantom("head", 0, size_xyz=(128, 256, 256)).volume
    rows = [
        measure(volume, seconds=s, preset=p, param_fraction=arguments.param_fraction, runs=arguments.runs)
        for s, p in BUDGETS
    ]
    peer = resampled_psnr_db(volume, int(rows[-1]["n_parameters"]))
    print(f"{volume.name} {volume.grid.size_xyz}, {volume.values.size} voxels")
    print(f"{'budget s':>9} {'preset':>8} {'PSNR dB':>8} {'share':>7} {'bytes':>6} {'used s':>7} {'CPU s':>6}")
    for row in rows:
        print(
            f"{row['budget_s']:9.0f} {row['preset']:>8} {row['psnr_db']:8.2f} {row['parameter_share']:7.4f} "
            f"{row['byte_ratio']:6.3f} {row['seconds']:7.1f} {row['cpu_seconds']:6.1f}"
        )
    print(f"trilinear resampling with as many numbers: {peer:.2f} dB")
    if arguments.json:
        ours = float(rows[-1]["psnr_db"])
        machine = f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
        line = {"name": "field", "ours": ours, "peer": round(peer, 2), "unit": "dB", "ratio": round(ours / peer, 3)}
        print(json.dumps(line | {"runs": arguments.runs, "machine": machine, "budgets": rows}))


if __name__ == "__main__":
    main()
