"""The adapter to open_clip: the only file that imports it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32

from voxlang.core.device import device_of
from voxlang.core.digest import digest_file
from voxlang.core.errors import ArtifactError, ConfigError, ModelMissingError
from voxlang.embed.clip_directory import TOKENIZER_NAMES, open_clip_directory
from voxlang.embed.dense import dense_features
from voxlang.embed.offline import cached_hub_file, offline
from voxlang.embed.preprocess import Images, Preprocess
from voxlang.embed.settings import MICRO_DIRECTORY, EmbedConfig
from voxlang.embed.two_towers import TwoTowerEncoder
from voxlang.embed.types import EncoderId
from voxlang.embed.weights import (
    find_directory,
    find_tag_weights,
    micro_hint,
    source_of_tag,
    unknown_name,
)

if TYPE_CHECKING:
    import torch


DENSE_SCALE = 8
"""A crop's worth of pixels for each eighth of a view."""


class OpenClipEncoder(TwoTowerEncoder):
    """An open_clip model in evaluation mode; also wraps a model that is being trained."""

    def _image_features(self, pixels: Float[torch.Tensor, "n 3 h w"]) -> Float[torch.Tensor, "n d"]:
        return self._model.encode_image(pixels)

    def _text_features(self, texts: list[str]) -> Float[torch.Tensor, "n d"]:
        return self._model.encode_text(self._tokenizer(texts).to(self._device))

    def encode_dense(self, images: Images) -> Float32[np.ndarray, "n gh gw d"]:
        """Features of whole pictures at the places of a coarse grid, in the space of the vectors; not of unit length.

        A residual tower sees the pictures at DENSE_SCALE times its own size: it has no positions outside its pooling.
        """
        import torch

        preprocess, visual = self._preprocess, self._model.visual
        if hasattr(visual, "attnpool"):
            preprocess = replace(preprocess, size=DENSE_SCALE * preprocess.size)
        with torch.inference_mode():
            features = dense_features(visual, preprocess.batch(images, self._device))
        return features.permute(0, 2, 3, 1).float().cpu().numpy()


def new_clip_model(model_cfg: dict[str, Any]) -> torch.nn.Module:
    """An open_clip model with random weights from a configuration {embed_dim, vision_cfg, text_cfg, ...}."""
    from open_clip.model import CLIP, CustomTextCLIP

    settings = {k: v for k, v in model_cfg.items() if k != "custom_text"}
    return (CustomTextCLIP if model_cfg.get("custom_text") else CLIP)(**settings)


@dataclass(frozen=True)
class _Plan:
    """What to ask open_clip for, and the identity of what comes back."""

    name: str
    create: dict[str, Any]
    architecture: str
    weights: Path
    tokenizer: dict[str, Any]
    tokenizer_options: dict[str, Any]
    known_names: tuple[str, ...] = ()


def load_open_clip(config: EmbedConfig) -> OpenClipEncoder:
    """Load an open_clip model by tag, from a local directory, or the embedded one; never downloads.

    Raises:
        ConfigError: unknown model or tag, or an image tower that is not square.
        ModelMissingError: weights, configuration or tokenizer are not on this machine.
        ArtifactError: they do not fit each other.
    """
    device = str(device_of(config.device, where="embed.device"))
    with offline():
        plan = _plan(config)
        model, tokenizer = _build(plan, config)
    preprocess = _preprocess_of(model, config)
    identity = EncoderId(
        "open_clip",
        plan.architecture,
        digest_file(plan.weights),
        preprocess.digest(plan.tokenizer),
        _feature_dim(model, tokenizer, plan),
    )
    return OpenClipEncoder(
        model,
        tokenizer,
        identity=identity,
        preprocess=preprocess,
        device=device,
        batch_size=config.batch_size,
        known_names=plan.known_names,
    )


def _plan(config: EmbedConfig) -> _Plan:
    """Decide between the embedded model, a directory, a hub cache and a tag."""
    if config.model == "micro":
        folder = find_directory(config, MICRO_DIRECTORY)
        return _directory_plan(folder or config.checkpoints / MICRO_DIRECTORY, config)
    if config.model.startswith("local-dir:"):
        return _directory_plan(Path(config.model.removeprefix("local-dir:")), config)
    if config.model.startswith("hf-hub:"):
        repository = config.model.removeprefix("hf-hub:")
        cached = cached_hub_file(repository, ("open_clip_config.json",))
        if cached is None:
            raise ModelMissingError(
                f"{repository} in the hub client's cache",
                got="nothing there; nothing is ever downloaded here",
                where=f"embed.model={config.model}",
                do=f"download https://huggingface.co/{repository} into a folder and pass --embed.model "
                f"local-dir:FOLDER{micro_hint(config)}",
            )
        return _directory_plan(cached.parent, config)
    return _tag_plan(config)


