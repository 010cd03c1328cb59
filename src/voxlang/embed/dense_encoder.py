"""The dense tower in use: regions of a view whose places the texts would call alike, on each level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32

from voxlang.core.artifacts import atomic_path
from voxlang.core.device import device_of
from voxlang.core.digest import digest_file, digest_json
from voxlang.core.errors import ArtifactError, ModelMissingError
from voxlang.core.levels import LEVELS, Level
from voxlang.core.weights import load_weights
from voxlang.embed.dense_tower import STRIDE, DenseTower, build_dense_tower, tower_input
from voxlang.embed.preprocess import Picture
from voxlang.embed.types import EncoderId, NamedRegions

REGIONS = {Level.SMALL: 32, Level.PART: 20, Level.WHOLE: 4}
"""Most regions of a view on each level."""
KIND = "dense-tower"
_CHUNK_PX = 1 << 14
"""Pixels whose vectors are made at a time."""


class DenseEncoder:
    """A trained dense tower in evaluation mode.

    Args:
        tower: put on the device.
        side: edge in pixels of the square pictures that it was trained for; views are resized to it.
        weights_digest: of its file.
        device: torch device.
    """

    def __init__(self, tower: DenseTower, *, side: int, weights_digest: str, device: str = "cpu") -> None:
        self._tower, self._device = tower.to(device).eval(), device
        self.side = side
        """Edge in pixels of the square pictures that the tower sees."""
        self.digest = digest_json([weights_digest, side, {level.label: k for level, k in REGIONS.items()}])
        """Digest of all that decides the regions of a picture."""

    @torch.inference_mode()
    def hidden(self, rgb: Picture) -> Float32[torch.Tensor, "1 c q r"]:
        """Hidden features of the places of a picture, float in [0, 1] or bytes, squashed to the tower's size."""
        return self._tower(tower_input(self.side).batch(rgb[None], self._device))

    @torch.inference_mode()
    def vectors(self, hidden: Float32[torch.Tensor, "k c"]) -> Float32[torch.Tensor, "k 3 d"]:
        """Unit vectors at Small, Part and Whole, from hidden features."""
        return self._tower.vectors(hidden)

    @torch.inference_mode()
    def regions(self, rgb: Picture, inside: Bool[np.ndarray, "h w"]) -> NamedRegions:
        """Sort the pixels of an object by what they would be called, and take the mean direction of each sort.

        Args:
            rgb: the view's picture, float in [0, 1] or bytes.
            inside: pixels of the object.
        """
        height, width = inside.shape
        index = np.full((len(LEVELS), height, width), -1, np.int16)
        hidden = self.hidden(rgb)
        q = self.side // STRIDE
        share = F.adaptive_avg_pool2d(torch.from_numpy(inside)[None, None].float(), (q, q))[0, 0]
        places = (share > 0.5).flatten().nonzero()[:, 0].to(self._device)
        at = np.flatnonzero(inside)
        if not len(places) or not len(at):
            return NamedRegions(index, np.zeros((0, self._tower.dim), np.float32))
        coarse = self.vectors(hidden[0].flatten(1).T[places])
        centres = [_centres(coarse[:, level], REGIONS[level]) for level in LEVELS]
        sums = [torch.zeros_like(c) for c in centres]
        labels = np.empty((len(LEVELS), len(at)), np.int64)
        for start in range(0, len(at), _CHUNK_PX):
            part = at[start : start + _CHUNK_PX]
            v, u = np.divmod(part, width)
            grid = torch.from_numpy(np.stack([(2 * u + 1) / width - 1, (2 * v + 1) / height - 1], -1)).float()
            fine = F.grid_sample(
                hidden, grid[None, None].to(self._device), mode="bilinear", align_corners=False, padding_mode="border"
            )
            vectors = self.vectors(fine[0, :, 0].T)
            for level in LEVELS:
                label = (vectors[:, level] @ centres[level].T).argmax(1)
                sums[level].index_add_(0, label, vectors[:, level])
                labels[level, start : start + len(part)] = label.numpy(force=True)
        tables, offset = [], 0
        for level in LEVELS:
            used, label = np.unique(labels[level], return_inverse=True)
            index[level].reshape(-1)[at] = label + offset
            offset += len(used)
            tables.append(F.normalize(sums[level][torch.from_numpy(used)], dim=1).numpy(force=True))
        return NamedRegions(index, np.concatenate(tables))


