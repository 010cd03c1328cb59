"""Every setting of a run in one frozen model: YAML preset first, command line over it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.runs import folder_name
from voxlang.core.settings import Direction, read_settings
from voxlang.embed.settings import EmbedConfig
from voxlang.field.config import FieldConfig
from voxlang.masks.models import Sam1Size
from voxlang.masks.settings import SamSettings
from voxlang.query.config import QueryConfig
from voxlang.render.settings import RenderSettings
from voxlang.semantics.config import SemanticsConfig
from voxlang.tracking.config import TrackerConfig

Mode = Literal["stage1", "render", "stage2", "infer", "evaluate", "dashboard", "cache-stats", "compare-sam", "all"]
DepthShare = Annotated[float, Field(ge=0, lt=1)]


class VolumeConfig(BaseModel):
    """Where the volume comes from: a file, or a procedural phantom when no path is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = ""
    """Volume file or DICOM folder; empty takes the phantom below."""
    size_xyz: tuple[int, int, int] | None = None
    """Voxels along x, y, z of a .raw file whose name does not say; of the phantom's grid otherwise."""
    dtype: str | None = None
    """Sample type of a .raw file whose name does not say, such as uint8 or float32."""
    endian: Literal["little", "big"] = "little"
    """Byte order of a .raw file."""
    spacing_xyz: tuple[float, float, float] | None = None
    """Spacing, for files that carry none and for phantoms."""
    labels: str = ""
    """Label map of the same grid, as truth for --mode=evaluate."""
    label_names: str = ""
    """JSON file with label names, {"1": "liver", ...}, or with a key "labels" that holds this."""
    family: str = "bonsai"
    """Phantom family."""
    seed: int = 7
    """Phantom seed."""


class ViewConfig(BaseModel):
    """Which pictures are taken of the volume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n: int = Field(default=20, ge=1)
    """Number of views; they take the transfer functions in turn."""
    width: int = Field(default=512, ge=16)
    """Picture width in pixels."""
    height: int = Field(default=512, ge=16)
    """Picture height in pixels."""
    placement: Literal["even", "random"] = "even"
    """Cameras spread evenly on the sphere, or drawn at random."""
    up_world: Direction | None = None
    """Up in the pictures; by default +z where the file knows its orientation, else +y."""
    fov_y_deg: float = Field(default=30.0, gt=1, lt=120)
    """Vertical field of view in degrees."""
    transfers: tuple[str, ...] = Field(default=("auto",), min_length=1)
    """Transfer functions: "auto", preset names, or ParaView JSON files."""
    cut_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the views that a plane across the viewing axis cuts open, of every transfer function that hides much of
    what it shows: for what lies inside something opaque."""
    cut_hidden: float = Field(default=0.5, ge=0, le=1)
    """Part of what a transfer function shows that must lie too deep to be seen before its views are cut; 0 cuts all."""
    cut_depth: tuple[DepthShare, DepthShare] = (0.3, 0.6)
    """Least and largest part of the depth that a cut takes away; the cuts are spread between them."""
    source: Literal["inr", "grid"] = "inr"
    """Render the stage 1 field, or the volume itself."""
    seed: int = 0
    """Seed of the camera placement."""


class CompareSamConfig(BaseModel):
    """The SAM 1 that --mode=compare-sam puts beside the SAM 2 of `sam`; everything else is asked of both alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Sam1Size = "vit_b"
    """Official size that is looked for in checkpoints/."""
    checkpoint: Path | None = None
    """Weights of SAM 1 in any layout and of any size."""
    views: int = Field(default=4, ge=1)
    """Views of the run that are compared: the first ones."""


class PipelineConfig(BaseModel):
    """voxlang: any 3D volume in, a text-queryable, hierarchical 3D segmentation out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "all"
    """What to run: one stage, or all of them in order. cache-stats and dashboard look at what is there; compare-sam
    asks SAM 1 and SAM 2 about the same views."""
    name: str = ""
    """Name of the run folder; by default the volume's name."""
    volume: VolumeConfig = VolumeConfig()
    """Input."""
    stage1: FieldConfig = FieldConfig()
    """Implicit representation of the scalar volume."""
    views: ViewConfig = ViewConfig()
    """Cameras and transfer functions."""
    render: RenderSettings = RenderSettings()
    """Ray marching."""
    sam: SamSettings = SamSettings()
    """Automatic masks."""
    embed: EmbedConfig = EmbedConfig()
    """Image-text encoder."""
    semantics: SemanticsConfig = SemanticsConfig()
    """Lifting and semantic field."""
    query: QueryConfig = QueryConfig()
    """Text queries."""
    compare_sam: CompareSamConfig = CompareSamConfig()
    """SAM 2 against SAM 1."""
    tracking: TrackerConfig = TrackerConfig()
    """Run logs."""
    device: str = "auto"
    """torch device; auto takes CUDA where there is one."""
    runs_dir: str = "runs"
    """Folder of run folders."""
    cache_dir: str = "cache"
    """Folder of the cached views."""

    @property
    def run_name(self) -> str:
        """Name of the run folder."""
        if self.name:
            return self.name
        if self.volume.path:
            from voxlang.volume.read import SUFFIXES, suffix_of

            path = Path(self.volume.path)
            suffix = suffix_of(path)
            stem = path.name[: -len(suffix)] if suffix in SUFFIXES else path.name
            return folder_name(stem, otherwise="volume")
        return f"{self.volume.family}_{self.volume.seed}"


def load_preset(path: str | Path) -> PipelineConfig:
    """Read a YAML preset; keys left out keep their defaults.

    Raises:
        ConfigError: no such file, no YAML mapping, or a key or value that the model refuses, named with its place.
    """
    return read_settings(path, PipelineConfig, examples="configs")
