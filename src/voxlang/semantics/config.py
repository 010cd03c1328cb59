"""Settings of stage 2's lifting and semantic field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SemanticsConfig(BaseModel):
    """How masks become 3D semantics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=400, ge=1)
    """Training steps of the semantic field."""
    rays_per_step: int = Field(default=4096, ge=16)
    """Pixels drawn from all views at each step."""
    hidden: int = Field(default=64, ge=4)
    """Width of the composited feature; the three heads are linear in it."""
    grid_levels: tuple[int, ...] = (6, 12, 24, 48)
    """Cells along the longest axis of each dense feature grid."""
    grid_features: int = Field(default=4, ge=1)
    """Features per cell and grid level."""
    value_frequencies: int = Field(default=6, ge=0)
    """Sine and cosine pairs that encode the scalar value beside its plain self."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """Peak learning rate of Adam (cosine decay to a hundredth)."""
    lift_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss on lifted voxels beside the loss on composited pixels."""
    smoothness: float = Field(default=1e-4, ge=0)
    """Weight of the squared differences between neighbouring grid cells; fills what no view saw."""
    min_weight: float = Field(default=0.02, gt=0, lt=1)
    """Samples that add less opacity than this to their pixel are left out of lifting and training."""
    well_seen: float = Field(default=0.3, ge=0)
    """Total weight from which a voxel's own masks count; others are filled from their neighbours."""
    fill_neighbours: int = Field(default=6, ge=1)
    """Well-seen voxels that an unseen one is filled from."""
    fill_distance: float = Field(default=0.1, gt=0)
    """Distance, as a share of the longest edge, that counts as much as a change of value by `fill_value`."""
    fill_value: float = Field(default=0.085, gt=0)
    """Change of the value that counts as much as `fill_distance`, as a share of the range of what is visible; see
    `voxlang.semantics.contrast`."""
    seed: int = 0
    """Seed of initial weights and of the drawn rays."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps between checkpoints; an interrupted training continues at the last one and ends the same."""