def _directory_plan(folder: Path, config: EmbedConfig) -> _Plan:
    directory = open_clip_directory(folder, advice=micro_hint(config))
    return _Plan(
        f"local-dir:{folder}",
        {},
        directory.architecture,
        directory.weights,
        directory.tokenizer,
        {"local_files_only": True} if directory.has_own_tokenizer else {},
        directory.known_names,
    )


def _tag_plan(config: EmbedConfig) -> _Plan:
    import open_clip

    name, where = config.model.replace("/", "-"), f"embed.model={config.model}, embed.pretrained={config.pretrained}"
    names = open_clip.list_models()
    if name not in names:
        raise unknown_name("the name of an open_clip model, or micro or local-dir:FOLDER", name, names, where=where)
    model_cfg, tags = open_clip.get_model_config(name), open_clip.list_pretrained_tags_by_model(name)
    create: dict[str, Any] = {}
    tag_config = open_clip.pretrained.get_pretrained_cfg(name, config.pretrained) if config.pretrained else {}
    if tag_config:
        weights = find_tag_weights(config, name, source_of_tag(tag_config))
        create["force_preprocess_cfg"] = {
            k: tag_config[k] for k in ("mean", "std", "interpolation", "resize_mode") if tag_config.get(k) is not None
        }
    elif config.pretrained is not None and Path(config.pretrained).is_file():
        weights = Path(config.pretrained)
    else:
        raise unknown_name(f"a pretrained tag of {name}, or a weights file", str(config.pretrained), tags, where=where)
    quick = bool(tag_config.get("quick_gelu")) and not model_cfg.get("quick_gelu", False)
    text_cfg = model_cfg["text_cfg"]
    own_tokenizer = text_cfg.get("hf_tokenizer_name")
    return _Plan(
        name,
        {**create, "pretrained": str(weights), "force_quick_gelu": quick},
        f"{name}-quickgelu" if quick else name,
        weights,
        {"name": own_tokenizer or "open_clip", "context_length": text_cfg.get("context_length", 77)},
        {"local_files_only": True} if own_tokenizer else {},
    )


def _build(plan: _Plan, config: EmbedConfig) -> tuple[torch.nn.Module, Callable]:
    """Call open_clip; turn its faults into ours."""
    import open_clip
    from safetensors import SafetensorError

    where = f"embed.model={config.model} ({plan.weights})"
    try:
        model = open_clip.create_model(plan.name, require_pretrained=True, **plan.create)
    except (RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise ArtifactError(
            f"weights and configuration that fit each other for {plan.architecture}",
            got=" ".join(str(error).split())[:400],
            where=where,
            do="put the weights of this very model there",
        ) from error
    except OSError as error:
        raise _missing_part(
            "a text tower's configuration", plan, error, where=where, hint=micro_hint(config)
        ) from error
    try:
        tokenizer = open_clip.get_tokenizer(plan.name, **plan.tokenizer_options)
    except OSError as error:
        raise _missing_part("a tokenizer", plan, error, where=where, hint=micro_hint(config)) from error
    return model, tokenizer


def _missing_part(what: str, plan: _Plan, error: OSError, *, where: str, hint: str) -> ModelMissingError:
    source = plan.tokenizer.get("name", plan.name)
    return ModelMissingError(
        f"{what} of {plan.architecture} on this machine",
        got=" ".join(str(error).split())[:300],
        where=where,
        do=f"fetch https://huggingface.co/{source} into the hub cache on a machine with internet, or save the model "
        f"as a folder with {', '.join(TOKENIZER_NAMES)} and pass --embed.model local-dir:FOLDER{hint}",
    )


def _preprocess_of(model: torch.nn.Module, config: EmbedConfig) -> Preprocess:
    cfg = model.visual.preprocess_cfg
    size = cfg["size"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if sides[0] != sides[-1]:
        raise ConfigError(
            "an image tower with a square input", got=f"{sides}", where=f"embed.model={config.model}", do="use another"
        )
    mode = cfg["interpolation"] if cfg["interpolation"] in ("bilinear", "nearest") else "bicubic"
    red, green, blue = cfg["mean"]
    deviation = tuple(float(v) for v in cfg["std"])
    return Preprocess(int(sides[0]), (float(red), float(green), float(blue)), deviation, mode)


def _feature_dim(model: torch.nn.Module, tokenizer: Callable, plan: _Plan) -> int:
    """Length of the vectors, found by encoding one word; also proves that tokenizer and text tower fit."""
    import torch

    tokens = tokenizer(["volume"])
    rows = model.vocab_size if hasattr(model, "vocab_size") else getattr(model.text, "vocab_size", None)
    highest = len(tokenizer.tokenizer) - 1 if hasattr(tokenizer, "tokenizer") else int(tokens.max())
    if rows is not None and highest >= rows:
        raise ArtifactError(
            f"a tokenizer of at most {rows} tokens",
            got=f"one of {highest + 1}",
            where=plan.name,
            do="save the tokenizer and the text tower with the same vocabulary",
        )
    with torch.inference_mode():
        return int(model.eval().encode_text(tokens).shape[-1])
