"""Charts that read well on any page."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from voxlang.apps.report_charts import LEVEL_COLORS, Chart, chart_svg

SVG = "{http://www.w3.org/2000/svg}"


def _lines(svg):
    """Stroke colour and number of points of every curve."""
    root = ElementTree.fromstring(svg)
    found = []
    for group in root.iter(f"{SVG}g"):
        if "line2d" in group.get("id", "") and (path := group.find(f"{SVG}path")) is not None:
            color = re.search(r"stroke: (#\w+|currentColor)", path.get("style", ""))
            found.append((color.group(1) if color else "", len(re.findall(r"[ML] ", path.get("d", "")))))
    return found


def test_levels_have_their_colours_and_every_point_is_drawn():
    x = np.arange(30)
    lines = _lines(chart_svg(Chart({"small": (x, x + 1.0), "whole": (x, np.sin(x))}), name="loss"))
    assert (LEVEL_COLORS["small"], 30) in lines
    assert (LEVEL_COLORS["whole"], 30) in lines


def test_values_that_are_not_finite_are_left_out():
    y = np.array([1.0, np.nan, 3.0, np.inf, 5.0])
    assert (LEVEL_COLORS["part"], 3) in _lines(chart_svg(Chart({"part": (np.arange(5), y)}), name="x"))


def test_long_curves_are_thinned_and_smoothed(rng):
    x = np.arange(20000)
    svg = chart_svg(Chart({"part": (x, 5.0 + rng.normal(size=20000))}), name="x")
    drawn = [n for color, n in _lines(svg) if color == LEVEL_COLORS["part"]]
    assert len(drawn) == 2
    assert max(drawn) <= 600
    assert len(svg) < 60_000


def test_ink_and_font_come_from_the_page_and_nothing_is_fetched():
    svg = chart_svg(Chart({"a": ([0, 1], [1, 2])}, x_label="step", y_label="loss < 1"), name="fit")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "DejaVu" not in svg
    assert "loss &lt; 1" in svg
    assert svg.startswith("<svg")
    addresses = set(re.findall(r"https?://[^\"' )]+", svg))
    assert all(address.startswith("http://www.w3.org/") for address in addresses)


def test_two_charts_share_no_identifier_and_every_reference_resolves():
    chart = Chart({"a": ([0, 1, 2], [1, 2, 3])}, markers=True, caption='He said "x" & left')
    first, second = chart_svg(chart, name="loss"), chart_svg(chart, name="field fit")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]
    for svg, own in zip((first, second), ids, strict=True):
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
        assert used
        assert used <= own
        assert len(re.findall(r'\bid="', svg)) == len(own)
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label") == 'He said "x" & left'


def test_a_chart_is_drawn_the_same_twice():
    chart = Chart({"small": (np.arange(300), np.arange(300.0) + 1)}, log_y=True)
    assert chart_svg(chart, name="loss") == chart_svg(chart, name="loss")
