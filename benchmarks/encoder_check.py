"""Every encoder, computed in full: built, described, run at several sizes, saved, loaded strictly, and run again.

python -m benchmarks.encoder_check [--encoders tiny sam2_hiera_t.yaml sam2_vit_dino] [--sides 256 512 1024]

Each encoder has a process of its own. Ends with 1 when something does not hold.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import tyro

OFFICIAL = ("tiny", "small", "base_plus", "large")
OFFICIAL_2_0 = ("sam2_hiera_t.yaml", "sam2_hiera_s.yaml", "sam2_hiera_b+.yaml", "sam2_hiera_l.yaml")
ENCODERS = ("micro", *OFFICIAL, *OFFICIAL_2_0, "sam2_vit_dino", "sam2_vit_ijepa")


def check_encoder(encoder: str, sides: Sequence[int]) -> str:
    """Check one model with random weights; says what was found.

    Args:
        encoder: a size, a YAML file, or a name in configs/sam2.
        sides: of square pictures. The first is also made oblong, and is the one that is compared after loading; 16
            pixels more are no size that an encoder takes.

    Raises:
        AssertionError: a level of another shape than described, numbers that are not finite, a size taken that should
            be refused, or other answers after the weights were saved and loaded.
        WeightsError: the weights cannot be loaded strictly.
    """
    import torch
    from safetensors.torch import save_file

    from voxlang.core.errors import MaskError
    from voxlang.encoders.build import build_sam2
    from voxlang.encoders.describe import describe_encoder
    from voxlang.masks.models import config_path

    path = config_path(encoder)
    torch.manual_seed(0)
    model = build_sam2(path, device="cpu")
    found, before, pictures = [], [], torch.Generator().manual_seed(1)
    for height, width in [(sides[0], sides[0]), (sides[0], sides[0] + 32), *((side, side) for side in sides[1:])]:
        described = describe_encoder(model.image_encoder, height, width, name=encoder)
        picture = torch.randn(1, 3, height, width, generator=pictures)
        started = time.process_time()
        with torch.no_grad():
            levels = model.image_encoder(picture)["backbone_fpn"]
        shapes = [tuple(level.shape[1:]) for level in levels]
        assert shapes == [level.neck_shape for level in described.levels if level.used], f"{encoder}: {shapes}"
        assert all(bool(level.isfinite().all()) for level in levels), f"{encoder} at {height}x{width} is not finite"
        found.append(f"{height}x{width} in {time.process_time() - started:.1f} s")
        before = before or [picture, *levels]
    try:
        model.image_encoder(picture[..., :-16])
    except MaskError as error:
        assert f"{height}x{width - 16}" in str(error), f"{encoder}: {error}"
    else:
        raise AssertionError(f"{encoder} takes a picture of {height}x{width - 16}")
    with tempfile.TemporaryDirectory(prefix="voxlang-check-") as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(model.state_dict(), weights)
        del model
        again = build_sam2(path, weights, "cpu")
    with torch.no_grad():
        after = again.image_encoder(before[0])["backbone_fpn"]
    assert all(torch.equal(a, b) for a, b in zip(before[1:], after, strict=True)), f"{encoder} answers otherwise"
    size = f"{described.trunk}, {described.parameters['total'] / 1e6:.1f} M"
    return f"{size}; {', '.join(found)}; {height}x{width - 16} refused; loaded, answers alike"


def main(encoders: tuple[str, ...] = ENCODERS, sides: tuple[int, ...] = (256, 512, 1024)) -> None:
    """Check every encoder and print a line for each."""
    failed = []
    for encoder in encoders:
        code = f"from benchmarks.encoder_check import check_encoder; print(check_encoder({encoder!r}, {sides!r}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        said = (done.stdout or done.stderr).strip().splitlines()[-1]
        print(f"{'ok' if done.returncode == 0 else 'FAILED':<7} {encoder:<18} {said}", flush=True)
        failed += [encoder] if done.returncode else []
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    tyro.cli(main)
