"""What the embedded models are worth, from the shipped weights: python -m benchmarks.embedded [--json] [--out FOLDER]

Phantoms of test seeds are made and rendered in the first run (kept in the folder), then measured: points, automatic
masks, levels in several views, text to part, absent things, calibration, time per view. The last table sets the figures
beside the bars of the project; 3D figures come from `python -m benchmarks.demo` and `python -m benchmarks.scans`, whose
JSON lines --demo and --scans read.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

if TYPE_CHECKING:
    from voxlang.masks.sam_generator import SamGenerator
    from voxlang.pipeline.measures import TextMeasures


@dataclass(frozen=True)
class Bar:
    """One line of the table of bars."""

    name: str
    value: float | None
    """None where another command measures it."""
    bar: float
    stretch: float
    at_most: bool = False
    """Smaller is better."""

    @property
    def verdict(self) -> str:
        """What the value reaches."""
        if self.value is None or np.isnan(self.value):
            return "not measured"
        better = (lambda least: self.value <= least) if self.at_most else (lambda least: self.value >= least)
        return "stretch" if better(self.stretch) else "bar" if better(self.bar) else "missed"


POINT_BARS = {
    "unseen seeds": {"whole": (0.85, 0.92), "part": (0.75, 0.85), "small": (0.6, 0.75)},
    "unseen families": {"whole": (0.75, 0.85), "part": (0.6, 0.75), "small": (0.45, 0.6)},
}
"""Bar and stretch of the point prompts."""


def bars(masks: dict, text: TextMeasures, seconds: float, demo: dict | None, scans: dict | None) -> list[Bar]:
    """The project's bars beside what was measured."""
    rows = []
    for group, marks in POINT_BARS.items():
        scores = {p.level: p for p in masks[group].points} if group in masks else {}
        for level, (bar, stretch) in marks.items():
            for kind, label in (("best", "best of three"), ("own", "own token")):
                value = getattr(scores[level], f"{kind}_iou") if level in scores else None
                rows.append(Bar(f"point-prompt IoU, {group}: {level} ({label})", value, bar, stretch))
    seen = masks["unseen seeds"]
    rows.append(Bar("automatic masks: recall of visible parts at IoU 0.5", seen.automatic.recall_50, 0.75, 0.9))
    rows.append(Bar("same part, same level in two views", seen.agreement.same, 0.85, 0.95))
    rows.append(Bar("text to part top-1: training names", text.retrieval["training names"]["top1"], 0.8, 0.95))
    rows.append(Bar("text to part top-1: unseen synonyms", text.retrieval["unseen synonyms"]["top1"], 0.55, 0.75))
    rows.append(Bar("demo: mean 3D IoU", demo and demo["ours"], 0.6, 0.75))
    for prompt in ("bones", "brain"):
        rows.append(Bar(f"real scans, 3D IoU: {prompt}", scans and scans["iou"].get(prompt), 0.4, 0.6))
    rows.append(Bar("one view at 256^2, 32x32 grid, official generator (s)", seconds, 3.0, 1.0, at_most=True))
    return rows


