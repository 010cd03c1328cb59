"""Settings of the ray marcher, shared by both backends."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from voxlang.core.digest import digest_json
from voxlang.core.settings import Direction

Unit = Annotated[float, Field(ge=0.0, le=1.0)]


class RenderSettings(BaseModel):
    """How a ray is sampled and lit. Everything but `backend` decides the picture; `digest` names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_voxels: float = Field(0.5, gt=0.0, le=4.0)
    """Distance of samples on a ray, in the smallest voxel spacing. Samples lie at mid-steps from the entry of the ray
    into the box of voxel centres; the last step ends at the exit. Smaller is finer and slower; opacity is per world
    length, so it does not change."""
    shading: bool = True
    """Light the samples by the gradient of the value (Blinn-Phong, two-sided normals)."""
    ambient: float = Field(0.3, ge=0.0, le=2.0)
    """Share of the colour that every sample shows whatever its normal (with shading)."""
    diffuse: float = Field(0.75, ge=0.0, le=2.0)
    """Share of the colour that depends on the angle between normal and light (with shading)."""
    specular: float = Field(0.18, ge=0.0, le=2.0)
    """Strength of the white highlight (with shading)."""
    specular_power: float = Field(24.0, ge=1.0, le=256.0)
    """Sharpness of the highlight: exponent on the cosine between normal and half vector."""
    light_direction_camera: Direction | None = None
    """Direction towards a distant light in the camera's frame (+x right, +y down, +z forward); None is a headlight at
    the camera."""
    gradient_floor: float = Field(0.004, ge=0.0, le=1.0)
    """Change g of the normalised value per smallest spacing below which a sample counts more and more as lit from the
    front, because the normal of a homogeneous interior is noise: the normal's influence is g / (g + gradient_floor)."""
    background: tuple[Unit, Unit, Unit] = (0.0, 0.0, 0.0)
    """Colour behind the volume."""
    stop_opacity: float = Field(0.995, gt=0.0, le=1.0)
    """A ray ends after the sample at which its accumulated opacity passes this; 1 follows every ray to its exit."""
    first_opacity: float = Field(0.1, gt=0.0, lt=1.0)
    """Accumulated opacity at which a ray counts as having hit something (`distance_first`)."""
    backend: Literal["auto", "numba", "torch"] = "auto"
    """"numba" runs on the CPU, "torch" on CUDA where there is one; "auto" takes torch only with a CUDA device."""

    @property
    def digest(self) -> str:
        """Content digest of everything that decides the picture (`backend` does not)."""
        return digest_json(self.model_dump(exclude={"backend"}))
