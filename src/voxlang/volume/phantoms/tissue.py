"""Tissues of the families that are alive (or were): in Hounsfield-like units, and what makes a modality."""

from __future__ import annotations

from dataclasses import dataclass

from voxlang.volume.phantoms.language import Number
from voxlang.volume.phantoms.scene import Material

RANGE_HU = (-1000.0, 2500.0)
"""Native values of 0 and 1 for CT of the body."""
NOISE_HU = 9.0
"""Standard deviation of the noise, below the gaps between organs."""

AIR = Material("air", -1000.0, (0.0, 0.0, 0.0))
LUNG = Material("lung", -780.0, (0.86, 0.62, 0.60), texture=25, grain=12, band=110)
FAT = Material("fat", -95.0, (0.93, 0.82, 0.52), texture=6, grain=14, band=35)
SKIN = Material("skin", -20.0, (0.88, 0.68, 0.56), texture=4, grain=20, band=32)
FLUID = Material("fluid", 18.0, (0.62, 0.76, 0.86), texture=2, grain=20, band=15)
BRAIN = Material("brain", 130.0, (0.88, 0.66, 0.65), texture=5, grain=10, band=26)
EYE = Material("eyeball", 190.0, (0.92, 0.93, 0.95), texture=3, grain=10, band=22)
MUSCLE = Material("muscle", 62.0, (0.66, 0.25, 0.22), texture=5, grain=10, band=24)
SPONGY_BONE = Material("spongy bone", 520.0, (0.86, 0.78, 0.62), texture=35, grain=6, band=190)
BONE = Material("bone", 1050.0, (0.93, 0.89, 0.78), texture=40, grain=12, band=340)
DENTIN = Material("dentin", 1650.0, (0.93, 0.86, 0.66), texture=25, grain=5, band=220)
ENAMEL = Material("enamel", 2150.0, (0.97, 0.97, 0.94), texture=25, grain=5, band=280)
BOWEL = Material("bowel", 30.0, (0.80, 0.56, 0.48), texture=8, grain=12, band=18)
LIVER = Material("liver", 100.0, (0.50, 0.22, 0.17), texture=4, grain=25, band=18)
SPLEEN = Material("spleen", 136.0, (0.45, 0.16, 0.25), texture=3, grain=15, band=17)
HEART = Material("heart muscle", 172.0, (0.72, 0.18, 0.17), texture=4, grain=15, band=18)
KIDNEY = Material("kidney", 212.0, (0.62, 0.28, 0.20), texture=5, grain=12, band=21)
BLOOD = Material("blood", 272.0, (0.80, 0.10, 0.12), texture=4, grain=20, band=36)


@dataclass(frozen=True)
class Tissues:
    """What a scanner makes of the tissues of a head."""

    native_range: tuple[float, float]
    """Native values of 0 and 1."""
    noise: Number
    """Standard deviation of the noise, native units."""
    bias: Number
    """Relative amplitude of the bias field."""
    air: Material
    skin: Material
    fat: Material
    muscle: Material
    fluid: Material
    brain: Material
    eye: Material
    spongy_bone: Material
    bone: Material
    enamel: Material
    bone_spread: Number
    """How far the value of bone varies among heads, native units."""
    brain_spread: Number
    """How far the value of the brain varies among heads, native units."""
    white_matter: Material | None = None
    """Inside of the hemispheres, where the scanner tells it from their cortex."""


CT = Tissues(RANGE_HU, NOISE_HU, 0.0, AIR, SKIN, FAT, MUSCLE, FLUID, BRAIN, EYE, SPONGY_BONE, BONE, ENAMEL, 120, 4)
