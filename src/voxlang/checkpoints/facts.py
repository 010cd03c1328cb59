"""Inferred values and where each comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

import torch

from voxlang.checkpoints.patterns import KeyPattern
from voxlang.core.errors import WeightsError

Source = Literal["weights", "look-up", "assumption", "given"]
"""weights: read off names and shapes. look-up: a published model with these weights has it. assumption: nothing says
so; the usual value. given: the caller said so."""


@dataclass(frozen=True)
class Fact:
    """One inferred value."""

    value: Any
    """Plain value: number, text, tuple, or None."""
    source: Source
    """How far it can be trusted."""
    because: str
    """The key, published model or habit behind it."""


@dataclass
class FactFinder:
    """Collects facts about one state dict; asking for what is not there is an error that names the key.

    Args:
        shapes: shape of every tensor by key, in the hub layout of the family.
        given: values that the caller fixes; they win over what would be inferred.
    """

    shapes: Mapping[str, tuple[int, ...]]
    given: Mapping[str, Any] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)

    def weights(self, name: str, value: Any, because: str) -> Any:
        """Note a value that names and shapes fix."""
        return self._note(name, Fact(value, "weights", because))

    def lookup(self, name: str, value: Any, because: str) -> Any:
        """Note a value of the published model that these weights belong to."""
        return self._note(name, Fact(value, "look-up", because))

    def assume(self, name: str, value: Any, because: str) -> Any:
        """Note a value that nothing in the file decides."""
        return self._note(name, Fact(value, "assumption", because))

    def _note(self, name: str, fact: Fact) -> Any:
        if name in self.given:
            fact = Fact(self.given[name], "given", "by the caller")
        self.facts[name] = fact
        return fact.value

    def shape(self, key: str, dimensions: int) -> tuple[int, ...]:
        """Shape of a tensor that has to be there, with this many dimensions, none of them empty."""
        if key not in self.shapes:
            self.fail(f"the key {key}", got="no such key")
        shape = self.shapes[key]
        if len(shape) != dimensions or 0 in shape:
            self.fail(f"{dimensions} dimensions in {key}", got=str(tuple(shape)))
        return shape

    def count(self, pattern: str) -> int:
        """How many different numbers the first wild card of a pattern stands for; they have to be 0, 1, 2, ..."""
        numbers = KeyPattern(pattern).numbers(self.shapes)
        if numbers != list(range(len(numbers))):
            gap = next(i for i, n in enumerate(numbers) if i != n)
            self.fail(f"{pattern} numbered without gaps", got=f"no number {gap} but {numbers[-1]}")
        return len(numbers)

    def ratio(self, large: int, small: int, what: str) -> int:
        """`large` / `small`, which has to be whole."""
        if small < 1 or large < small or large % small:
            self.fail(f"a whole ratio for {what}", got=f"{large} / {small}")
        return large // small

    def fail(self, expected: str, *, got: str) -> NoReturn:
        """Say that the weights contradict themselves or lack what is needed."""
        raise WeightsError(expected, got=got, where="inference from weights", do="use a whole checkpoint")


def shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor as plain numbers."""
    return {key: tuple(tensor.shape) for key, tensor in state.items()}
