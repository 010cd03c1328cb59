"""The network in training: a SAM 2 model answering many prompts at once, and a helper head that is thrown away later.

Three measures let a micro SAM 2 learn from nothing in minutes (without them it answers every prompt alike, with nothing
or with all that is in the foreground): the auxiliary pixel-embedding head teaches the encoder what belongs together;
the decoder starts with open ears (`segtrain.start`); and its mask tokens are asked what they found at the prompt.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import nn

from voxlang.segtrain.data import Batch
from voxlang.segtrain.prompt_paths import open_prompts
from voxlang.segtrain.shapes import KINDS

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base

    from voxlang.encoders.options import EncoderOptions

_LEVELS, _DIMENSIONS = 3, 16


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says to a batch of prompts."""

    logits: Float[torch.Tensor, "b k 4 q q"] | None
    """Mask logits of the four tokens: single, small, part, whole; none when the decoder was not asked."""
    predicted_iou: Float[torch.Tensor, "b k 4"] | None
    """The model's estimate of each mask's IoU."""
    auxiliary_logits: Float[torch.Tensor, "b n 3 q q"]
    """Mask logits of the auxiliary head at the cells of the dense truth: small, part, whole."""
    kind_logits: Float[torch.Tensor, "b 3 v r r"]
    """Logits of what every second low-resolution pixel shows."""
    token_embeddings: Float[torch.Tensor, "b k 4 d"] | None
    """What the four mask tokens make of the pixel embedding at the prompt; only for plain point prompts."""
    prompt_embeddings: Float[torch.Tensor, "b k 4 d"] | None
    """The pixel embedding at the prompt that they should make (the single token: the part's); no gradient."""


class PixelEmbeddingHead(nn.Module):
    """Per level a unit vector for each low-resolution pixel, and logits of what it shows.

    Two pixels belong together where scale × (e(pixel) · e(other)) − bias is positive.
    """

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(channels, hidden, 1) for _ in range(3))
        self.mix = nn.Sequential(nn.GELU(), nn.Conv2d(hidden, hidden, 3, padding=1), nn.GELU())
        self.embed = nn.Conv2d(hidden, _LEVELS * _DIMENSIONS, 1)
        self.kinds = nn.Conv2d(hidden, _LEVELS * KINDS, 1)
        self.scale = nn.Parameter(torch.full((_LEVELS,), 5.0))
        self.bias = nn.Parameter(torch.full((_LEVELS,), 2.5))

    def forward(
        self, features: list[torch.Tensor]
    ) -> tuple[Float[torch.Tensor, "b 3 d q q"], Float[torch.Tensor, "b 3 v r r"]]:
        """Unit vectors of all pixels, and logits of the kinds of every second pixel in both directions.

        Args:
            features: FPN levels [b c h w], finest first, each half the size of the one before.
        """
        size = features[0].shape[-2:]
        x = self.lateral[0](features[0])
        for lateral, feature in zip(self.lateral[1:], features[1:], strict=True):
            x = x + F.interpolate(lateral(feature), size=size, mode="bilinear", align_corners=False)
        x = self.mix(x)
        e = F.normalize(self.embed(x).unflatten(1, (_LEVELS, _DIMENSIONS)).float(), dim=2)
        kinds = self.kinds(x[:, :, ::2, ::2]).unflatten(1, (_LEVELS, KINDS)).float()
        return e, kinds

    def compare(
        self, e: Float[torch.Tensor, "b 3 d q q"], at: Float[torch.Tensor, "b n 3 d"]
    ) -> Float[torch.Tensor, "b n 3 q q"]:
        """Logits of the pixels that belong with each vector, on each level."""
        logits = torch.einsum("bldp,bnld->bnlp", e.flatten(3), at) * self.scale[:, None] - self.bias[:, None]
        return logits.unflatten(-1, e.shape[-2:])


