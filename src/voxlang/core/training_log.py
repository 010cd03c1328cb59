"""What a training says of its steps: means in `log.jsonl` of its folder, and to whoever listens."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

LOG_NAME = "log.jsonl"
"""The log in a training's folder."""

MetricCallback = Callable[[int, dict[str, float]], None]
"""Told (step, means since the last call); a mean of numbers that were all unknown is nan."""


class TrainingLog:
    """Collects the numbers of steps and writes their means, a line of JSON each time.

    Lines are appended, so a training that is continued goes on with its log.

    Args:
        run_dir: the training's folder; None writes no file.
        every: steps between two lines.
        on_means: told the same means.
    """

    def __init__(self, run_dir: Path | str | None, *, every: int = 50, on_means: MetricCallback | None = None) -> None:
        self._path = None if run_dir is None else Path(run_dir) / LOG_NAME
        self._every, self._on_means = every, on_means
        self._sums: dict[str, list[float]] = {}

    def add(
        self, step: int, numbers: Mapping[str, float], *, phase: str, seconds: float, last: bool = False
    ) -> dict[str, float]:
        """Take the numbers of a step; the means, where this step ends a line.

        Args:
            step: steps done, this one included.
            numbers: losses and the like; nan where a number is not known, which counts in no mean.
            phase: what the training is doing.
            seconds: of the phase or the training up to here, as the training counts them.
            last: end a line here in any case.

        Returns:
            Mean of each number since the last line; empty within a line.
        """
        for name, value in numbers.items():
            self._sums.setdefault(name, []).append(value)
        if step % self._every and not last:
            return {}
        means = {name: mean_of_known(values) for name, values in self._sums.items()}
        self._sums = {}
        if self._path is not None:
            row = {"step": step, "phase": phase, "seconds": round(seconds, 1)}
            row |= {name: None if math.isnan(value) else round(value, 5) for name, value in means.items()}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as f:
                f.write(json.dumps(row) + "\n")
        if self._on_means is not None:
            self._on_means(step, means)
        return means


def mean_of_known(values: list[float]) -> float:
    """Mean of the numbers that are not nan; nan where there are none."""
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else float("nan")
