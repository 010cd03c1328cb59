"""How the work is done: settings that change speed and memory, and some that change masks within a tolerance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from voxlang.core.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base
    from torch import Tensor

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


def compile_parts(model: SAM2Base, decoder: FastDecoder, compilation: Compilation) -> Callable[[Tensor], dict]:
    """Compile the decoder's two steps in place, and return the encoder's pass, compiled too; the model stays as it is.

    CUDA graphs hold encoder and transformer, whose shapes stay the same; how many prompts get masks changes from chunk
    to chunk, so that step is compiled only. A graph writes its results to the same place every time: the encoder's are
    copied, and what is wanted of the transformer's is picked out, thus copied, before its next run.

    Raises:
        ConfigError: CUDA graphs without CUDA.
    """
    import torch
    from torch.utils._pytree import tree_map

    if compilation == "off":
        return model.forward_image
    if compilation == "cuda-graphs" and model.device.type != "cuda":
        raise ConfigError(
            "a CUDA device for CUDA graphs",
            got=f"a model on {model.device}",
            where="SpeedSettings(compile='cuda-graphs')",
            do="set --sam.compile default, or --sam.device cuda",
        )
    mode = "reduce-overhead" if compilation == "cuda-graphs" else None
    decoder.decode = torch.compile(decoder.decode, mode=mode)
    decoder.mask_logits = torch.compile(decoder.mask_logits)
    forward_image = torch.compile(model.forward_image, mode=mode)
    return forward_image if mode is None else lambda batch: tree_map(torch.clone, forward_image(batch))
