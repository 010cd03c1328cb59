"""Arithmetic inside YAML files: the resolvers that SAM 2's training configurations use, as `${times:4,8}`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

RESOLVERS: dict[str, Callable[..., Any]] = {
    "add": lambda *numbers: sum(numbers),
    "times": lambda *numbers: math.prod(numbers),
    "divide": lambda a, b: a / b,
    "pow": lambda a, b: a**b,
    "subtract": lambda a, b: a - b,
    "range": lambda n: list(range(n)),
    "int": lambda x: int(x),
    "ceil_int": lambda x: math.ceil(x),
    "merge": lambda *mappings: {key: value for mapping in mappings for key, value in mapping.items()},
}
"""Name and function of each resolver. Those of SAM 2 that look up classes and functions by name are left out:
`_target_` does that, and is checked."""


def register_omegaconf_resolvers() -> None:
    """Make the resolvers known to OmegaConf; one that is known already is left as it is."""
    from omegaconf import OmegaConf

    for name, resolver in RESOLVERS.items():
        if not OmegaConf.has_resolver(name):
            OmegaConf.register_new_resolver(name, resolver)
