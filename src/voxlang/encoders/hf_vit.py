"""The adapter to transformers: a Hugging Face ViT from a folder, the local store or a configuration. No downloads."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlang.core.errors import ConfigError, ModelMissingError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FAMILIES: dict[str, tuple[str, ...]] = {
    "dino": ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit"),
    "ijepa": ("ijepa",),
}
"""Encoder type, and the `model_type` of its Hugging Face configurations. DINO's first version is a plain "vit"."""
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_NOT_USED = ("pooler.", "embeddings.mask_token")
_BOOKKEEPING = ("transformers_version", "out_features", "out_indices", "stage_names", "architectures", "dtype")

Pretrained = str | Path | Mapping[str, Any]
"""Hub id in the local store; folder with config.json and weights; a config.json or a mapping of its keys, which
name an architecture whose weights are then random."""


def load_vit(pretrained: Pretrained, encoder_type: str) -> PreTrainedModel:
    """The ViT in float32, in evaluation mode.

    Args:
        pretrained: see `Pretrained`.
        encoder_type: "dino" or "ijepa".

    Raises:
        ConfigError: an unknown type, key or family, or a ViT that cannot see square patches of colour pictures.
        ModelMissingError: no such folder, no weights in it, or a hub id that is not in the local store.
        WeightsError: weights that do not fill the model.
    """
    from transformers import AutoModel

    config, source = _checked_config(pretrained, encoder_type)
    extra = {"add_pooling_layer": False} if config.model_type in ("vit", "ijepa") else {}
    if source is None:
        return AutoModel.from_config(config, **extra).eval()
    import torch

    try:
        vit, report = AutoModel.from_pretrained(
            source, local_files_only=True, dtype=torch.float32, output_loading_info=True, **extra
        )
    except OSError as error:
        raise _missing(source) from error
    absent = [name for name in report["missing_keys"] if not name.startswith(_NOT_USED)]
    if absent or report["mismatched_keys"]:
        raise WeightsError(
            f"all weights of a {config.model_type}",
            got=f"{len(absent)} missing: {', '.join(sorted(absent)[:10])}; "
            f"{len(report['mismatched_keys'])} of another shape",
            where=source,
            do="pass the folder or hub id that belongs to this configuration",
        )
    return vit.eval()


def read_vit_config(pretrained: Pretrained, encoder_type: str) -> PreTrainedConfig:
    """The ViT's configuration without its weights.

    Raises:
        ConfigError, ModelMissingError: as in `load_vit`.
    """
    return _checked_config(pretrained, encoder_type)[0]


def architecture(config: PreTrainedConfig) -> dict[str, Any]:
    """The keys of a configuration that differ from its family's defaults, and the family: enough to build it again."""
    usual, own = type(config)().to_dict(), config.to_dict()
    changed = {k: v for k, v in own.items() if k not in _BOOKKEEPING and not k.startswith("_") and usual.get(k) != v}
    return {"model_type": config.model_type} | changed


def patch_size_px(config: PreTrainedConfig) -> int:
    """Side of a patch in pixels."""
    size = config.patch_size
    return size if isinstance(size, int) else size[0]


def checkpoint_activations(vit: PreTrainedModel) -> None:
    """Compute the activations inside each layer again on the way back; transformers renamed the switch in version 5."""
    enable = getattr(vit, "activation_checkpointing_enable", None) or vit.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def _checked_config(pretrained: Pretrained, encoder_type: str) -> tuple[PreTrainedConfig, str | None]:
    if encoder_type not in FAMILIES:
        raise ConfigError(
            f"one of {', '.join(FAMILIES)}", got=repr(encoder_type), where="encoder_type", do="use one of these"
        )
    config, source = _read_config(pretrained)
    _check_config(config, encoder_type, str(source or pretrained))
    return config, source


def _read_config(pretrained: Pretrained) -> tuple[PreTrainedConfig, str | None]:
    """The configuration, and where its weights are; None where they are to be random."""
    from transformers import AutoConfig

    if isinstance(pretrained, Mapping):
        return _config_of(dict(pretrained), "trunk.pretrained"), None
    path = Path(pretrained)
    if path.suffix == ".json":
        from voxlang.core.artifacts import read_json

        return _config_of(read_json(path), str(path)), None
    if path.is_dir():
        if not (path / "config.json").is_file() or not any((path / name).is_file() for name in WEIGHT_FILES):
            raise _missing(str(path))
    elif path.is_absolute() or str(pretrained).startswith(".") or str(pretrained).count("/") != 1:
        raise _missing(str(pretrained))
    try:
        return AutoConfig.from_pretrained(str(pretrained), local_files_only=True), str(pretrained)
    except OSError as error:
        raise _missing(str(pretrained)) from error
    except ValueError as error:
        raise _unknown_family(str(error).splitlines()[0], str(pretrained)) from error


def _config_of(keys: dict[str, Any], where: str) -> PreTrainedConfig:
    from transformers import AutoConfig

    family = keys.get("model_type")
    if family not in {name for names in FAMILIES.values() for name in names}:
        raise _unknown_family(f"model_type {family!r}", where)
    known = set(AutoConfig.for_model(family).to_dict()) | set(_BOOKKEEPING)
    unknown = [key for key in keys if key not in known and not key.startswith("_")]
    if unknown:
        near = get_close_matches(unknown[0], sorted(known), n=1)
        raise ConfigError(
            f"keys of a {family} configuration",
            got=", ".join(unknown),
            where=where,
            do=f"did you mean {near[0]}" if near else "leave them out",
        )
    return AutoConfig.for_model(**keys)


def _check_config(config: PreTrainedConfig, encoder_type: str, where: str) -> None:
    if config.model_type not in FAMILIES[encoder_type]:
        fits = next((name for name, families in FAMILIES.items() if config.model_type in families), None)
        if fits is None:
            raise _unknown_family(f"model_type {config.model_type!r}", where)
        raise ConfigError(
            f"encoder_type {encoder_type}: a {' or '.join(FAMILIES[encoder_type])}",
            got=f"model_type {config.model_type}",
            where=where,
            do=f"use encoder_type {fits}, or another ViT",
        )
    size = config.patch_size
    if config.num_channels != 3 or not (isinstance(size, int) or len(set(size)) == 1):
        raise ConfigError(
            "a ViT of colour pictures with square patches",
            got=f"{config.num_channels} channels, patches {size}",
            where=where,
            do="use another ViT",
        )


def _unknown_family(got: str, where: str) -> ConfigError:
    return ConfigError(
        f"a ViT whose model_type is one of {', '.join(name for names in FAMILIES.values() for name in names)}",
        got=got,
        where=where,
        do="use a DINO, DINOv2, DINOv3, ViT or I-JEPA model",
    )


def _missing(name: str) -> ModelMissingError:
    path = Path(name)
    if path.is_dir():
        return ModelMissingError(
            f"config.json and one of {', '.join(WEIGHT_FILES)}",
            got=f"{', '.join(sorted(p.name for p in path.iterdir())[:10]) or 'an empty folder'}",
            where=name,
            do="put both there; for random weights name the config.json itself",
        )
    return ModelMissingError(
        "a folder with config.json and weights, a config.json, or a hub id in the local Hugging Face store",
        got="no such folder, and nothing of this name in the store",
        where=name,
        do=f"check the spelling (a hub id as facebook/dinov2-large); on a machine with internet `hf download {name}` "
        "fills the store (HF_HOME), and `hf download ... --local-dir FOLDER` a folder; nothing is downloaded here",
    )