def embeddings_at(
    e: Float[torch.Tensor, "b 3 d q q"], cells: Int[torch.Tensor, "b n"]
) -> Float[torch.Tensor, "b n 3 d"]:
    """The vectors of some pixels, by flat index."""
    index = cells[:, None, None].expand(-1, *e.shape[1:3], -1)
    return e.flatten(3).gather(3, index).permute(0, 3, 1, 2)


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
        e, kinds = self.auxiliary(features)
        auxiliary = self.auxiliary.compare(e, embeddings_at(e, batch.dense.cells))
        if not ask_decoder:
            return Answers(None, None, auxiliary, kinds, None, None)
        coords, labels, masks = batch.coords, batch.labels, None
        if batch.refine:
            with torch.no_grad():
                first = answer_prompts(self.sam, features, coords, labels)
                coords, labels, masks = corrected_prompts(first.logits, batch)
        answers = answer_prompts(self.sam, features, coords, labels, masks)
        readings = wanted = None
        if batch.coords.shape[2] == 1 and not batch.refine:
            found = embeddings_at(e, cells_of(batch.coords[:, :, 0], batch.images.shape[-1], e.shape[-1])).detach()
            wanted = torch.cat([found[:, :, 1:2], found], 2)
            readings = torch.stack([read(answers.tokens[:, :, i]) for i, read in enumerate(self.token_readings)], 2)
        return Answers(answers.logits, answers.predicted_iou, auxiliary, kinds, readings, wanted)


def cells_of(points: Float[torch.Tensor, "b k 2"], image_size: int, q: int) -> Int[torch.Tensor, "b k"]:
    """Flat indices of the low-resolution pixels in which points (u, v) of the picture lie."""
    cell = (points * (q / image_size)).long().clamp(0, q - 1)
    return cell[..., 1] * q + cell[..., 0]


