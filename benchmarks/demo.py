"""3D IoU of the demo over unseen seeds of its family: python -m benchmarks.demo --seeds 7 8 9 10 11 12

Each seed is a whole run of configs/demo.yaml, scored against the phantom's truth. The peer in
the same run is what a prompt scores when it selects everything visible.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from voxlang.core.runs import machine
from voxlang.evaluate.metrics import iou, truth_of
from voxlang.pipeline.config import PipelineConfig, load_preset
from voxlang.pipeline.infer import run_infer
from voxlang.pipeline.run import open_run
from voxlang.pipeline.stage1 import run_stage1
from voxlang.pipeline.stage2 import run_stage2
from voxlang.pipeline.stages import score


def seed_config(seed: int, folder: Path) -> PipelineConfig:
    """The demo's settings for another phantom seed, with files in a folder of their own and no run logs."""
    base = load_preset(Path(__file__).parents[1] / "configs" / "demo.yaml").model_dump()
    base["volume"]["seed"] = seed
    base["tracking"] |= {"neptune": "off", "trackio": False}
    return PipelineConfig.model_validate(
        base | {"name": f"seed{seed}", "runs_dir": str(folder / "runs"), "cache_dir": str(folder / f"cache{seed}")}
    )


def run_seed(seed: int, folder: Path) -> dict:
    """Scores of one seed: IoU per prompt, their mean over whole and part queries, and the peer's mean."""
    with open_run(seed_config(seed, folder)) as run:
        run_stage1(run)
        stage2 = run_stage2(run)
        answers = run_infer(run, stage2=stage2)
        scores = score(run, answers)
        truth = run.input.truth
        everything = np.zeros(stage2.lifted.grid.n_voxels, bool)
        everything[stage2.lifted.voxel] = True
        everything = everything.reshape(stage2.lifted.grid.shape_zyx)
        wanted = [r.subject for r in scores.rows if r.metric == "iou" and not r.subject.startswith("mean")]
        peer = [iou(everything, truth_of(p, truth)) for p in wanted]
        seconds = run.clock.total_seconds()
    return {
        "seed": seed,
        "mean_iou": scores.value("iou"),
        "iou": {p: scores.value("iou", p) for p in wanted},
        "peer_mean_iou": float(np.mean(peer)),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run the seeds and print a table, or one JSON line last with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9, 10, 11, 12])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [run_seed(seed, Path(folder)) for seed in arguments.seeds]
    ours, peer = (float(np.mean([r[k] for r in rows])) for k in ("mean_iou", "peer_mean_iou"))
    if arguments.json:
        line = {"name": "demo", "ours": ours, "peer": peer, "unit": "mean 3D IoU", "ratio": ours / peer, "runs": rows}
        print(json.dumps({**line, "machine": machine()}))
        return
    for row in rows:
        parts = "  ".join(f"{p} {v:.2f}" for p, v in row["iou"].items())
        print(f"seed {row['seed']}: mean {row['mean_iou']:.3f} ({row['seconds']} s)  {parts}")
    print(f"mean over {len(rows)} seeds: {ours:.3f}; selecting everything visible: {peer:.3f}")


if __name__ == "__main__":
    main()
