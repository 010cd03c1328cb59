"""Compose the YAML of a SAM 2 model with Hydra, and leave Hydra's global state as it was.

`import sam2` and `hydra.initialize` fill one global object, and a second Hydra program in the process fails on it. Here
the outer program's object is set aside during a composition and put back afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from voxlang.checkpoints.known import POSTPROCESSING
from voxlang.core.errors import ConfigError
from voxlang.encoders.files import config_folders, find_config
from voxlang.encoders.resolvers import RESOLVERS, register_omegaconf_resolvers

_ALLOWED_TARGETS = ("sam2.", "voxlang.", "torch.nn.")
_VERSION_BASE = "1.2"


@contextlib.contextmanager
def hydra_set_aside() -> Iterator[None]:
    """Give Hydra a fresh global state inside this scope, and the former one back afterwards."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    state, version, job = GlobalHydra.instance(), VersionBase.instance(), JobRuntime.instance()
    before = state.hydra, version.getbase(), job.get("name")
    state.clear()
    try:
        yield
    finally:
        state.hydra, version.version_base = before[:2]
        job.set("name", before[2])


def compose_sam2(
    config_file: str | Path, overrides: Sequence[str] = (), *, apply_postprocessing: bool = True
) -> dict[str, Any]:
    """The `model` node of a YAML as plain values: defaults lists, overrides and interpolations resolved.

    Args:
        config_file: as in `find_config`. Its defaults list may name files beside it, in configs/sam2 and in sam2.
        overrides: of Hydra's grammar, such as "model.image_size=512", "++model.new=1" or "~model.old".
        apply_postprocessing: switch on the official treatment of unstable single masks.

    Raises:
        ConfigError: no such file, an override or key that does not exist, YAML that cannot be read, no `model` node, or
            a `_target_` outside sam2, voxlang and torch.nn.
    """
    path = find_config(config_file)
    official = [f"++model.sam_mask_decoder_extra_args.{name}={value}" for name, value in POSTPROCESSING.items()]
    content = _compose(path, list(overrides), official if apply_postprocessing else [])
    model = content.get("model")
    if not isinstance(model, dict) or "_target_" not in model:
        raise ConfigError(
            "a `model` node with a `_target_`",
            got=f"top-level keys {list(content)}",
            where=str(path),
            do="compare it with configs/sam2/sam2.1_hiera_micro.yaml",
        )
    foreign = [t for t in _targets(model) if not t.startswith(_ALLOWED_TARGETS)]
    if foreign:
        raise ConfigError(
            f"classes of {', '.join(p.rstrip('.') for p in _ALLOWED_TARGETS)}",
            got=", ".join(foreign[:10]),
            where=str(path),
            do="use sam2's classes: a configuration runs whatever it names",
        )
    return model


def _compose(path: Path, overrides: list[str], added: list[str]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException, UnsupportedInterpolationType
    from yaml import YAMLError

    register_omegaconf_resolvers()
    places = ",".join(f"'file://{folder}'" for folder in config_folders())
    try:
        with hydra_set_aside():
            initialize_config_dir(str(path.resolve().parent), job_name="voxlang", version_base=_VERSION_BASE)
            composed = compose(path.name, overrides=[f"hydra.searchpath=[{places},'pkg://sam2']", *overrides, *added])
        return OmegaConf.to_container(composed, resolve=True)
    except UnsupportedInterpolationType as error:
        raise ConfigError(
            f"only resolvers that are registered: {', '.join(RESOLVERS)}",
            got=_first_line(error),
            where=str(path),
            do="correct the name, or register yours with omegaconf.OmegaConf.register_new_resolver before building",
        ) from error
    except HydraException as error:
        raise ConfigError(
            "a configuration that Hydra can compose, and overrides of keys that it has",
            got=_first_line(error),
            where=f"{path} with {' '.join(overrides) or 'no overrides'}",
            do="correct the name, or put ++ before an override that adds a key",
        ) from error
    except (YAMLError, OmegaConfBaseException, OSError, AttributeError) as error:
        raise ConfigError(
            "readable YAML", got=_first_line(error), where=str(path), do="compare it with configs/sam2/*.yaml"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")


def _targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [t for v in node.values() for t in _targets(v)]
    if isinstance(node, list):
        return [t for v in node for t in _targets(v)]
    return []
