"""Settings of a text query."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

CANONICAL_NEGATIVES = ("object", "things", "stuff", "texture")
"""What a prompt must beat everywhere (LERF, arXiv 2303.09553, section 3.4)."""
QUERY_TEMPLATES = ("{}", "a rendering of the {}", "the {} of a volume")
"""Sentences around a prompt."""


class QueryConfig(BaseModel):
    """How text becomes a selection of voxels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: tuple[str, ...] = ()
    """What to look for; several at once make one label map and compete with each other on their level."""
    negatives: tuple[str, ...] = CANONICAL_NEGATIVES
    """Texts that a prompt must beat at a voxel."""
    templates: tuple[str, ...] = QUERY_TEMPLATES
    """Sentences that a prompt is put into; their vectors are averaged."""
    source: Literal["masks", "field"] = "masks"
    """Answer from the masks lifted in closed form, or from the trained semantic field."""
    level: Literal["auto", "small", "part", "whole"] = "auto"
    """Level to answer on; auto takes the one with the most certain selection, per prompt."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Relevancy that the best voxels must pass; 0.5 means nearer to the prompt than to any negative."""
    spread: float = Field(default=0.08, ge=0)
    """Share of the longest edge over which relevancy spreads within like values; 0 leaves it as it is."""
    spread_value: float = Field(default=0.034, gt=0)
    """Change of the value between neighbours that stops it, as a share of the range of what is visible; see
    `voxlang.semantics.contrast`."""
    peak_share: tuple[float, float] = (0.6, 0.8)
    """Voxels are selected from the first share of the way on that leads from the mean of the voxels left out to the
    prompt's peak, at the latest from the second share of the peak on; on the whole level from the first share of the
    peak on. Two zeros take the threshold for all voxels."""
    temperature: float = Field(default=0.0, ge=0)
    """Factor on cosines before the softmax; 0 takes the encoder's own logit scale."""
    known_names: bool = True
    """Whether, on the small level, a prompt shares each mask with all the names that the encoder was taught to tell
    apart, if it brings any; the field answers without them."""
    min_share: float = Field(default=5e-4, ge=0, lt=1)
    """A selection smaller than this share of the visible voxels counts as not found."""
    compete: bool = True
    """Whether prompts compete for a voxel on each level; without it selections may overlap on a level."""
    format: Literal["auto", "nrrd", "nii.gz"] = "auto"
    """File format of label maps and relevancy volumes; auto answers a NIfTI with a NIfTI and all others with NRRD."""

    @field_validator("peak_share")
    @classmethod
    def _shares_in_order(cls, shares: tuple[float, float]) -> tuple[float, float]:
        if not 0.0 <= shares[0] <= shares[1] < 1.0:
            raise ValueError(f"two shares in [0, 1), the smaller one first; got {shares}")
        return shares
