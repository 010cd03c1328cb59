"""Build a SAM 2 model from its YAML. The one place that imports sam2's model classes.

sam2's own `build_sam2` composes through Hydra's global state, which `import sam2` fills. Here the YAML is read and
instantiated directly, and the global state is left as it was found, so that this works inside other Hydra programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voxlang.core.errors import ConfigError
from voxlang.masks.models import config_path, load_weights, read_weights

if TYPE_CHECKING:
    import torch
    from sam2.modeling.sam2_base import SAM2Base

_POSTPROCESSING = {
    "dynamic_multimask_via_stability": True,
    "dynamic_multimask_stability_delta": 0.05,
    "dynamic_multimask_stability_thresh": 0.98,
}
"""Official overrides: a single mask that is not stable gives way to the best of three. Source: sam2/build_sam.py."""

_ALLOWED_TARGETS = ("sam2.", "voxlang.", "torch.nn.")


def import_sam2() -> None:
    """Import sam2 and leave Hydra's global state as it was before."""
    from hydra.core.global_hydra import GlobalHydra

    was_set = GlobalHydra.instance().is_initialized()
    import sam2.modeling.sam2_base  # noqa: F401

    if not was_set:
        GlobalHydra.instance().clear()


def read_sam_config(name: str | Path) -> dict[str, Any]:
    """The `model` node of a size's or a file's YAML as plain values, official post-processing included.

    Raises:
        ConfigError: no such file, no `model` node, or a `_target_` outside sam2, voxlang and torch.nn.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = config_path(name)
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (YAMLError, OmegaConfBaseException, OSError) as error:
        raise ConfigError(
            "readable YAML", got=str(error).splitlines()[0], where=str(path), do="compare it with configs/sam2/*.yaml"
        ) from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or "_target_" not in model:
        raise ConfigError(
            "a `model` node with a `_target_`",
            got=f"top-level keys {list(content) if isinstance(content, dict) else type(content).__name__}",
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
    model["sam_mask_decoder_extra_args"] = {**(model.get("sam_mask_decoder_extra_args") or {}), **_POSTPROCESSING}
    return model


def build_sam2_model(
    size_or_config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device = "cpu",
    mode: Literal["eval", "train"] = "eval",
) -> SAM2Base:
    """Build a SAM 2 model.

    Args:
        size_or_config: "micro", "tiny", "small", "base_plus", "large" (2.1 forms), or a YAML file of ours or sam2's.
        checkpoint: weights, loaded strictly; None leaves the random initial weights of torch's global generator.
        device: where the parameters lie afterwards.
        mode: "train" leaves dropout and the like on.

    Raises:
        ConfigError: unknown size, or a YAML that cannot be used.
        WeightsError: weights that are broken or do not fit.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    import_sam2()
    model = instantiate(OmegaConf.create(read_sam_config(size_or_config)), _recursive_=True)
    if checkpoint is not None:
        load_weights(model, read_weights(Path(checkpoint)), where=str(checkpoint))
    return model.to(device).train(mode == "train")


def _targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [t for v in node.values() for t in _targets(v)]
    if isinstance(node, list):
        return [t for v in node for t in _targets(v)]
    return []
