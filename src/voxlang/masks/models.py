"""Which SAM 2 models there are, where their files lie, and how their weights are read. Imports no model library."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from voxlang.core.errors import ConfigError, ModelMissingError, WeightsError

if TYPE_CHECKING:
    import torch

SamSize = Literal["micro", "tiny", "small", "base_plus", "large"]
SIZES: tuple[str, ...] = get_args(SamSize)
"""From the smallest to the largest; "micro" is the embedded one."""

MICRO_CONFIG = Path("configs/sam2/sam2.1_hiera_micro.yaml")
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


def search_roots() -> tuple[Path, ...]:
    """Folders in which configs/ and checkpoints/ are looked for: the working folder, then the source tree."""
    source_tree = Path(__file__).resolve().parents[3]
    return tuple(dict.fromkeys((Path.cwd(), source_tree)))


def find_file(relative: Path) -> Path | None:
    """The first existing file of this relative path below the search roots; an absolute path is taken as it is."""
    if relative.is_absolute():
        return relative if relative.is_file() else None
    return next((root / relative for root in search_roots() if (root / relative).is_file()), None)


def config_path(name: str | Path) -> Path:
    """Path of the YAML of a size ("micro", or an official size in its 2.1 form), a file, or a name in the sam2 package.

    Raises:
        ConfigError: neither a size nor a file.
    """
    releases = releases_of(str(name))
    if releases:
        return _package_folder() / releases[0].config_name
    relative = MICRO_CONFIG if str(name) == "micro" else Path(name)
    found = find_file(relative)
    if found is None and (_package_folder() / relative).is_file():
        found = _package_folder() / relative
    if found is None:
        raise ConfigError(
            f"a SAM 2 size ({', '.join(SIZES)}) or a YAML file",
            got=repr(str(name)),
            where="sam.config; looked in " + ", ".join(str(r) for r in search_roots()),
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
        found = find_file(Path(checkpoint))
        if found is None:
            raise _missing(size, Path(checkpoint))
        named = next((r for r in RELEASES if r.file_name == found.name), None)
        if config is not None:
            return SamFiles("custom", config_path(config), found)
        if named is not None:
            return SamFiles(named.size, _package_folder() / named.config_name, found)
        return SamFiles(size, config_path(size), found)
    if size == "micro":
        found = find_file(MICRO_CHECKPOINT)
        if found is None:
            raise _missing(size, MICRO_CHECKPOINT)
        return SamFiles(size, config_path(config or size), found)
    for release in releases:
        found = find_file(Path("checkpoints") / release.file_name)
        if found is not None:
            own_config = _package_folder() / release.config_name
            return SamFiles(size, config_path(config) if config else own_config, found)
    raise _missing(size, Path("checkpoints") / releases[0].file_name)


def _missing(size: str, wanted: Path) -> ModelMissingError:
    releases = releases_of(size)
    place = wanted if wanted.is_absolute() else search_roots()[-1] / wanted
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


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from `*.safetensors` or from a torch file that holds it bare or under "model".

    Torch files are read with `weights_only=True`: no code in them is run.

    Raises:
        WeightsError: broken, unsafe or not a state dict.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path, device="cpu")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(
            "a whole file of weights (safetensors, or a torch file of tensors only)",
            got=(str(error) or type(error).__name__).splitlines()[0],
            where=str(path),
            do="download the file again",
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            'a state dict, bare or under "model"',
            got=f"keys {list(content)[:5]}" if isinstance(content, dict) else type(content).__name__,
            where=str(path),
            do="pass a SAM 2 checkpoint",
        )
    return state


def load_weights(model: torch.nn.Module, state: dict[str, torch.Tensor], *, where: str) -> None:
    """Load a state dict strictly: the same names and the same shapes.

    Raises:
        WeightsError: names the first ten keys that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    missing = [k for k in own if k not in state]
    unexpected = [k for k in state if k not in own]
    reshaped = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or unexpected or reshaped:
        groups = (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
        got = "; ".join(f"{len(keys)} {name}: {', '.join(keys[:10])}" for name, keys in groups if keys)
        raise WeightsError(
            f"weights with the model's {len(own)} tensors",
            got=got,
            where=where,
            do="pass the configuration that belongs to these weights (--sam.size or --sam.config)",
        )
    model.load_state_dict(state, strict=True)


def weights_digest(model: torch.nn.Module) -> str:
    """Digest of all names, types, shapes and values of a model's state dict; the same whatever file they came from."""
    import hashlib

    import torch

    h = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        h.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        h.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return h.hexdigest()


def _package_folder() -> Path:
    from importlib.util import find_spec

    spec = find_spec("sam2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelMissingError(
            "the package sam2",
            got="not installed",
            where="masks",
            do="run `make setup`, or `pip install --no-build-isolation sam2` after torch",
        )
    return Path(spec.submodule_search_locations[0])
