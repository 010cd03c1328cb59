"""The families of phantoms, and the one function that makes any of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxlang.core.errors import VolumeError
from voxlang.volume.phantoms import (
    bolt,
    bonsai,
    bottle,
    chest,
    circuit,
    engine,
    fish,
    flame,
    fruit,
    hand,
    head,
    head_mri,
    lobster,
    shell,
    skull,
    tooth,
    torso,
)
from voxlang.volume.phantoms.compose import compose, grid_for
from voxlang.volume.phantoms.scene import Scene
from voxlang.volume.phantoms.types import Phantom
from voxlang.volume.types import LabelVolume, Volume


@dataclass(frozen=True)
class Family:
    """How to describe and frame one kind of object."""

    describe: Callable[[np.random.Generator], Scene]
    """Draws one object."""
    box_mm: tuple[float, float, float]
    """Edges of the space it needs, centred on the object frame's origin."""
    size_xyz: tuple[int, int, int]
    """Voxels by custom."""
    prompts: tuple[str, ...]
    """Part names that make good queries; those that a seed lacks are left out."""


_FAMILIES: dict[str, Family] = {
    name: Family(module.describe, module.BOX_MM, module.SIZE_XYZ, module.PROMPTS)
    for name, module in {
        "bonsai": bonsai,
        "head": head,
        "torso": torso,
        "head_mri": head_mri,
        "chest": chest,
        "fish": fish,
        "hand": hand,
        "tooth": tooth,
        "engine": engine,
        "lobster": lobster,
        "fruit": fruit,
        "bolt": bolt,
        "circuit": circuit,
        "shell": shell,
        "flame": flame,
        "bottle": bottle,
        "skull": skull,
    }.items()
}
FAMILIES: tuple[str, ...] = tuple(_FAMILIES)
"""Names that `make_phantom` knows."""


def make_phantom(
    family: str,
    seed: int,
    *,
    size_xyz: tuple[int, int, int] | None = None,
    spacing_xyz: tuple[float, float, float] | None = None,
) -> Phantom:
    """Make a labelled procedural volume.

    The object is described in mm and does not depend on the grid: the same family and seed at another size or spacing
    is the same object, sampled anew. World +z is up; +x is the object's own left (LPS).

    Args:
        family: one of FAMILIES.
        seed: a non-negative integer; decides shape, pose, texture, colours and noise.
        size_xyz: voxels. Without `spacing_xyz` they share out the family's whole box, so spacing may be anisotropic.
        spacing_xyz: mm. Without `size_xyz` there are as many voxels as fill the family's box. With both, the grid is
            centred on the object and may cut it.

    Raises:
        VolumeError: an unknown family (the choices are listed) or a negative seed.
    """
    if family not in _FAMILIES:
        raise VolumeError(
            f"a phantom family out of {list(FAMILIES)}", got=repr(family), where="make_phantom", do="use one of these"
        )
    if seed < 0:
        raise VolumeError("a seed >= 0", got=f"{seed}", where="make_phantom", do="pass a non-negative integer")
    rules = _FAMILIES[family]
    scene = rules.describe(np.random.default_rng([seed, zlib.crc32(family.encode())]))
    grid = grid_for(rules.box_mm, rules.size_xyz, size_xyz=size_xyz, spacing_xyz=spacing_xyz)
    native, labels = compose(scene, grid, seed=seed)
    lower, upper = scene.native_range
    values = ((native - np.float32(lower)) / np.float32(upper - lower)).astype(np.float32)
    names = {p.name for p in scene.parts}
    return Phantom(
        Volume(values, grid, scene.native_range, f"{family}_{seed}"),
        LabelVolume(labels, grid, scene.tree()),
        tuple(scene.appearances),
        family,
        seed,
        tuple(p for p in rules.prompts if p in names),
    )
