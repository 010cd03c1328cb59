"""How the decoder starts, so that prompts reach its masks and its mask channels stay alive.

With usual initial weights what a prompt says is lost among the noise of the decoder, and the first thing that the loss
teaches is to ignore it; and features of the wrong size drive most of the few mask channels into the flat part of their
GELU, from where they do not come back. Both were seen, and both end in one answer for every prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from voxlang.segtrain.data import Batch
from voxlang.segtrain.prompt_paths import open_prompts

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from voxlang.segtrain.model import SegmentationStudent

FEATURE_RMS = 0.35
"""Size of the encoder's output to which it is scaled; positions are encoded with 0.7."""
_DIRECTIONS = 24
_LEAST_CONTRAST = 0.05
_LARGEST_GAIN = 8.0


@torch.no_grad()
def whiten_patches(sam: SAM2Base, batches: Sequence[Batch], *, size: float = 0.5) -> None:
    """Let the patch embedding start as the main directions of real patches, each at the same strength.

    Flat, bright differences fill most of the variance of pictures; with random filters all channels begin by telling
    little else. Patches without contrast, the empty background, are left out. Deterministic in the pictures.

    Args:
        sam: its trunk's patch embedding is replaced.
        batches: pictures like those that come next.
        size: standard deviation of each channel.
    """
    conv = sam.image_encoder.trunk.patch_embed.proj
    patches = torch.cat(
        [
            nn.functional.unfold(b.images.float(), conv.kernel_size, stride=conv.stride, padding=conv.padding)
            for b in batches
        ]
    )
    x = patches.transpose(1, 2).flatten(0, 1)
    x = x[x.std(1) > _LEAST_CONTRAST]
    if len(x) <= x.shape[1]:
        return
    mean = x.mean(0)
    values, directions = torch.linalg.eigh(torch.cov((x - mean).T))
    values, directions = values.flip(0)[: conv.out_channels], directions.flip(1)[:, : conv.out_channels]
    weight = (size * directions / (values + 1e-4 * values[0]).sqrt()).T
    conv.weight.copy_(weight.reshape(conv.weight.shape))
    conv.bias.copy_(-weight @ mean)


@torch.no_grad()
def start_decoder(student: SegmentationStudent, batches: Sequence[Batch], *, seed: int) -> None:
    """Start the decoder anew on the features that the encoder makes now.

    The encoder's last layers are scaled (and the auxiliary head against them, so that it answers as before), prompts
    get a way to the masks, and mask channels see whitened features. The global random state is left as it was.

    Args:
        student: the network; its decoder's weights are replaced.
        batches: pictures like those that come next.
        seed: of the random directions.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        open_prompts(student.sam)
        _scale_features(student, batches)
        _whiten_mask_channels(student.sam, batches)


def _scale_features(student: SegmentationStudent, batches: Sequence[Batch]) -> None:
    """Bring the encoder's output to FEATURE_RMS; the auxiliary head's answers stay the same."""
    sizes = [f.square().mean().sqrt() for b in batches for f in student.sam.image_encoder(b.images)["backbone_fpn"]]
    factor = FEATURE_RMS / float(torch.stack(sizes).mean())
    for level in student.sam.image_encoder.neck.convs:
        level.conv.weight.mul_(factor)
        level.conv.bias.mul_(factor)
    for lateral in student.auxiliary.lateral:
        lateral.weight.div_(factor)


def _whiten_mask_channels(sam: SAM2Base, batches: Sequence[Batch]) -> None:
    """Random mixtures of the features' main directions, each of about unit variance and a mean of 0.3."""
    decoder = sam.sam_mask_decoder
    features = [sam.image_encoder(batch.images)["backbone_fpn"] for batch in batches]
    for level, conv in enumerate((decoder.conv_s0, decoder.conv_s1)):
        x = torch.cat([f[level].permute(0, 2, 3, 1).flatten(0, 2) for f in features])
        x = x[torch.randperm(len(x), device="cpu").to(x.device)[:20_000]]
        mean = x.mean(0)
        _, values, directions = torch.linalg.svd(x - mean, full_matrices=False)
        spread = (values / math.sqrt(len(x)))[:_DIRECTIONS].clamp(min=1 / _LARGEST_GAIN)
        channels = conv.weight.shape[0]
        mixture = torch.linalg.qr(torch.randn(max(len(spread), channels), len(spread)))[0][:channels].to(x.device)
        weight = mixture @ (directions[:_DIRECTIONS] / spread[:, None])
        conv.weight.copy_(weight[:, :, None, None])
        conv.bias.copy_(0.3 - weight @ mean)
    first, norm, _, second, _ = decoder.output_upscaling
    for layer, gain in ((first, 0.7), (second, 0.5)):
        nn.init.xavier_normal_(layer.weight, gain=gain)
        layer.bias.zero_()
    norm.weight.fill_(1.0)
    norm.bias.zero_()
