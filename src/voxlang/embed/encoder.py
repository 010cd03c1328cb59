"""The door that loads an image-text encoder, and the dense tower that speaks to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxlang.embed.settings import DENSE_MICRO, EmbedConfig
from voxlang.embed.types import ImageTextEncoder
from voxlang.embed.weights import checkpoint_folders

if TYPE_CHECKING:
    from voxlang.embed.dense_encoder import DenseEncoder


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
