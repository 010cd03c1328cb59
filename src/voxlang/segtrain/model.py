"""The network in training: a SAM 2 model answering many prompts at once, and a helper head that is thrown away later.

Three measures let a micro SAM 2 learn from nothing in minutes (without them it answers every prompt alike, with nothing
or with all that is in the foreground): the auxiliary pixel-embedding head teaches the encoder what belongs together;
the decoder starts with open ears (`segtrain.start`); and its mask tokens are asked what they found at the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import nn

from voxlang.segtrain.data import Batch
from voxlang.segtrain.start import open_prompts

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

_LEVELS, _DIMENSIONS = 3, 16


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says to a batch of prompts."""

    logits: Float[torch.Tensor, "b k 4 q q"] | None
    """Mask logits of the four tokens: single, small, part, whole; none when the decoder was not asked."""
    predicted_iou: Float[torch.Tensor, "b k 4"] | None
    """The model's estimate of each mask's IoU."""
    auxiliary_logits: Float[torch.Tensor, "b k 3 q q"] | None
    """Mask logits of the auxiliary head: small, part, whole; only for point prompts."""
    token_embeddings: Float[torch.Tensor, "b k 4 d"] | None
    """What the four mask tokens make of the pixel embedding at the prompt; only for point prompts."""
    prompt_embeddings: Float[torch.Tensor, "b k 4 d"] | None
    """The pixel embedding at the prompt that they should make (the single token: the part's); no gradient."""


class PixelEmbeddingHead(nn.Module):
    """Per level a unit vector for each low-resolution pixel; logit = scale × (e(pixel) · e(prompt)) − bias."""

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for _ in range(3))
        self.mix = nn.Sequential(
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden, _LEVELS * _DIMENSIONS, 1),
        )
        self.scale = nn.Parameter(torch.full((_LEVELS,), 5.0))
        self.bias = nn.Parameter(torch.full((_LEVELS,), 2.5))

    def forward(
        self, features: list[torch.Tensor], points: Float[torch.Tensor, "b k 2"], image_size: int
    ) -> tuple[Float[torch.Tensor, "b k 3 q q"], Float[torch.Tensor, "b k 3 d"]]:
        """Logits of the pixels that belong with each point, on each level, and the embeddings of the points.

        Args:
            features: FPN levels [b c h w], finest first, each half the size of the one before.
            points: pixels (u, v) of the picture.
            image_size: side of the picture in pixels.
        """
        size = features[0].shape[-2:]
        x = self.lateral[0](features[0])
        for lateral, feature in zip(self.lateral[1:], features[1:], strict=True):
            x = x + F.interpolate(lateral(feature), size=size, mode="bilinear", align_corners=False)
        b, k = points.shape[:2]
        e = F.normalize(self.mix(x).view(b, _LEVELS, _DIMENSIONS, -1).float(), dim=2)
        cell = (points * (size[0] / image_size)).long().clamp(0, size[0] - 1)
        index = (cell[..., 1] * size[1] + cell[..., 0])[:, None, None].expand(-1, _LEVELS, _DIMENSIONS, -1)
        at_points = e.gather(3, index)
        logits = torch.einsum("bldp,bldk->bklp", e, at_points)
        logits = logits * self.scale[:, None] - self.bias[:, None]
        return logits.view(b, k, _LEVELS, *size), at_points.permute(0, 3, 1, 2)


class SegmentationStudent(nn.Module):
    """A SAM 2 model and what helps it to learn: the auxiliary head, and a reading of the mask tokens by it."""

    def __init__(self, sam: SAM2Base) -> None:
        super().__init__()
        self.sam = sam
        self.auxiliary = PixelEmbeddingHead(sam.hidden_dim)
        self.token_readings = nn.ModuleList(nn.Linear(sam.hidden_dim, _DIMENSIONS) for _ in range(4))

    def forward(self, batch: Batch, *, learn_encoder: bool = True, ask_decoder: bool = True) -> Answers:
        """Answer all prompts of all pictures.

        Args:
            batch: pictures and prompts.
            learn_encoder: let gradients reach the image encoder.
            ask_decoder: let the decoder answer; otherwise only the auxiliary head does.
        """
        with torch.set_grad_enabled(learn_encoder and torch.is_grad_enabled()):
            features = list(self.sam.image_encoder(batch.images)["backbone_fpn"])
        auxiliary = wanted = None
        if batch.coords.shape[2] == 1:
            auxiliary, found = self.auxiliary(features, batch.coords[:, :, 0], batch.images.shape[-1])
            wanted = torch.cat([found[:, :, 1:2], found], 2).detach()
        if not ask_decoder:
            return Answers(None, None, auxiliary, None, None)
        answers = answer_prompts(self.sam, features, batch.coords, batch.labels)
        readings = None
        if wanted is not None:
            readings = torch.stack([read(answers.tokens[:, :, i]) for i, read in enumerate(self.token_readings)], 2)
        return Answers(answers.logits, answers.predicted_iou, auxiliary, readings, wanted)


