"""What every image-text encoder can do, and the door that loads one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from voxlang.embed.preprocess import Images, Picture
from voxlang.embed.settings import DENSE_MICRO, EmbedConfig
from voxlang.embed.types import EncoderId, NamedRegions
from voxlang.embed.weights import checkpoint_folders

if TYPE_CHECKING:
    from voxlang.embed.dense_encoder import DenseEncoder


@runtime_checkable
class ImageTextEncoder(Protocol):
    """Pictures and texts to unit vectors in one space; the same input always gives the same vector."""

    @property
    def id(self) -> EncoderId:
        """Identity by content: equal identities mean comparable vectors."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the square picture that the image tower sees, in pixels."""
        ...

    @property
    def logit_scale(self) -> float:
        """Factor that training put on cosines before the softmax or sigmoid (the inverse temperature)."""
        ...

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of the things that training taught the model to tell apart; none for models that do not say."""
        ...

    def encode_images(self, images: Images) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of pictures, float in [0, 1] or bytes in [0, 255]; none give an empty array."""
        ...

    def encode_texts(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of texts; none give an empty array."""
        ...


@runtime_checkable
class RegionEncoder(Protocol):
    """Looks at a whole picture and says which regions of it are called differently, in the space of an encoder."""

    @property
    def digest(self) -> str:
        """Identity by content: of all that decides the regions of a picture."""
        ...

    def regions(self, rgb: Picture, inside: Bool[np.ndarray, "h w"]) -> NamedRegions:
        """Regions of the pixels `inside` on each level, with a unit vector each."""
        ...


def load_encoder(config: EmbedConfig) -> ImageTextEncoder:
    """Load the encoder that the settings name, from local files only.

    Raises:
        ConfigError: an unknown model or tag (near matches are listed), or a device that is not there.
        ModelMissingError: files that are not there; says where to get them and where to put them.
        ArtifactError: weights, configuration or tokenizer that do not fit each other.
    """
    from voxlang.embed.clipseg_encoder import load_clipseg
    from voxlang.embed.open_clip_encoder import load_open_clip

    loaders = {"open_clip": load_open_clip, "clipseg": load_clipseg}
    return loaders[config.family](config)


def load_dense_encoder(config: EmbedConfig, encoder: ImageTextEncoder) -> DenseEncoder | None:
    """Load the dense tower that speaks to the texts of an encoder; None where the settings want none.

    Raises:
        ModelMissingError, ArtifactError, WeightsError: as `load_dense_tower`.
    """
    if not config.dense:
        return None
    from voxlang.embed.dense_encoder import load_dense_tower

    paths = [folder / DENSE_MICRO for folder in checkpoint_folders(config)]
    path = next((p for p in paths if p.is_file()), paths[0])
    return load_dense_tower(path, encoder=encoder.id, device=config.device)
