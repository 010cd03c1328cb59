"""What scans are and phantoms are not: cut off by the field of view, with the values of a scanner, in general looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from scipy.ndimage import gaussian_filter

from voxlang.render.presets import fitting_presets, may_be_hounsfield, resolve_transfers
from voxlang.render.transfer import TransferFunction
from voxlang.volume.phantoms.types import Phantom
from voxlang.volume.types import LabelVolume, Volume

CUT_AXIS = (0.3, 0.3, 0.7)
"""Probability that the field of view ends inside the object along x, y, z: a body is cut off above and below."""
KEPT = (0.3, 0.9)
"""Share of the object's box that is left along such an axis."""
_LEAST_LEFT = 0.1
SOFT_HU, ENHANCED_HU = 40.0, 300.0
"""Soft tissue without contrast agent, and the most that tissue with it has; what is above is bone or harder."""


def partly_scanned(phantom: Phantom, rng: np.random.Generator) -> Phantom:
    """The phantom in a smaller field of view, somewhere around what it holds; along some axis it is cut off.

    At least a tenth of the labelled voxels stays (all of them where eight tries find no such place). The tree stays
    whole, though some of its parts may be gone.
    """
    labels = phantom.labels.labels
    found = np.nonzero(labels)
    first = np.array([axis.min() for axis in found[::-1]])
    edge = np.array([axis.max() for axis in found[::-1]]) + 1 - first
    window = (slice(None),) * 3
    for _ in range(8):
        cut = rng.random(3) < CUT_AXIS
        cut[2] |= not cut.any()
        kept = np.maximum(8, np.round(rng.uniform(*KEPT, 3) * edge)).astype(int)
        start = first + np.floor(rng.random(3) * np.maximum(edge - kept + 1, 1)).astype(int)
        bounds = [(s, s + k) if c else (0, None) for c, s, k in zip(cut, start.tolist(), kept.tolist(), strict=True)]
        tried = tuple(slice(*b) for b in reversed(bounds))
        if (labels[tried] > 0).sum() >= _LEAST_LEFT * len(found[0]):
            window = tried
            break
    volume, values = phantom.volume, phantom.volume.values[window]
    grid = volume.grid.cropped(tuple(s.start or 0 for s in reversed(window)), values.shape[::-1])
    return replace(
        phantom,
        volume=Volume(values, grid, volume.value_range, volume.name),
        labels=LabelVolume(labels[window].copy(), grid, phantom.labels.tree),
    )


def with_scanner_values(volume: Volume, rng: np.random.Generator) -> Volume:
    """The volume as another scanner, another day and another patient would have it: same grid, same range, same order.

    In Hounsfield units what lies above soft tissue keeps a random share of its distance: contrast agent from a fifth
    to all, bone from a seventh (brittle) to all, with a texture of pores. Other units get a random gamma. Then come the
    blur of the scanner, up to 0.9 voxels, and its noise, correlated over up to a voxel. Before texture, blur and noise
    no two values change their order.

    Args:
        volume: a phantom's volume.
        rng: random numbers.
    """
    lower, upper = volume.value_range
    if may_be_hounsfield(volume):
        native = volume.native_values()
        enhanced = np.clip(native - SOFT_HU, 0.0, ENHANCED_HU - SOFT_HU) * rng.uniform(0.2, 1.0)
        bone = np.maximum(native - ENHANCED_HU, 0.0) * np.exp(rng.uniform(np.log(1 / 7), 0.0))
        pores = _smooth_noise(volume.values.shape, rng.uniform(0.5, 1.5), rng) * rng.uniform(0.0, 0.7)
        hard = np.clip((native - ENHANCED_HU) / 200.0, 0.0, 1.0)
        native = np.minimum(native, SOFT_HU) + (enhanced + bone) * np.exp(hard * pores)
        values = (native - lower) / (upper - lower)
        noise = np.exp(rng.uniform(np.log(3.0), np.log(25.0))) / (upper - lower)
    else:
        values = volume.values ** np.float32(np.exp(rng.normal(0.0, 0.25)))
        noise = rng.uniform(0.0, 0.03)
    values = gaussian_filter(values, rng.uniform(0.0, 0.9), mode="nearest")
    values = values + noise * _smooth_noise(values.shape, rng.uniform(0.0, 1.0), rng)
    return replace(volume, values=np.clip(values, 0.0, 1.0).astype(np.float32))


def _smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Float32[np.ndarray, "z y x"]:
    """Gaussian noise of unit variance, correlated over `sigma` voxels."""
    noise = gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="wrap")
    return noise / max(float(noise.std()), 1e-6)


def general_looks(volume: Volume) -> tuple[TransferFunction, ...]:
    """The looks that a user gets for a volume of his own: "auto", and all presets that fit its values."""
    looks = resolve_transfers(["auto", *fitting_presets(volume)], volume)
    return tuple({look.id: look for look in looks}.values())


def jittered_look(
    look: TransferFunction, rng: np.random.Generator, *, color_jitter: float, alpha_jitter: float
) -> TransferFunction:
    """The look in other colours and densities: one shift of colour for all of it and a smaller one for each knot.

    Args:
        look: a transfer function.
        rng: random numbers.
        color_jitter: standard deviation of the shift of each channel; half of it for each knot.
        alpha_jitter: standard deviation of the log factor on the density.
    """
    color = look.color_knots.copy()
    color[:, 1:] += rng.normal(0.0, color_jitter, 3) + rng.normal(0.0, 0.5 * color_jitter, color[:, 1:].shape)
    opacity = look.opacity_knots.copy()
    factor = float(np.exp(rng.normal(0.0, alpha_jitter)))
    opacity[:, 1] = 1.0 - (1.0 - np.minimum(opacity[:, 1], 0.995)) ** factor
    return replace(look, color_knots=color.clip(0.0, 1.0), opacity_knots=opacity)
