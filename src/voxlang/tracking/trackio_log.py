"""trackio as a backend: a local database that its dashboard shows live. Nothing leaves the machine.

trackio fixes its folder when it is imported and copies it into several of its modules (0.43.0); `bind_home` sets them
all, so that the data of a run lie beside the run and never under the home folder.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import io
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voxlang.core.digest import digest_bytes
from voxlang.core.errors import TrackingError
from voxlang.tracking.log import EncodedImage, Parameter

HOME_NAME = ".trackio"
"""Folder of the dashboard's data beside the run directories."""
_COPY_BELOW_BYTES = 16 << 20
_REMOTE_VARIABLES = (
    "TRACKIO_SPACE_ID",
    "TRACKIO_SERVER_URL",
    "TRACKIO_WRITE_TOKEN",
    "TRACKIO_BUCKET_ID",
    "TRACKIO_DATASET_ID",
    "TRACKIO_WEBHOOK_URL",
)
_open_logs: list[TrackioLog] = []


def dashboard_home(runs_root: Path | str) -> Path:
    """Folder of the dashboard's data for the runs under `runs_root`."""
    return Path(runs_root).resolve() / HOME_NAME


def bind_home(home: Path) -> Any:
    """Import trackio and make it keep its data in `home`; returns the module.

    Raises:
        TrackingError: a log in another folder is still open in this process; trackio knows one folder per process.
    """
    home = home.resolve()
    others = [log.home for log in _open_logs if log.home != home]
    if others:
        raise TrackingError(
            f"one dashboard folder per process, {others[0]}, which an open tracker uses",
            got=str(home),
            where="trackio",
            do="close that tracker first",
        )
    with local_only(), _folder_variable(home):
        import trackio
        import trackio.sqlite_storage
    folders = {"TRACKIO_DIR": home, "MEDIA_DIR": home / "media", "ARTIFACTS_DIR": home / "artifacts"}
    for name, module in list(sys.modules.items()):
        if name == "trackio" or name.startswith("trackio."):
            for variable in folders.keys() & vars(module).keys():
                setattr(module, variable, folders[variable])
    return trackio


