"""What must agree inside a SAM 2 configuration, said before sam2's classes fail on it or silently ignore it."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any

from voxlang.core.errors import ConfigError, MaskError

if TYPE_CHECKING:
    from torch import nn

INTERPOLATIONS = ("nearest", "bilinear")
FUSE_TYPES = ("sum", "avg")
_OF_HYDRA = ("_target_", "_convert_", "_recursive_", "_partial_", "_args_")


def check_keys(node: Any, place: str) -> None:
    """Every key below every `_target_` must be an argument of that class.

    Raises:
        ConfigError: a class that does not exist, or a key that its class does not know; names the nearest one.
    """
    if isinstance(node, list):
        for i, item in enumerate(node):
            check_keys(item, f"{place}[{i}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        known = _arguments(str(node["_target_"]), place)
        if known is not None:
            _check_known([k for k in node if k not in _OF_HYDRA], known, str(node["_target_"]), place)
    for key, value in node.items():
        check_keys(value, f"{place}.{key}")


def check_decoder_arguments(extra: dict[str, Any] | None) -> None:
    """`sam_mask_decoder_extra_args` must be arguments of sam2's mask decoder.

    Raises:
        ConfigError: a key that it does not know.
    """
    target, place = "sam2.modeling.sam.mask_decoder.MaskDecoder", "model.sam_mask_decoder_extra_args"
    _check_known(list(extra or {}), _arguments(target, place) or [], target, place)


def check_parts(encoder: dict[str, Any]) -> None:
    """An image encoder needs a trunk and a neck.

    Raises:
        ConfigError: one of them is not there.
    """
    for part in ("trunk", "neck"):
        if not isinstance(encoder.get(part), dict) or "_target_" not in encoder[part]:
            raise ConfigError(
                f"a {part} with a `_target_`",
                got=repr(encoder.get(part)),
                where=f"model.image_encoder.{part}",
                do="name its class, as in configs/sam2/*.yaml",
            )


def check_neck(neck: dict[str, Any], *, levels_used: int, scalp: int) -> None:
    """The neck's settings must fit each other.

    Args:
        neck: configuration of the FpnNeck.
        levels_used: levels that the mask decoder reads, 3 with high-resolution features, else 1.
        scalp: coarse levels that the image encoder drops.

    Raises:
        ConfigError: levels that do not exist, an unknown way to enlarge or to fuse, position encodings of another width
            than the features, or a scalp that leaves too few levels.
    """
    channels = neck.get("backbone_channel_list") or []
    n = len(channels)
    levels = neck.get("fpn_top_down_levels")
    if levels is not None and (
        len(set(levels)) != len(levels) or not all(isinstance(i, int) and 0 <= i < n for i in levels)
    ):
        raise ConfigError(
            f"different levels among 0 (finest) to {n - 1} (coarsest): backbone_channel_list has {n} entries",
            got=f"fpn_top_down_levels {levels}",
            where="model.image_encoder.neck",
            do="name the levels that hear from the coarser ones, [2, 3] as in SAM 2, or null for all",
        )
    for name, default, choices in (
        ("fpn_interp_model", "bilinear", INTERPOLATIONS),
        ("fuse_type", "sum", FUSE_TYPES),
    ):
        if neck.get(name, default) not in choices:
            raise ConfigError(
                f"one of {', '.join(choices)}",
                got=f"{name} {neck[name]!r}",
                where="model.image_encoder.neck",
                do="use one of these",
            )
    width = (neck.get("position_encoding") or {}).get("num_pos_feats", neck.get("d_model"))
    if width != neck.get("d_model"):
        raise ConfigError(
            f"position encodings as wide as the features, d_model {neck.get('d_model')}",
            got=f"num_pos_feats {width}",
            where="model.image_encoder.neck",
            do="give both the same number",
        )
    if not 0 <= scalp <= n - levels_used:
        raise ConfigError(
            f"a scalp between 0 and {n - levels_used}: the mask decoder reads {levels_used} of the {n} levels",
            got=f"scalp {scalp}",
            where="model.image_encoder",
            do="use scalp 1 as in SAM 2, or more levels",
        )


def check_channels(trunk: nn.Module, neck: nn.Module) -> None:
    """The trunk must give the channels that the neck expects, coarsest first.

    Raises:
        ConfigError: another list, or a trunk that does not say its channels.
    """
    gives, expects = getattr(trunk, "channel_list", None), list(neck.backbone_channel_list)
    if gives is None or list(gives) != expects:
        own = "out_dims" if hasattr(trunk, "out_dims") else "embed_dim and stages"
        raise ConfigError(
            f"backbone_channel_list {None if gives is None else list(gives)}, what the trunk gives, coarsest first",
            got=str(expects),
            where=f"model.image_encoder.neck.backbone_channel_list for {type(trunk).__name__}",
            do=f"give both lists the same numbers: the trunk's follow from {own}",
        )


def check_image_size(height: int, width: int, *, multiple: int, model: str) -> None:
    """Every level of the pyramid must have whole pixels.

    Raises:
        MaskError: a side that is no multiple; names the nearest sizes that are.
    """
    if height % multiple or width % multiple or not height or not width:
        fit = [f"{max(multiple, round(side / multiple) * multiple)}" for side in (height, width)]
        raise MaskError(
            f"a picture whose sides are multiples of {multiple} pixels, so that all levels are whole",
            got=f"{height}x{width} (height x width)",
            where=model,
            do=f"resize or pad it, for example to {'x'.join(fit)}",
        )


def _arguments(target: str, place: str) -> list[str] | None:
    """Names of a class's arguments, those that it passes on to its base included; None where it takes any."""
    module, _, name = target.rpartition(".")
    try:
        bases = getattr(import_module(module), name).__mro__
    except (ImportError, ValueError, AttributeError) as error:
        raise ConfigError(
            "a class that can be imported",
            got=f"{target}: {error}",
            where=place,
            do="correct the name, or install the package",
        ) from error
    names: list[str] = []
    for base in (b for b in bases if "__init__" in vars(b)):
        parameters = list(inspect.signature(base.__init__).parameters.values())[1:]
        names += [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return names
    return None


def _check_known(keys: Sequence[str], known: Sequence[str], target: str, place: str) -> None:
    unknown = [key for key in keys if key not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        raise ConfigError(
            f"arguments of {target.rpartition('.')[2]}: {', '.join(known)}",
            got=", ".join(unknown),
            where=place,
            do=f"did you mean {near[0]}" if near else "use one of these, or leave it out",
        )
