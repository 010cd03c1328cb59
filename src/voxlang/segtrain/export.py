"""Write the trained SAM 2 weights as a small safetensors file that the masks room loads."""

from __future__ import annotations

from pathlib import Path

import torch

from voxlang.core.artifacts import atomic_path
from voxlang.core.digest import digest_bytes, digest_json
from voxlang.segtrain.config import SegTrainConfig
from voxlang.segtrain.model import SegmentationStudent
from voxlang.segtrain.weights import LOGIT_SCALE, with_logit_scale


def export_weights(student: SegmentationStudent, config: SegTrainConfig, *, steps: int, seconds: float) -> Path:
    """Write the SAM 2 part of a student; the auxiliary head is left out.

    The keys are those of sam2's own state dict, so that any SAM 2 loader takes the file. float16 halves the file; the
    loader copies it into float32 parameters.

    Args:
        student: the averaged network.
        config: its recipe; `export_path`, `export_dtype` and `export_logit_scale` say where and how to write.
        steps: optimizer steps done.
        seconds: seconds of training.

    Returns:
        The path written.
    """
    from safetensors.torch import save_file

    state = {name: t.detach().cpu().float() for name, t in student.sam.state_dict().items()}
    state = with_logit_scale(state, config.export_logit_scale)
    dtype = getattr(torch, config.export_dtype)
    tensors = {name: t.to(dtype).contiguous() for name, t in state.items()}
    digest = digest_bytes(b"".join(n.encode() + tensors[n].numpy().tobytes() for n in sorted(tensors)))
    metadata = {
        "kind": "sam2-weights",
        "digest": digest,
        "config": Path(config.model_yaml).name,
        "recipe": digest_json(config.model_dump(mode="json")),
        "steps": str(steps),
        "seconds": f"{seconds:.0f}",
        "seed": str(config.seed),
        LOGIT_SCALE: str(config.export_logit_scale),
        "licence": "MIT",
    }
    path = Path(config.export_path)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return path
