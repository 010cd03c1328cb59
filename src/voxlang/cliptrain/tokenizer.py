"""The compact vocabulary: word pieces from everything that the text tower will read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxlang.cliptrain.concepts import TEMPLATES
from voxlang.cliptrain.teacher import TeacherSpace
from voxlang.embed.clip_directory import PAD, train_tokenizer

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


def make_tokenizer(space: TeacherSpace, *, vocab_size: int) -> Tokenizer:
    """Learn word pieces from phrases (core phrases count several times) and the templates around them."""
    core = list(space.phrases[: space.n_core])
    return train_tokenizer([*core * 6, *TEMPLATES * 40, *space.phrases], vocab_size=vocab_size)


def encode_tokens(tokenizer: Tokenizer, texts: list[str], *, context_length: int) -> torch.Tensor:
    """Token rows [n context_length], cut and padded as the exported model's tokenizer does."""
    import torch

    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(PAD), pad_token=PAD, length=context_length)
    return torch.tensor([e.ids for e in tokenizer.encode_batch(texts)], dtype=torch.long)
