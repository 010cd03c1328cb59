"""What the embed room hands out: what encoders can do, their identities, and unit vectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int16

from voxlang.core.digest import digest_json
from voxlang.core.errors import EncoderMismatchError
from voxlang.embed.preprocess import Images, Picture


@dataclass(frozen=True)
class EncoderId:
    """Which image-text encoder made a vector. Two vectors may be compared only if these are equal."""

    family: str
    """"open_clip" or "clipseg"."""
    architecture: str
    """Model tag or the name of the local directory's configuration."""
    weights_digest: str
    """Digest of the weights file."""
    preprocess_digest: str
    """Digest of image size, mean, standard deviation and interpolation."""
    dim: int
    """Length of the vectors."""

    @property
    def digest(self) -> str:
        """One digest of all fields."""
        return digest_json(asdict(self))

    def as_dict(self) -> dict[str, Any]:
        """JSON-able description."""
        return asdict(self)

    @staticmethod
    def from_dict(value: dict[str, Any]) -> EncoderId:
        """Inverse of `as_dict`."""
        return EncoderId(**value)


def require_same_encoder(ours: EncoderId, theirs: EncoderId, *, where: str) -> None:
    """Raise EncoderMismatchError unless both identities are equal; names the fields that differ."""
    if ours != theirs:
        a, b = asdict(ours), asdict(theirs)
        differing = [k for k in a if a[k] != b[k]]
        raise EncoderMismatchError(
            "vectors of one encoder: " + ", ".join(f"{k}={a[k]!r}" for k in differing),
            got=", ".join(f"{k}={b[k]!r}" for k in differing),
            where=where,
            do="query with the encoder that the field was trained with, or train the field again",
        )


@dataclass(frozen=True, eq=False)
class MaskEmbeddings:
    """One unit vector per mask."""

    vectors: Float32[np.ndarray, "n d"]
    """Unit length."""
    encoder: EncoderId
    """Who made them."""

    def __post_init__(self) -> None:
        norms = np.linalg.norm(self.vectors, axis=-1)
        if self.vectors.shape[1] != self.encoder.dim or not np.allclose(norms, 1.0, atol=1e-3):
            raise EncoderMismatchError(
                f"unit vectors of length {self.encoder.dim}",
                got=f"shape {self.vectors.shape}, norms {norms.min(initial=1.0):.4f}..{norms.max(initial=1.0):.4f}",
                where="MaskEmbeddings",
                do="normalise the vectors of this encoder",
            )


@dataclass(frozen=True, eq=False)
class NamedRegions:
    """Regions of one view with a vector each."""

    index: Int16[np.ndarray, "3 h w"]
    """Row of `vectors` at each pixel and level; -1 outside the object."""
    vectors: Float32[np.ndarray, "n d"]
    """Unit vectors."""


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
