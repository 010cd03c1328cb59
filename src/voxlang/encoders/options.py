"""Choose the image encoder of a SAM 2 configuration by a few options: what `training/train.py --encoder-...` sets."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from voxlang.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

VIT_TRUNK = "voxlang.encoders.vit_trunk.ViTTrunkMultiScale"


class EncoderOptions(BaseModel):
    """What replaces the trunk of a configuration, or changes it. None leaves what the configuration says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["hiera", "dino", "ijepa"] = "hiera"
    """Kind of the encoder; "hiera" leaves the configuration as it is."""
    ckpt: str | None = None
    """Hub id in the local store, folder with config.json and weights, or a config.json for random weights."""
    out_dims: tuple[int, int, int, int] | None = None
    """Channels of the levels C32, C16, C8, C4; with a `ckpt`, None is the ViT's hidden size."""
    upsample_mode: Literal["bilinear", "deconv"] | None = None
    """How strides 8 and 4 are made."""
    refine_highres: bool | None = None
    """Refine strides 8 and 4."""
    freeze_vit: bool | None = None
    """Train only what lies behind the ViT."""
    force_dtype: Literal["bf16", "fp16", "fp32"] | None = None
    """Precision of the ViT and of the levels."""
    gradient_checkpointing: bool | None = None
    """Save memory: compute the ViT's activations again on the way back."""
    verbose: bool | None = None
    """Print the shapes of the levels."""


def with_encoder(config: dict[str, Any], options: EncoderOptions | None) -> dict[str, Any]:
    """A composed `model` node with the encoder that the options choose; the given one is left as it is.

    Raises:
        ConfigError: options of a ViT for Hiera, a Hiera wanted where the configuration has a ViT, or no ViT named.
        ModelMissingError: the ViT is not on this machine.
    """
    if options is None:
        return config
    config = copy.deepcopy(config)
    encoder = config["image_encoder"]
    has_vit = encoder["trunk"]["_target_"] == VIT_TRUNK
    given = options.model_dump(exclude={"type", "ckpt"}, exclude_none=True)
    if options.type == "hiera":
        _check_hiera(options, given, has_vit)
        return config
    trunk = encoder["trunk"] if has_vit else {"_target_": VIT_TRUNK, "pretrained": None}
    if options.ckpt is None and trunk.get("encoder_type") != options.type:
        raise ConfigError(
            f"--encoder-ckpt, the ViT of --encoder-type {options.type}",
            got=f"none, and a configuration whose trunk is {trunk.get('encoder_type') or 'Hiera'}",
            where="training options",
            do="name a hub id in the local store, a folder with config.json and weights, or a config.json "
            "for random weights; or choose a model_yaml as configs/sam2/sam2_vit_dino_micro.yaml",
        )
    trunk |= {"encoder_type": options.type} | given
    if options.ckpt is not None:
        trunk |= {"pretrained": options.ckpt, "out_dims": options.out_dims}
    if trunk.get("out_dims") is None:
        trunk["out_dims"] = [_hidden_size(trunk["pretrained"], options.type)] * 4
    trunk["out_dims"] = list(trunk["out_dims"])
    encoder["trunk"] = trunk
    encoder["neck"]["backbone_channel_list"] = list(trunk["out_dims"])
    return config


def write_model_config(path: Path | str, config: dict[str, Any], model: nn.Module) -> None:
    """Write the YAML that belongs to a trained model's weights. It needs no other file: a ViT is written as its
    architecture, whose weights the checkpoint holds."""
    import yaml

    from voxlang.core.artifacts import write_text

    config = copy.deepcopy(config)
    trunk = config["image_encoder"]["trunk"]
    if trunk["_target_"] == VIT_TRUNK:
        trunk["pretrained"] = model.image_encoder.trunk.architecture
        trunk["verbose"] = False
    text = yaml.safe_dump({"model": config}, sort_keys=False)
    write_text(path, "# @package _global_\n# The model that belongs to the weights beside this file.\n" + text)


def _check_hiera(options: EncoderOptions, given: dict[str, Any], has_vit: bool) -> None:
    of_vit = [*(["ckpt"] if options.ckpt is not None else []), *given]
    if of_vit:
        raise ConfigError(
            "encoder options only with --encoder-type dino or ijepa",
            got=f"{', '.join(of_vit)} with hiera",
            where="training options",
            do="choose the type, or drop them; Hiera is set in model_yaml and starts from initial_weights",
        )
    if has_vit:
        raise ConfigError(
            "a model_yaml with a Hiera trunk for --encoder-type hiera",
            got="one with a ViT",
            where="training options",
            do="choose a model_yaml as configs/sam2/sam2.1_hiera_micro.yaml, or --encoder-type dino or ijepa",
        )


def _hidden_size(pretrained: Any, encoder_type: str) -> int:
    from voxlang.encoders.hf_vit import read_vit_config

    return read_vit_config(pretrained, encoder_type).hidden_size
