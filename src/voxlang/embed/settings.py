"""Which encoder embeds the masks, and how the masks are cut out for it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

CropPolicy = Literal["masked", "context", "box", "dual", "triple", "pooled"]
"""How a mask becomes a picture; see `voxlang.embed.crops`, and `voxlang.embed.dense` for "pooled"."""

MICRO_DIRECTORY = "voxlang_clip_micro"
"""Folder of the embedded model inside the checkpoints folder."""

DENSE_MICRO = "voxlang_dense_micro.safetensors"
"""File of its dense tower there."""

CLIPSEG_DIRECTORY = "clipseg-rd64-refined"
"""Folder in which the official CLIPSeg model is looked for inside the checkpoints folder."""

NEUTRAL_GREY = (0.5, 0.5, 0.5)
"""Close to the mean colour that the encoders subtract, so that it counts as nothing."""


class EmbedConfig(BaseModel):
    """The image-text encoder and its crops."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["open_clip", "clipseg"] = "open_clip"
    """Library the encoder comes from: open_clip, or CLIPSeg's CLIP through transformers."""
    model: str = "micro"
    """"micro" (embedded), an open_clip name such as ViT-B-16, local-dir:FOLDER, hf-hub:ORG/NAME (from the local hub
    cache only), or the folder of a CLIPSeg model."""
    pretrained: str | None = None
    """For an open_clip name: a tag such as laion2b_s34b_b88k, or a weights file."""
    checkpoints: Path = Path("checkpoints")
    """Folder in which weights are looked for."""
    policy: CropPolicy | None = None
    """masked: the mask alone on the background; context: its surroundings blurred and dimmed; box: a plain crop; dual:
    the mean of the vectors of masked and context; triple: that of masked, counted twice, context and box; pooled: dense
    features of the view, averaged in the mask. Without it triple with the embedded model, which is quick, and masked
    with all others."""
    regions: Literal["auto", "dense", "none"] = "auto"
    """dense: stage 2 learns what the dense tower of the embedded model calls the places of the views, if it knows such
    things; none: it learns the masks; auto: dense with the embedded model, none with all others."""
    trusted: float = Field(default=0.37, ge=-1, le=1)
    """The tower knows such things if its vectors and those of the masks have at least this mean cosine, over all views:
    what neither has seen they call differently. Below it stage 2 learns the masks."""
    background: tuple[float, float, float] = NEUTRAL_GREY
    """Colour around masked crops and beyond the picture's border, red green blue in [0, 1]."""
    batch_size: int = Field(default=64, ge=1)
    """Crops or texts per forward pass."""
    device: str = "auto"
    """auto (CUDA when there is one), cpu, cuda or cuda:N."""

    @property
    def crop_policy(self) -> CropPolicy:
        """The policy, or the model's own where none is given."""
        return self.policy or ("triple" if self._embedded else "masked")

    @property
    def dense(self) -> bool:
        """Whether a dense tower cuts the masks."""
        return self.regions == "dense" or (self.regions == "auto" and self._embedded)

    @property
    def _embedded(self) -> bool:
        return self.family == "open_clip" and self.model == "micro"
