"""Where weights lie on this machine, and what to say when they do not."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxlang.core.errors import ConfigError, ModelMissingError
from voxlang.embed.offline import cached_hub_file
from voxlang.embed.settings import MICRO_DIRECTORY, EmbedConfig

WEIGHT_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of a weights file in a hub repository of open_clip, the safe one first."""

SUFFIXES = (".safetensors", ".pt", ".bin", ".pth")
"""Suffixes under which a weights file is looked for in the checkpoints folder."""

_REPOSITORY_CHECKPOINTS = Path(__file__).resolve().parents[3] / "checkpoints"


def checkpoint_folders(config: EmbedConfig) -> list[Path]:
    """Folders that may hold weights: the configured one, then the one beside the package's sources."""
    folders = [config.checkpoints]
    if _REPOSITORY_CHECKPOINTS.is_dir() and config.checkpoints.resolve() != _REPOSITORY_CHECKPOINTS:
        folders.append(_REPOSITORY_CHECKPOINTS)
    return folders


def find_directory(config: EmbedConfig, name: str) -> Path | None:
    """The first checkpoints folder's subfolder of this name; None if there is none."""
    return next((f / name for f in checkpoint_folders(config) if (f / name).is_dir()), None)


def micro_hint(config: EmbedConfig) -> str:
    """ "; or ..." when the embedded model is there, else nothing: the end of a ModelMissingError's advice."""
    folder = find_directory(config, MICRO_DIRECTORY)
    if folder is None or not (folder / WEIGHT_NAMES[0]).is_file():
        return ""
    return f"; or pass --embed.model micro, the embedded model, which is there ({folder})"


@dataclass(frozen=True)
class WeightSource:
    """Where the weights of an open_clip tag are published."""

    repository: str | None
    """Hub repository "org/name"."""
    filenames: tuple[str, ...]
    """Names of the weights file in the repository, or of the file behind `url`."""
    url: str | None
    """Direct address, for tags that are not on the hub."""


def source_of_tag(tag_config: dict) -> WeightSource:
    """Read an entry of open_clip's list of pretrained tags."""
    hub, url = tag_config.get("hf_hub") or "", tag_config.get("url") or ""
    if hub:
        repository, _, filename = hub.rpartition("/")
        return WeightSource(repository, (filename,) if filename else WEIGHT_NAMES, url or None)
    return WeightSource(None, (url.rsplit("/", 1)[-1],), url)


def find_tag_weights(config: EmbedConfig, model: str, source: WeightSource) -> Path:
    """The weights file of a pretrained tag on this machine.

    Looked for as `<model>-<tag>` with a usual suffix in the checkpoints folder, then in the caches that open_clip and
    the hub client keep of earlier downloads.

    Raises:
        ModelMissingError: it is nowhere; names the address and the place to put it.
    """
    stem = f"{model}-{config.pretrained}"
    for folder in checkpoint_folders(config):
        for suffix in SUFFIXES:
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    if source.repository is not None and (cached := cached_hub_file(source.repository, source.filenames)):
        return cached
    downloaded = Path.home() / ".cache" / "clip" / source.filenames[0]
    if source.url is not None and downloaded.is_file():
        return downloaded
    if source.repository is not None:
        address = f"https://huggingface.co/{source.repository} ({' or '.join(source.filenames)})"
    else:
        address = str(source.url)
    suffix = Path(source.filenames[0]).suffix or ".pt"
    raise ModelMissingError(
        f"the weights of {model} pretrained on {config.pretrained}",
        got=f"no file {stem}{{{','.join(SUFFIXES)}}} in {' or '.join(str(f) for f in checkpoint_folders(config))}, "
        "and nothing in the download caches; nothing is ever downloaded here",
        where=f"embed.model={config.model}, embed.pretrained={config.pretrained}",
        do=f"download {address} on a machine with internet and put it at "
        f"{config.checkpoints / (stem + suffix)} (keep its suffix){micro_hint(config)}",
    )


def unknown_name(what: str, name: str, choices: Sequence[str], *, where: str) -> ConfigError:
    """A ConfigError that lists the choices nearest to a name, or all of them when there are few."""
    by_lower = {c.lower(): c for c in choices}
    near = [by_lower[k] for k in difflib.get_close_matches(name.lower(), list(by_lower), n=6, cutoff=0.4)]
    shown = list(choices) if len(choices) <= 12 else near or list(choices)[:12]
    return ConfigError(
        f"{what}" + (f", of {len(choices)} known" if choices else "; none is known"),
        got=repr(name),
        where=where,
        do=("use one of: " if len(choices) <= 12 else "did you mean: ") + (", ".join(shown) or "a weights file"),
    )
