"""All layouts: what a file in each is called, which keys it has, and how it becomes the hub layout of its family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch

from voxlang.checkpoints.facts import Fact, FactFinder, shapes_of
from voxlang.checkpoints.hiera import HieraConfig, hiera_skeleton, infer_hiera
from voxlang.checkpoints.known import known_sam2
from voxlang.checkpoints.patterns import key_form
from voxlang.checkpoints.published import PUBLISHED_HIERA, PUBLISHED_SAM1, PUBLISHED_SAM2
from voxlang.checkpoints.rules import ConversionReport, Rename, RuleTable, State, Twin
from voxlang.checkpoints.sam1 import Sam1Config, infer_sam1, sam1_size, sam1_skeleton
from voxlang.checkpoints.sam1_layouts import (
    hf_iou_depth,
    hf_sam_table,
    stages_config_tensor,
    stages_of,
    stages_structure,
    stages_table,
)
from voxlang.checkpoints.sam2 import TRUNK, Sam2Config, infer_sam2, sam2_size, sam2_skeleton, sam2_version
from voxlang.checkpoints.sam2_layouts import (
    MMSEG_TABLE,
    hf_sam2_structure,
    hf_still_table,
    hf_video_table,
    structure_of,
)
from voxlang.checkpoints.skeleton import Skeleton, as_meta
from voxlang.core.errors import ConfigError

Config = Sam1Config | Sam2Config | HieraConfig
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Family:
    """Models of one kind: how their configuration is inferred from the hub layout, and what follows from it."""

    title: str
    """As people call it."""
    infer: Callable[[Shapes, Mapping[str, Any]], tuple[Config, dict[str, Fact]]]
    """Configuration and the source of every value, from shapes by hub key."""
    skeleton: Callable[[Any], Skeleton]
    """Keys and shapes of the hub layout."""
    size: Callable[[Any], str]
    """Name of the published size, or "custom"."""
    version: Callable[[Any], Fact] | None
    """Version of the model, where there are several."""
    published: Mapping[str, Config]
    """Configurations of the published models by name."""


def _infer_trunk(shapes: Shapes, given: Mapping[str, Any]) -> tuple[HieraConfig, dict[str, Fact]]:
    f = FactFinder(shapes, given)
    return infer_hiera(f, TRUNK), f.facts


def _trunk_size(c: HieraConfig) -> str:
    known = known_sam2(c.width, c.stages)
    return known.size if known else "custom"


SAM1 = Family("SAM 1", infer_sam1, sam1_skeleton, sam1_size, None, PUBLISHED_SAM1)
SAM2 = Family(
    "SAM 2",
    infer_sam2,
    sam2_skeleton,
    sam2_size,
    sam2_version,
    {f"{size} {version}": config for (size, version), config in PUBLISHED_SAM2.items()},
)
HIERA = Family(
    "Hiera of SAM 2",
    _infer_trunk,
    lambda config: hiera_skeleton(config, TRUNK),
    _trunk_size,
    None,
    PUBLISHED_HIERA,
)


@dataclass(frozen=True, eq=False)
class Layout:
    """The names of one project for the weights of one family."""

    name: str
    """As it is typed."""
    title: str
    """Whose names these are."""
    family: Family
    """What the weights are."""
    part: str
    """"whole", "still" (no video memory) or "trunk"."""
    table_of_config: Callable[[Any], RuleTable] | None = None
    """Table from the hub to this layout for a configuration; None: this is the hub."""
    table_of_keys: Callable[[Iterable[str]], RuleTable] | None = None
    """The same table, from keys of this layout."""
    extras: Callable[[Any], Mapping[str, torch.Tensor]] = lambda config: {}
    """Tensors that the layout has beside the weights."""
    needs: Callable[[Any], tuple[str, ...]] = lambda config: ()
    """What a configuration has that this layout cannot say."""

    @cached_property
    def forms(self) -> frozenset[str]:
        """Forms of the keys of the published models, numbers replaced by `#`."""
        return frozenset(key_form(k) for c in self.family.published.values() for k in expected_shapes(self, c).shapes)

    def to_hub(self, state: State) -> tuple[dict[str, torch.Tensor], ConversionReport]:
        """A state dict of this layout in the hub's, with the report."""
        table = self.table_of_keys(state) if self.table_of_keys else _IDENTITY
        return table.to_hub(state)

    def from_hub(self, state: State, config: Config) -> tuple[dict[str, torch.Tensor], ConversionReport]:
        """A state dict of the hub in this layout, with its extras and the report."""
        table = self.table_of_config(config) if self.table_of_config else _IDENTITY
        other, report = table.to_other(state)
        return {**other, **self.extras(config)}, report


