"""SAM 2's mask decoder for many prompts on one picture: the same numbers from a fraction of the work.

`PictureMaps` holds what all prompts share, computed once per picture; `FastDecoder` runs chunks of prompts on it. The
image tokens are kept in the form of `lowrank.py` throughout. The reference is sam2's own `MaskDecoder`
(tests/contract/test_masks_fast_decoder.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from voxlang.core.errors import ConfigError
from voxlang.masks.fast.lowrank import (
    HeadMaps,
    LowRankTokens,
    by_head,
    image_context,
    image_scores,
    inverse_deviation,
    shared_product,
    softmax,
)
from voxlang.masks.fast.upscale import Upscaler

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from sam2.modeling.sam2_base import SAM2Base
    from torch import Tensor

    from voxlang.masks.fast.encode import PictureFeatures


@dataclass(frozen=True, eq=False)
class PictureMaps:
    """What the decoder makes of a picture's features before any prompt is known."""

    to_image: tuple[tuple[HeadMaps, HeadMaps, Tensor | None], ...]
    """Keys, values and value constant of block 0, block 1 and the last attention."""
    to_tokens: tuple[HeadMaps, HeadMaps]
    """Queries of the image tokens in block 0 and 1."""
    square: tuple[Tensor, Tensor]
    """Squared length of the base before each normalisation [n]."""
    cross: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    """Before each normalisation, the base's products [h d n] with the output projection of each attention so far."""
    cross_mask: tuple[Tensor, Tensor]
    """The same with the mask prompts' vectors [r n]."""
    cross_constant: Tensor
    """Products [n] of the second normalisation's base with its constant."""
    upscale: tuple[Tensor, Tensor]
    """First transposed convolution of the base, and of the constant with the fine features [n 4c]."""
    fine: Tensor | None
    """Fine features as the second transposed convolution adds them, and its bias."""


class Decoded(NamedTuple):
    """A chunk of prompts after the transformer: enough for the scores, and for masks where they are wanted."""

    tokens: Float[Tensor, "b t c"]
    """Prompt tokens before the last attention, with the position code that it adds to queries."""
    positions: Float[Tensor, "b t c"]
    """That position code."""
    image: LowRankTokens
    """The image tokens."""
    scores: Float[Tensor, "b k"]
    """Predicted IoU of every mask token."""


