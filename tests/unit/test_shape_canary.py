"""The shape checks are on: a wrong shape must raise in this suite."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from voxlang.geometry.grid import transform_points


def test_a_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError):
        transform_points(np.eye(3), np.zeros((4, 3)))
