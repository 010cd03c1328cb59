"""The report of a run, put together from what its stages left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from voxlang.apps.report import ReportPictures, write_report
from voxlang.apps.report_charts import Chart
from voxlang.core.artifacts import read_json
from voxlang.core.levels import LEVELS
from voxlang.evaluate.metrics import EvalReport
from voxlang.pipeline.infer import InferResult
from voxlang.pipeline.run import Run
from voxlang.pipeline.stage2 import Stage2Result
from voxlang.query.highlight import prompt_color

SHOWN_VIEWS = 12
SHOWN_PANELS = 4


def report_run(
    run: Run,
    answers: InferResult,
    stage2: Stage2Result,
    *,
    psnr_db: float | None,
    scores: EvalReport | None,
) -> Path:
    """Write report.html and report.json; returns the path of report.html."""
    final = stage2.history[-1] if stage2.history else {}
    levels = {
        row.level: {
            "masks": row.count,
            "share": row.share,
            "per_view_mean": row.per_view_mean,
            "coverage": row.coverage,
            "final_loss": final.get(f"loss_{row.level}"),
        }
        for row in stage2.statistics.rows
    }
    volume = run.input.volume
    provenance = read_json(run.folder.provenance_path)["starts"][-1]
    report = {
        "name": run.config.run_name,
        "volume": {
            "name": volume.name,
            "size_xyz": list(volume.grid.size_xyz),
            "spacing_xyz": list(volume.grid.spacing_xyz),
            "unit": volume.grid.unit,
            "value_range": [float(v) for v in volume.value_range],
            "source": run.input.source,
            "digest": volume.digest,
        },
        "settings": run.config.model_dump(mode="json"),
        "versions": provenance.pop("versions"),
        "stages": run.clock.records(),
        "levels": levels,
        "prompts": {"grid_points": stage2.prompts.grid, "skipped": stage2.prompts.skipped},
        "queries": [_query_row(i, r, answers, scores) for i, r in enumerate(answers.results)],
        "mean_iou": None if scores is None else scores.value("iou"),
        "psnr_db": psnr_db if psnr_db is not None and np.isfinite(psnr_db) else None,
        "provenance": provenance,
    }
    pictures = ReportPictures(
        views=_saved_pictures(run.folder.folder("views"), SHOWN_VIEWS),
        mask_panels=_saved_pictures(run.folder.folder("masks"), SHOWN_PANELS),
        queries=answers.pictures,
        charts=_charts(stage2.history),
    )
    path = write_report(run.folder.path, report, pictures)
    run.tracker.log_artifact("report", path)
    print(f"report: {path}")
    return path


def _query_row(index: int, result, answers: InferResult, scores: EvalReport | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prompt": result.prompt,
        "level": result.level.label,
        "found": result.found,
        "score": result.score,
        "outputs": [str(p.resolve()) for p in answers.outputs[result.prompt]],
        "label": index + 1,
        "color_rgb": list(prompt_color(index)),
        "voxels": int(result.selected.sum()),
    }
    scored = {r.subject for r in scores.rows} if scores else set()
    if scores and result.prompt in scored:
        row["iou"] = scores.value("iou", result.prompt)
    return row


def _saved_pictures(folder: Path, most: int) -> list[tuple[str, np.ndarray]]:
    paths = sorted(folder.glob("view_*.png"))
    step = max(1, len(paths) // most)
    return [(p.stem.replace("_", " "), np.asarray(Image.open(p).convert("RGB"))) for p in paths[::step][:most]]


def _charts(history: list[dict[str, float | int]]) -> dict[str, Chart]:
    series = {}
    for level in LEVELS:
        rows = [(r["step"], r[f"loss_{level.label}"]) for r in history if f"loss_{level.label}" in r]
        if rows:
            series[level.label] = tuple(np.asarray(column, float) for column in zip(*rows, strict=True))
    if not series:
        return {}
    caption = "Training loss of the semantic field per level."
    return {"loss": Chart(series, y_label="1 - cosine", caption=caption)}
