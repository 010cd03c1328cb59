"""Are our masks the official ones? Pictures x models x random thresholds, matched whatever their order.

python -m benchmarks.masks_parity --pictures 50 --models micro tiny small --points-per-side 8

For each model and picture: as many masks; a one-to-one match of all at IoU >= 0.999; equal boxes; scores within 1e-4.
Beside it stands sam2's own generator against itself with another `points_per_batch`: matrix products of other shapes
round differently, and a pixel whose logit is zero to six digits can fall on either side.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

Records = list[dict[str, Any]]


@dataclass
class Differences:
    """What was compared and what differed."""

    pictures: int = 0
    masks: int = 0
    other_count: int = 0
    """Pictures with another number of masks."""
    unmatched: int = 0
    """Masks without a partner at IoU >= 0.999."""
    boxes: int = 0
    """Partners whose boxes differ."""
    scores: int = 0
    """Partners whose predicted IoU or stability differs by more than 1e-4."""

    def add(self, ours: Records, theirs: Records) -> None:
        """Compare the records of one picture."""
        self.pictures += 1
        self.masks += len(theirs)
        self.other_count += len(ours) != len(theirs)
        for a, b in match(ours, theirs):
            if a is None or b is None:
                self.unmatched += 1
                continue
            self.boxes += a["bbox"] != b["bbox"]
            near = lambda key, a=a, b=b: abs(a[key] - b[key]) <= 1e-4
            self.scores += not (near("predicted_iou") and near("stability_score"))


def match(ours: Records, theirs: Records) -> list[tuple[Any, Any]]:
    """Pairs of records whose masks overlap by at least 0.999 and whose scores agree best; None beside what is left."""
    left = list(range(len(ours)))
    pairs: list[tuple[Any, Any]] = []
    for record in theirs:
        mask = record["segmentation"]
        fitting = []
        for i in left:
            other = ours[i]["segmentation"]
            union = (mask | other).sum()
            if union == 0 or (mask & other).sum() >= 0.999 * union:
                fitting.append(i)
        best = min(fitting, key=lambda i: abs(ours[i]["predicted_iou"] - record["predicted_iou"]), default=None)
        if best is not None:
            left.remove(best)
        pairs.append((None if best is None else ours[best], record))
    return pairs + [(ours[i], None) for i in left]


def random_thresholds(rng: np.random.Generator) -> dict[str, float]:
    """Thresholds anywhere in the range in which random weights answer."""
    return {
        "pred_iou_thresh": float(rng.uniform(0.1, 0.6)),
        "stability_score_thresh": float(rng.uniform(0.05, 0.8)),
        "box_nms_thresh": float(rng.uniform(0.5, 1.0)),
        "stability_score_offset": float(rng.uniform(0.3, 1.5)),
    }


def compare(model_name: str, pictures: int, points_per_side: int, seed: int) -> dict[str, Differences]:
    """Differences of ours, and of the official generator with another batch size, from the official one."""
    from benchmarks.random_sam import discs, random_sam
    from voxlang.masks.fast.generator import FastMaskGenerator
    from voxlang.masks.official import official_generator

    model, rng = random_sam(model_name, seed=seed), np.random.default_rng(seed)
    found = {"ours": Differences(), "official, other batches": Differences()}
    for i in tqdm(range(pictures), desc=model_name, disable=None):
        height, width = (int(v) for v in rng.integers(40, 300, 2))
        rgb = discs(height, width, seed=i)
        asked = {"points_per_side": points_per_side, **random_thresholds(rng)}
        theirs = official_generator(model, **asked).generate(rgb)
        found["ours"].add(FastMaskGenerator(model, **asked).generate(rgb), theirs)
        again = official_generator(model, **asked, points_per_batch=5)
        found["official, other batches"].add(again.generate(rgb), theirs)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print a table, or one JSON line last with --json; 1 when a mask of ours has no partner."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--models", nargs="+", default=["micro", "tiny", "small"])
    parser.add_argument("--points-per-side", type=int, default=8)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = {}
    for name in options.models:
        for what, found in compare(name, options.pictures, options.points_per_side, options.seed).items():
            rows[f"{name}, {what}"] = dataclasses.asdict(found)
            print(f"{name:10} {what:26} " + "  ".join(f"{k} {v}" for k, v in dataclasses.asdict(found).items()))
    if options.json:
        print(json.dumps({"name": "masks parity", "rows": rows}))
    return int(any(row["unmatched"] or row["other_count"] for name, row in rows.items() if name.endswith("ours")))


if __name__ == "__main__":
    sys.exit(main())
