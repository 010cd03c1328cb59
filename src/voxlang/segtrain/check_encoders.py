"""The integration check of the DINO and I-JEPA encoders: configurations, parts, training, parameters. Runs offline."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from voxlang.core import places
from voxlang.core.errors import ConfigError
from voxlang.encoders.compose import compose_sam2

CONFIGS = {"sam2_vit_dino": "dino", "sam2_vit_ijepa": "ijepa"}
SMALL_CONFIGS = {"sam2_vit_dino_micro": "dino", "sam2_vit_ijepa_micro": "ijepa"}
RECIPE = "configs/sam2_training/base_config.yaml"
OFFICIAL = "configs/sam2.1/sam2.1_hiera_l.yaml"


@dataclass(frozen=True)
class CheckResult:
    """One line of the table."""

    name: str
    """What was checked."""
    passed: bool
    """Whether it held."""
    detail: str
    """What was found, or what went wrong."""
    seconds: float
    """Time it took."""


def run_checks(checks: dict[str, Callable[[], str]] | None = None) -> list[CheckResult]:
    """Run all checks; one that fails does not stop the others.

    Args:
        checks: name and function, which returns what it found and raises where it does not hold; by default all.
    """
    results = []
    for name, check in (CHECKS if checks is None else checks).items():
        started = time.monotonic()
        try:
            passed, detail = True, check()
        except Exception as error:  # a check may fail in any way, and the table must show it
            passed = False
            where = traceback.extract_tb(error.__traceback__)[-1]
            detail = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        results.append(CheckResult(name, passed, detail, time.monotonic() - started))
        print(table_line(results[-1]), flush=True)
    return results


def table_line(result: CheckResult) -> str:
    """`ok` or `FAILED`, the name, the time, and what was found."""
    return f"{'ok' if result.passed else 'FAILED':<7} {result.name:<28} {result.seconds:6.1f} s  {result.detail}"


def check_configurations() -> str:
    """Both configurations inherit SAM 2.1 and change nothing of it but the image encoder's trunk and widths."""
    official = _without_trunk(compose_sam2(OFFICIAL))
    for name, kind in CONFIGS.items():
        config = compose_sam2(name)
        _expect(config["image_encoder"]["trunk"]["encoder_type"] == kind, f"{name} is of type {kind}")
        _expect(_without_trunk(config) == official, f"{name} is SAM 2.1 but for the trunk")
    return f"{', '.join(CONFIGS)} inherit SAM 2.1"


def check_shapes() -> str:
    """Without computing: every level of both configurations at 256, 512, 1024 and an oblong picture is exact."""
    import torch

    from voxlang.encoders.build import build_image_encoder

    sizes = ((256, 256), (512, 512), (1024, 1024), (256, 416))
    for name in CONFIGS:
        with torch.device("meta"):
            encoder = build_image_encoder(name)
        for height, width in sizes:
            out = encoder(torch.empty(1, 3, height, width, device="meta"))["backbone_fpn"]
            shapes = [tuple(level.shape[1:]) for level in out]
            _expect(shapes == [(256, height // s, width // s) for s in (4, 8, 16)], f"{name} gives {shapes}")
    return f"{len(sizes)} sizes exact"


def check_components() -> str:
    """Trunk and neck agree; a trunk whose widths differ from the neck's is refused with both lists."""
    from voxlang.encoders.build import build_image_encoder

    for name in SMALL_CONFIGS:
        encoder = build_image_encoder(name)
        _expect(encoder.trunk.channel_list == encoder.neck.backbone_channel_list, f"{name}: widths agree")
        try:
            build_image_encoder(name, hydra_overrides_extra=["model.image_encoder.trunk.out_dims=[8,8,8,8]"])
        except ConfigError as error:
            _expect("[8, 8, 8, 8]" in str(error), "the error names the widths")
        else:
            _expect(False, f"{name}: other widths are refused")
    return "widths agree; others are refused"


def check_training() -> str:
    """A few steps on both kinds, one of them frozen; the weights are loaded strictly and answer alike."""
    import torch

    from voxlang.encoders.build import build_sam2
    from voxlang.segtrain.command import TrainCommand, run_training

    for kind in SMALL_CONFIGS.values():
        with tempfile.TemporaryDirectory(prefix="voxlang-check-") as folder:
            architecture = compose_sam2(f"sam2_vit_{kind}_micro")["image_encoder"]["trunk"]["pretrained"]
            vit = _write_config(Path(folder), architecture)
            command = TrainCommand(
                config=places.find_file(Path(RECIPE)) or Path(RECIPE), smoke=True, run_dir=folder,
                encoder_type=kind, encoder_ckpt=str(vit), encoder_out_dims="64,64,32,32",
                freeze_vit=kind == "ijepa",
            )  # fmt: skip
            run_training(command)
            files = Path(folder) / "weights.yaml", Path(folder) / "weights.safetensors"
            one, other = (build_sam2(*files, "cpu") for _ in range(2))
            picture = torch.rand(1, 3, 256, 256)
            with torch.no_grad():
                a, b = (model.image_encoder(picture)["vision_features"] for model in (one, other))
            _expect(torch.equal(a, b) and bool(a.isfinite().all()), f"{kind}: reloaded weights answer alike")
    return "dino trained, ijepa frozen and its pyramid trained"


def check_parameters() -> str:
    """Every parameter is finite; a frozen ViT does not learn, and its pyramid does."""
    import torch

    from voxlang.encoders.options import EncoderOptions
    from voxlang.segtrain.model import build_student, trained_parameters

    counts = []
    for name, kind in SMALL_CONFIGS.items():
        student = build_student(f"configs/sam2/{name}.yaml", seed=0, encoder=EncoderOptions(type=kind, freeze_vit=True))
        vit = student.sam.image_encoder.trunk.vit
        learning = {id(p) for group in trained_parameters(student).values() for p in group}
        _expect(not any(id(p) in learning for p in vit.parameters()), f"{name}: the frozen ViT does not learn")
        _expect(all(bool(torch.isfinite(p).all()) for p in student.parameters()), f"{name}: parameters are finite")
        pyramid = student.sam.image_encoder.trunk.pyramid
        _expect(all(id(p) in learning for p in pyramid.parameters()), f"{name}: the pyramid learns")
        counts.append(f"{name} {sum(p.numel() for p in vit.parameters()) / 1e6:.2f} M in the ViT")
    return ", ".join(counts)


CHECKS: dict[str, Callable[[], str]] = {
    "configuration loading": check_configurations,
    "feature shapes": check_shapes,
    "component compatibility": check_components,
    "training integration": check_training,
    "parameter validation": check_parameters,
}
"""Name and function of each check."""


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ConfigError(
            what, got="the opposite", where="check_encoders", do="compare configs/sam2/ with its git version"
        )


def _without_trunk(config: dict) -> dict:
    encoder = {k: v for k, v in config["image_encoder"].items() if k != "trunk"}
    encoder["neck"] = {k: v for k, v in encoder["neck"].items() if k != "backbone_channel_list"}
    return config | {"image_encoder": encoder}


def _write_config(folder: Path, architecture: dict) -> Path:
    from voxlang.core.artifacts import write_json

    write_json(folder / "config.json", architecture)
    return folder / "config.json"
