"""Never download: a scope in which the hub client answers from its local cache alone, and a look into that cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Forbid the hub client every request inside this scope; libraries on top of it then use local files only."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def cached_hub_file(repository: str, filenames: tuple[str, ...]) -> Path | None:
    """The first of these files of a hub repository that was downloaded before; None if there is none."""
    from huggingface_hub import try_to_load_from_cache

    for filename in filenames:
        found = try_to_load_from_cache(repository, filename)
        if isinstance(found, str):
            return Path(found)
    return None
