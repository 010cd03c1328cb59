"""The network in training: a SAM 2 model answering many prompts at once, and a helper head that is thrown away later.

Two measures let a micro SAM 2 learn from nothing in minutes (without them it answers every prompt with "all that is in
the foreground"): the auxiliary pixel-embedding head, which teaches the encoder what belongs together, and a start of
the cross attentions from which a prompt looks at its own place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from voxlang.segtrain.data import Batch

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

_LEVELS, _DIMENSIONS = 3, 16


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says to a batch of prompts."""

    logits: Float[torch.Tensor, "b k 4 q q"]
    """Mask logits of the four tokens: single, small, part, whole."""
    predicted_iou: Float[torch.Tensor, "b k 4"]
    """The model's estimate of each mask's IoU."""
    auxiliary_logits: Float[torch.Tensor, "b k 3 q q"] | None
    """Mask logits of the auxiliary head: small, part, whole; only for point prompts."""


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
    ) -> Float[torch.Tensor, "b k 3 q q"]:
        """Logits of the pixels that belong with each point, on each level.

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
        logits = torch.einsum("bldp,bldk->bklp", e, e.gather(3, index))
        logits = logits * self.scale[:, None] - self.bias[:, None]
        return logits.view(b, k, _LEVELS, *size)


class SegmentationStudent(nn.Module):
    """A SAM 2 model and the auxiliary head."""

    def __init__(self, sam: SAM2Base) -> None:
        super().__init__()
        self.sam = sam
        self.auxiliary = PixelEmbeddingHead(sam.hidden_dim)

    def forward(self, batch: Batch) -> Answers:
        """Answer all prompts of all pictures in one call of the decoder."""
        sam, k = self.sam, batch.coords.shape[1]
        features = sam.image_encoder(batch.images)["backbone_fpn"]
        low = features[-1]
        if sam.directly_add_no_mem_embed:
            low = low + sam.no_mem_embed.view(1, -1, 1, 1)
        decoder, prompts = sam.sam_mask_decoder, sam.sam_prompt_encoder
        sparse, dense = prompts((batch.coords.flatten(0, 1), batch.labels.flatten(0, 1)), None, None)
        per_prompt = lambda x: x.repeat_interleave(k, dim=0)
        logits, predicted_iou, _, _ = decoder.predict_masks(
            image_embeddings=per_prompt(low),
            image_pe=prompts.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=[per_prompt(decoder.conv_s0(features[0])), per_prompt(decoder.conv_s1(features[1]))],
        )
        b = len(batch.images)
        auxiliary = None
        if batch.coords.shape[2] == 1:
            auxiliary = self.auxiliary(list(features), batch.coords[:, :, 0], batch.images.shape[-1])
        return Answers(logits.view(b, k, *logits.shape[1:]), predicted_iou.view(b, k, -1), auxiliary)


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
            look_at_own_place(student.sam)
    return student


@torch.no_grad()
def look_at_own_place(sam: SAM2Base, gain: float = 2.0) -> None:
    """Start the attentions between tokens and image as a kernel on positions.

    Query and key get the same random projection, so that their product is greatest where the positional encodings of
    prompt and pixel agree.
    """
    transformer = sam.sam_mask_decoder.transformer
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        rows, columns = attention.q_proj.weight.shape
        weight = torch.randn(rows, columns) * (gain / math.sqrt(columns))
        attention.q_proj.weight.copy_(weight)
        attention.k_proj.weight.copy_(weight)


def trained_parameters(student: SegmentationStudent) -> list[nn.Parameter]:
    """Parameters that still pictures reach: all but the video model's memory."""
    unused = ("sam.memory_attention.", "sam.memory_encoder.", "sam.maskmem_tpos_enc", "sam.no_mem_pos_enc")
    return [p for name, p in student.named_parameters() if not name.startswith(unused)]
