"""Procedural labelled volumes with a part tree: demo input, training data and truth."""

from voxlang.volume.phantoms.make import FAMILIES, make_phantom
from voxlang.volume.phantoms.types import Appearance, MaterialLook, Phantom

__all__ = ["FAMILIES", "Appearance", "MaterialLook", "Phantom", "make_phantom"]
