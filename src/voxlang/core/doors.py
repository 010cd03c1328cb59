"""How programs end: what a user can mend is one readable line, and the exit status says which way it went."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

from voxlang.core.errors import ArtifactError, VoxlangError

_OF_THE_PLACE = frozenset(
    getattr(errno, name)
    for name in ["ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG"]
    if hasattr(errno, name)
)
"""What a disk, its rights, or a file where a folder is wanted may answer."""
_INTERRUPTED = 130


def through_door(act: Callable[[], str | None]) -> int:
    """Do what a program is for, print what it says, and return the exit status.

    Args:
        act: raises what went wrong.

    Returns:
        0 when done, 1 after an error that the user can mend, 130 after Ctrl-C. Anything else is a fault of ours and
        keeps its traceback.
    """
    try:
        said = act()
    except VoxlangError as error:
        return _told(error)
    except OSError as error:
        if error.errno not in _OF_THE_PLACE:
            raise
        return _told(
            ArtifactError(
                "files and folders that can be read and written",
                got=error.strerror,
                where=str(error.filename or "the file system"),
                do="make room, correct its rights, or choose another place",
            )
        )
    except KeyboardInterrupt:
        print("\nInterrupted. What was finished is kept, and the same command goes on from there.", file=sys.stderr)
        return _INTERRUPTED
    if said is not None:
        print(said)
    return 0


def _told(error: VoxlangError) -> int:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 1
