"""Where the YAML files of SAM 2 models lie: ours, the user's, and the ones inside the sam2 package."""

from __future__ import annotations

from pathlib import Path

from voxlang.core import places
from voxlang.core.errors import ConfigError, ModelMissingError

CONFIG_FOLDER = Path("configs/sam2")


def sam2_folder() -> Path:
    """Folder of the sam2 package, found without importing it.

    Raises:
        ModelMissingError: it is not installed.
    """
    from importlib.util import find_spec

    spec = find_spec("sam2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelMissingError(
            "the package sam2",
            got="not installed",
            where="encoders",
            do="run `make setup`, or `pip install --no-build-isolation sam2` after torch",
        )
    return Path(spec.submodule_search_locations[0])


def config_folders() -> tuple[Path, ...]:
    """Every configs/sam2 below the search roots."""
    return tuple(root / CONFIG_FOLDER for root in places.search_roots() if (root / CONFIG_FOLDER).is_dir())


def locate_config(name: str | Path) -> Path | None:
    """The YAML of this path or name, or None.

    A path as it is or below the search roots comes first, then a name in configs/sam2, then a path in the sam2 package;
    the ending ".yaml" may be left out.
    """
    for relative in dict.fromkeys((Path(name), Path(f"{name}.yaml"))):
        found = places.find_file(relative) or places.find_file(CONFIG_FOLDER / relative)
        inside = sam2_folder() / relative
        if found is None and inside.is_file():
            found = inside
        if found is not None:
            return found
    return None


def find_config(name: str | Path) -> Path:
    """The YAML of this path or name, as `locate_config` looks for it.

    Raises:
        ConfigError: there is none; lists ours.
    """
    found = locate_config(name)
    if found is None:
        ours = sorted({path.name for folder in config_folders() for path in folder.glob("*.yaml")})
        raise ConfigError(
            "the YAML file of a SAM 2 model",
            got=f"no file {str(name)!r}",
            where=f"config_file; looked in {', '.join(map(str, places.search_roots()))} and in the sam2 package",
            do=f"use {', '.join(ours)}, or a path of the sam2 package as configs/sam2.1/sam2.1_hiera_t.yaml",
        )
    return found