def seconds_per_view(generator: SamGenerator, pictures: list[np.ndarray], *, threads: int) -> float:
    """Median time of sam2's own generator over some pictures, after one to warm up."""
    import torch

    torch.set_num_threads(threads)
    generator.official.generate(pictures[0])
    times = []
    for rgb in pictures:
        started = time.perf_counter()
        generator.official.generate(rgb)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def main(
    json_line: Annotated[bool, tyro.conf.arg(name="json")] = False,
    out: Path = Path("runs/embedded"),
    checkpoint: Path | None = None,
    encoder: str = "micro",
    per_family: int = 2,
    per_unseen_family: int = 4,
    views: int = 4,
    threads: int = 2,
    demo: Path | None = None,
    scans: Path | None = None,
) -> None:
    """Measure the embedded SAM 2 and CLIP on phantoms that neither has seen.

    Args:
        json_line: print one JSON line instead of tables.
        out: where views, calibration.png and measures.json go.
        checkpoint: other weights of the micro SAM 2.
        encoder: another image-text model, as --embed.model takes it.
        per_family: phantoms of each trained family.
        per_unseen_family: phantoms of each family held out of training.
        views: pictures of each phantom.
        threads: of torch.
        demo: JSON line of benchmarks.demo.
        scans: JSON line of benchmarks.scans.
    """
    import torch

    from voxlang.core.artifacts import read_json, write_json
    from voxlang.core.runs import machine
    from voxlang.embed.encoder import load_dense_encoder, load_encoder
    from voxlang.embed.settings import EmbedConfig
    from voxlang.evaluate.calibration import save_calibration_figure
    from voxlang.masks.generate import sam_generator_from_settings
    from voxlang.masks.settings import SamSettings
    from voxlang.pipeline.measures import measure_masks, measure_places, measure_text
    from voxlang.scenes.buffer import generate_scenes, read_scenes
    from voxlang.scenes.plan import HELD_OUT_FAMILIES, SceneConfig, families_of
    from voxlang.segtrain.evaluate import score_points
    from voxlang.segtrain.shapes import LabelledPicture

    started = time.monotonic()
    torch.set_num_threads(threads)
    unseen = [f for f in families_of("test") if f in HELD_OUT_FAMILIES]
    plan = SceneConfig(
        split="test",
        per_family=per_family,
        phantoms=dict.fromkeys(unseen, per_unseen_family),
        views_per_phantom=views,
    )
    generator = sam_generator_from_settings(
        SamSettings(size="micro", checkpoint=checkpoint, level_rule="token", device="cpu")
    )
    embed = EmbedConfig(model=encoder)
    texts = load_encoder(embed)
    dense = load_dense_encoder(embed, texts)
    in_3d, of_scans = demo and read_json(demo), scans and read_json(scans)
    objects = [read_scenes(path) for path in generate_scenes(out, plan)]
    of_seeds = [o for o in objects if o.family not in unseen]
    groups = {"unseen seeds": of_seeds, "unseen families": [o for o in objects if o.family in unseen]}
    masks = {name: measure_masks(group, generator) for name, group in groups.items() if group}
    pictures: dict[str, list[LabelledPicture]] = {}
    for o in objects:
        pictures.setdefault(o.family, []).extend(map(LabelledPicture, o.rgb, o.part_index))
    points = {f: score_points(generator.model, p, rng=np.random.default_rng(0)) for f, p in pictures.items()}
    text = measure_text(objects, texts, embed.crop_policy, unseen_families=unseen)
    families = {name: sorted({o.family for o in group}) for name, group in groups.items() if group}
    places = {name: measure_places(objects, texts, dense, families=f) for name, f in families.items()}
    seconds = seconds_per_view(generator, [o.rgb[0] for o in objects[:5]], threads=threads)
    panels = {f"predicted IoU, {name}": m.calibration for name, m in masks.items()}
    save_calibration_figure(out / "calibration.png", panels | {"relevancy": {"names": text.calibration}})
    table = bars(masks, text, seconds, in_3d, of_scans)
    result = {
        "name": "embedded",
        "masks": {name: m.as_dict() for name, m in masks.items()},
        "points_by_family": {family: [asdict(p) for p in rows] for family, rows in points.items()},
        "text": text.as_dict(),
        "places": {name: [asdict(p) for p in rows] for name, rows in places.items()},
        "seconds_per_view": seconds,
        "bars": [asdict(b) | {"verdict": b.verdict} for b in table],
        "phantoms": len(objects),
        "minutes": round((time.monotonic() - started) / 60.0, 1),
        "machine": machine(),
    }
    write_json(out / "measures.json", result)
    if json_line:
        print(json.dumps(result))
        return
    print_tables(result, table)


def print_tables(result: dict[str, Any], table: list[Bar]) -> None:
    """The measures for people."""
    for name, row in result["masks"].items():
        print(f"\n{name}")
        for p in row["points"]:
            print(
                f"  point to {p['level']:<6} best of three {p['best_iou']:.3f}  own token {p['own_iou']:.3f}  chosen "
                f"{p['chosen_iou']:.3f}  calibration error {p['calibration_error']:.3f}  ({p['regions']} regions)"
            )
        a, g = row["automatic"], row["agreement"]
        print(f"  automatic masks: recall {a['recall_50']:.3f} at 0.5, {a['recall_75']:.3f} at 0.75, of {a['regions']}")
        print(f"    by level {a['recall_50_by_level']}, {a['masks_per_picture']:.1f} masks per picture")
        print(f"  same level in two views {g['same']:.3f} of {g['pairs']}")
    text = result["text"]
    print(f"\ntext to part, {text['crops']} crops")
    for kind, row in text["retrieval"].items():
        strict = text["retrieval_strict"][kind]
        print(
            f"  {kind:<26} top-1 {row['top1']:.3f}  top-5 {row['top5']:.3f}   every part for itself: top-1 "
            f"{strict['top1']:.3f}  top-5 {strict['top5']:.3f}"
        )
    print(f"  names found on their parts {text['found']:.3f}, absent things refused {text['absent_refused']:.3f}")
    print(f"  relevancy: calibration error {text['calibration']['expected_error']:.3f}")
    for name, rows in result["places"].items():
        shares = ", ".join(f"{p['level']} {p['right']:.3f} ({p['right_by_kind']:.3f})" for p in rows)
        print(f"  places with their own name of all (mean over kinds), {name}: {shares}")
    print()
    for bar in table:
        value = "-" if bar.value is None else f"{bar.value:.3f}"
        print(f"{bar.name:<66} {value:>6}   bar {bar.bar:<5} stretch {bar.stretch:<5} {bar.verdict}")
    print(f"\n{result['phantoms']} phantoms, {result['minutes']} minutes")


if __name__ == "__main__":
    from voxlang.core.doors import through_door

    sys.exit(through_door(lambda: tyro.cli(main)))
