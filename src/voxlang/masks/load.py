"""Load any SAM from its weights alone: layout, family and configuration are inferred."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voxlang.core.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    import torch

    from voxlang.checkpoints.facts import Fact
    from voxlang.checkpoints.layouts import Config


@dataclass(frozen=True, eq=False)
class LoadedSam:
    """A model and what was inferred about it."""

    model: torch.nn.Module
    """segment-anything's `Sam` or sam2's `SAM2Base`, in evaluation mode."""
    family: Literal["sam1", "sam2"]
    """Which of the two."""
    size: str
    """Published size, or "custom"."""
    config: Config
    """The inferred configuration."""
    facts: Mapping[str, Fact]
    """Every value with its source."""


def load_sam(path: str | Path, *, device: str = "cpu", given: Mapping[str, Any] | None = None) -> torch.nn.Module:
    """A working model from a file of weights of SAM 1, SAM 2 or SAM 2.1 in any known layout, without a configuration.

    Args:
        path: safetensors or torch file, or a folder of transformers.
        device: where the weights lie afterwards. On the CPU 32-bit weights stay mapped to the file: it must not be
            overwritten in place while the model lives (replacing it is harmless).
        given: values of the configuration that you know better than the weights say, e.g. {"heads": 2}.

    Returns:
        segment-anything's `Sam` or sam2's `SAM2Base`, in evaluation mode, 32 bits.

    Raises:
        WeightsError: not a whole checkpoint; names the nearest layout and the first keys that are missing and
            unexpected. A pickle with code in it is refused.
    """
    return open_sam(path, device=device, given=given).model


def open_sam(path: str | Path, *, device: str = "cpu", given: Mapping[str, Any] | None = None) -> LoadedSam:
    """As `load_sam`, with everything that was inferred. Values that nothing in the file decides raise a warning."""
    from voxlang.checkpoints.layouts import SAM1, SAM2, Layout
    from voxlang.checkpoints.reading import read_weights_file
    from voxlang.checkpoints.understand import understand

    file = read_weights_file(path)
    known = understand(file.state, given)
    where = str(file.path)
    known.require_whole(where)
    layout = known.match.layout
    family = layout.family if isinstance(layout, Layout) else None
    if family not in (SAM1, SAM2):
        raise WeightsError(
            "a whole SAM", got=layout.title, where=where, do="load it in its own framework: a trunk makes no masks"
        )
    unknown = sorted(set(given or {}) - set(known.facts))
    if unknown:
        raise ConfigError(f"some of {', '.join(known.facts)}", got=", ".join(unknown), where="given", do="correct it")
    assumed = [f"{name}={fact.value}" for name, fact in known.facts.items() if fact.source == "assumption"]
    if known.size == "custom" and assumed:
        warnings.warn(
            f"{where}: nothing in the weights decides {', '.join(assumed)}; pass what you know as given={{...}}",
            stacklevel=2,
        )
    model = _build(known.config, is_sam1=family is SAM1)
    _fill(model, known.hub)
    return LoadedSam(
        model.to(device).eval(), "sam1" if family is SAM1 else "sam2", known.size, known.config, known.facts
    )


def _build(config: Config, *, is_sam1: bool) -> torch.nn.Module:
    from voxlang.checkpoints.meta import WeightsOnMeta

    with WeightsOnMeta():
        if is_sam1:
            from voxlang.masks.sam1 import build_sam1

            return build_sam1(config)
        from voxlang.checkpoints.sam2_node import sam2_node
        from voxlang.encoders.build import instantiate_sam2

        return instantiate_sam2(sam2_node(config))


def _fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Put the tensors of a file in the place of weights without memory; a memory that the file lacks becomes zeros."""
    import torch

    full = {
        key: state[key].float() if key in state else torch.zeros(tensor.shape)
        for key, tensor in model.state_dict().items()
    }
    model.load_state_dict(full, strict=True, assign=True)
