"""Settings written as YAML: one reader for presets of the pipeline and recipes of trainings; what may be resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError

from voxlang.core.errors import ArtifactError, ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


def _somewhere(direction: tuple[float, float, float]) -> tuple[float, float, float]:
    if not any(direction) or not all(map(math.isfinite, direction)):
        raise ValueError(f"a direction of three finite numbers that are not all 0; got {direction}")
    return direction


Direction = Annotated[tuple[float, float, float], AfterValidator(_somewhere)]
"""A direction as a setting; its length does not matter."""


def read_settings(path: str | Path, kind: type[Settings], *, examples: str) -> Settings:
    """Read a YAML file of settings; keys left out keep their defaults.

    Args:
        path: the file.
        kind: the settings it holds.
        examples: folder below the working directory whose YAML files an error names, e.g. "configs".

    Raises:
        ConfigError: no such file, no YAML mapping, or a key or value that the settings refuse, named with its place.
    """
    import yaml

    path = Path(path)
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8"))
        return kind.model_validate(content if content is not None else {})
    except FileNotFoundError:
        near = sorted(p.as_posix() for p in Path(examples).glob("*.yaml"))
        raise ConfigError(
            "a YAML file", got="no such file", where=str(path), do=f"use one of {', '.join(near) or 'your own'}"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError("valid YAML", got=str(error), where=str(path), do="correct the file") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            f"settings of {kind.__name__} that exist, with values that fit",
            got=problems,
            where=str(path),
            do="correct the file",
        ) from error


def stored_settings(kind: type[Settings], content: Mapping[str, Any], *, where: str) -> Settings:
    """Settings as a file of ours keeps them.

    Raises:
        ArtifactError: a version whose settings were others wrote the file.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        names = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
        raise ArtifactError(
            f"{kind.__name__} as this version knows it",
            got=f"a file of another version, with other {names}",
            where=where,
            do="run the stage that writes it again",
        ) from error


def require_same_identity(found: Mapping[str, Any], wanted: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on from a checkpoint of another recipe.

    Args:
        found: what the checkpoint says it was made by.
        wanted: what the recipe would say.
        path: the checkpoint.

    Raises:
        ConfigError: they differ.
    """
    if found != wanted:
        raise ConfigError(
            f"a checkpoint of {wanted}",
            got=str(found),
            where=str(path),
            do="choose another run_dir, or delete this file to start afresh",
        )