@dataclass(frozen=True, eq=False)
class PromptAnswers:
    """The four answers to each prompt: single, small, part, whole."""

    logits: Float[torch.Tensor, "b k 4 q q"]
    """Mask logits at a quarter of the resolution."""
    predicted_iou: Float[torch.Tensor, "b k 4"]
    """The model's estimate of each mask's IoU."""
    tokens: Float[torch.Tensor, "b k 4 c"]
    """Mask tokens at the end of the decoder."""


def answer_prompts(
    sam: SAM2Base,
    features: list[torch.Tensor],
    coords: Float[torch.Tensor, "b k p 2"],
    labels: Int[torch.Tensor, "b k p"],
) -> PromptAnswers:
    """Answer all prompts of all pictures in one call of the decoder.

    Args:
        sam: a SAM 2 model with high-resolution features and three masks per prompt.
        features: its image encoder's FPN levels, finest first.
        coords: prompt points (u, v) in pixels of the model's input.
        labels: 1 a point, 2 and 3 the corners of a box.
    """
    b, k = coords.shape[:2]
    low = features[-1]
    if sam.directly_add_no_mem_embed:
        low = low + sam.no_mem_embed.view(1, -1, 1, 1)
    decoder, prompts = sam.sam_mask_decoder, sam.sam_prompt_encoder
    sparse, dense = prompts((coords.flatten(0, 1), labels.flatten(0, 1)), None, None)
    per_prompt = lambda x: x.repeat_interleave(k, dim=0)
    logits, predicted_iou, tokens, _ = decoder.predict_masks(
        image_embeddings=per_prompt(low),
        image_pe=prompts.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=[per_prompt(decoder.conv_s0(features[0])), per_prompt(decoder.conv_s1(features[1]))],
    )
    return PromptAnswers(*(x.reshape(b, k, *x.shape[1:]) for x in (logits, predicted_iou, tokens)))


def build_student(model_yaml: str, *, seed: int, initial_weights: str | None = None) -> SegmentationStudent:
    """Build the model of a YAML for training, with weights drawn from `seed` or read from a file.

    The global random state of torch is as before afterwards.
    """
    from pathlib import Path

    from voxlang.masks.build import build_sam2_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        checkpoint = Path(initial_weights) if initial_weights else None
        student = SegmentationStudent(build_sam2_model(model_yaml, checkpoint, mode="train"))
        if initial_weights is None:
            open_prompts(student.sam)
    return student


_UNUSED = ("sam.memory_attention.", "sam.memory_encoder.", "sam.maskmem_tpos_enc", "sam.no_mem_pos_enc")
_READERS = ("sam.sam_mask_decoder.conv_s", "auxiliary.lateral.")
_ENCODER = ("sam.image_encoder.trunk.", "auxiliary.")
_NECK = "sam.image_encoder.neck."


def trained_parameters(student: SegmentationStudent) -> dict[str, list[nn.Parameter]]:
    """Parameters that still pictures reach, in groups that learn at different rates.

    decoder (with prompts), readers (the first layers behind the neck), encoder (trunk and auxiliary head), neck.
    The memory of the video model is left out.
    """
    groups: dict[str, list[nn.Parameter]] = {"decoder": [], "readers": [], "encoder": [], "neck": []}
    for name, parameter in student.named_parameters():
        if name.startswith(_NECK):
            groups["neck"].append(parameter)
        elif name.startswith(_READERS):
            groups["readers"].append(parameter)
        elif name.startswith(_ENCODER):
            groups["encoder"].append(parameter)
        elif not name.startswith(_UNUSED):
            groups["decoder"].append(parameter)
    return groups
