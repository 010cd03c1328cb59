"""The ways that a prompt takes to the mask tokens of a decoder that has not learnt yet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base


@torch.no_grad()
def open_prompts(sam: SAM2Base, *, peak: float = 20.0, content: float = 0.3) -> None:
    """Let what a prompt says reach the mask tokens.

    - The attentions between tokens and image start as a kernel on positions, see `_position_kernel`, and what is added
      to positions (features, embeddings of the kinds of prompts) starts small, lest it drown the kernel.
    - Values pass through attention unchanged (identity, or a projection and its transpose), so that the mask tokens
      receive where the prompt is and what is seen there.
    - The small networks that turn mask tokens into masks keep the variance of what they are given.

    Args:
        sam: a model whose decoder is fresh.
        peak: attention score of a place with itself.
        content: size of the embeddings of kinds of prompts.
    """
    encoder, decoder = sam.sam_prompt_encoder, sam.sam_mask_decoder
    frequencies = encoder.pe_layer.positional_encoding_gaussian_matrix.T.cpu().numpy()
    kinds = [*encoder.point_embeddings, encoder.not_a_point_embed, encoder.no_mask_embed]
    for embedding in [*kinds, decoder.mask_tokens, decoder.iou_token]:
        embedding.weight.normal_(std=content)
    to_image = [decoder.transformer.final_attn_token_to_image]
    from_image = []
    for layer in decoder.transformer.layers:
        _pass_values(layer.self_attn, gain=3.0)
        to_image.append(layer.cross_attn_token_to_image)
        from_image.append(layer.cross_attn_image_to_token)
        layer.norm4.weight.fill_(0.5)
    for attention in to_image:
        _pass_values(attention, gain=2.0)
    for attention in to_image + from_image:
        weight = _position_kernel(frequencies, attention.num_heads, attention.internal_dim, peak)
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight.copy_(torch.from_numpy(weight))
            projection.bias.zero_()
    for network in decoder.output_hypernetworks_mlps:
        for i, linear in enumerate(network.layers):
            nn.init.xavier_uniform_(linear.weight, gain=math.sqrt(2) if i + 1 < len(network.layers) else 0.7)
            linear.bias.zero_()


def _pass_values(attention: nn.Module, gain: float) -> None:
    """Value projection: gain × orthonormal rows; output projection: their transpose."""
    rows, columns = attention.v_proj.weight.shape
    basis = torch.eye(columns) if rows == columns else torch.linalg.qr(torch.randn(columns, columns))[0][:rows]
    attention.v_proj.weight.copy_(gain * basis)
    attention.out_proj.weight.copy_(basis.T)
    attention.v_proj.bias.zero_()
    attention.out_proj.bias.zero_()


def _position_kernel(
    frequencies: Float[np.ndarray, "n 2"], heads: int, internal: int, peak: float
) -> Float[np.ndarray, "i c"]:
    """Projection [internal channels] for query and key that makes one smooth bump around the prompt.

    A SAM 2 position is encoded as sin and cos of random projections f_i of (x, y) in [-1, 1]. Each head takes a few of
    them with frequencies of like length and evenly spread directions, so that the score is c Σ cos 2π f_i·(p − q).
    """
    n, per_head = len(frequencies), internal // heads // 2
    weight = np.zeros((internal, 2 * n), np.float32)
    gain = math.sqrt(peak * math.sqrt(internal // heads) / per_head)
    for head, length in enumerate(np.linspace(0.35, 0.9, heads)):
        angles = np.pi * (np.arange(per_head) / per_head + head / (heads * per_head))
        for k, wanted in enumerate(length * np.stack([np.cos(angles), np.sin(angles)], -1)):
            away = np.minimum(
                np.linalg.norm(frequencies - wanted, axis=1), np.linalg.norm(frequencies + wanted, axis=1)
            )
            i, row = int(np.argmin(away)), head * (internal // heads) + 2 * k
            weight[row, i] = weight[row + 1, n + i] = gain
    return weight
