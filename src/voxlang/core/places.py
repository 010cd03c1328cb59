"""Where the project's own configurations and weights are looked for."""

from __future__ import annotations

from pathlib import Path


def search_roots() -> tuple[Path, ...]:
    """Folders in which configs/ and checkpoints/ are looked for: the working folder, then the source tree."""
    source_tree = Path(__file__).resolve().parents[3]
    return tuple(dict.fromkeys((Path.cwd(), source_tree)))


def find_file(relative: Path) -> Path | None:
    """The first existing file of this relative path below the search roots; an absolute path is taken as it is."""
    if relative.is_absolute():
        return relative if relative.is_file() else None
    return next((root / relative for root in search_roots() if (root / relative).is_file()), None)
