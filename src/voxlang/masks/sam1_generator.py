"""Automatic masks of SAM 1 behind the door of the SAM 2 generator."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from voxlang.core.device import device_of
from voxlang.core.digest import digest_json
from voxlang.core.errors import ConfigError
from voxlang.masks.models import resolve_sam1
from voxlang.masks.sam_generator import SamGenerator
from voxlang.masks.settings import SamSettings

if TYPE_CHECKING:
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.modeling import Sam

_ONLY_SAM2 = {"min_mask_region_area": 0, "use_m2m": False, "multimask_output": True}
"""Settings that segment-anything's generator does not have, and the values that mean "as it is"."""


class Sam1Generator(SamGenerator):
    """Finds all masks of a picture with SAM 1; always segment-anything's own generator.

    Args:
        model: a `Sam` in evaluation mode, on its device.
        settings: density and thresholds; size, files and device in it are not used here.
        config_digest: digest of the model's configuration, for `id`.

    Raises:
        ConfigError: a setting that only SAM 2 has.
    """

    def __init__(self, model: Sam, settings: SamSettings, *, config_digest: str) -> None:
        others = [name for name, usual in _ONLY_SAM2.items() if getattr(settings, name) != usual]
        if others:
            raise ConfigError(
                "settings that SAM 1 has too",
                got=", ".join(others),
                where="sam",
                do="leave them out with sam.family sam1",
            )
        super().__init__(model, settings.model_copy(update={"generator": "official"}), config_digest=config_digest)

    @cached_property
    def official(self) -> SamAutomaticMaskGenerator:
        """segment-anything's own generator with our settings."""
        from segment_anything import SamAutomaticMaskGenerator

        parameters = {k: v for k, v in self.settings.official_parameters().items() if k not in _ONLY_SAM2}
        return SamAutomaticMaskGenerator(self.model, **parameters)


def sam1_generator_from_settings(settings: SamSettings) -> Sam1Generator:
    """Find and load the weights that the settings name; the file says which size they are.

    Raises:
        ConfigError: a YAML, or a setting that only SAM 2 has.
        ModelMissingError, WeightsError: no weights, or weights that are no SAM 1.
    """
    from dataclasses import asdict

    from voxlang.masks.load import open_sam

    settings = settings.resolved()
    if settings.config is not None:
        raise ConfigError(
            "no sam.config with sam.family sam1",
            got=str(settings.config),
            where="sam",
            do="drop it: the weights say all",
        )
    device = str(device_of(settings.device, where="sam.device"))
    path = resolve_sam1(settings.size, checkpoint=settings.checkpoint)
    loaded = open_sam(path, device=device)
    if loaded.family != "sam1":
        raise ConfigError(
            "weights of SAM 1", got=f"a SAM 2 {loaded.size}", where=str(path), do="drop --sam.family sam1"
        )
    return Sam1Generator(loaded.model, settings, config_digest=digest_json(asdict(loaded.config)))