_IDENTITY = RuleTable((Rename("**", "**"),))


@dataclass(frozen=True)
class Expected:
    """What a file of a layout has to hold."""

    shapes: Shapes
    """Shape by key, in the layout's own names."""
    optional: frozenset[str]
    """Keys among them that may be left out: second copies and notes."""


@lru_cache(maxsize=256)
def expected_shapes(layout: Layout, config: Config) -> Expected:
    """Keys and shapes of a configuration in a layout."""
    skeleton = layout.family.skeleton(config)
    if layout.table_of_config is None:
        return Expected(skeleton, frozenset())
    table = layout.table_of_config(config)
    other, _ = table.to_other(as_meta(skeleton))
    extras = layout.extras(config)
    twins = {rule.copy for rule in table.rules if isinstance(rule, Twin)}
    return Expected(shapes_of({**other, **extras}), frozenset(extras) | twins)


def _hf_needs(config: Sam2Config) -> tuple[str, ...]:
    needs = {
        "an object score head of three layers": config.object_score == "mlp",
        "fine features in the decoder": config.has_fine_features,
        'the embedding "no memory" added to still pictures': config.adds_no_memory,
    }
    return tuple(need for need, is_met in needs.items() if not is_met)


def _hf_video_needs(config: Sam2Config) -> tuple[str, ...]:
    pointer = config.memory is None or config.memory.pointer == "mlp"
    return _hf_needs(config) + (() if pointer else ("object pointers projected by three layers",))


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("sam1", "segment-anything", SAM1, "whole"),
        Layout(
            "sam1-stages",
            "MuggledSAM (stage-explicit)",
            SAM1,
            "whole",
            table_of_config=lambda config: stages_table(stages_of(config)),
            table_of_keys=lambda keys: stages_table(stages_structure(keys)),
            extras=stages_config_tensor,
        ),
        Layout(
            "hf-sam",
            "transformers' SamModel",
            SAM1,
            "whole",
            table_of_config=lambda config: hf_sam_table(config.iou_depth),
            table_of_keys=lambda keys: hf_sam_table(hf_iou_depth(keys)),
        ),
        Layout("sam2", "sam2", SAM2, "whole"),
        Layout(
            "hf-sam2",
            "transformers' Sam2Model",
            SAM2,
            "still",
            table_of_config=lambda config: hf_still_table(structure_of(config)),
            table_of_keys=lambda keys: hf_still_table(hf_sam2_structure(keys)),
            needs=_hf_needs,
        ),
        Layout(
            "hf-sam2-video",
            "transformers' Sam2VideoModel",
            SAM2,
            "whole",
            table_of_config=lambda config: hf_video_table(structure_of(config)),
            table_of_keys=lambda keys: hf_video_table(hf_sam2_structure(keys)),
            needs=_hf_video_needs,
        ),
        Layout(
            "mmseg-hiera",
            "the mmseg backbone HieraSAM2",
            HIERA,
            "trunk",
            table_of_config=lambda config: MMSEG_TABLE,
            table_of_keys=lambda keys: MMSEG_TABLE,
        ),
    )
}
"""Layouts that can be read and written, by name."""


def layout_named(name: str) -> Layout:
    """The layout of a name.

    Raises:
        ConfigError: no such layout; lists the choices.
    """
    if name not in LAYOUTS:
        raise ConfigError(f"one of {', '.join(LAYOUTS)}", got=repr(name), where="layout", do="use one of these")
    return LAYOUTS[name]
