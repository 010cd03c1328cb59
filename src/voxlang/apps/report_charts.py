"""Charts of the report as SVG that takes its text colour from the page, so that light, dark and print all read well."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL_COLORS: dict[str, str] = {"small": "#d55e00", "part": "#009e73", "whole": "#0072b2"}
"""Okabe and Ito's vermilion, green and blue: distinct for colour-blind readers and on paper."""
_OTHER_COLORS = ("#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
_INK = "#010203"
_SMOOTHED_FROM = 200


Values = Sequence[float | int] | np.ndarray
"""Numbers along one axis."""


@dataclass(frozen=True)
class Chart:
    """Curves over a common axis."""

    series: Mapping[str, tuple[Values, Values]]
    """Name to (x, y). Series named small, part and whole have the levels' colours."""
    x_label: str = "step"
    """Name and unit of the x axis."""
    y_label: str = ""
    """Name and unit of the y axis."""
    log_y: bool = False
    """Logarithmic y axis; takes positive values only."""
    caption: str = ""
    """One sentence below the chart."""
    markers: bool = False
    """Dots at the points; for few of them."""


def chart_svg(chart: Chart, *, name: str, width_in: float = 6.4, height_in: float = 2.7) -> str:
    """Draw a chart as an inline `<svg>` element.

    Long noisy curves are drawn pale with their running mean on top. Identifiers are prefixed by `name`, so that several
    charts can share a page.
    """
    import matplotlib
    from matplotlib.figure import Figure

    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 9.0,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
        others = iter(_OTHER_COLORS * (1 + len(chart.series) // len(_OTHER_COLORS)))
        for label, (x, y) in chart.series.items():
            color = LEVEL_COLORS.get(label) or next(others)
            _draw(axes, np.asarray(x, np.float64), np.asarray(y, np.float64), label, color, chart.markers)
        axes.set_xlabel(chart.x_label)
        axes.set_ylabel(chart.y_label)
        if chart.log_y:
            axes.set_yscale("log")
        axes.grid(axis="y", linewidth=0.4, alpha=0.25, color=_INK)
        if len(chart.series) > 1:
            axes.legend(frameon=False, loc="upper right", ncols=min(3, len(chart.series)), fontsize=8.5)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name=name, title=chart.caption or name)


def _draw(axes, x: np.ndarray, y: np.ndarray, label: str, color: str, markers: bool) -> None:
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(y) >= _SMOOTHED_FROM:
        window = len(y) // 40
        smooth = np.convolve(y, np.full(window, 1.0 / window), mode="valid")
        axes.plot(*_thinned(x, y), color=color, linewidth=0.8, alpha=0.35)
        axes.plot(*_thinned(x[window - 1 :], smooth), color=color, linewidth=1.6, label=label)
    else:
        axes.plot(x, y, color=color, linewidth=1.6, label=label, marker="o" if markers else None, markersize=3.5)


def _thinned(x: np.ndarray, y: np.ndarray, most: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` of the points, evenly spaced; more cannot be told apart in the width of a page."""
    index = np.unique(np.linspace(0, len(x) - 1, most).round().astype(int)) if len(x) > most else np.arange(len(x))
    return x[index], y[index]


def _inline(svg: str, *, name: str, title: str) -> str:
    """Cut the XML prologue, let the page choose ink and font, prefix identifiers, and name the picture for readers."""
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}-', svg)
    svg = svg.replace(_INK, "currentColor")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{_escaped(title)}"><title>{_escaped(title)}</title>{rest}'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
