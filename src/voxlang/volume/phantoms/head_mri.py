"""Head and neck as MRI shows them: T1- or T2-weighted, 0-1000, dark bone, smooth bias; the anatomy of `head`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from voxlang.volume.phantoms import head
from voxlang.volume.phantoms.language import Number
from voxlang.volume.phantoms.scene import Material, Scene
from voxlang.volume.phantoms.tissue import CT, Tissues

BOX_MM = head.BOX_MM
SIZE_XYZ = head.SIZE_XYZ
PROMPTS = ("head", "brain", "skin", "skull", "left eye", "cerebellum", "white matter", "ventricles")
WEIGHTINGS = {
    # mean values of air, skin, fat, muscle, fluid, grey matter, eyeball, marrow, compact bone, enamel, white matter
    "T1": (8, 330, 880, 250, 120, 430, 160, 730, 55, 25, 590),
    "T2": (8, 240, 690, 160, 900, 530, 860, 330, 45, 20, 410),
}


def describe(rng: np.random.Generator) -> Scene:
    """The head with the contrast of one weighting; white matter stands apart from the cortex, bone is nearly black."""
    weighting = str(rng.choice(list(WEIGHTINGS)))
    scene, t = head.anatomy(rng, _tissues(weighting))
    white = t.white_matter
    assert white is not None
    low, high = 110.0, 985.0
    cover = replace(t.skin, value=(low + high) / 2, band=(high - low) / 2)
    scene.show("surface", [(cover, 0.9)])
    scene.show("brain", [(t.brain, 0.14), (white, 0.3)])
    scene.show("white matter", [(white, 0.3)])
    scene.show("fluid and eyes", [(t.fluid, 0.25), (t.eye, 0.35)])
    scene.show("fat", [(t.fat, 0.4), (t.spongy_bone, 0.3)])
    everything = [t.muscle, t.fluid, t.eye, t.brain, white, t.spongy_bone, t.fat]
    scene.show("contents", [(m, 0.03 if m in (t.muscle, t.fat) else 0.08) for m in everything])
    return scene


def _tissues(weighting: str) -> Tissues:
    """Values of a weighting, in grey and natural colours as a reader of MRI gives them."""
    air, skin, fat, muscle, fluid, grey, eye, marrow, compact, enamel, white = WEIGHTINGS[weighting]

    def of(material: Material, value: Number, band: Number, name: str | None = None) -> Material:
        return replace(material, value=value, texture=6, band=band, name=name or material.name)

    return Tissues(
        native_range=(0.0, 1000.0),
        noise=11,
        bias=0.03,
        air=Material("air", air, (0.0, 0.0, 0.0)),
        skin=of(CT.skin, skin, 40),
        fat=of(CT.fat, fat, 85),
        muscle=of(CT.muscle, muscle, 36),
        fluid=of(CT.fluid, fluid, 34 if fluid < 500 else 95),
        brain=of(CT.brain, grey, 55, "grey matter"),
        eye=of(CT.eye, eye, 30 if eye < 500 else 90),
        spongy_bone=of(CT.spongy_bone, marrow, 60, "marrow"),
        bone=of(CT.bone, compact, 25),
        enamel=of(CT.enamel, enamel, 15),
        bone_spread=8,
        brain_spread=12,
        white_matter=Material("white matter", white, (0.95, 0.92, 0.86), texture=6, grain=10, band=60),
    )
