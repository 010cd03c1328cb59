"""SAM 2 against SAM 1 on the same views: speed, coverage, and the distribution over Small, Part and Whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from voxlang.core.artifacts import write_json
from voxlang.masks.generate import sam_generator_from_settings
from voxlang.masks.levels import partition_levels
from voxlang.masks.paint import level_panels, save_png, stacked
from voxlang.masks.settings import OBJECT_OPACITY, SamSettings
from voxlang.masks.types import MaskGenerator, MaskHierarchy
from voxlang.pipeline.run import Run
from voxlang.pipeline.views import picture_bytes, plan_views, render_views
from voxlang.render.types import RenderedView
from voxlang.supervision.level_figure import save_level_figure
from voxlang.supervision.stats import LevelStatistics, hierarchy_stats


@dataclass(frozen=True, eq=False)
class SamMeasure:
    """What one SAM made of the views."""

    settings: SamSettings
    """Its settings, resolved."""
    seconds: tuple[float, ...]
    """Time for the masks of each view, the model built before."""
    object_coverage: float
    """Mean share of the object's pixels that lie under a mask."""
    statistics: LevelStatistics
    """Distribution over the levels."""
    hierarchies: tuple[MaskHierarchy, ...]
    """The masks of each view."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, without the masks."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "seconds_per_view": list(self.seconds),
            "object_coverage": self.object_coverage,
            **self.statistics.as_dict(),
        }


def compare_sams(run: Run) -> dict[str, SamMeasure]:
    """Ask both models about the first views of the run; prints a table, writes JSON and two pictures."""
    compare, sam = run.config.compare_sam, run.config.sam
    with run.clock.stage("render"):
        views = render_views(run, plan_views(run))[: compare.views]
    pair = {"SAM 1": sam1_settings(sam, size=compare.size, checkpoint=compare.checkpoint), "SAM 2": sam}
    measures = {}
    for name, settings in pair.items():
        with run.clock.stage(f"masks of {name}"):
            measures[name] = measure_sam(sam_generator_from_settings(settings), settings, views)
    print(comparison_table(measures))
    folder = run.folder.folder("masks")
    write_json(run.folder.path / "compare_sam.json", {name: m.as_dict() for name, m in measures.items()})
    picture = picture_bytes(views[0].rgb)
    save_png(
        folder / "compare_sam.png", stacked({n: level_panels(picture, m.hierarchies[0]) for n, m in measures.items()})
    )
    save_level_figure(folder / "compare_sam_levels.png", {n: m.statistics for n, m in measures.items()})
    print(f"compare-sam: {run.folder.path / 'compare_sam.json'}, {folder / 'compare_sam.png'}")
    return measures


def sam1_settings(sam: SamSettings, *, size: str, checkpoint: Any) -> SamSettings:
    """The settings of SAM 2 for SAM 1: the same grid, and the thresholds that the user gave or the family's own."""
    grid = sam.resolved().points_per_side
    own = {"family": "sam1", "size": size, "checkpoint": checkpoint, "config": None, "points_per_side": grid}
    return SamSettings.model_validate({**sam.model_dump(), **own})


def measure_sam(generator: MaskGenerator, settings: SamSettings, views: Sequence[RenderedView]) -> SamMeasure:
    """Masks and levels of every view, with the time that the masks took."""
    seconds, covered, hierarchies = [], [], []
    for view in tqdm(views, desc=f"masks of {settings.family}", disable=None):
        shown = view.opacity > OBJECT_OPACITY
        start = time.perf_counter()
        masks = generator.generate(picture_bytes(view.rgb), foreground=shown if settings.skip_empty else None)
        seconds.append(time.perf_counter() - start)
        hierarchies.append(partition_levels(masks, shown, rule=settings.resolved().level_rule))
        under = masks.all_dense().any(axis=0) if len(masks) else np.zeros_like(shown)
        covered.append(float(under[shown].mean()) if shown.any() else 0.0)
    return SamMeasure(
        settings.resolved(), tuple(seconds), float(np.mean(covered)), hierarchy_stats(hierarchies), tuple(hierarchies)
    )


def comparison_table(measures: dict[str, SamMeasure]) -> str:
    """One line per model, and how their times compare."""
    head = f"{'model':<18} {'s per view':>10} {'masks':>6} {'object covered':>14} {'small':>6} {'part':>6} {'whole':>6}"
    lines = [head]
    for name, m in measures.items():
        shares = " ".join(f"{row.share:>6.1%}" for row in m.statistics.rows)
        model = f"{name} {m.settings.size}"
        lines.append(
            f"{model:<18} {np.median(m.seconds):>10.2f} {m.statistics.n_masks:>6} {m.object_coverage:>14.1%} {shares}"
        )
    first, second = (float(np.median(m.seconds)) for m in measures.values())
    names = list(measures)
    lines.append(f"time of {names[0]} over time of {names[1]}: {first / second:.2f}")
    return "\n".join(lines)
