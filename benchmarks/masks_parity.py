"""Are our masks the official ones? Pictures x models x random thresholds, matched whatever their order.

python -m benchmarks.masks_parity --pictures 50 --models micro tiny small --points-per-side 8 [--itself] [--rounding]

For each model and picture: as many masks; a one-to-one match of all at IoU >= 0.999; equal boxes; scores within 1e-4.
With --itself, sam2's own generator is also compared with itself at another `points_per_batch`: matrix products of other
shapes round differently, and a pixel whose logit is zero to six digits can fall on either side. With --rounding
both are measured against sam2's decoder in float64.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from benchmarks.random_sam import discs, random_sam

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

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
    predicted_iou: float = 0.0
    """Largest difference of predicted IoU."""
    stability: float = 0.0
    """Largest difference of stability."""
    pixels: int = 0
    """Most pixels in which partners differ."""

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
            iou, stability = (abs(a[key] - b[key]) for key in ("predicted_iou", "stability_score"))
            self.scores += max(iou, stability) > 1e-4
            self.predicted_iou, self.stability = max(self.predicted_iou, iou), max(self.stability, stability)
            self.pixels = max(self.pixels, int((a["segmentation"] != b["segmentation"]).sum()))


def match(ours: Records, theirs: Records) -> list[tuple[Any, Any]]:
    """Pairs of records whose masks overlap by at least 0.999 and whose scores agree best; None beside what is left."""
    left = list(range(len(ours)))
    pairs: list[tuple[Any, Any]] = []
    for record in theirs:
        nearest = sorted(left, key=lambda i, r=record: abs(ours[i]["predicted_iou"] - r["predicted_iou"]))
        partner = next((i for i in nearest if same_mask(ours[i]["segmentation"], record["segmentation"])), None)
        if partner is not None:
            left.remove(partner)
        pairs.append((None if partner is None else ours[partner], record))
    return pairs + [(ours[i], None) for i in left]


def same_mask(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two masks overlap by at least 0.999, or are both empty."""
    union = (a | b).sum()
    return union == 0 or (a & b).sum() >= 0.999 * union


def random_thresholds(rng: np.random.Generator, top: float) -> dict[str, float]:
    """Thresholds anywhere in the range in which random weights answer; duplicates stay in half of the pictures.

    Args:
        rng: where they come from.
        top: about the highest predicted IoU that the model gives.
    """
    return {
        "pred_iou_thresh": top * float(rng.uniform(0.3, 0.98)),
        "stability_score_thresh": float(rng.uniform(0.05, 0.9)),
        "box_nms_thresh": float(rng.choice([rng.uniform(0.5, 1.0), 1.0])),
        "stability_score_offset": float(rng.uniform(0.3, 1.5)),
    }


def compare(
    model_name: str, pictures: int, points_per_side: int, seed: int, *, itself: bool = False
) -> dict[str, Differences]:
    """Differences of ours, and if wanted of the official generator with another batch size, from the official one."""
    from voxlang.masks.fast.generator import FastMaskGenerator
    from voxlang.masks.official import official_generator

    model, rng = random_sam(model_name, seed=seed), np.random.default_rng(seed)
    asked = FastMaskGenerator(model, points_per_side=3, pred_iou_thresh=0.0).collect(discs(200, 200))
    top = float(asked.crops[0].scores.max())
    found = {"ours": Differences()} | ({"official, other batches": Differences()} if itself else {})
    for i in tqdm(range(pictures), desc=model_name, disable=None):
        height, width = (int(v) for v in rng.integers(40, 300, 2))
        rgb = discs(height, width, seed=i)
        asked = {"points_per_side": points_per_side, **random_thresholds(rng, top)}
        theirs = official_generator(model, **asked).generate(rgb)
        found["ours"].add(FastMaskGenerator(model, **asked).generate(rgb), theirs)
        if itself:
            again = official_generator(model, **asked, points_per_batch=5)
            found["official, other batches"].add(again.generate(rgb), theirs)
    return found


def rounding_errors(model: SAM2Base, rgb: np.ndarray, points_per_side: int) -> tuple[float, float]:
    """Root mean square by which mask logits in float32, ours and sam2's, miss those of sam2's decoder in float64."""
    import torch
    from torch.utils._pytree import tree_map

    from voxlang.masks.fast.decoder import FastDecoder
    from voxlang.masks.fast.encode import encode_pictures
    from voxlang.masks.fast.grid import point_grid

    with torch.inference_mode():
        features = encode_pictures(model, [rgb])[0]
        points = torch.from_numpy(point_grid(points_per_side)).float() * model.image_size
        sparse, dense = model.sam_prompt_encoder((points[:, None], torch.ones(len(points), 1)), None, None)
        position = model.sam_prompt_encoder.get_dense_pe()
        inputs = (features.embedding[None], position, sparse, dense, [level[None] for level in features.fine])

        def official(decoder: Any, dtype: Any) -> Any:
            image, pe, tokens, mask, fine = tree_map(lambda x: x.to(dtype), inputs)
            return decoder.predict_masks(image, pe, tokens, mask, repeat_image=True, high_res_features=fine)[0].double()

        exact = official(copy.deepcopy(model.sam_mask_decoder).double(), torch.float64)
        theirs = official(model.sam_mask_decoder, torch.float32)
        decoder = FastDecoder(model)
        maps = decoder.picture_maps(features)
        ours = decoder.mask_logits(maps, decoder.decode(maps, points), [0, 1, 2, 3])
    error = lambda logits: float((logits - exact).square().mean().sqrt())
    return error(ours), error(theirs)


def main(arguments: list[str] | None = None) -> int:
    """Print a table, or one JSON line last with --json; 1 when a mask of ours has no partner."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--models", nargs="+", default=["micro", "tiny", "small"])
    parser.add_argument("--points-per-side", type=int, default=8)
    parser.add_argument("--itself", action="store_true", help="also compare sam2's generator with itself")
    parser.add_argument("--rounding", action="store_true", help="also compare the logits of both with float64")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = {}
    for name in options.models:
        if options.rounding:
            errors = rounding_errors(random_sam(name, seed=options.seed), discs(200, 150, seed=1), 4)
            print("{:10} logits off float64 by (root mean square): ours {:.3g}, sam2's {:.3g}".format(name, *errors))
        compared = compare(name, options.pictures, options.points_per_side, options.seed, itself=options.itself)
        for what, found in compared.items():
            rows[f"{name}, {what}"] = dataclasses.asdict(found)
            print(f"{name:10} {what:26} " + "  ".join(f"{k} {v:.6g}" for k, v in dataclasses.asdict(found).items()))
    if options.json:
        print(json.dumps({"name": "masks parity", "rows": rows}))
    return int(any(row["unmatched"] or row["other_count"] for name, row in rows.items() if name.endswith("ours")))


if __name__ == "__main__":
    sys.exit(main())
