"""Queries of a run: text in; label map, relevancy volumes, highlights and statistics out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from voxlang.core.artifacts import write_json
from voxlang.core.errors import ArtifactError
from voxlang.core.runs import free_name
from voxlang.masks.paint import save_png
from voxlang.pipeline.run import Run
from voxlang.pipeline.stage2 import Stage2Result, lifted_path
from voxlang.pipeline.views import ViewPlan, picture_bytes, plan_views
from voxlang.query.answer import QueryResult, answer_query, label_map, relevancy_of_field, relevancy_of_masks
from voxlang.query.config import QueryConfig
from voxlang.query.highlight import best_shot, highlight_pictures, prompt_color
from voxlang.query.spread import spread_relevancy
from voxlang.query.text import TextQuery, checked_prompts, embed_query
from voxlang.semantics.field import SemanticField
from voxlang.semantics.lifting import LiftedMasks
from voxlang.semantics.store import load_lifted, load_semantics
from voxlang.supervision.cache import changed_inputs
from voxlang.volume.write import save_label_map, save_scalar_map

_NAME_LENGTH = 50
"""Characters of a prompt in a file name; file systems allow 255 bytes, and a character has up to four."""


@dataclass(frozen=True, eq=False)
class InferResult:
    """The answers of a run with their pictures and files."""

    results: list[QueryResult]
    pictures: dict[str, list[tuple[str, np.ndarray]]]
    """Plain render and highlight of each prompt."""
    outputs: dict[str, list[Path]]
    """Files of each prompt; the label map comes first and is shared."""


def run_infer(run: Run, *, stage2: Stage2Result | None = None) -> InferResult:
    """Answer the prompts of the settings.

    Args:
        run: the run.
        stage2: what stage 2 left in memory; None reads it from the run's folder.

    Raises:
        QueryError: settings with which no query can be asked.
        ArtifactError: stage 2 did not run, or ran on another volume; the message says which command does.
    """
    config = query_config(run)
    with run.clock.stage("queries"):
        lifted, plan = (stage2.lifted, stage2.plan) if stage2 else stored_masks(run)
        query = embed_query(run.encoder, config)
        field = None
        if config.source == "field":
            field = stage2.field if stage2 else load_semantics(run.folder.semantics_path, device=run.device)[0]
        relevancy = relevancy_of_query(lifted, plan.volume.values, query, config, field=field)
        results = answer_query(relevancy, lifted.voxel, lifted.grid, query, config)
        names = file_names(query.prompts)
        outputs = write_answers(run, results, names, config)
    with run.clock.stage("highlights"):
        pictures = draw_highlights(run, plan, results, names, outputs)
    return InferResult(results, pictures, outputs)


def stored_masks(run: Run) -> tuple[LiftedMasks, ViewPlan]:
    """The masks that stage 2 left, and the views of the present settings; prints in what these differ from its own.

    Raises:
        ArtifactError: stage 2 did not run, or ran on another volume.
    """
    path = lifted_path(run)
    lifted, before = load_lifted(path)
    plan = plan_views(run)
    changed = changed_inputs(before, plan.inputs)
    if "volume" in changed:
        raise ArtifactError(
            "masks of this volume",
            got="masks of another volume, from a run of the same name",
            where=str(path),
            do="run main.py --mode=stage2 with this volume, or give it a --name of its own",
        )
    if changed:
        print(
            f"infer: the answers come from the masks that stage 2 left; changed since: {', '.join(changed)} "
            "(--mode=stage2 makes them anew)"
        )
    return lifted, plan


def relevancy_of_query(
    lifted: LiftedMasks,
    values: Float32[np.ndarray, "z y x"],
    query: TextQuery,
    config: QueryConfig,
    *,
    field: SemanticField | None = None,
) -> Float32[np.ndarray, "3 p v"]:
    """Relevancy per level and prompt at the visible voxels, spread among like values.

    Args:
        lifted: the masks of the views on the voxels.
        values: of the volume that was shown, on the grid of the lifting.
        query: the embedded prompts.
        config: how relevancy spreads.
        field: asked in place of the masks.
    """
    if field is None:
        relevancy = relevancy_of_masks(lifted, query)
    else:
        relevancy = relevancy_of_field(field, query, values, lifted.voxel)
    return spread_relevancy(relevancy, lifted.voxel, lifted.seen, values, lifted.grid, config)


def query_config(run: Run) -> QueryConfig:
    """The query settings; without prompts, a phantom's own demo prompts.

    Raises:
        QueryError: settings with which no query can be asked.
    """
    config = run.config.query
    if not config.prompts:
        config = config.model_copy(update={"prompts": run.input.prompts})
    checked_prompts(config)
    return config


def write_answers(run: Run, results: list[QueryResult], names: list[str], config: QueryConfig) -> dict[str, list[Path]]:
    """Write label map, answers.json, and per prompt a relevancy volume named by `names`; all on the input's grid."""
    folder = run.folder.folder("queries")
    suffix = config.format
    if suffix == "auto":
        suffix = "nii.gz" if run.config.volume.path.lower().endswith((".nii", ".nii.gz")) else "nrrd"
    grid = run.input.volume.grid
    labels_path = folder / f"label_map.{suffix}"
    save_label_map(labels_path, label_map(results), grid, names={i + 1: r.prompt for i, r in enumerate(results)})
    outputs: dict[str, list[Path]] = {}
    for result, name in zip(results, names, strict=True):
        path = folder / f"relevancy_{name}.{suffix}"
        save_scalar_map(path, result.relevancy_volume(), grid)
        outputs[result.prompt] = [labels_path, path]
    write_json(folder / "answers.json", {"label_map": labels_path.name, "answers": [r.as_dict() for r in results]})
    run.tracker.log_artifact("label_map", labels_path)
    for result in results:
        where = f"{int(result.selected.sum()):,} voxels on level {result.level.label}" if result.found else "not found"
        print(f"query: {result.prompt!r}: {where}, score {result.score:.2f}")
    print(f"query: label map -> {labels_path}")
    return outputs


def draw_highlights(
    run: Run, plan: ViewPlan, results: list[QueryResult], names: list[str], outputs: dict[str, list[Path]]
) -> dict[str, list[tuple[str, np.ndarray]]]:
    """Render each answer from the view that shows it best, beside the plain picture; files are named by `names`."""
    folder = run.folder.folder("queries")
    pictures = {}
    for i, (result, name) in enumerate(zip(results, names, strict=True)):
        shot = best_shot(result, plan.volume, plan.shots, run.config.render)
        plain, lit = highlight_pictures(result, plan.volume, shot, run.config.render, color=prompt_color(i))
        path = folder / f"highlight_{name}.png"
        save_png(path, picture_bytes(np.concatenate([plain, lit], axis=1)))
        outputs[result.prompt].append(path)
        run.tracker.log_image("highlights", lit, i, caption=result.prompt)
        pictures[result.prompt] = [(f"{shot[1].name}", plain), (f"{result.prompt} ({result.level.label})", lit)]
    return pictures


def file_names(prompts: Sequence[str]) -> list[str]:
    """Prompts as parts of file names: letters and digits of any script; those alike are numbered."""
    names: list[str] = []
    for prompt in prompts:
        name = re.sub(r"[\W_]+", "_", prompt.lower()).strip("_")[:_NAME_LENGTH] or "prompt"
        names.append(free_name(name, names, joint="_"))
    return names
