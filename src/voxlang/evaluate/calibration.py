"""Whether a model's certainty means what it says: predicted against true values, in bins, as numbers and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from voxlang.core.artifacts import atomic_path


@dataclass(frozen=True, eq=False)
class CalibrationCurve:
    """Means per bin of the predicted value; bins without a sample are left out."""

    predicted: Float[np.ndarray, "b"]
    """Mean predicted value."""
    true: Float[np.ndarray, "b"]
    """Mean true value."""
    count: Int[np.ndarray, "b"]
    """Samples."""

    @property
    def expected_error(self) -> float:
        """Mean distance between the two means, weighted by the samples (expected calibration error)."""
        return float(np.average(np.abs(self.predicted - self.true), weights=self.count))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able bins and the expected error."""
        return {
            "expected_error": round(self.expected_error, 4),
            "predicted": self.predicted.round(4).tolist(),
            "true": self.true.round(4).tolist(),
            "count": self.count.tolist(),
        }


def calibration_curve(
    predicted: Float[np.ndarray, "n"], true: Float[np.ndarray, "n"], *, bins: int = 10
) -> CalibrationCurve:
    """Sort samples into bins of equal width over [0, 1] by their predicted value; values outside go to the end bins.

    Args:
        predicted: what the model says, such as a predicted IoU or a probability.
        true: what it should have said, such as the IoU, or 0 and 1.
        bins: how many.
    """
    place = np.clip((np.asarray(predicted) * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    used = count > 0
    mean = lambda values: np.bincount(place, weights=values, minlength=bins)[used] / count[used]
    return CalibrationCurve(mean(predicted), mean(true), count[used])


def save_calibration_figure(path: Path | str, panels: Mapping[str, Mapping[str, CalibrationCurve]]) -> Path:
    """One panel per title with its curves (labelled, marker area by samples) and the diagonal; written as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(panels), 4.4), layout="constrained")
    for axes, (title, curves) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        for label, curve in curves.items():
            (line,) = axes.plot(curve.predicted, curve.true, label=f"{label} (error {curve.expected_error:.2f})")
            sizes = 120.0 * np.sqrt(curve.count / curve.count.max())
            axes.scatter(curve.predicted, curve.true, s=sizes, color=line.get_color(), alpha=0.6, linewidths=0)
        axes.set(title=title, xlabel="predicted", ylabel="true", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.legend(loc="upper left", fontsize="small", frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return Path(path)
