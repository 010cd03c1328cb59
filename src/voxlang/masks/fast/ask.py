"""Put points to the decoder, chunk by chunk, and compute mask logits only where a predicted IoU passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Float64

from voxlang.masks.fast.candidates import RawMasks
from voxlang.masks.fast.decoder import Decoded, FastDecoder, PictureMaps
from voxlang.masks.fast.encode import PictureFeatures
from voxlang.masks.fast.parameters import MaskParameters
from voxlang.masks.fast.speed import Precision, reduced_precision

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_CACHE_BYTES = 4 << 20
"""Factors of a chunk that still stay in a CPU's caches."""
_PROMPT_LOGITS = 32.0
"""Mask prompts are clamped to this. Source: sam2_image_predictor.py, `_predict`."""


def prompts_at_a_time(decoder: FastDecoder, parameters: MaskParameters, device: torch.device) -> int:
    """Chunk length: as many as the user allows, on a CPU at most as many as the caches hold."""
    if device.type != "cpu":
        return parameters.points_per_batch
    return max(1, min(parameters.points_per_batch, _CACHE_BYTES // (4 * decoder.n_pixels * decoder.rank)))


def pixels_of_points(points: Float64[np.ndarray, "n 2"], size: tuple[int, int]) -> Float32[np.ndarray, "n 2"]:
    """Points in [0, 1] as pixels of a crop of this height and width."""
    return (points * np.array(size, np.float64)[::-1]).astype(np.float32)


def ask_points(
    decoder: FastDecoder,
    features: PictureFeatures,
    points: Float64[np.ndarray, "n 2"],
    size: tuple[int, int],
    parameters: MaskParameters,
    *,
    dtype: Precision = "float32",
) -> Iterator[RawMasks]:
    """The masks of points on one crop whose predicted IoU passes, in the order of the points.

    Args:
        decoder: the model's decoder.
        features: the crop's features.
        points: x, y in [0, 1] of the crop.
        size: height and width of the crop in pixels.
        parameters: of these `pred_iou_thresh`, `multimask_output`, `use_m2m` and `points_per_batch` matter here.
        dtype: arithmetic of the matrix products.
    """
    import torch

    device = features.embedding.device
    pixels = torch.from_numpy(pixels_of_points(points, size))
    inputs = (pixels / torch.tensor(size[::-1]) * decoder.input_size).to(device)
    length = prompts_at_a_time(decoder, parameters, device)
    floor = parameters.pred_iou_thresh if parameters.pred_iou_thresh > 0 else -np.inf
    maps = decoder.picture_maps(features)
    refined_maps = decoder.picture_maps(features, mask_prompts=True) if parameters.use_m2m else None
    for part in torch.arange(len(inputs)).split(length):
        with reduced_precision(device, dtype):
            decoded = decoder.decode(maps, inputs[part])
            every = -np.inf if refined_maps is not None else floor
            index, tokens, scores, logits = _choose(decoder, maps, decoded, parameters.multimask_output, every)
        if refined_maps is None:
            yield _raw(pixels[part], index, tokens, scores, logits)
            continue
        prompts = logits.clamp(-_PROMPT_LOGITS, _PROMPT_LOGITS)[:, None]
        for again in torch.arange(len(index)).split(length):
            places = part[index[again].cpu()]
            with reduced_precision(device, dtype):
                decoded = decoder.decode(refined_maps, inputs[places], prompts[again])
                kept, _, scores, refined = _choose(decoder, refined_maps, decoded, False, floor)
            yield _raw(pixels[places], kept, tokens[again][kept], scores, refined)


def _raw(pixels: Tensor, index: Tensor, tokens: Tensor, scores: Tensor, logits: Tensor) -> RawMasks:
    numbers = tokens.cpu().numpy().astype(np.int16), scores.float().cpu().numpy()
    return RawMasks(pixels[index.cpu()].numpy(), *numbers, logits)


def _choose(
    decoder: FastDecoder, maps: PictureMaps, decoded: Decoded, multimask: bool, floor: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prompt, token, score and logits of the masks whose score is above the floor, in the order of the prompts."""
    if multimask:
        scores = decoded.scores[:, 1:]
        passes = scores > floor
        alive = passes.any(1).nonzero()[:, 0]
        logits = decoder.mask_logits(maps, decoder.narrow(decoded, alive), list(range(1, decoded.scores.shape[1])))
        index, tokens = passes.nonzero().unbind(1)
        return index, tokens, scores[passes], logits[passes[alive]]
    if decoder.falls_back is None:
        scores = decoded.scores[:, 0]
        alive = (scores > floor).nonzero()[:, 0]
        logits = decoder.mask_logits(maps, decoder.narrow(decoded, alive), [0])[:, 0]
        return alive, alive.new_full(alive.shape, -1), scores[alive], logits
    return _choose_stable(decoder, maps, decoded, floor)


def _choose_stable(
    decoder: FastDecoder, maps: PictureMaps, decoded: Decoded, floor: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The single mask where it is stable, else the best of the others.

    Source: sam2/modeling/sam/mask_decoder.py, `_dynamic_multimask_via_stability`.
    """
    import torch

    delta, least = decoder.falls_back
    best_score, best = decoded.scores[:, 1:].max(1)
    alive = ((decoded.scores[:, 0] > floor) | (best_score > floor)).nonzero()[:, 0]
    logits = decoder.mask_logits(maps, decoder.narrow(decoded, alive), list(range(decoded.scores.shape[1])))
    single = logits[:, 0].flatten(1)
    core, reach = (single > delta).sum(1).float(), (single > -delta).sum(1).float()
    stable = torch.where(reach > 0, core / reach, 1.0) >= least
    token = torch.where(stable, 0, best[alive] + 1)
    rows = torch.arange(len(alive), device=token.device)
    scores = decoded.scores[alive, token]
    passes = scores > floor
    return alive[passes], token[passes] - 1, scores[passes], logits[rows, token][passes]