class FastDecoder:
    """The mask decoder of one model.

    Args:
        model: any SAM2Base in eval mode. Weights are read when a picture comes, so later changes of them count.

    Raises:
        ConfigError: a decoder that is not built as SAM 2 builds it.
    """

    def __init__(self, model: SAM2Base) -> None:
        self._decoder, self._prompts = model.sam_mask_decoder, model.sam_prompt_encoder
        transformer = self._decoder.transformer
        if len(transformer.layers) != 2:
            raise ConfigError(
                "a mask decoder of two blocks, as all of SAM 2",
                got=f"{len(transformer.layers)} blocks",
                where="FastDecoder",
                do="use --sam.generator official for this model",
            )
        self._block0, self._block1 = transformer.layers
        self._last, self._last_norm = transformer.final_attn_token_to_image, transformer.norm_final_attn
        self.heads = transformer.num_heads
        self.channels = transformer.embedding_dim
        self.n_output_tokens = self._decoder.num_mask_tokens + 1 + self._decoder.pred_obj_scores
        self.rank = self.heads * (self.n_output_tokens + 2)
        """Vectors that one attention adds to the image tokens of a point prompt."""
        self.size = self._prompts.image_embedding_size
        self.n_pixels = self.size[0] * self.size[1]
        self.mask_size = (4 * self.size[0], 4 * self.size[1])
        """Height and width of the low-resolution logits."""
        self.input_size = model.image_size
        """Side of the model's input in pixels."""
        self._upscaler = Upscaler(self._decoder)

    @property
    def falls_back(self) -> tuple[float, float] | None:
        """Offset and least stability of the single mask, below which the best of three stands in; None = never."""
        d = self._decoder
        if not d.dynamic_multimask_via_stability or d.training:
            return None
        return d.dynamic_multimask_stability_delta, d.dynamic_multimask_stability_thresh

    # ---------------------------------------------------------------- once per picture

    def picture_maps(self, features: PictureFeatures, *, mask_prompts: bool = False) -> PictureMaps:
        """Apply every layer that is linear in the image tokens to what all prompts share.

        Args:
            features: one picture's features.
            mask_prompts: whether the prompts will bring a mask each, as in the refinement.
        """
        block0, block1, h = self._block0, self._block1, self.heads
        position = self._prompts.get_dense_pe()[0].flatten(1).t()
        dense = self._mask_projection().bias if mask_prompts else self._prompts.no_mask_embed.weight[0]
        x0 = features.embedding.flatten(1).t() + dense
        keys0 = _maps(block0.cross_attn_token_to_image.k_proj, x0, h, position)
        values0 = _maps(block0.cross_attn_token_to_image.v_proj, x0, h)
        queries0 = _maps(block0.cross_attn_image_to_token.q_proj, x0, h, position)

        out0, gain1 = self._out0(), block0.norm4.weight
        base0 = _centred(x0 + block0.cross_attn_image_to_token.out_proj.bias)
        base1, constant1 = base0 * gain1, block0.norm4.bias
        keys1 = _maps_of(block1.cross_attn_token_to_image.k_proj, base1, constant1 + position, h)
        values1, value_constant1 = _values_of(block1.cross_attn_token_to_image.v_proj, base1, constant1, h)
        queries1 = _maps_of(block1.cross_attn_image_to_token.q_proj, base1, constant1 + position, h)

        base1c, shift1 = _centred(base1), self._shift1()
        base2, constant2 = base1c * block1.norm4.weight, block1.norm4.bias
        keys2 = _maps_of(self._last.k_proj, base2, constant2 + position, h)
        values2, value_constant2 = _values_of(self._last.v_proj, base2, constant2, h)
        masks = self._mask_vectors()
        return PictureMaps(
            to_image=((keys0, values0, None), (keys1, values1, value_constant1), (keys2, values2, value_constant2)),
            to_tokens=(queries0, queries1),
            square=(base0.square().sum(1), base1c.square().sum(1)),
            cross=(
                (by_head(base0 @ out0, h),),
                (by_head(base1c @ self._out0_in_1(), h), by_head(base1c @ self._out1(), h)),
            ),
            cross_mask=(masks @ base0.t(), _centred(masks * gain1) @ base1c.t()),
            cross_constant=base1c @ shift1,
            upscale=self._upscaler.first(base2, constant2, features),
            fine=self._upscaler.fine(features),
        )

    # ---------------------------------------------------------------- chunks of prompts

    def decode(
        self,
        maps: PictureMaps,
        points: Float[Tensor, "b 2"],
        masks: Float[Tensor, "b 1 mh mw"] | None = None,
    ) -> Decoded:
        """Run the transformer for a chunk of one-point prompts.

        Args:
            maps: the picture; made for mask prompts exactly when `masks` are given.
            points: in pixels of the model's input.
            masks: low-resolution logits, one a prompt.
        """
        block0, block1 = self._block0, self._block1
        queries = position = self._prompt_tokens(points)
        start = None if masks is None else self._mask_tokens(masks)

        queries = _self_attention(block0, queries, position)
        queries = block0.norm2(queries + self._to_image(0, queries + position, maps, start))
        queries = block0.norm3(queries + block0.mlp(queries))
        weights0, values0 = self._to_tokens(0, queries, position, maps, start)
        image = self._normalised0(weights0, values0, maps, start)

        queries = _self_attention(block1, queries, position)
        queries = block1.norm2(queries + self._to_image(1, queries + position, maps, image))
        queries = block1.norm3(queries + block1.mlp(queries))
        weights1, values1 = self._to_tokens(1, queries, position, maps, image)
        image = self._normalised1(weights1, values1, values0, maps, image)

        iou_place = int(self._decoder.pred_obj_scores)
        iou_token = self._last_attention(queries, position, maps, image, [iou_place])
        return Decoded(queries, position, image, self._decoder.iou_prediction_head(iou_token[:, 0]))

    def mask_logits(self, maps: PictureMaps, decoded: Decoded, wanted: list[int]) -> Float[Tensor, "b k mh mw"]:
        """Low-resolution mask logits of these mask tokens (0 = the single mask, 1 to 3 = its alternatives)."""
        import torch

        if not len(decoded.tokens):
            return torch.zeros((0, len(wanted), *self.mask_size), device=decoded.tokens.device)
        first = self.n_output_tokens - self._decoder.num_mask_tokens
        hs = self._last_attention(decoded.tokens, decoded.positions, maps, decoded.image, [first + k for k in wanted])
        networks = self._decoder.output_hypernetworks_mlps
        filters = torch.stack([networks[k](hs[:, i]) for i, k in enumerate(wanted)], dim=1)
        return self._upscaler.logits(filters, decoded.image, maps.upscale, maps.fine, self.size)

    def narrow(self, decoded: Decoded, index: Tensor) -> Decoded:
        """The prompts of a chunk that go on."""
        return Decoded(
            decoded.tokens[index], decoded.positions[index], decoded.image.select(index), decoded.scores[index]
        )

    # ---------------------------------------------------------------- pieces

    def _prompt_tokens(self, points: Tensor) -> Tensor:
        import torch

        decoder = self._decoder
        labels = torch.ones((len(points), 1), dtype=torch.int, device=points.device)
        sparse, _ = self._prompts(points=(points[:, None], labels), boxes=None, masks=None)
        output = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        if decoder.pred_obj_scores:
            output.insert(0, decoder.obj_score_token.weight)
        return torch.cat([torch.cat(output).expand(len(points), -1, -1), sparse], dim=1)

    def _mask_projection(self) -> torch.nn.Conv2d:
        return self._prompts.mask_downscaling[-1]

    def _mask_vectors(self) -> Tensor:
        """The last, pointwise layer of the mask prompts' network as rows [r c], centred over the channels."""
        return _centred(self._mask_projection().weight[:, :, 0, 0].t())

    def _mask_tokens(self, masks: Tensor) -> LowRankTokens:
        """A mask prompt adds its own low-rank part to the image tokens."""
        hidden = self._prompts.mask_downscaling[:-1](masks).flatten(2)
        vectors = self._mask_projection().weight[:, :, 0, 0].t()
        return LowRankTokens(None, hidden, vectors.expand(len(masks), -1, -1))

    def _to_image(self, place: int, queries: Tensor, maps: PictureMaps, image: LowRankTokens | None) -> Tensor:
        attention = (self._block0, self._block1)[place].cross_attn_token_to_image
        return self._attend(attention, queries, maps.to_image[place], image)

    def _attend(self, attention, queries: Tensor, maps: tuple, image: LowRankTokens | None) -> Tensor:
        keys, values, value_constant = maps
        scores = image_scores(self._scaled_heads(attention.q_proj(queries)), keys, image)
        return attention.out_proj(image_context(softmax(scores, 3), values, value_constant, image))

    def _last_attention(
        self, queries: Tensor, position: Tensor, maps: PictureMaps, image: LowRankTokens, places: list[int]
    ) -> Tensor:
        chosen, pe = queries[:, places], position[:, places]
        return self._last_norm(chosen + self._attend(self._last, chosen + pe, maps.to_image[2], image))

    def _to_tokens(
        self, place: int, queries: Tensor, position: Tensor, maps: PictureMaps, image: LowRankTokens | None
    ) -> tuple[Tensor, Tensor]:
        """Attention from the image: its weights [b (h t) n], and the tokens' values [b h t d]."""
        attention = (self._block0, self._block1)[place].cross_attn_image_to_token
        keys = self._scaled_heads(attention.k_proj(queries + position))
        weights = softmax(image_scores(keys, maps.to_tokens[place], image), 2)
        b, h, t, n = weights.shape
        return weights.reshape(b, h * t, n), self._by_head(attention.v_proj(queries))

    def _normalised0(
        self, weights: Tensor, values: Tensor, maps: PictureMaps, start: LowRankTokens | None
    ) -> LowRankTokens:
        """Image tokens after block 0: base + weights^T (values W_out), normalised."""
        import torch

        factors, products = weights, [shared_product(values, maps.cross[0][0])]
        vectors = self._rows(values, self._out0())
        if start is not None:
            b = len(weights)
            factors = torch.cat([factors, start.factors], dim=1)
            products.append(maps.cross_mask[0].expand(b, -1, -1))
            vectors = torch.cat([vectors, self._mask_vectors().expand(b, -1, -1)], dim=1)
        norm = self._block0.norm4
        scale = inverse_deviation(
            LowRankTokens(None, factors, vectors),
            base_square=maps.square[0],
            base_products=products,
            base_constant=None,
            channels=self.channels,
            eps=norm.eps,
        )
        return LowRankTokens(scale, factors * scale[:, None], vectors * norm.weight)

    def _normalised1(
        self, weights: Tensor, values1: Tensor, values0: Tensor, maps: PictureMaps, image: LowRankTokens
    ) -> LowRankTokens:
        """Image tokens after block 1, in the same form with the vectors of both blocks."""
        import torch

        products = [shared_product(values0, maps.cross[1][0])]
        if image.factors.shape[1] > weights.shape[1]:
            products.append(maps.cross_mask[1].expand(len(weights), -1, -1))
        products.append(shared_product(values1, maps.cross[1][1]))
        shift = self._shift1() / self.heads
        vectors = torch.cat([_centred(image.vectors), self._rows(values1, self._out1()) + shift], dim=1)
        factors = torch.cat([image.factors, weights], dim=1)
        norm = self._block1.norm4
        scale = inverse_deviation(
            LowRankTokens(image.scale, factors, vectors),
            base_square=maps.square[1],
            base_products=products,
            base_constant=maps.cross_constant,
            channels=self.channels,
            eps=norm.eps,
        )
        return LowRankTokens(scale * image.scale, factors.mul_(scale[:, None]), vectors * norm.weight)

    def _out0(self) -> Tensor:
        """Output projection [hd c]^T of the first attention from the image, centred over the channels."""
        return _centred(self._block0.cross_attn_image_to_token.out_proj.weight.t()).t()

    def _out0_in_1(self) -> Tensor:
        """The same as the second normalisation sees it: after the first one's gain, centred again."""
        return _centred(self._out0().t() * self._block0.norm4.weight).t()

    def _out1(self) -> Tensor:
        return _centred(self._block1.cross_attn_image_to_token.out_proj.weight.t()).t()

    def _shift1(self) -> Tensor:
        """What block 1 adds to every image token, centred: it rides on the vectors, as their weights sum to H."""
        return _centred(self._block0.norm4.bias + self._block1.cross_attn_image_to_token.out_proj.bias)

    def _rows(self, values: Tensor, out: Tensor) -> Tensor:
        """Each token's values through its head's part of the output projection: [b (h t) c]."""
        b, h, t, d = values.shape
        weight = out.t().reshape(h, d, -1)
        rows = values.transpose(0, 1).reshape(h, b * t, d) @ weight
        return rows.view(h, b, t, -1).transpose(0, 1).reshape(b, h * t, -1)

    def _by_head(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        return x.view(b, t, self.heads, -1).transpose(1, 2)

    def _scaled_heads(self, x: Tensor) -> Tensor:
        split = self._by_head(x)
        return split * split.shape[-1] ** -0.5


def _self_attention(block, queries: Tensor, position: Tensor) -> Tensor:
    if block.skip_first_layer_pe:
        return block.norm1(block.self_attn(q=queries, k=queries, v=queries))
    q = queries + position
    return block.norm1(queries + block.self_attn(q=q, k=q, v=queries))


def _centred(x: Tensor) -> Tensor:
    """Without its mean over the last axis, the channels."""
    return x - x.mean(-1, keepdim=True)


def _weight_by_head(linear: torch.nn.Linear, heads: int) -> Tensor:
    return linear.weight.view(heads, -1, linear.weight.shape[1])


def _maps(linear: torch.nn.Linear, x: Tensor, heads: int, position: Tensor | None = None) -> HeadMaps:
    """Maps of tokens that are all base."""
    features = linear(x if position is None else x + position)
    return HeadMaps(_weight_by_head(linear, heads), by_head(features, heads), None)


def _maps_of(linear: torch.nn.Linear, base: Tensor, constant: Tensor, heads: int) -> HeadMaps:
    """Maps of base and constant apart, because only the base is scaled."""
    return HeadMaps(
        _weight_by_head(linear, heads),
        by_head(base @ linear.weight.t(), heads),
        by_head(linear(constant), heads),
    )


def _values_of(linear: torch.nn.Linear, base: Tensor, constant: Tensor, heads: int) -> tuple[HeadMaps, Tensor]:
    maps = HeadMaps(_weight_by_head(linear, heads), by_head(base @ linear.weight.t(), heads), None)
    return maps, linear(constant).view(heads, -1)
