"""Patterns of state-dict keys: find and rebuild names such as `blocks.7.attn.qkv.weight`.

A pattern is a key with three wild cards:

    #       a whole number; `#name` gives it a name, a nameless one is called by its place: "0", "1", ...
    *       one piece between dots
    **      everything that remains, dots included

    >>> blocks = KeyPattern("blocks.#block.norm#n.**")
    >>> blocks.match("blocks.7.norm2.weight")
    {'block': 7, 'n': 2, '*0': 'weight'}
    >>> KeyPattern("layers.#block.layer_norm#n.**").fill({'block': 7, 'n': 2, '*0': 'weight'})
    'layers.7.layer_norm2.weight'

The wild cards of two patterns correspond by name (numbers) and by order (`*` and `**`), so two patterns are a rule for
renaming that works in both directions. A number is written without leading zeros, so that filling a match gives the
same key again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

Captures = dict[str, int | str]
"""What the wild cards stand for: numbers by name, texts as "*0", "*1", ... in order."""

_WILD = re.compile(r"#([a-z]*)|\*\*|\*")
_NUMBER = re.compile(r"\d+")


class KeyPattern:
    """A key with wild cards.

    Args:
        text: the pattern; see the module.

    Raises:
        ValueError: a name is used twice.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: tuple[str, ...] = ()
        """Names of the wild cards in order."""
        expression, template, end, numbers, texts = "", "", 0, 0, 0
        for wild in _WILD.finditer(text):
            literal = text[end : wild.start()]
            if wild.group().startswith("#"):
                name = wild.group(1) or str(numbers)
                numbers += 1
                inside = "0|[1-9][0-9]*"
            else:
                name = f"*{texts}"
                texts += 1
                inside = ".+" if wild.group() == "**" else "[^.]+"
            if name in self.names:
                raise ValueError(f"pattern {text!r} uses the name {name!r} twice")
            expression += f"{re.escape(literal)}({inside})"
            template += _escape(literal) + "{" + str(len(self.names)) + "}"
            self.names += (name,)
            end = wild.end()
        self._expression = re.compile(expression + re.escape(text[end:]))
        self._template = template + _escape(text[end:])

    def __repr__(self) -> str:
        return f"KeyPattern({self.text!r})"

    def match(self, key: str) -> Captures | None:
        """What the wild cards stand for in a key, or None when the key has another form."""
        found = self._expression.fullmatch(key)
        if found is None:
            return None
        return {
            name: value if name.startswith("*") else int(value)
            for name, value in zip(self.names, found.groups(), strict=True)
        }

    def fill(self, captures: Captures) -> str:
        """The key in which the wild cards stand for these values.

        Raises:
            KeyError: a name of the pattern is not among them.
        """
        return self._template.format(*(captures[name] for name in self.names))

    def matches(self, keys: Iterable[str]) -> list[Captures]:
        """The captures of all keys that match, in their order."""
        return [captures for key in keys if (captures := self.match(key)) is not None]

    def numbers(self, keys: Iterable[str], name: str = "0") -> list[int]:
        """The different numbers that a wild card stands for, ascending."""
        return sorted({int(captures[name]) for captures in self.matches(keys)})

    def count(self, keys: Iterable[str], name: str = "0") -> int:
        """One more than the largest number that a wild card stands for: the length of a list of modules."""
        return max(self.numbers(keys, name), default=-1) + 1


@lru_cache(maxsize=4096)
def key_form(key: str) -> str:
    """A key with every number replaced by `#`: keys of one form differ in their numbers only."""
    return _NUMBER.sub("#", key)


def _escape(literal: str) -> str:
    return literal.replace("{", "{{").replace("}", "}}")