class TrackioLog:
    """Writes to a run of a local trackio project; a run of the same name is continued.

    Args:
        home: folder of the database, see `dashboard_home`.
        project: the project's name in the dashboard.
        name: name of the run.

    Raises:
        TrackingError: the folder cannot be written, or trackio refuses the project's name.
    """

    label = "trackio"
    failures: tuple[type[Exception], ...] = (OSError, sqlite3.Error, ValueError, TypeError, RuntimeError)

    def __init__(self, home: Path, *, project: str, name: str) -> None:
        self.home = home.resolve()
        self.project = project
        self.name = name
        self._settings: dict[str, Any] = {}
        self._tags: tuple[str, ...] = ()
        self._run: Any = None
        self._configuration_written = False
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self._trackio = bind_home(self.home)
            self._trackio.sqlite_storage.SQLiteStorage.validate_project_name(project)
            self._trackio.sqlite_storage.SQLiteStorage.init_db(project)
        except self.failures as error:
            raise TrackingError(
                f"a dashboard project {project!r} under {self.home}",
                got=str(error),
                where="trackio",
                do="check that the folder can be written and the name is plain, or use --tracking.trackio false",
            ) from error
        _open_logs.append(self)
        atexit.register(self.close)

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Merge into the run's configuration."""
        self._settings.update(values)
        self._configuration_written = False

    def tags(self, tags: tuple[str, ...]) -> None:
        """Keep as `tags` in the configuration; trackio itself knows none."""
        self._tags = tuple(dict.fromkeys(self._tags + tags))
        self._settings["tags"] = list(self._tags)
        self._configuration_written = False

    def metric(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._log({name: value}, step)

    def image(self, name: str, image: EncodedImage, step: int, caption: str) -> None:
        """Add a picture, stored under the dashboard's folder."""
        self._log({name: self._media(image, caption)}, step)

    def text(self, name: str, text: str, step: int) -> None:
        """Add a text, shown as markdown."""
        self._log({name: self._trackio.Markdown(text)}, step)

    def artifact(self, name: str, path: Path) -> None:
        """Add a file: copied below 16 MiB, else kept by its path and digest.

        All are of one type: runs of a project share names, and trackio refuses one name with two types.
        """
        artifact = self._trackio.Artifact(name=name.replace("/", "-"), type="file")
        if path.stat().st_size < _COPY_BELOW_BYTES:
            artifact.add_file(path)
        else:
            artifact.add_reference(path.resolve().as_uri())
        self._started().log_artifact(artifact)

    def write_points(self, points: Sequence[tuple[dict[str, Any], int, str]]) -> None:
        """Write past values with their own times: (values, step, ISO time) each. For rebuilding from a log."""
        run = self._started()
        self._storage().bulk_log(
            project=self.project,
            run=self.name,
            metrics_list=[values for values, _, _ in points],
            steps=[step for _, step, _ in points],
            timestamps=[stamp for _, _, stamp in points],
            config={**run.config, **self._settings},
            run_id=run.id,
        )
        self._configuration_written = True

    def stored_image(self, image: EncodedImage, step: int, caption: str) -> dict[str, Any]:
        """Store a picture and return the value by which `write_points` refers to it."""
        from trackio.media.utils import get_project_media_path

        folder = get_project_media_path(project=self.project, run=self.name, step=step)
        path = folder / f"{digest_bytes(image.data)}.{image.suffix}"
        path.write_bytes(image.data)
        return {
            "_type": self._trackio.Image.TYPE,
            "file_path": str(path.relative_to(self.home / "media")),
            "caption": caption,
        }

    def stored_text(self, text: str) -> dict[str, Any]:
        """The value by which `write_points` refers to a text."""
        return {"_type": self._trackio.Markdown.TYPE, "_value": text}

    def delete(self) -> None:
        """Remove an earlier run of this name from the project."""
        self._storage().delete_run(self.project, self.name)

    def close(self) -> None:
        """Write what is waiting; a run that logged nothing still appears with its configuration."""
        atexit.unregister(self.close)
        if self not in _open_logs:
            return
        _open_logs.remove(self)
        run = self._started()
        with _silent(), local_only():
            run.finish()
        if not self._configuration_written:
            self.write_points([({}, 0, datetime.now(UTC).isoformat())])

    def _storage(self) -> Any:
        return self._trackio.sqlite_storage.SQLiteStorage

    def _started(self) -> Any:
        """The run, begun at the first value so that the settings that were logged before are its configuration."""
        if self._run is None:
            context = contextvars.Context()
            with _silent(), local_only():
                self._run = context.run(
                    self._trackio.init,
                    project=self.project,
                    name=self.name,
                    config=dict(self._settings),
                    resume="allow",
                    embed=False,
                    auto_log_cpu=False,
                    auto_log_gpu=False,
                )
        return self._run

    def _log(self, values: dict[str, Any], step: int) -> None:
        """Hand values to the run; its first value carries the configuration of that moment."""
        if self._run is None:
            self._configuration_written = True
        self._started().log(values, step=step)

    def _media(self, image: EncodedImage, caption: str) -> Any:
        from PIL import Image

        with Image.open(io.BytesIO(image.data)) as opened:
            return self._trackio.Image(opened.convert("RGB"), caption=caption or None)


@contextlib.contextmanager
def _folder_variable(home: Path) -> Iterator[None]:
    """TRACKIO_DIR for the block."""
    before = os.environ.get("TRACKIO_DIR")
    os.environ["TRACKIO_DIR"] = str(home)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TRACKIO_DIR"]
        else:
            os.environ["TRACKIO_DIR"] = before


@contextlib.contextmanager
def local_only() -> Iterator[None]:
    """No server, space or web hook from the environment, and the Hugging Face client offline, for the block."""
    removed = {name: os.environ.pop(name) for name in _REMOTE_VARIABLES if name in os.environ}
    from huggingface_hub import constants

    offline = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        os.environ.update(removed)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """trackio prints; the doors say where results lie."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
