"""How the work is done: settings that change speed and memory, and some that change masks within a tolerance."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

    from voxlang.masks.fast.decoder import FastDecoder

Precision = Literal["float32", "bfloat16", "float16"]
Compilation = Literal["off", "default", "cuda-graphs"]


@dataclass(frozen=True, kw_only=True)
class SpeedSettings:
    """The defaults are exact. The three below `pictures_per_pass` are tolerance modes: masks may differ a little."""

    pictures_per_pass: int = 1
    """Pictures or crops that go through the encoder together."""
    encoder_dtype: Precision = "float32"
    """Arithmetic of the encoder's matrix products."""
    decoder_dtype: Precision = "float32"
    """Arithmetic of the decoder's matrix products."""
    compile: Compilation = "off"
    """Compile encoder and decoder with torch.compile; "cuda-graphs" also records their kernels as CUDA graphs."""


def reduced_precision(device: torch.device, dtype: Precision) -> AbstractContextManager:
    """Matrix products of lower precision, as torch's autocast chooses them."""
    import torch

    return nullcontext() if dtype == "float32" else torch.autocast(device.type, dtype=getattr(torch, dtype))


def compile_parts(model: SAM2Base, decoder: FastDecoder, compilation: Compilation) -> None:
    """Put compiled functions in place of the encoder's forward pass and of the decoder's two steps."""
    import torch

    if compilation == "off":
        return
    mode = "reduce-overhead" if compilation == "cuda-graphs" else None
    model.image_encoder.forward = torch.compile(model.image_encoder.forward, mode=mode)
    decoder.decode = torch.compile(decoder.decode, mode=mode)
    decoder.mask_logits = torch.compile(decoder.mask_logits, mode=mode)
