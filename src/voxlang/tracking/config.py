"""Settings of the tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrackerConfig(BaseModel):
    """Where a run tells what it does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    neptune: Literal["auto", "offline", "online", "off"] = "auto"
    """auto: a server if NEPTUNE_API_TOKEN and a neptune project are set, else the offline log in the run directory."""
    trackio: bool = True
    """Write to the local dashboard too."""
    project: str = "voxlang"
    """The project's name in the local dashboard."""
    neptune_project: str | None = None
    """workspace/project on a neptune server; default NEPTUNE_PROJECT."""
    tags: tuple[str, ...] = ()
    """Words under which the run is found."""
    flush_every: int = Field(default=100, ge=1)
    """Values between two flushes of the neptune log; a killed run loses at most so many."""
    dashboard_dir: Path | None = None
    """Folder of the dashboard's data; default `.trackio` beside the run directories."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port on 127.0.0.1 of --mode=dashboard; by default the first free one from 7860 on."""


NO_TRACKING = TrackerConfig(neptune="off", trackio=False)
"""Tell nobody."""
