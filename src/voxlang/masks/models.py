"""Which SAM 2 models there are, and where their files lie. Imports no model library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from voxlang.checkpoints.known import MICRO_CONFIG
from voxlang.core import places
from voxlang.core.errors import ConfigError, ModelMissingError
from voxlang.encoders.files import locate_config, sam2_folder

SamSize = Literal["micro", "tiny", "small", "base_plus", "large"]
Sam1Size = Literal["vit_b", "vit_l", "vit_h"]
SIZES: tuple[str, ...] = get_args(SamSize)
"""From the smallest to the largest; "micro" is the embedded one."""

MICRO_CHECKPOINT = Path("checkpoints/voxlang_sam2_micro.safetensors")
_DOWNLOADS = "https://dl.fbaipublicfiles.com/segment_anything_2"


@dataclass(frozen=True)
class SamRelease:
    """One official checkpoint and the configuration inside the sam2 package that it belongs to."""

    size: str
    """Name of the size as users type it."""
    version: str
    """"2.1" or "2.0"."""
    config_name: str
    """Path below the sam2 package."""
    file_name: str
    """Official file name."""
    url: str
    """Official place to download from."""


def _release(size: str, letter: str, version: str) -> SamRelease:
    stem, folder, date = ("sam2.1", "sam2.1", "092824") if version == "2.1" else ("sam2", "sam2", "072824")
    file_name = f"{stem}_hiera_{size}.pt"
    return SamRelease(
        size,
        version,
        f"configs/{folder}/{stem}_hiera_{letter}.yaml",
        file_name,
        f"{_DOWNLOADS}/{date}/{file_name}",
    )


RELEASES: tuple[SamRelease, ...] = tuple(
    _release(size, letter, version)
    for size, letter in (("tiny", "t"), ("small", "s"), ("base_plus", "b+"), ("large", "l"))
    for version in ("2.1", "2.0")
)
"""All official checkpoints, the newer first within a size."""


SAM1_FILES: dict[str, str] = {
    "vit_b": "sam_vit_b_01ec64.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_h": "sam_vit_h_4b8939.pth",
}
"""Official file names of SAM 1."""
_SAM1_DOWNLOADS = "https://dl.fbaipublicfiles.com/segment_anything"


def resolve_sam1(size: str, *, checkpoint: Path | None = None) -> Path:
    """Find the weights of a SAM 1: the file named, or the official name of the size in checkpoints/.

    Raises:
        ModelMissingError: no weights; the message says where to get them and where to put them.
    """
    wanted = Path(checkpoint) if checkpoint is not None else Path("checkpoints") / SAM1_FILES[size]
    found = wanted if wanted.is_dir() else places.find_file(wanted)
    if found is None:
        place = wanted if wanted.is_absolute() else places.search_roots()[-1] / wanted
        raise ModelMissingError(
            f"the weights of SAM 1 {size}",
            got="no such file",
            where=str(place),
            do=f"download {_SAM1_DOWNLOADS}/{SAM1_FILES[size]} and put it there, or name weights of SAM 1 in any "
            "layout with --sam.checkpoint PATH (--compare-sam.checkpoint PATH for --mode=compare-sam)",
        )
    return found


@dataclass(frozen=True)
class SamFiles:
    """The two files that make one model."""

    size: str
    """Name of the size, or "custom" when the user named a configuration."""
    config: Path
    """YAML with a `model` node for hydra's instantiate."""
    checkpoint: Path
    """`*.pt` with {"model": state dict}, or `*.safetensors`."""


def check_size(size: str) -> str:
    """The size itself; an unknown one lists the choices.

    Raises:
        ConfigError: no such size.
    """
    if size not in SIZES:
        raise ConfigError(f"one of {', '.join(SIZES)}", got=repr(size), where="sam.size", do="use one of these")
    return size


def releases_of(size: str) -> tuple[SamRelease, ...]:
    """Official checkpoints of a size, the newer first; none for "micro"."""
    return tuple(r for r in RELEASES if r.size == size)


def config_path(name: str | Path) -> Path:
    """Path of the YAML of a size ("micro", or an official size in its 2.1 form), a file, or a name in the sam2 package.

    Raises:
        ConfigError: neither a size nor a file.
    """
    releases = releases_of(str(name))
    if releases:
        return sam2_folder() / releases[0].config_name
    found = locate_config(MICRO_CONFIG if str(name) == "micro" else name)
    if found is None:
        raise ConfigError(
            f"a SAM 2 size ({', '.join(SIZES)}) or a YAML file",
            got=repr(str(name)),
            where="sam.config; looked in " + ", ".join(str(r) for r in places.search_roots()),
            do="name a size, or a file as configs/sam2/sam2.1_hiera_micro.yaml",
        )
    return found


def resolve_files(size: str, *, config: Path | None = None, checkpoint: Path | None = None) -> SamFiles:
    """Find configuration and weights of a model.

    Without `checkpoint`, checkpoints/ is searched for the official names of the size, 2.1 before 2.0. A checkpoint with
    an official name brings its own configuration; `config` overrides that.

    Raises:
        ConfigError: unknown size or configuration.
        ModelMissingError: no weights; the message says where to get them and where to put them.
    """
    check_size(size)
    releases = releases_of(size)
    if checkpoint is not None:
        found = places.find_file(Path(checkpoint))
        if found is None:
            raise _missing(size, Path(checkpoint))
        named = next((r for r in RELEASES if r.file_name == found.name), None)
        if config is not None:
            return SamFiles("custom", config_path(config), found)
        if named is not None:
            return SamFiles(named.size, sam2_folder() / named.config_name, found)
        return SamFiles(size, config_path(size), found)
    if size == "micro":
        found = places.find_file(MICRO_CHECKPOINT)
        if found is None:
            raise _missing(size, MICRO_CHECKPOINT)
        return SamFiles(size, config_path(config or size), found)
    for release in releases:
        found = places.find_file(Path("checkpoints") / release.file_name)
        if found is not None:
            own_config = sam2_folder() / release.config_name
            return SamFiles(size, config_path(config) if config else own_config, found)
    raise _missing(size, Path("checkpoints") / releases[0].file_name)


def _missing(size: str, wanted: Path) -> ModelMissingError:
    releases = releases_of(size)
    place = wanted if wanted.is_absolute() else places.search_roots()[-1] / wanted
    if size == "micro":
        return ModelMissingError(
            "the embedded SAM 2 weights",
            got="no such file",
            where=str(place),
            do="restore the file from the repository, or name other weights with --sam.checkpoint PATH",
        )
    names = " or ".join(r.file_name for r in releases)
    return ModelMissingError(
        f"the SAM 2 {size} checkpoint ({names})",
        got="no such file",
        where=str(place),
        do=(
            f"run `python checkpoints/download_ckpts.py --size {size}`, or download {releases[0].url} and put it at "
            f"{place}; `--sam.size micro` works without a download"
        ),
    )
