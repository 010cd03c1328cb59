"""Say what a state dict is: its layout, its configuration, and how it departs from what the layout must hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from voxlang.checkpoints.facts import Fact, FactFinder, shapes_of
from voxlang.checkpoints.layouts import LAYOUTS, Config, Layout, expected_shapes
from voxlang.checkpoints.patterns import key_form
from voxlang.checkpoints.rules import State, first
from voxlang.checkpoints.skeleton import Difference, compare
from voxlang.checkpoints.vit import Recognised, recognised
from voxlang.core.errors import WeightsError

_ENOUGH = 0.6
"""Agreement of key forms from which on a layout is taken for granted."""


@dataclass(frozen=True)
class Match:
    """The layout whose keys are most like those of a file."""

    layout: Layout | Recognised
    agreement: float
    """F1 score between the forms of the file's keys and the layout's: 1 = the same forms."""

    @property
    def is_sure(self) -> bool:
        """The file is of this layout, if perhaps damaged; otherwise it is the nearest of the known ones."""
        return self.agreement >= _ENOUGH


@lru_cache
def known_layouts() -> tuple[Layout | Recognised, ...]:
    """All layouts that are told apart."""
    sam1 = LAYOUTS["sam1"].forms
    shared = frozenset(form for form in sam1 if not form.startswith("image_encoder."))
    return (*LAYOUTS.values(), *recognised(shared))


def detect(keys: Iterable[str]) -> Match:
    """The layout that agrees best with these keys."""
    forms = {key_form(key) for key in keys}
    scores = (Match(x, 2 * len(forms & x.forms) / max(1, len(forms) + len(x.forms))) for x in known_layouts())
    return max(scores, key=lambda match: match.agreement)


@dataclass(frozen=True, eq=False)
class Understanding:
    """What is known about a state dict."""

    match: Match
    """The layout."""
    config: Config | None
    """The inferred configuration; None where it cannot be inferred."""
    facts: Mapping[str, Fact]
    """Every inferred value with its source."""
    size: str
    """Name of the published size, "custom", or "unknown"."""
    version: Fact | None
    """Version, in families that have several."""
    difference: Difference
    """Departures from the configuration, in the names of the file."""
    compared_with: str
    """What the difference is measured against."""
    problem: str
    """Why no configuration could be inferred; empty when one was."""
    hub: State
    """The tensors by hub key; empty for layouts that are only recognised."""

    @property
    def is_whole(self) -> bool:
        """The configuration is known and nothing departs from it."""
        d = self.difference
        return self.config is not None and not (d.missing or d.unexpected or d.misshapen)

    def require_whole(self, where: str) -> None:
        """Refuse anything that is not whole.

        Raises:
            WeightsError: names the nearest layout and the first ten keys of each kind.
        """
        layout = self.match.layout
        if self.match.is_sure and self.is_whole:
            return
        d = self.difference
        kinds = (("missing", d.missing), ("unexpected", d.unexpected), ("of another shape", d.misshapen))
        departures = [f"{len(keys)} {name}: {first(keys)}" for name, keys in kinds if keys]
        can_convert = isinstance(layout, Layout)
        if not can_convert and self.match.is_sure:
            got, do = f"{layout.title}", f"pass a checkpoint in one of the layouts {', '.join(LAYOUTS)}"
        else:
            got = "; ".join([*([self.problem] if self.problem else []), *departures]) or "other keys"
            do = "use the whole original file, or compare its keys with `tools/checkpoint.py inspect --print-keys`"
        nearest = f"{layout.name} ({layout.title}, {self.compared_with})"
        raise WeightsError(
            f"a whole checkpoint; nearest known layout {nearest}, {self.match.agreement:.0%} of the key forms agree",
            got=got,
            where=where,
            do=do,
        )


def understand(state: State, given: Mapping[str, Any] | None = None) -> Understanding:
    """Detect the layout, infer the configuration, and compare.

    Args:
        state: tensors by key; only names and shapes are looked at, but for copies that must be equal.
        given: values of the configuration that the caller fixes.
    """
    match = detect(state)
    layout = match.layout
    if isinstance(layout, Recognised):
        return _describe(match, state)
    hub, report = layout.to_hub(state)
    family = layout.family
    shapes = shapes_of(state)
    try:
        config, facts = family.infer(shapes_of(hub), given or {})
        expected = expected_shapes(layout, config)
    except WeightsError as error:
        name, difference = _nearest_published(layout, shapes)
        problem = f"expected {error.expected}, got {error.got}"
        return Understanding(match, None, {}, "unknown", None, difference, name, problem, hub)
    difference = compare(shapes, expected.shapes)
    ignored = expected.optional | {key for key, _ in report.dropped}
    difference = Difference(
        missing=tuple(k for k in difference.missing if k not in expected.optional),
        unexpected=tuple(k for k in difference.unexpected if k not in ignored),
        misshapen=tuple(k for k in difference.misshapen if k.split(" ")[0] not in layout.extras(config)),
    )
    size = family.size(config)
    version = family.version(config) if family.version else None
    return Understanding(match, config, facts, size, version, difference, f"size {size}", "", hub)


def _describe(match: Match, state: State) -> Understanding:
    f, size, problem = FactFinder(shapes_of(state)), "unknown", ""
    try:
        size = match.layout.describe(f)
    except WeightsError as error:
        problem = f"expected {error.expected}, got {error.got}"
    unexpected = tuple(k for k in state if key_form(k) not in match.layout.forms)
    return Understanding(match, None, f.facts, size, None, Difference((), unexpected, ()), f"size {size}", problem, {})


def _nearest_published(layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, Difference]:
    def departures(difference: Difference) -> int:
        return len(difference.missing) + len(difference.unexpected) + len(difference.misshapen)

    found = [
        (f"size {name}", compare(shapes, expected_shapes(layout, config).shapes))
        for name, config in layout.family.published.items()
    ]
    return min(found, key=lambda item: departures(item[1]))