def corrected_prompts(
    logits: Float[torch.Tensor, "b k 4 q q"], batch: Batch
) -> tuple[Float[torch.Tensor, "b k 2 2"], Int[torch.Tensor, "b k 2"], Float[torch.Tensor, "b k q q"]]:
    """The prompts of a second look: the point, a click in the middle of the greatest error, and the mask answered.

    The mask is the first token's after the single one whose target is the region that is meant. The click lies where
    the error, averaged over 7x7 low-resolution pixels, is greatest; its label says whether the mask lacks that place
    (1) or has it too much (0). Returns coords, labels, masks.
    """
    token = batch.weights[:, :, 1:].argmax(2) + 1
    masks = logits.gather(2, token[..., None, None, None].expand(-1, -1, 1, *logits.shape[-2:]))[:, :, 0]
    wanted = (batch.targets[:, :, 0] > 0.5).float()
    error = wanted - (masks > 0).float()
    places = F.avg_pool2d(error, 7, stride=1, padding=3)
    q = masks.shape[-1]
    cell = places.abs().flatten(2).argmax(-1)
    missing = places.flatten(2).gather(2, cell[..., None])[..., 0] > 0
    click = torch.stack([cell % q, cell // q], -1) + 0.5
    click = click * (batch.images.shape[-1] / q)
    coords = torch.cat([batch.coords, click[:, :, None].to(batch.coords.dtype)], 2)
    labels = torch.cat([batch.labels, missing[..., None].to(batch.labels.dtype)], 2)
    return coords, labels, masks


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
    masks: Float[torch.Tensor, "b k q q"] | None = None,
) -> PromptAnswers:
    """Answer all prompts of all pictures in one call of the decoder.

    Args:
        sam: a SAM 2 model with high-resolution features and three masks per prompt.
        features: its image encoder's FPN levels, finest first.
        coords: prompt points (u, v) in pixels of the model's input.
        labels: 1 a point, 0 a point outside, 2 and 3 the corners of a box.
        masks: logits of a mask to start from, at a quarter of the resolution.
    """
    b, k = coords.shape[:2]
    low = features[-1]
    if sam.directly_add_no_mem_embed:
        low = low + sam.no_mem_embed.view(1, -1, 1, 1)
    decoder, prompts = sam.sam_mask_decoder, sam.sam_prompt_encoder
    mask_inputs = None if masks is None else masks.flatten(0, 1)[:, None]
    with _prompt_frame(prompts, tuple(low.shape[-2:]), sam.backbone_stride):
        sparse, dense = prompts((coords.flatten(0, 1), labels.flatten(0, 1)), None, mask_inputs)
        positions = prompts.get_dense_pe()
    per_prompt = lambda x: x.repeat_interleave(k, dim=0)
    logits, predicted_iou, tokens, _ = decoder.predict_masks(
        image_embeddings=per_prompt(low),
        image_pe=positions,
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=[per_prompt(decoder.conv_s0(features[0])), per_prompt(decoder.conv_s1(features[1]))],
    )
    return PromptAnswers(*(x.reshape(b, k, *x.shape[1:]) for x in (logits, predicted_iou, tokens)))


@contextlib.contextmanager
def _prompt_frame(prompts: nn.Module, size: tuple[int, int], stride: int):
    """Let the prompt encoder, which keeps its picture's size, take pictures of another size."""
    kept = prompts.image_embedding_size, prompts.input_image_size
    prompts.image_embedding_size, prompts.input_image_size = size, (size[0] * stride, size[1] * stride)
    try:
        yield
    finally:
        prompts.image_embedding_size, prompts.input_image_size = kept


def build_student(
    model_yaml: str,
    *,
    seed: int,
    initial_weights: str | None = None,
    initial_trunk: str | None = None,
    encoder: EncoderOptions | None = None,
) -> SegmentationStudent:
    """Build the model of a YAML for training, with weights drawn from `seed` or read from a file.

    The global random state of torch is as before afterwards.

    Args:
        model_yaml: SAM 2 configuration.
        seed: of the weights that are random.
        initial_weights: file of all weights.
        initial_trunk: file of a dense tower whose trunk is taken instead.
        encoder: another image encoder than the YAML's.
    """
    from voxlang.core.weights import load_weights
    from voxlang.encoders.build import instantiate_sam2
    from voxlang.segtrain.weights import read_initial_weights, read_tower_trunk

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = SegmentationStudent(instantiate_sam2(model_config(model_yaml, encoder)))
        if initial_weights is None:
            open_prompts(student.sam)
        else:
            load_weights(student.sam, read_initial_weights(initial_weights), where=initial_weights)
        if initial_trunk is not None:
            load_weights(student.sam.image_encoder.trunk, read_tower_trunk(initial_trunk), where=initial_trunk)
    return student


def model_config(model_yaml: str, encoder: EncoderOptions | None) -> dict[str, Any]:
    """The `model` node that is trained: the YAML's, with the encoder of the options."""
    from voxlang.encoders.options import with_encoder
    from voxlang.masks.build import read_sam_config

    return with_encoder(read_sam_config(model_yaml), encoder)


_UNUSED = ("sam.memory_attention.", "sam.memory_encoder.", "sam.maskmem_tpos_enc", "sam.no_mem_pos_enc")
_READERS = ("sam.sam_mask_decoder.conv_s", "auxiliary.lateral.")
_TRUNK, _AUXILIARY = "sam.image_encoder.trunk.", "auxiliary."
_NECK = "sam.image_encoder.neck."


def trained_parameters(student: SegmentationStudent) -> dict[str, list[nn.Parameter]]:
    """Parameters that still pictures reach, in groups that learn at different rates.

    decoder (with prompts), readers (the first layers behind the neck), encoder (its trunk), neck, auxiliary head.
    The memory of the video model is left out, and what the image encoder itself has frozen.
    """
    groups: dict[str, list[nn.Parameter]] = {
        name: [] for name in ("decoder", "readers", "encoder", "neck", "auxiliary")
    }
    for name, parameter in ((n, p) for n, p in student.named_parameters() if p.requires_grad):
        if name.startswith(_NECK):
            groups["neck"].append(parameter)
        elif name.startswith(_READERS):
            groups["readers"].append(parameter)
        elif name.startswith(_TRUNK):
            groups["encoder"].append(parameter)
        elif name.startswith(_AUXILIARY):
            groups["auxiliary"].append(parameter)
        elif not name.startswith(_UNUSED):
            groups["decoder"].append(parameter)
    return groups
