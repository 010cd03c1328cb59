"""The shape of report.json. It is frozen: tools read it, and tests/golden/report_schema.json holds it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from voxlang.core.errors import ArtifactError

_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_Share = Field(default=None, ge=0.0, le=1.0)


class VolumeSummary(BaseModel):
    """What went in."""

    model_config = _STRICT

    name: str
    """Name of the volume."""
    size_xyz: tuple[int, int, int]
    """Voxels along x, y, z."""
    spacing_xyz: tuple[float, float, float]
    """Distance of voxel centres along x, y, z, in `unit`."""
    unit: str = ""
    """Physical unit of the spacing; empty when the file names none."""
    value_range: tuple[float, float] | None = None
    """Lowest and highest value in the file's own units."""
    source: str | None = None
    """File, folder or generator it came from."""
    digest: str | None = None
    """Digest of the values."""


class StageTime(BaseModel):
    """One measured stage, as `StageClock` records it."""

    model_config = _STRICT

    name: str
    """What the stage is called."""
    seconds: float = Field(ge=0.0)
    """Wall-clock time."""
    peak_memory_bytes: int = Field(ge=0)
    """Highest resident memory of the process and its children."""
    peak_device_bytes: int | None = None
    """Highest CUDA memory in tensors, when CUDA was used."""
    resumed: bool = False
    """The stage was computed by an earlier start of this run."""


class LevelStatistics(BaseModel):
    """The masks of one level over all views."""

    model_config = _STRICT

    masks: int = Field(ge=0)
    """Number of masks."""
    share: float | None = _Share
    """Their share of all masks; filled in from the numbers when it is not given."""
    per_view_mean: float | None = None
    """Masks per view."""
    coverage: float | None = _Share
    """Mean share of a picture's pixels that carry a mask of this level."""
    final_loss: float | None = None
    """Last value of the level's training loss."""


class Levels(BaseModel):
    """Statistics of the three levels; a plain number stands for `masks`."""

    model_config = _STRICT

    small: LevelStatistics
    """Masks inside parts."""
    part: LevelStatistics
    """Masks inside wholes."""
    whole: LevelStatistics
    """Masks inside no other."""

    @field_validator("small", "part", "whole", mode="before")
    @classmethod
    def _number_of_masks(cls, value: Any) -> Any:
        return {"masks": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fill_shares(self) -> Levels:
        total = self.small.masks + self.part.masks + self.whole.masks
        for name in ("small", "part", "whole"):
            level: LevelStatistics = getattr(self, name)
            if level.share is None:
                share = level.masks / total if total else 0.0
                object.__setattr__(self, name, level.model_copy(update={"share": share}))
        return self


class PromptCounts(BaseModel):
    """How many points SAM 2 was asked about, all views together."""

    model_config = _STRICT

    grid_points: int = Field(ge=0)
    """Points of the grids."""
    skipped: int = Field(ge=0)
    """Of these, points that were not asked because nothing is seen there."""


class QueryEntry(BaseModel):
    """One text query and its answer."""

    model_config = _STRICT

    prompt: str
    """The text as it was typed."""
    level: Literal["small", "part", "whole"] | None
    """The level that answered; None when nothing was found."""
    found: bool
    """Relevancy reached the threshold somewhere."""
    score: float
    """Highest relevancy, in [0, 1]."""
    iou: float | None = _Share
    """3D intersection over union with the truth, when it is known; else the key is left out of the JSON."""
    outputs: tuple[str, ...] = ()
    """Files that the query wrote, relative to the run directory."""
    label: int | None = None
    """Value of this query in the label map."""
    color_rgb: tuple[float, float, float] | None = None
    """Colour of this query in the pictures, [0, 1]."""
    voxels: int | None = None
    """Voxels that carry the label."""


class Report(BaseModel):
    """All of report.json."""

    model_config = _STRICT

    name: str
    """Name of the run."""
    volume: VolumeSummary | None = None
    """The input."""
    settings: dict[str, Any]
    """The run's configuration."""
    versions: dict[str, str]
    """Python and libraries."""
    stages: tuple[StageTime, ...]
    """In the order in which they finished."""
    levels: Levels
    """Masks per level."""
    prompts: PromptCounts | None = None
    """Points asked; None in reports that do not count them."""
    queries: tuple[QueryEntry, ...]
    """In the order in which they were asked."""
    mean_iou: float | None = _Share
    """Mean IoU over the queries that the run's protocol counts; None without truth."""
    psnr_db: float | None = None
    """Quality of stage 1; None when views come from the grid, or when the field is exact: JSON has no infinity."""
    provenance: dict[str, Any] = Field(default_factory=dict)
    """When, by what command, from which commit, with which seeds and on which machine (`RunDirectory.start`)."""

    def as_json(self) -> dict[str, Any]:
        """The JSON value: `iou` and the optional facts of stages and queries only where they are known."""
        value = self.model_dump(mode="json")
        for entry in (*value["stages"], *value["queries"], *value["levels"].values()):
            for key in [k for k, v in entry.items() if v is None and k != "level"]:
                del entry[key]
        for stage in value["stages"]:
            if not stage["resumed"]:
                del stage["resumed"]
        return value


def check_report(report: Mapping[str, Any], run_dir: Path) -> Report:
    """Check a report's shape; the run's name is taken from its directory when it is missing.

    Raises:
        ArtifactError: a field is missing, unknown or out of range; the message names the first five.
    """
    try:
        return Report.model_validate({"name": run_dir.resolve().name, **report})
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ArtifactError(
            "a report with settings, versions, stages, levels, queries, mean_iou and psnr_db",
            got="; ".join(faults[:5]) + more,
            where=f"write_report({run_dir})",
            do="compare with tests/golden/report_schema.json",
        ) from error
