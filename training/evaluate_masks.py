"""Score SAM 2 weights on labelled renders: `python training/evaluate_masks.py --renders runs/renders --split test`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from voxlang.core.doors import through_door


def main(
    renders: Path,
    split: Literal["train", "dev", "test"] = "test",
    size: str = "micro",
    checkpoint: Path | None = None,
    config: Path | None = None,
    pictures: int = 48,
    automatic: int = 12,
    pred_iou_thresh: float = 0.7,
    stability_score_thresh: float = 0.92,
) -> None:
    """Print point and automatic scores, in all and by family, as JSON.

    Args:
        renders: folder of `training/render_views.py`.
        split: which phantoms.
        size: SAM 2 size, "micro" is the embedded model.
        checkpoint: other weights of that size.
        config: YAML of another model, to which the checkpoint belongs.
        pictures: views for the point scores, spread evenly over the split.
        automatic: views for the automatic masks at the 32x32 grid.
        pred_iou_thresh: of the automatic masks.
        stability_score_thresh: of the automatic masks.
    """
    from voxlang.masks.generate import build_sam_generator
    from voxlang.segtrain.evaluate import as_rows, score_automatic, score_points
    from voxlang.segtrain.renders import RenderSource

    source = RenderSource(renders, split)
    generator = build_sam_generator(
        size, 32, 64, pred_iou_thresh, stability_score_thresh, checkpoint=checkpoint, config=config, device="cpu"
    )
    chosen = np.linspace(0, len(source) - 1, min(pictures, len(source))).round().astype(int)
    few = chosen[np.linspace(0, len(chosen) - 1, min(automatic, len(chosen))).round().astype(int)]
    views = {int(i): source.picture(int(i)) for i in chosen}
    scores = as_rows(
        score_points(generator.model, list(views.values()), rng=np.random.default_rng(0)),
        score_automatic(generator, [views[int(i)] for i in few]) if automatic else None,
    )
    for family in sorted(set(source.families)):
        of_family = [view for i, view in views.items() if source.family(i) == family]
        if of_family:
            scores[family] = as_rows(score_points(generator.model, of_family, rng=np.random.default_rng(0)), None)[
                "points"
            ]
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
