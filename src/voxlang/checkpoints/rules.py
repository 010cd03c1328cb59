"""Tables of rules that carry a state dict from one layout to another and back.

A table stands between the hub layout of a family (the names of the original project) and another layout. Each rule
names its hub side and its other side by patterns, so the table is read in both directions; the inverse is not written
a second time. Rules are tried in order and the first that matches a key takes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from voxlang.checkpoints.patterns import Captures, KeyPattern
from voxlang.core.errors import WeightsError

if TYPE_CHECKING:
    import torch

State = Mapping[str, "torch.Tensor"]


@dataclass(frozen=True)
class Rename:
    """One tensor, one tensor; the values may lie in another shape or in another order of axes."""

    hub: str
    """Pattern of the hub's key."""
    other: str
    """Pattern of the other layout's key."""
    hub_shape: tuple[int, ...] | None = None
    """Shape on the hub's side; None keeps the shape."""
    other_shape: tuple[int, ...] | None = None
    """Shape on the other side; None keeps the shape."""
    other_axes: tuple[int, ...] | None = None
    """Which axis of the hub's tensor each axis of the other one is, as in `torch.permute`; None keeps the order."""


@dataclass(frozen=True)
class Stack:
    """Several hub tensors, numbered by `#` and one row each, are the rows of one tensor on the other side."""

    hub: str
    """Pattern with exactly one number."""
    other: str
    """Key without wild cards."""


@dataclass(frozen=True)
class Twin:
    """The other layout keeps a tensor twice; this is the second copy, equal to the first."""

    original: str
    """Key of the other layout that holds the first copy."""
    copy: str
    """Key of the other layout that holds the second; it may be left out of a file."""


@dataclass(frozen=True)
class Drop:
    """Keys of one side that mean nothing on the other, and why."""

    reason: str
    hub: str | None = None
    """Pattern of hub keys that the other layout does not have."""
    other: str | None = None
    """Pattern of the other layout's keys that the hub does not have."""


Rule = Rename | Stack | Twin | Drop


@dataclass(frozen=True)
class ConversionReport:
    """What happened to every key."""

    renamed: tuple[tuple[str, str], ...] = ()
    """(old key, new key), also where both are the same."""
    reshaped: tuple[str, ...] = ()
    """New keys whose values have another shape than before."""
    dropped: tuple[tuple[str, str], ...] = ()
    """(old key, reason): left out on purpose."""
    missing: tuple[str, ...] = ()
    """Keys that the target should have and does not."""
    unexpected: tuple[str, ...] = ()
    """Keys of the source that no rule knows."""
    misshapen: tuple[str, ...] = ()
    """Keys whose shape contradicts the rest, with both shapes."""

    @property
    def is_whole(self) -> bool:
        """Nothing is missing, unexpected or misshapen."""
        return not (self.missing or self.unexpected or self.misshapen)

    def text(self, *, limit: int = 10) -> str:
        """One line per kind, with the first keys of those that need attention."""
        moved = sum(old != new for old, new in self.renamed)
        lines = [
            f"{len(self.renamed)} tensors, {moved} renamed, {len(self.reshaped)} reshaped",
            f"{len(self.dropped)} dropped on purpose{_reasons(self.dropped)}",
        ]
        for name in ("missing", "unexpected", "misshapen"):
            keys = getattr(self, name)
            lines.append(f"{len(keys)} {name}" + (f": {first(keys, limit)}" if keys else ""))
        return "\n".join(lines)


def joined(reading: ConversionReport, writing: ConversionReport) -> ConversionReport:
    """The report of two steps, into the hub and out of it, as one: from the oldest keys to the newest."""
    old_of: dict[str, list[str]] = {}
    for old, middle in reading.renamed:
        old_of.setdefault(middle, []).append(old)
    moved = dict.fromkeys((old, new) for middle, new in writing.renamed for old in old_of.get(middle, [middle]))
    reshaped_once = {new for middle, new in writing.renamed if middle in set(reading.reshaped)}
    return ConversionReport(
        renamed=tuple(moved),
        reshaped=tuple(dict.fromkeys((*writing.reshaped, *(n for n in reshaped_once if n not in writing.reshaped)))),
        dropped=(*reading.dropped, *((o, why) for key, why in writing.dropped for o in old_of.get(key, [key]))),
        unexpected=(*reading.unexpected, *writing.unexpected),
    )


