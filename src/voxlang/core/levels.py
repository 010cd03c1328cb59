"""The three levels of the hierarchy. The level axis always comes first."""

from __future__ import annotations

from enum import IntEnum


class Level(IntEnum):
    """SMALL lies inside PART lies inside WHOLE; the value is the index on the level axis."""

    SMALL = 0
    PART = 1
    WHOLE = 2

    @property
    def label(self) -> str:
        """Lower-case name as users type and read it: "small", "part", "whole"."""
        return self.name.lower()

    @property
    def letter(self) -> str:
        """The letter on disk: s, p or w."""
        return self.name[0].lower()


LEVELS: tuple[Level, ...] = (Level.SMALL, Level.PART, Level.WHOLE)


def level_from_name(name: str) -> Level:
    """Level of a name or letter in any case; an unknown name lists the choices."""
    from voxlang.core.errors import ConfigError

    for level in LEVELS:
        if name.strip().lower() in (level.label, level.letter):
            return level
    raise ConfigError(
        "a level name: small, part or whole (or s, p, w)",
        got=repr(name),
        where="level",
        do="use one of these",
    )
