"""An image tower and a text tower in evaluation mode, asked in batches: what the adapters to CLIP models share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32

from voxlang.embed.preprocess import Images, Preprocess, unit_vectors_in_batches
from voxlang.embed.types import EncoderId

if TYPE_CHECKING:
    import torch


class TwoTowerEncoder(ABC):
    """An `ImageTextEncoder` around a model with a `logit_scale`; a subclass says how its towers are called.

    Args:
        model: put on the device and into evaluation mode.
        tokenizer: texts to what the text tower reads.
        identity: by content.
        preprocess: pictures to what the image tower sees.
        device: torch device.
        batch_size: pictures or texts at a time.
        known_names: of the things that training taught the model to tell apart.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Callable[..., Any],
        *,
        identity: EncoderId,
        preprocess: Preprocess,
        device: str = "cpu",
        batch_size: int = 64,
        known_names: tuple[str, ...] = (),
    ) -> None:
        self._model: Any = model.to(device).eval()
        self._tokenizer, self._id, self._preprocess = tokenizer, identity, preprocess
        self._device, self._batch_size = device, batch_size
        self._known_names = known_names

    @abstractmethod
    def _image_features(self, pixels: Float[torch.Tensor, "n 3 h w"]) -> Float[torch.Tensor, "n d"]:
        """What the image tower makes of preprocessed pictures."""

    @abstractmethod
    def _text_features(self, texts: list[str]) -> Float[torch.Tensor, "n d"]:
        """What the text tower makes of texts."""

    @property
    def id(self) -> EncoderId:
        """Identity by content."""
        return self._id

    @property
    def image_size(self) -> int:
        """Side of the square picture that the image tower sees, in pixels; no position embedding is stretched."""
        return self._preprocess.size

    @property
    def logit_scale(self) -> float:
        """Factor on cosines in training, exp of the stored logarithm."""
        return float(self._model.logit_scale.detach().exp().reshape(()))

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of the things that training taught the model to tell apart; none for models that do not say."""
        return self._known_names

    def encode_images(self, images: Images) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of pictures, float in [0, 1] or bytes in [0, 255]; none give an empty array."""
        return unit_vectors_in_batches(
            len(images),
            self._id.dim,
            batch_size=self._batch_size,
            encode=lambda part: self._image_features(self._preprocess.batch(images[part], self._device)),
            what="crops",
        )

    def encode_texts(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors of texts; none give an empty array."""
        return unit_vectors_in_batches(
            len(texts),
            self._id.dim,
            batch_size=self._batch_size,
            encode=lambda part: self._text_features(texts[part]),
            what="texts",
        )
