"""The neptune client as a backend: its offline log under the run directory, or a server that the user runs."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from voxlang.core.errors import TrackingError
from voxlang.tracking.log import EncodedImage, Parameter

TOKEN_VARIABLE = "NEPTUNE_API_TOKEN"
PROJECT_VARIABLE = "NEPTUNE_PROJECT"
TEXT_PIECE = 1000
"""neptune cuts longer values of a text series off; we hand it pieces, and the replay joins them."""
_SECONDS_BETWEEN_FLUSHES = 5.0
_LARGEST_INT = 2**31 - 1
_RETRY_SECONDS = "20"

logger = logging.getLogger(__name__)


def server_of_token(token: str) -> str | None:
    """Address that a neptune API token names (base64 of a JSON object); None where it is no such token."""
    try:
        content = json.loads(base64.b64decode(token.strip().encode(), validate=True))
    except (binascii.Error, ValueError):
        return None
    address = content.get("api_address") if isinstance(content, dict) else None
    return address if isinstance(address, str) else None


def choose_mode(
    wanted: Literal["auto", "offline", "online"], *, token: str | None, project: str | None
) -> Literal["offline", "async"]:
    """The client's mode: "async" (a server) or "offline".

    auto: a server when a token that names one and a project are configured, unless it is the hosted service, which
    ended on 2026-03-05; else offline.

    Raises:
        TrackingError: "online" without a token or a project.
    """
    address = server_of_token(token) if token else None
    if wanted == "offline":
        return "offline"
    if wanted == "online":
        if address is None or not project:
            missing = TOKEN_VARIABLE if address is None else PROJECT_VARIABLE
            raise TrackingError(
                f"{TOKEN_VARIABLE} (a token of your own neptune server) and {PROJECT_VARIABLE} (workspace/project)",
                got=f"{missing} " + ("that names no server" if token and address is None else "not set"),
                where="tracking.neptune=online",
                do=f"set {missing}, or use --tracking.neptune offline",
            )
        return "async"
    if address is None or not project:
        return "offline"
    host = address.split("://", 1)[-1].split("/", 1)[0].split(":", 1)[0]
    if host == "neptune.ai" or host.endswith(".neptune.ai"):
        logger.warning("%s names %s, whose hosted service ended on 2026-03-05; logging offline", TOKEN_VARIABLE, host)
        return "offline"
    return "async"


class NeptuneLog:
    """Writes to a neptune run.

    Args:
        folder: where the client keeps its files, by custom `runs/<name>/neptune`; its logs land in `offline/` in it.
        name: name of the run.
        mode: "offline" or "async".
        project: workspace/project on the server; ignored offline.
        flush_every: operations between two `run.wait()`.

    Raises:
        TrackingError: the client cannot start.
    """

    label = "neptune"

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        mode: Literal["offline", "async"],
        project: str | None = None,
        flush_every: int = 100,
    ) -> None:
        import neptune
        from neptune.exceptions import NeptuneException

        self.failures = (NeptuneException, OSError, ValueError, TypeError, RuntimeError)
        self.mode = mode
        self._flush_every = flush_every
        self._waiting = 0
        self._flushed = time.monotonic()
        retries = {} if "NEPTUNE_RETRIES_TIMEOUT" in os.environ else {"NEPTUNE_RETRIES_TIMEOUT": _RETRY_SECONDS}
        try:
            with _environment(NEPTUNE_DATA_DIRECTORY=str(folder.resolve()), **retries), _quiet():
                self._run = neptune.init_run(
                    mode=mode,
                    project=project if mode == "async" else None,
                    name=name,
                    source_files=[],
                    git_ref=False,
                    capture_stdout=False,
                    capture_stderr=False,
                    capture_hardware_metrics=False,
                    capture_traceback=False,
                )
        except self.failures as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise TrackingError(
                "a neptune run" + (f" in {project}" if mode == "async" else f" under {folder}"),
                got=reason,
                where=f"tracking.neptune, mode {mode}",
                do="check that the server answers and the token is valid, or use --tracking.neptune offline"
                if mode == "async"
                else "check that the folder can be written, or use --tracking.neptune off",
            ) from error

    def parameters(self, values: Mapping[str, Parameter]) -> None:
        """Assign each value under `parameters/`; integers beyond 32 bits become strings: the client knows no others."""
        for name, value in values.items():
            too_large = isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INT
            self._run[f"parameters/{name}"] = str(value) if too_large else value
        self._count(len(values))

    def tags(self, tags: tuple[str, ...]) -> None:
        """Add to `sys/tags`."""
        if tags:
            self._run["sys/tags"].add(list(tags))
            self._count(1)

    def metric(self, name: str, value: float, step: int) -> None:
        """Append to a float series."""
        self._run[name].append(value, step=step)
        self._count(1)

    def image(self, name: str, image: EncodedImage, step: int, caption: str) -> None:
        """Append to an image series: the bytes go into the log, not a path."""
        from neptune.types import File

        value = File.from_content(image.data, extension=image.suffix)
        self._run[name].append(value, step=step, name=caption or None)
        self._count(1)

    def text(self, name: str, text: str, step: int) -> None:
        """Append to a string series, in pieces of 1000 characters that share the time; a server wants rising steps."""
        now = time.time()
        for number, start in enumerate(range(0, max(len(text), 1), TEXT_PIECE)):
            self._run[name].append(text[start : start + TEXT_PIECE], step=step + number * 1e-6, timestamp=now)
            self._count(1)

    def artifact(self, name: str, path: Path) -> None:
        """Upload a file (a server), or keep its absolute path (offline), with its digest and size beside it."""
        from voxlang.core.digest import digest_file

        self._run[f"artifacts/{name}/file"].upload(str(path.resolve()))
        self._run[f"artifacts/{name}/digest"] = digest_file(path)
        self._run[f"artifacts/{name}/bytes"] = float(path.stat().st_size)
        self._count(3)

    def close(self) -> None:
        """Wait for the log to be written and stop the client."""
        with _quiet():
            self._run.wait()
            self._run.stop()

    def _count(self, operations: int) -> None:
        """Flush every `flush_every` operations, or five seconds after the last flush."""
        self._waiting += operations
        now = time.monotonic()
        if self._waiting >= self._flush_every or now - self._flushed > _SECONDS_BETWEEN_FLUSHES:
            self._waiting, self._flushed = 0, now
            self._run.wait()


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the block and restore them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Only warnings from the client's own logger during the block."""
    client = logging.getLogger("neptune")
    level = client.level
    client.setLevel(logging.WARNING)
    try:
        yield
    finally:
        client.setLevel(level)
