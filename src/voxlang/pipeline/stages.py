"""The order of stages. The only place that knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from voxlang.core.artifacts import write_json
from voxlang.evaluate.metrics import EvalReport, any_part_named, evaluate_queries, require_named_parts
from voxlang.pipeline.compare_sam import compare_sams
from voxlang.pipeline.config import PipelineConfig
from voxlang.pipeline.infer import InferResult, query_config, run_infer
from voxlang.pipeline.report import report_run
from voxlang.pipeline.run import Run, open_run, require_truth
from voxlang.pipeline.stage1 import run_stage1
from voxlang.pipeline.stage2 import load_view_models, run_stage2
from voxlang.pipeline.views import run_render
from voxlang.query.text import require_read_whole


def run_all(run: Run) -> None:
    """Volume to report: stage 1, stage 2, queries, scores where truth is known, report."""
    query = query_config(run)  # before any work: a query that cannot be asked is refused,
    load_view_models(run)  # and so are models that cannot be used,
    require_read_whole(run.encoder, query.prompts, query.templates)  # and prompts that they cannot read
    psnr_db = run_stage1(run) if run.config.views.source == "inr" else None
    stage2 = run_stage2(run)
    answers = run_infer(run, stage2=stage2)
    scores = score(run, answers) if _can_be_scored(run, query.prompts) else None
    report_run(run, answers, stage2, psnr_db=psnr_db, scores=scores)


def _can_be_scored(run: Run, prompts: Sequence[str]) -> bool:
    truth = run.input.truth
    if truth is None:
        return False
    known = any_part_named(prompts, truth)
    if not known:
        print("evaluate: no prompt names a part of the truth, so nothing is scored")
    return known


def score(run: Run, answers: InferResult) -> EvalReport:
    """Score the answers against the run's truth, print and keep the numbers.

    Raises:
        QueryError: no truth, or no prompt that it knows.
    """
    scores = evaluate_queries(answers.results, require_truth(run))
    for row in scores.rows:
        if row.metric == "iou":
            run.tracker.log_metric(f"iou/{row.subject}", row.value, 0)
            print(f"evaluate: 3D IoU {row.value:.3f}  {row.subject}")
    write_json(run.folder.path / "evaluation.json", scores.as_dict())
    return scores


def evaluate(run: Run) -> None:
    """Answer and score the prompts, then measure the two models on the run's own views; all in evaluation.json."""
    from voxlang.pipeline.measures import measure_run

    require_named_parts(query_config(run).prompts, require_truth(run))
    scores = score(run, run_infer(run))
    write_json(run.folder.path / "evaluation.json", scores.as_dict() | {"models": measure_run(run)})


MODES: dict[str, Callable[[Run], object]] = {
    "stage1": run_stage1,
    "render": run_render,
    "stage2": run_stage2,
    "infer": run_infer,
    "evaluate": evaluate,
    "compare-sam": compare_sams,
    "all": run_all,
}


def run_pipeline(config: PipelineConfig) -> None:
    """Run the mode that the settings name."""
    with open_run(config) as run:
        MODES[config.mode](run)
