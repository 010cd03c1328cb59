"""3D IoU of the demo over unseen seeds of some families: python -m benchmarks.demo --families bonsai --seeds 7 8 9

Each seed is a whole run of configs/demo.yaml, scored against the phantom's truth; families other than the demo's show
all their looks in turn. The peers in the same run are what a prompt scores when it selects everything visible, and when
it is asked alone, without the others as rivals; all means are over whole and part queries. Each phantom is also asked
for the same things by the first synonym of each, and, beside its own prompts, for things that it has not: parts of the
next family, and things of another world. --quick renders the volume itself and trains the semantic field for two steps
only: answers come from the lifted masks, so the figures are the same within the error of stage 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from voxlang.core.doors import through_door
from voxlang.core.runs import machine
from voxlang.evaluate.metrics import evaluate_queries, parts_named
from voxlang.pipeline.config import PipelineConfig, load_preset
from voxlang.pipeline.infer import query_config, relevancy_of_query, run_infer
from voxlang.pipeline.run import open_run
from voxlang.pipeline.stage1 import run_stage1
from voxlang.pipeline.stage2 import run_stage2
from voxlang.pipeline.stages import score
from voxlang.query.answer import QueryResult, answer_query
from voxlang.query.text import embed_query
from voxlang.volume.phantoms import make_phantom
from voxlang.volume.types import LabelVolume, PartTree

FAMILIES = ("bonsai", "head", "torso", "tooth", "engine", "lobster")
"""The families of the project's bar."""
STRANGE = ("car", "elephant", "airplane", "guitar")
"""No phantom has any of them."""


def seed_config(family: str, seed: int, folder: Path, *, quick: bool = False) -> PipelineConfig:
    """The demo's settings for another phantom, with files in a folder of their own and no run logs."""
    base = load_preset(Path(__file__).parents[1] / "configs" / "demo.yaml").model_dump()
    if family != base["volume"]["family"]:
        base["views"]["transfers"] = ("phantom",)
    if quick:
        base["views"]["source"] = "grid"
        base["semantics"]["steps"] = 2
    base["volume"] |= {"family": family, "seed": seed}
    base["tracking"] |= {"neptune": "off", "trackio": False}
    name = f"{family}{seed}"
    return PipelineConfig.model_validate(
        base | {"name": name, "runs_dir": str(folder / "runs"), "cache_dir": str(folder / f"cache_{name}")}
    )


def absent_prompts(family: str, seed: int, tree: PartTree) -> tuple[str, ...]:
    """What the next of the families would be asked for, as far as no word of it names anything here, and STRANGE."""
    other = FAMILIES[(FAMILIES.index(family) + 1) % len(FAMILIES)] if family in FAMILIES else FAMILIES[0]
    here = {word for part in tree for name in (part.name, *part.synonyms) for word in name.lower().split()}
    wanted = make_phantom(other, seed, size_xyz=(8, 8, 8)).demo_prompts
    return (*(p for p in wanted if not here & set(p.split())), *STRANGE)


def first_synonyms(prompts: tuple[str, ...], truth: LabelVolume) -> tuple[str, ...]:
    """Another name of what each prompt names; prompts whose parts have no other are left out."""
    named = [next((part.synonyms[0] for part in parts_named(p, truth) if part.synonyms), None) for p in prompts]
    return tuple(dict.fromkeys(name for name in named if name is not None))


def run_seed(family: str, seed: int, folder: Path, *, quick: bool = False) -> dict:
    """Scores of one phantom: IoU per prompt, and over whole and part queries its mean and those of the peers."""
    with open_run(seed_config(family, seed, folder, quick=quick)) as run:
        if run.config.views.source == "inr":
            run_stage1(run)
        stage2 = run_stage2(run)
        answers = run_infer(run, stage2=stage2)
        scores = score(run, answers)
        truth = run.input.truth
        everything = np.zeros(stage2.lifted.grid.n_voxels, bool)
        everything[stage2.lifted.voxel] = True
        everything = everything.reshape(stage2.lifted.grid.shape_zyx)
        peer = evaluate_queries([replace(r, selected=everything) for r in answers.results], truth)
        seconds = run.clock.total_seconds()
        config, lifted, encoder = query_config(run), stage2.lifted, run.encoder
        absent, synonyms = absent_prompts(family, seed, truth.tree), first_synonyms(config.prompts, truth)

        def relevancy_of(prompts: tuple[str, ...]) -> np.ndarray:
            these = config.model_copy(update={"prompts": prompts})
            return relevancy_of_query(lifted, stage2.plan.volume.values, embed_query(encoder, these), these)

        def answer(prompts: tuple[str, ...], relevancy: np.ndarray, *, compete: bool = True) -> list[QueryResult]:
            these = config.model_copy(update={"prompts": prompts, "compete": compete})
            return answer_query(relevancy, lifted.voxel, lifted.grid, embed_query(encoder, these), these)

        own = np.stack([r.relevancy for r in answers.results], axis=1)
        alone = answer(config.prompts, own, compete=False)
        with_absent = np.concatenate([own, relevancy_of(absent)], axis=1)
        strange = answer((*config.prompts, *absent), with_absent)[-len(absent) :]
        renamed = evaluate_queries(answer(synonyms, relevancy_of(synonyms)), truth)
    return {
        "family": family,
        "seed": seed,
        "mean_iou": scores.value("iou"),
        "iou": {r.prompt: v for r in answers.results if (v := scores.value("iou", r.prompt)) is not None},
        "peer_mean_iou": peer.value("iou"),
        "alone_mean_iou": evaluate_queries(alone, truth).value("iou"),
        "synonyms_mean_iou": renamed.value("iou"),
        "absent": {r.prompt: r.found for r in strange},
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Run the seeds and print a table, or one JSON line last with --json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9, 10, 11])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            run_seed(family, seed, Path(folder), quick=arguments.quick)
            for family in arguments.families
            for seed in arguments.seeds
        ]
    keys = ("mean_iou", "peer_mean_iou", "alone_mean_iou", "synonyms_mean_iou")
    ours, peer, alone, synonyms = (float(np.mean([r[k] for r in rows])) for k in keys)
    absent = [found for row in rows for found in row["absent"].values()]
    refused = 1.0 - float(np.mean(absent))
    if arguments.json:
        line = {
            "name": "demo",
            "ours": ours,
            "peer": peer,
            "alone": alone,
            "synonyms": synonyms,
            "refused": refused,
            "unit": "mean 3D IoU",
            "ratio": ours / peer,
        }
        print(json.dumps({**line, "runs": rows, "machine": machine()}))
        return
    for row in rows:
        parts = "  ".join(f"{p} {v:.2f}" for p, v in row["iou"].items())
        print(f"{row['family']} {row['seed']}: mean {row['mean_iou']:.3f} ({row['seconds']} s)  {parts}")
    for family in arguments.families:
        print(f"{family}: {np.mean([r['mean_iou'] for r in rows if r['family'] == family]):.3f}")
    print(f"mean over {len(rows)} phantoms: {ours:.3f}; everything visible: {peer:.3f}; prompts alone: {alone:.3f}")
    print(f"by the first synonym of each prompt: {synonyms:.3f}")
    print(f"things that are not there: {refused:.3f} of {len(absent)} refused")


if __name__ == "__main__":
    sys.exit(through_door(main))
