"""Shape checks for the whole suite, and the fixtures that every room's tests share.

The jaxtyping hook must be installed before the first import of the package; tests/unit/test_shape_canary.py proves
that it is on.
"""

from jaxtyping import install_import_hook

_hook = install_import_hook("voxlang", "beartype.beartype")
_hook.__enter__()

import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260307)


@pytest.fixture
def marked_volume():
    """5x4x3 (x, y, z), anisotropic, off-origin, one marked voxel at index (4, 1, 2)."""
    from voxlang.geometry.grid import VolumeGrid
    from voxlang.volume.types import Volume

    values = np.zeros((3, 4, 5), np.float32)
    values[2, 1, 4] = 1.0
    return Volume(values, VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0)), (0.0, 255.0), "marked")
