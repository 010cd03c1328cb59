"""The report of a run: report.html for people, one file that opens anywhere, and report.json for machines."""

from __future__ import annotations

import base64
import io
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.apps.report_charts import LEVEL_COLORS, Chart, chart_svg
from voxlang.apps.report_schema import QueryEntry, Report, check_report
from voxlang.core.artifacts import write_json, write_text
from voxlang.core.errors import ArtifactError

Picture = tuple[str, np.ndarray]
"""Caption and colours `[h w 3]`, float in [0, 1] or uint8."""


@dataclass(frozen=True)
class ReportPictures:
    """What the report shows beside its numbers; every part may be empty."""

    views: Sequence[Picture] = ()
    """Rendered views."""
    mask_panels: Sequence[Picture] = ()
    """Masks coloured by level."""
    queries: Mapping[str, Sequence[Picture]] = field(default_factory=dict)
    """Pictures of each prompt: by custom the plain render, then the highlight, from one camera."""
    charts: Mapping[str, Chart] = field(default_factory=dict)
    """Charts by name: "loss" (per level), "fit" (stage 1) and any other."""
    hero: Picture | None = None
    """The picture beside the headline; the first query's highlight when there is none."""


def write_report(run_dir: Path, report: Mapping[str, Any], pictures: ReportPictures) -> Path:
    """Write report.html and report.json into the run's directory, atomically; returns the path of report.html.

    Args:
        run_dir: the run's directory.
        report: the content of report.json, see `Report`; absolute paths of outputs become relative to `run_dir`.
        pictures: pictures and charts.

    Raises:
        ArtifactError: the report's shape is wrong, or a picture is none.
    """
    run_dir = Path(run_dir)
    checked = _with_relative_outputs(check_report(report, run_dir), run_dir)
    html = render_report(checked, pictures, run_dir=run_dir)
    write_json(run_dir / "report.json", checked.as_json())
    path = run_dir / "report.html"
    write_text(path, html)
    return path


def render_report(report: Report, pictures: ReportPictures, *, run_dir: Path) -> str:
    """The HTML text of a report: everything is inside, nothing is fetched."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("voxlang.apps", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, size=byte_size, source=picture_source)
    template = environment.get_template("report.html.j2")
    slowest = max((stage.seconds for stage in report.stages), default=0.0) or 1.0
    return template.render(
        report=report,
        pictures=pictures,
        hero=_hero(report, pictures),
        charts={name: (chart, chart_svg(chart, name=name)) for name, chart in pictures.charts.items()},
        level_colors=LEVEL_COLORS,
        links={query.prompt: _links(query, run_dir) for query in report.queries},
        legend=[query for query in report.queries if query.label is not None and query.color_rgb is not None],
        settings=_flat(report.settings),
        provenance=_flat(report.provenance),
        seconds=sum(stage.seconds for stage in report.stages),
        peak=max((stage.peak_memory_bytes for stage in report.stages), default=0),
        device_peak=max((stage.peak_device_bytes or 0 for stage in report.stages), default=0),
        slowest=slowest,
        found=sum(query.found for query in report.queries),
    )


def picture_source(rgb: np.ndarray) -> str:
    """A picture as a data URI: PNG, or JPEG where that takes less than half the bytes.

    Args:
        rgb: `[h w 3]`, float in [0, 1] (clipped) or uint8.

    Raises:
        ArtifactError: another shape.
    """
    from PIL import Image

    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ArtifactError(
            "a picture of shape [h w 3]", got=f"shape {rgb.shape}", where="write_report", do="pass RGB, channels last"
        )
    if rgb.dtype != np.uint8:
        rgb = np.round(np.clip(np.nan_to_num(rgb.astype(np.float64)), 0.0, 1.0) * 255.0).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(rgb))
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, format="PNG", optimize=True)
    image.save(jpeg, format="JPEG", quality=90, subsampling=0)
    kind, data = ("jpeg", jpeg) if jpeg.tell() * 2 < png.tell() else ("png", png)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"


def duration(seconds: float) -> str:
    """Time as people say it: 0.42 s, 12.3 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def byte_size(count: int) -> str:
    """Bytes in decimal units of three digits: 987 B, 1.23 MB, 45.6 MB, 1.43 GB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000.0, larger
    decimals = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{decimals}f} {unit}"


def _with_relative_outputs(report: Report, run_dir: Path) -> Report:
    root = run_dir.resolve()

    def relative(name: str) -> str:
        path = Path(name)
        return Path(os.path.relpath(path.resolve(), root)).as_posix() if path.is_absolute() else path.as_posix()

    queries = [q.model_copy(update={"outputs": tuple(map(relative, q.outputs))}) for q in report.queries]
    return report.model_copy(update={"queries": tuple(queries)})


def _links(query: QueryEntry, run_dir: Path) -> list[tuple[str, str, int | None]]:
    """(name, address, bytes or None when the file is not there) of each output."""
    return [
        (name, urllib.parse.quote(name), (run_dir / name).stat().st_size if (run_dir / name).is_file() else None)
        for name in query.outputs
    ]


def _hero(report: Report, pictures: ReportPictures) -> Picture | None:
    if pictures.hero is not None:
        return pictures.hero
    for query in report.queries:
        shown = pictures.queries.get(query.prompt, ())
        if query.found and shown:
            caption, rgb = shown[-1]
            return f"“{query.prompt}”: {caption}", rgb
    return pictures.views[0] if pictures.views else None


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, text), in the given order."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            rows += _flat(item, f"{prefix}{key}.")
        elif isinstance(item, list | tuple):
            rows.append((f"{prefix}{key}", ", ".join(map(str, item)) or "none"))
        else:
            rows.append((f"{prefix}{key}", "none" if item is None else str(item)))
    return rows
