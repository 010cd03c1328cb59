"""Build SAM 2 models and their image encoders from YAML. The one place that imports sam2's model classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlang.checkpoints.reading import read_weights_file
from voxlang.core.device import device_of
from voxlang.core.errors import ConfigError, VoxlangError
from voxlang.core.weights import load_weights
from voxlang.encoders import checks
from voxlang.encoders.compose import compose_sam2, hydra_set_aside

if TYPE_CHECKING:
    import torch
    from sam2.modeling.backbones.image_encoder import ImageEncoder
    from sam2.modeling.sam2_base import SAM2Base
    from torch import nn


def build_sam2(
    config_file: str | Path,
    ckpt_path: str | Path | None = None,
    device: str | torch.device = "auto",
    mode: str = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
) -> SAM2Base:
    """Build a SAM 2 model; sam2's function of this name, for our configurations and its own.

    Args:
        config_file: a YAML file, a name in configs/sam2 ("sam2_vit_dino.yaml"), or a path of the sam2 package.
        ckpt_path: weights, loaded strictly; None leaves the initial ones, random but for a trunk that brings its own.
        device: where the parameters lie; "auto" is CUDA where there is one.
        mode: "eval", or "train", which leaves dropout and the like on.
        hydra_overrides_extra: Hydra overrides such as "model.image_size=512"; "++" adds a key that is not there.
        apply_postprocessing: let unstable single masks give way to the best of three, as sam2 does.

    Raises:
        ConfigError: an unknown file, mode, device, key or override, or parts that do not fit each other.
        ModelMissingError: a trunk whose pretrained weights are not on this machine.
        WeightsError: weights that are broken or do not fit.
    """
    if mode not in ("eval", "train"):
        raise ConfigError("eval or train", got=repr(mode), where="build_sam2(mode)", do="use one of these")
    config = compose_sam2(config_file, hydra_overrides_extra, apply_postprocessing=apply_postprocessing)
    model = instantiate_sam2(config)
    if ckpt_path is not None:
        load_weights(model, read_weights_file(ckpt_path).state, where=str(ckpt_path))
    return model.to(device_of(device)).train(mode == "train")


def instantiate_sam2(config: dict[str, Any]) -> SAM2Base:
    """Make the model of a composed `model` node, in training mode, with initial weights from torch's generator.

    Raises:
        ConfigError: unknown keys, or parts that do not fit each other.
    """
    from hydra.utils import get_class

    import_sam2()
    checks.check_keys(config, "model")
    checks.check_decoder_arguments(config.get("sam_mask_decoder_extra_args"))
    levels_used = 3 if config.get("use_high_res_features_in_sam") else 1
    parts: dict[str, Any] = {"image_encoder": instantiate_image_encoder(config["image_encoder"], levels_used)}
    for name, value in config.items():
        if name not in ("_target_", "image_encoder"):
            parts[name] = _made(value, f"model.{name}") if isinstance(value, dict) else value
    return get_class(config["_target_"])(**parts)


def build_image_encoder(
    config_file: str | Path, ckpt_path: str | Path | None = None, hydra_overrides_extra: Sequence[str] = ()
) -> ImageEncoder:
    """The image encoder of a SAM 2 model alone, on the CPU in evaluation mode.

    Args:
        config_file: as in `build_sam2`.
        ckpt_path: weights of the whole model, of which the encoder's are loaded strictly.
        hydra_overrides_extra: as in `build_sam2`.

    Raises:
        ConfigError, ModelMissingError, WeightsError: as in `build_sam2`.
    """
    import_sam2()
    config = compose_sam2(config_file, hydra_overrides_extra)
    checks.check_keys(config["image_encoder"], "model.image_encoder")
    encoder = instantiate_image_encoder(config["image_encoder"], 3 if config.get("use_high_res_features_in_sam") else 1)
    if ckpt_path is not None:
        prefix = "image_encoder."
        state = read_weights_file(ckpt_path).state
        own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
        load_weights(encoder, own, where=str(ckpt_path))
    return encoder.eval()


def instantiate_image_encoder(config: dict[str, Any], levels_used: int) -> ImageEncoder:
    """Make trunk and neck, check them against each other, and join them.

    Pictures whose sides do not give whole levels are refused with a MaskError.
    """
    from hydra.utils import get_class

    checks.check_parts(config)
    checks.check_neck(config["neck"], levels_used=levels_used, scalp=config.get("scalp", 0))
    trunk, neck = (_made(config[part], f"model.image_encoder.{part}") for part in ("trunk", "neck"))
    checks.check_channels(trunk, neck)
    others = {name: value for name, value in config.items() if name not in ("_target_", "trunk", "neck")}
    encoder = get_class(config["_target_"])(trunk=trunk, neck=neck, **others)
    encoder.register_forward_pre_hook(_refuse_odd_sizes)
    neck.register_forward_pre_hook(_to_own_dtype)
    return encoder


def _made(node: dict[str, Any], place: str) -> Any:
    """What a node describes; our own errors come through as they are."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, VoxlangError):
            raise error.__cause__ from None
        raise ConfigError(
            "settings that the class can be made with",
            got=repr(error.__cause__ or error).splitlines()[0],
            where=place,
            do="compare them with configs/sam2/*.yaml",
        ) from error


def size_multiple(trunk: nn.Module) -> int:
    """Pixels of which both sides of a picture must be multiples: stride of the coarsest level, and Hiera's windows."""
    import math

    if hasattr(trunk, "size_multiple"):
        return trunk.size_multiple
    patch = trunk.patch_embed.proj.stride[0]
    pooled = math.prod([trunk.q_stride[0]] * len(trunk.q_pool_blocks))
    return patch * math.lcm(trunk.window_spec[0], pooled)


def import_sam2() -> None:
    """Import sam2 and leave Hydra's global state as it was before."""
    with hydra_set_aside():
        import sam2.modeling.sam2_base  # noqa: F401


def _refuse_odd_sizes(encoder: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    height, width = inputs[0].shape[-2:]
    trunk = encoder.trunk
    checks.check_image_size(height, width, multiple=size_multiple(trunk), model=type(trunk).__name__)


def _to_own_dtype(neck: nn.Module, inputs: tuple[list[torch.Tensor], ...]) -> tuple[list[torch.Tensor]]:
    """A trunk may answer in half precision; the neck computes in the type of its weights."""
    dtype = next(neck.parameters()).dtype
    return ([x.to(dtype) for x in inputs[0]],)
