"""Time our CPU renderer and VTK's on the same volume, look and camera: ``python -m benchmarks.render [--json]``.

256^3 voxels at 512x512 pixels, three looks (an opaque surface, a semi-transparent shell with a core, fog), with and
without gradient shading, the same sample distance. Medians after warm-up; our runs and VTK's alternate, so that both
see the same load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from voxlang.geometry.grid import VolumeGrid
from voxlang.geometry.orbits import orbit_camera
from voxlang.render.render import prepare
from voxlang.render.settings import RenderSettings
from voxlang.render.transfer import TransferFunction

COLOR = np.array([[0, 0.1, 0.2, 0.9], [0.5, 0.9, 0.7, 0.2], [1, 1, 1, 0.95]])
LOOKS = {
    "surface": np.array([[0, 0.0], [0.4, 0.0], [0.45, 0.8], [1, 0.9]]),
    "shell": np.array([[0, 0.0], [0.4, 0.0], [0.42, 0.3], [0.44, 0.0], [0.6, 0.0], [0.65, 0.5], [1, 0.9]]),
    "fog": np.array([[0, 0.0], [0.2, 0.0], [1, 0.03]]),
}


def benchmark_volume(n: int) -> tuple[np.ndarray, VolumeGrid]:
    """A ball with waves, n^3."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32)] * 3, indexing="ij", sparse=True)
    ball = 0.8 * np.clip(1 - np.sqrt(x * x + y * y + z * z), 0, 1)
    values = ball + 0.1 * (np.sin(12 * x) * np.sin(10 * y) * np.sin(14 * z) + 1)
    values = (values - values.min()) / np.ptp(values)
    return np.ascontiguousarray(values, dtype=np.float32), VolumeGrid((n, n, n))


def seconds_of(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(size: int, pixels: int, runs: int) -> list[dict[str, object]]:
    """One row per look and shading: median seconds of ours and of VTK, and brightness of both."""
    from benchmarks.vtk_peer import VtkRenderer

    values, grid = benchmark_volume(size)
    camera = orbit_camera(grid, np.array([0.6, -0.7, 0.3]), width=pixels, height=pixels)
    ours_volume = prepare(values, grid)
    rows = []
    for look, opacity in LOOKS.items():
        transfer = TransferFunction(COLOR, opacity, 1.0, look)
        for shading in (False, True):
            settings = RenderSettings(
                backend="numba", shading=shading, gradient_floor=0.0, light_direction_camera=(0.0, 0.0, -1.0)
            )
            peer = VtkRenderer(values, grid, transfer, settings)
            ours, theirs = [], []
            for k in range(runs + 1):
                a = seconds_of(lambda: ours_volume.render(transfer, camera, settings))  # noqa: B023
                b = seconds_of(lambda: peer.render(camera))  # noqa: B023
                if k > 0:
                    ours.append(a)
                    theirs.append(b)
            brightness = ours_volume.render(transfer, camera, settings).rgb.mean() / peer.render(camera).mean()
            rows.append(
                {
                    "look": look,
                    "shading": shading,
                    "ours": statistics.median(ours),
                    "ours_spread": [min(ours), max(ours)],
                    "peer": statistics.median(theirs),
                    "brightness_ratio": float(brightness),
                }
            )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or with ``--json`` one line for machines (its headline figure is the shaded surface)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line instead of a table")
    parser.add_argument("--size", type=int, default=256, help="voxels along an edge")
    parser.add_argument("--pixels", type=int, default=512, help="pixels along an edge")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each renderer after one warm-up")
    options = parser.parse_args(arguments)
    rows = measure(options.size, options.pixels, options.runs)
    if options.json:
        headline = next(r for r in rows if r["look"] == "surface" and r["shading"])
        report = {
            "name": f"render {options.size}^3 at {options.pixels}x{options.pixels}, shaded surface",
            "ours": headline["ours"],
            "peer": headline["peer"],
            "unit": "s",
            "ratio": float(headline["peer"]) / float(headline["ours"]),
            "runs": options.runs,
            "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "rows": rows,
        }
        print(json.dumps(report))
        return 0
    print(f"{options.size}^3 at {options.pixels}x{options.pixels}, median of {options.runs}, {os.cpu_count()} cores")
    print(f"{'look':10} {'shading':8} {'ours':>9} {'VTK':>9} {'VTK/ours':>9} {'brightness':>11}")
    for r in rows:
        ratio = float(r["peer"]) / float(r["ours"])
        print(
            f"{r['look']:10} {'yes' if r['shading'] else 'no':8} {r['ours']:8.3f}s {r['peer']:8.3f}s "
            f"{ratio:9.2f} {r['brightness_ratio']:11.4f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
