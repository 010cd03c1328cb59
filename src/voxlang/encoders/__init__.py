"""Image encoders for SAM 2: built from YAML, explained, replaceable, trainable."""

from voxlang.encoders.build import build_sam2

__all__ = ["build_sam2"]