def _centres(vectors: Float32[torch.Tensor, "n d"], k: int) -> Float32[torch.Tensor, "k d"]:
    """Directions of at most k sorts of vectors."""
    from sklearn.cluster import KMeans

    points = vectors.numpy(force=True)
    k = min(k, len(np.unique(points, axis=0)))
    fit = KMeans(k, n_init=1, max_iter=20, random_state=0).fit(points)
    return F.normalize(torch.from_numpy(fit.cluster_centers_).to(vectors), dim=1)


def save_dense_tower(path: Path | str, tower: DenseTower, *, config: str, side: int, texts: str, record: dict) -> Path:
    """Write a tower in half precision, atomically.

    Args:
        path: a safetensors file.
        tower: trained.
        config: name of the SAM 2 configuration whose image encoder it has.
        side: edge of the pictures in pixels.
        texts: digest of the weights of the image-text model whose texts it speaks to.
        record: what it came from, as strings.
    """
    from safetensors.torch import save_file

    tensors = {name: t.detach().cpu().half().contiguous() for name, t in tower.state_dict().items()}
    hidden = tower.lateral[0].out_channels
    about = {"kind": KIND, "config": config, "side": str(side), "hidden": str(hidden), "dim": str(tower.dim)}
    with atomic_path(Path(path)) as temporary:
        save_file(tensors, temporary, metadata=about | {"texts": texts} | record)
    return Path(path)


def load_dense_tower(path: Path | str, *, encoder: EncoderId, device: str = "auto") -> DenseEncoder:
    """Load a tower for the texts of an encoder.

    Raises:
        ModelMissingError, ArtifactError: as `read_tower_file`.
        WeightsError: weights that do not fit the configuration they name.
    """
    about, state = read_tower_file(path, encoder=encoder)
    tower = build_dense_tower(about["config"], dim=int(about["dim"]), hidden=int(about["hidden"]))
    load_weights(tower, state, where=str(path))
    found = str(device_of(device, where="embed.device"))
    return DenseEncoder(tower, side=int(about["side"]), weights_digest=digest_file(path), device=found)


def read_tower_file(path: Path | str, *, encoder: EncoderId | None) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """What the file of a tower says about itself, and its weights in float32.

    Args:
        path: a file of `save_dense_tower`.
        encoder: the image-text model whose texts the tower must speak to; None takes those of any.

    Raises:
        ModelMissingError: no such file.
        ArtifactError: not a dense tower, or one that speaks to the texts of another model.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    otherwise = "pass --embed.regions none" if encoder else "name a file that it exported"
    advice = f"train one{' for these texts' if encoder else ''} with training/train_dense.py, or {otherwise}"
    if not path.is_file():
        raise ModelMissingError("the weights of the dense tower", got="no such file", where=str(path), do=advice)
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ArtifactError(
            "a whole safetensors file", got=str(error), where=str(path), do="restore the file, or train the tower again"
        ) from error
    if about.get("kind") != KIND or (encoder is not None and about.get("texts") != encoder.weights_digest):
        got = f"one for texts {about.get('texts')}" if about.get("kind") == KIND else f"a file of {about.get('kind')}"
        wanted = f" for the texts of {encoder.architecture} ({encoder.weights_digest})" if encoder else ""
        raise ArtifactError(f"a dense tower{wanted}", got=got, where=str(path), do=advice)
    return about, state
