"""A figure of the distribution over levels, for one cache or several side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import ConfigError
from voxlang.core.levels import LEVELS
from voxlang.supervision.stats import LevelStatistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = ("#3b6fb6", "#d1803a", "#4c9a6a", "#a65b9c", "#8a7f5c", "#c0504d")
_SUFFIXES = (".png", ".svg", ".pdf")


def level_figure(statistics: Mapping[str, LevelStatistics]) -> Figure:
    """Bars per level, one colour per cache: share of masks, covered pixels, and masks per view with their range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 3.4 + 0.22 * len(statistics)), layout="constrained")
    axes = figure.subplots(1, 3)
    places, width = np.arange(len(LEVELS)), 0.8 / max(1, len(statistics))
    for k, (name, s) in enumerate(statistics.items()):
        x = places + (k - (len(statistics) - 1) / 2) * width
        colour = _COLOURS[k % len(_COLOURS)]
        panels = (
            [100 * r.share for r in s.rows],
            [100 * r.coverage for r in s.rows],
            [r.per_view_mean for r in s.rows],
        )
        for axis, values, form in zip(axes, panels, ("{:.0f}%", "{:.0f}%", "{:.1f}"), strict=True):
            bars = axis.bar(
                x, values, 0.92 * width, color=colour, label=f"{name} ({s.n_masks} masks, {s.n_views} views)"
            )
            if axis is not axes[2]:
                axis.bar_label(bars, [form.format(v) for v in values], fontsize=8, padding=2)
        reach = [[r.per_view_mean - r.per_view_min for r in s.rows], [r.per_view_max - r.per_view_mean for r in s.rows]]
        axes[2].errorbar(x, panels[2], yerr=reach, fmt="none", ecolor="#333333", capsize=3, linewidth=1)
    titles = ("share of masks", "pixels covered", "masks per view (mean, least, most)")
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xticks(places, [level.label for level in LEVELS])
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(y=0.15)
        axis.set_ylim(bottom=0)
    for axis in axes[:2]:
        axis.yaxis.set_major_formatter("{x:.0f}%")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize=8, frameon=False)
    return figure


def save_level_figure(path: Path | str, statistics: Mapping[str, LevelStatistics]) -> Path:
    """Write `level_figure` as PNG, SVG or PDF by suffix.

    Raises:
        ConfigError: another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"a figure named *{', *'.join(_SUFFIXES)}", got=path.name, where=str(path), do="rename it")
    with atomic_path(path) as temporary:
        level_figure(statistics).savefig(temporary, format=path.suffix.lower()[1:], dpi=130)
    return path
