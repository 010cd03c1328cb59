"""Image encoders for SAM 2: built from YAML, explained, replaceable, trainable."""

from typing import TYPE_CHECKING

from voxlang.encoders.build import build_sam2

if TYPE_CHECKING:
    from voxlang.encoders.vit_trunk import ViTTrunkMultiScale

__all__ = ["ViTTrunkMultiScale", "build_sam2"]


def __getattr__(name: str) -> object:
    """Import the trunk, and with it torch, only where it is asked for."""
    if name == "ViTTrunkMultiScale":
        from voxlang.encoders.vit_trunk import ViTTrunkMultiScale

        return ViTTrunkMultiScale
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
