"""One tracker for a run: what is told to it goes to the neptune client and to the local dashboard alike."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voxlang.core.errors import TrackingError
from voxlang.core.levels import LEVELS, Level
from voxlang.core.training_log import MetricCallback
from voxlang.tracking.config import TrackerConfig
from voxlang.tracking.log import RunLog, encode_image, flat_parameters
from voxlang.tracking.neptune_log import PROJECT_VARIABLE, TOKEN_VARIABLE, NeptuneLog, choose_mode
from voxlang.tracking.trackio_log import TrackioLog, dashboard_home

__all__ = ["Tracker", "TrackerConfig", "tracked_training"]

logger = logging.getLogger(__name__)


class Tracker:
    """Tells a run's parameters, losses, pictures and files to every backend that is on.

    A backend that cannot start is an error at construction. One that fails later (a full disk, a lost server) must not
    end hours of work: it is reported once as a warning of this module's logger, counted, and summed up at `close`.

    Args:
        run_dir: the run's directory; its name is the run's name.
        config: which backends.

    Raises:
        TrackingError: a backend cannot start.
    """

    def __init__(self, run_dir: Path | str, config: TrackerConfig | None = None) -> None:
        config = TrackerConfig() if config is None else config
        self.run_dir = Path(run_dir)
        self.config = config
        self.failures: dict[str, int] = {}
        self._logs: list[RunLog] = []
        name = self.run_dir.resolve().name
        self._prepare(self.run_dir)
        try:
            if config.trackio:
                home = config.dashboard_dir or dashboard_home(self.run_dir.resolve().parent)
                self._logs.append(TrackioLog(home, project=config.project, name=name))
            if config.neptune != "off":
                project = config.neptune_project or os.environ.get(PROJECT_VARIABLE)
                mode = choose_mode(config.neptune, token=os.environ.get(TOKEN_VARIABLE), project=project)
                folder = self.run_dir / "neptune"
                self._logs.append(
                    NeptuneLog(folder, name=name, mode=mode, project=project, flush_every=config.flush_every)
                )
        except TrackingError:
            self.close()
            raise
        if config.tags:
            self.add_tags(*config.tags)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Keep settings; nested ones become `group/name`."""
        flat = flat_parameters(values)
        self._each(lambda log: log.parameters(flat))

    def add_tags(self, *tags: str) -> None:
        """Add words under which the run is found."""
        self._each(lambda log: log.tags(tags))

    def log_metric(self, name: str, value: float | int | np.number, step: int) -> None:
        """Append to the curve `name` (`train/loss_small`). A value that is not finite is kept as a text, `warnings`."""
        number = float(value)
        if math.isfinite(number):
            self._each(lambda log: log.metric(name, number, step))
        else:
            self.log_text("warnings", f"{name} is {number} at step {step}", step=step)

    def log_means(self, means: Mapping[str, float], step: int, *, prefix: str = "train") -> None:
        """Append to one curve per name, `train/loss`; nan, a number that is not known, is left out."""
        for name, value in means.items():
            if not math.isnan(value):
                self.log_metric(f"{prefix}/{name}", value, step)

    def log_level_losses(self, losses: Mapping[Level, float], step: int, *, prefix: str = "train") -> None:
        """Append one loss per level: `train/loss_small`, `train/loss_part`, `train/loss_whole`."""
        for level, value in losses.items():
            self.log_metric(f"{prefix}/loss_{level.label}", value, step)

    def log_level_statistics(self, counts: Mapping[Level, int], step: int = 0, *, prefix: str = "masks") -> None:
        """Append masks per level and each level's share of them: `masks/count_small`, `masks/share_small`, ...

        Args:
            counts: masks per level; a level that is absent counts 0.
            step: the view's number; 0 for the sum of all views.
            prefix: group of the curves.
        """
        total = sum(counts.values())
        for level in LEVELS:
            count = counts.get(level, 0)
            self.log_metric(f"{prefix}/count_{level.label}", count, step)
            if total:
                self.log_metric(f"{prefix}/share_{level.label}", count / total, step)

    def log_image(self, name: str, image: np.ndarray | Path | str, step: int = 0, *, caption: str = "") -> None:
        """Append a picture: `[h w 3]` or `[h w]`, float in [0, 1] or uint8, or the path of an image file.

        The picture itself is kept, not its path.

        Raises:
            TrackingError: not a picture.
        """
        encoded = encode_image(image, where=name)
        self._each(lambda log: log.image(name, encoded, step, caption))

    def log_figure(self, name: str, figure: Any, step: int = 0, *, caption: str = "", dpi: int = 110) -> None:
        """Append a matplotlib figure as a picture of `dpi` pixels per inch."""
        from PIL import Image

        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
        with Image.open(buffer) as opened:
            self.log_image(name, np.asarray(opened.convert("RGB")), step, caption=caption)

    def log_text(self, name: str, text: str, step: int = 0) -> None:
        """Append a text of any length."""
        self._each(lambda log: log.text(name, text, step))

    def log_artifact(self, name: str, path: Path | str) -> None:
        """Record a file that the run made, with its digest.

        Raises:
            TrackingError: no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise TrackingError("a file", got="no file", where=f"log_artifact({name}, {path})", do="write it first")
        self._each(lambda log: log.artifact(name, path))

    def close(self) -> None:
        """Write what is waiting in every backend; safe to call again."""
        self._each(lambda log: log.close())
        self._logs.clear()
        for label, count in self.failures.items():
            logger.warning("%s lost %d entries of %s", label, count, self.run_dir)
        self.failures.clear()

    def _each(self, act: Callable[[RunLog], None]) -> None:
        for log in self._logs:
            try:
                act(log)
            except log.failures as error:
                count = self.failures.get(log.label, 0)
                self.failures[log.label] = count + 1
                if count == 0:
                    logger.warning(
                        "%s cannot write (%s: %s); the run goes on without it until it can",
                        log.label,
                        type(error).__name__,
                        " ".join(str(error).split())[:300],
                    )

    @staticmethod
    def _prepare(run_dir: Path) -> None:
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackingError(
                "a run directory that can be written",
                got=str(error),
                where=str(run_dir),
                do="choose another --runs-dir",
            ) from error


@contextlib.contextmanager
def tracked_training(
    run_dir: Path | str, config: TrackerConfig, *, recipe: Mapping[str, Any], tag: str
) -> Iterator[MetricCallback]:
    """Track a training: its recipe and tags are told, and the block gets whom to tell the means of its steps.

    Args:
        run_dir: the training's folder.
        config: which backends.
        recipe: its settings.
        tag: what is trained.

    Raises:
        TrackingError: a backend cannot start.
    """
    with Tracker(run_dir, config) as tracker:
        tracker.log_parameters(recipe)
        tracker.add_tags("voxlang", "training", tag)
        yield lambda step, means: tracker.log_means(means, step)