def first(keys: Iterable[str], limit: int = 10) -> str:
    """The first keys as one text, and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more


def _reasons(dropped: tuple[tuple[str, str], ...]) -> str:
    reasons = dict.fromkeys(reason for _, reason in dropped)
    return f": {'; '.join(reasons)}" if reasons else ""


@dataclass(frozen=True)
class RuleTable:
    """An ordered table of rules between a hub and another layout."""

    rules: tuple[Rule, ...]

    def to_other(self, state: State) -> tuple[dict[str, torch.Tensor], ConversionReport]:
        """Carry a state dict of the hub into the other layout; the tensors share memory with the old ones."""
        done = _Conversion()
        stacks: dict[str, dict[int, torch.Tensor]] = {}
        for key, tensor in state.items():
            move, captures = self._from_hub.find(key)
            if isinstance(move, _Move) and move.is_stack:
                stacks.setdefault(move.target.text, {})[_number(captures)] = tensor
                done.renamed.append((key, move.target.text))
            else:
                done.follow(move, captures, key, tensor)
        done.join(stacks)
        for twin in self._twins:
            if twin.original in done.state:
                done.state[twin.copy] = done.state[twin.original]
                done.renamed.append((twin.original, twin.copy))
        return done.state, done.report()

    def to_hub(self, state: State) -> tuple[dict[str, torch.Tensor], ConversionReport]:
        """Carry a state dict of the other layout into the hub's; the tensors share memory with the old ones.

        Raises:
            WeightsError: two tensors that should be copies of each other are not.
        """
        done = _Conversion()
        state = dict(state)
        for twin in self._twins:
            if twin.copy in state:
                _drop_copy(state, twin)
                done.dropped.append((twin.copy, f"copy of {twin.original}"))
        for key, tensor in state.items():
            move, captures = self._from_other.find(key)
            if isinstance(move, _Move) and move.is_stack:
                done.split(key, tensor, move.target)
            else:
                done.follow(move, captures, key, tensor)
        return done.state, done.report()

    @cached_property
    def _twins(self) -> tuple[Twin, ...]:
        return tuple(r for r in self.rules if isinstance(r, Twin))

    @cached_property
    def _from_hub(self) -> _Lookup:
        moves: list[tuple[KeyPattern, _Move | Drop]] = []
        for rule in self.rules:
            if isinstance(rule, Rename):
                moves.append((KeyPattern(rule.hub), _Move(KeyPattern(rule.other), rule.other_shape, rule.other_axes)))
            elif isinstance(rule, Stack):
                moves.append((KeyPattern(rule.hub), _Move(KeyPattern(rule.other), is_stack=True)))
            elif isinstance(rule, Drop) and rule.hub:
                moves.append((KeyPattern(rule.hub), rule))
        return _Lookup(moves)

    @cached_property
    def _from_other(self) -> _Lookup:
        moves: list[tuple[KeyPattern, _Move | Drop]] = []
        for rule in self.rules:
            if isinstance(rule, Rename):
                axes = rule.other_axes and tuple(rule.other_axes.index(i) for i in range(len(rule.other_axes)))
                moves.append((KeyPattern(rule.other), _Move(KeyPattern(rule.hub), rule.hub_shape, axes)))
            elif isinstance(rule, Stack):
                moves.append((KeyPattern(rule.other), _Move(KeyPattern(rule.hub), is_stack=True)))
            elif isinstance(rule, Drop) and rule.other:
                moves.append((KeyPattern(rule.other), rule))
        return _Lookup(moves)


@dataclass(frozen=True)
class _Move:
    """Where a key goes, read in one direction."""

    target: KeyPattern
    shape: tuple[int, ...] | None = None
    axes: tuple[int, ...] | None = None
    is_stack: bool = False


class _Lookup:
    """The first move whose source matches a key; answers are remembered."""

    def __init__(self, moves: list[tuple[KeyPattern, _Move | Drop]]) -> None:
        self._moves = moves
        self._answers: dict[str, tuple[_Move | Drop | None, Captures]] = {}

    def find(self, key: str) -> tuple[_Move | Drop | None, Captures]:
        if key not in self._answers:
            found = ((move, captures) for source, move in self._moves if (captures := source.match(key)) is not None)
            self._answers[key] = next(found, (None, {}))
        return self._answers[key]


@dataclass
class _Conversion:
    """The new state dict and the notes on it, while they are made."""

    state: dict[str, torch.Tensor] = field(default_factory=dict)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def follow(self, move: _Move | Drop | None, captures: Captures, key: str, tensor: torch.Tensor) -> None:
        """Do with one tensor what its rule says."""
        if isinstance(move, Drop):
            self.dropped.append((key, move.reason))
        elif move is None:
            self.unexpected.append(key)
        else:
            new = move.target.fill(captures)
            self.renamed.append((key, new))
            if move.shape is not None:
                tensor = tensor.reshape(move.shape)
                self.reshaped.append(new)
            if move.axes is not None and tensor.ndim == len(move.axes):
                tensor = tensor.permute(move.axes)
                self.reshaped.append(new)
            self.state[new] = tensor

    def join(self, stacks: dict[str, dict[int, torch.Tensor]]) -> None:
        """Lay numbered rows into one tensor each."""
        import torch

        for new, numbered in stacks.items():
            rows = [numbered[i] for i in sorted(numbered)]
            shape = (sum(row.shape[0] for row in rows), *rows[0].shape[1:])
            # torch.cat of meta tensors would import the compiler, which takes seconds
            self.state[new] = rows[0].new_empty(shape) if rows[0].is_meta else torch.cat(rows)
            self.reshaped.append(new)

    def split(self, key: str, tensor: torch.Tensor, target: KeyPattern) -> None:
        """Cut a tensor into its numbered rows."""
        if tensor.ndim == 0:
            self.unexpected.append(key)
            return
        for i, row in enumerate(tensor.split(1)):
            new = target.fill({target.names[0]: i})
            self.state[new] = row
            self.renamed.append((key, new))
            self.reshaped.append(new)

    def report(self) -> ConversionReport:
        return ConversionReport(
            renamed=tuple(self.renamed),
            reshaped=tuple(self.reshaped),
            dropped=tuple(self.dropped),
            unexpected=tuple(self.unexpected),
        )


def _number(captures: Captures) -> int:
    (number,) = captures.values()
    return int(number)


def _drop_copy(state: dict[str, torch.Tensor], twin: Twin) -> None:
    copy = state.pop(twin.copy)
    original = state.setdefault(twin.original, copy)
    same_form = original.shape == copy.shape and original.dtype == copy.dtype
    if original is copy or (same_form and (original.is_meta or original.equal(copy))):
        return
    raise WeightsError(
        f"{twin.copy} to be a copy of {twin.original}",
        got="different values",
        where="state dict",
        do="use a file in which both are the same: the target has room for one",
    )
