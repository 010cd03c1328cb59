"""The local dashboard: trackio's own pages, served on 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
import urllib.parse
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from voxlang.core.errors import TrackingError
from voxlang.tracking.replay import find_neptune_runs, rebuild_dashboard
from voxlang.tracking.trackio_log import bind_home, dashboard_home, local_only

HOST = "127.0.0.1"
_SECONDS_TO_STOP = 10.0


class Dashboard:
    """A dashboard that is being served; `close` stops it.

    Args:
        url: where a browser finds it.
        application: the handle that stops the server.
    """

    def __init__(self, url: str, application: Any) -> None:
        self.url = url
        self._application = application

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and wait until its port is free."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._application.close()
        port = urllib.parse.urlsplit(self.url).port
        deadline = time.monotonic() + _SECONDS_TO_STOP
        while time.monotonic() < deadline:
            try:
                socket.create_connection((HOST, port), timeout=1.0).close()
            except OSError:
                return
            time.sleep(0.05)


def start_dashboard(
    runs_root: Path | str, *, port: int | None = None, project: str = "voxlang", rebuild: bool = False
) -> Dashboard:
    """Serve the dashboard of the runs under `runs_root` in the background.

    Where the dashboard has no data of its own (they were deleted, or the run came from another machine), it is rebuilt
    from neptune's offline logs first.

    Args:
        runs_root: folder of the run directories.
        port: port on 127.0.0.1; None takes the first free one from 7860 on.
        project: the project to show.
        rebuild: rebuild it from neptune's logs in any case.

    Raises:
        TrackingError: no run to show, or the port is taken.
    """
    home = dashboard_home(runs_root)
    if rebuild or not any(home.glob("*.db")):
        if not Path(runs_root).is_dir() or not find_neptune_runs(runs_root):
            raise TrackingError(
                "runs with a log to show",
                got="no dashboard data and no neptune log",
                where=str(runs_root),
                do="run one first (make demo), or pass the folder of your runs with --runs-dir",
            )
        rebuild_dashboard(runs_root, home=home, project=project)
    trackio = bind_home(home)
    try:
        with contextlib.redirect_stdout(io.StringIO()), local_only():
            application, url, _, _ = trackio.show(
                project=project, open_browser=False, block_thread=False, host=HOST, share=False, server_port=port
            )
    except (OSError, RuntimeError) as error:
        raise TrackingError(
            f"port {port} of {HOST} free" if port else f"a free port of {HOST}",
            got=str(error),
            where="dashboard",
            do="pass another --tracking.port, or leave it out to take the first free one",
        ) from error
    return Dashboard(f"{url.rstrip('/')}/?project={project}", application)


def open_dashboard(
    runs_root: Path | str,
    *,
    port: int | None = None,
    project: str = "voxlang",
    rebuild: bool = False,
    open_browser: bool = True,
    announce: Callable[[str], None] = print,
    stop: threading.Event | None = None,
) -> None:
    """Serve the dashboard until Ctrl-C.

    Args:
        runs_root, port, project, rebuild: as in `start_dashboard`.
        open_browser: open the page in the browser of this machine.
        announce: receives the line with the address.
        stop: ends the serving when set; for callers without a keyboard.
    """
    stop = threading.Event() if stop is None else stop
    with start_dashboard(runs_root, port=port, project=project, rebuild=rebuild) as dashboard:
        announce(f"Dashboard of {runs_root}: {dashboard.url}  (local only; Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(dashboard.url)
        with contextlib.suppress(KeyboardInterrupt):
            while not stop.wait(0.5):
                pass
