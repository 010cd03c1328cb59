"""Views kept one by one while stage 2 runs, so that a run that was killed goes on at the next view."""

from __future__ import annotations

from pathlib import Path

from voxlang.core.digest import digest_json
from voxlang.core.errors import CacheError
from voxlang.supervision.cache import read_cache, write_cache
from voxlang.supervision.types import ViewTarget


class ViewStore:
    """A folder of single-view caches that belong to one set of inputs.

    The inputs are part of the folder's name: after a change of any of them the store is empty, and going back finds the
    former views again.
    """

    def __init__(self, folder: Path | str, inputs: dict[str, str]) -> None:
        self.inputs = dict(inputs)
        """Digest of everything the views depend on, by name."""
        self.folder = Path(folder) / f"views_{digest_json(self.inputs)[:12]}"
        """Where the views lie."""

    def path(self, i: int) -> Path:
        """File of view `i`."""
        return self.folder / f"view_{i:04d}.pkl"

    def get(self, i: int) -> ViewTarget | None:
        """View `i`, or None when it was not computed yet.

        Raises:
            CacheError: its file is damaged, unsafe, or was made from other inputs.
        """
        if not self.path(i).is_file():
            return None
        targets = read_cache(self.path(i), expected=self._inputs_of_view(i))
        if len(targets) != 1:
            raise CacheError(
                "one view", got=f"{len(targets)}", where=str(self.path(i)), do="delete the file and run stage 2 again"
            )
        return targets[0]

    def put(self, i: int, target: ViewTarget) -> None:
        """Keep view `i`; the file is whole or not there."""
        write_cache(self.path(i), [target], inputs=self._inputs_of_view(i))

    def done(self) -> list[int]:
        """Numbers of the views that are there, ascending."""
        return sorted(int(p.stem.removeprefix("view_")) for p in self.folder.glob("view_[0-9]*.pkl"))

    def assemble(self, path: Path | str, n_views: int) -> list[ViewTarget]:
        """Write views 0 to n_views - 1 into the one cache file, then drop the single ones.

        Raises:
            CacheError: views are missing; names them.
        """
        targets = [self.get(i) for i in range(n_views)]
        missing = [i for i, t in enumerate(targets) if t is None]
        whole = [t for t in targets if t is not None]
        if missing:
            raise CacheError(
                f"views 0 to {n_views - 1}",
                got=f"no views {missing}",
                where=str(self.folder),
                do="compute them before the cache is assembled",
            )
        write_cache(path, whole, inputs=self.inputs)
        self.clear()
        return whole

    def clear(self) -> None:
        """Delete the single views of these inputs."""
        for i in self.done():
            self.path(i).unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _inputs_of_view(self, i: int) -> dict[str, str]:
        return {**self.inputs, "view": str(i)}
