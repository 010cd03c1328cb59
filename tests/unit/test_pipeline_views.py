"""What a run's views cut open, hide and show, by arrays and cameras alone."""

import dataclasses

import numpy as np
import pytest
from pydantic import ValidationError

from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.pipeline.config import PipelineConfig
from voxlang.pipeline.views import cut_depths, digest_of_cameras, hidden_share, visible_voxels
from voxlang.render.transfer import TransferFunction


def test_cameras_without_a_cut_keep_the_digest_of_caches_made_before_cuts():
    pose = np.array([[0.0, 0.0, 1.0, -5.0], [1.0, 0.0, 0.0, 2.5], [0.0, 1.0, 0.0, 0.25], [0.0, 0.0, 0.0, 1.0]])
    camera = Camera(np.eye(3), pose, 4, 3, (0.0, 1.0, 0.0))
    assert digest_of_cameras([camera]) == "19a8c5971c0993ea668ccc3a170cd57f"
    assert digest_of_cameras([dataclasses.replace(camera, near_depth=2.0)]) != "19a8c5971c0993ea668ccc3a170cd57f"


def test_what_a_transfer_function_hides_is_what_lies_deeper_than_its_light_comes():
    values = np.zeros((30, 40, 50), np.float32)
    values[5:25, 5:35, 10:40] = 1.0  # spacing 1, 1.5, 2 (x, y, z): 30 x 45 x 40
    grid = VolumeGrid((50, 40, 30), (1.0, 1.5, 2.0))

    def look(alpha):
        return TransferFunction(np.array([[0.0, 1.0, 1.0, 1.0]]), np.array([[0, 0], [0.9, 0], [1, alpha]], float), 1.0)

    # a tenth of the light comes to ln 10 / -ln(1 - alpha): 4.5 deep at 0.4; what is left is 21 x 36 x 31 to a voxel
    inner, outer = 22 * 24 * 16, 30 * 30 * 20
    assert hidden_share(values, grid, look(0.4)) == pytest.approx(inner / outer, abs=0.05)
    assert hidden_share(values, grid, look(0.05)) == 0.0, "45 deep: everything shows"
    shell = values.copy()
    shell[7:23, 7:33, 12:38] = 0.0
    assert hidden_share(shell, grid, look(0.9)) < 0.1, "a shell hides nothing"
    assert hidden_share(np.zeros_like(values), grid, look(0.9)) == 0.0
    large = np.repeat(np.repeat(np.repeat(values, 6, 0), 6, 1), 6, 2)
    fine = VolumeGrid((300, 240, 180), (1 / 6, 0.25, 1 / 3))
    assert hidden_share(large, fine, look(0.4)) == pytest.approx(inner / outer, abs=0.08)


def test_cuts_are_dealt_evenly_to_the_transfer_functions():
    assert cut_depths(5, [True], 0.0, (0.3, 0.6)) == [None] * 5
    assert cut_depths(4, [], 0.5, (0.3, 0.6)) == [None] * 4
    assert [c is not None for c in cut_depths(8, [True] * 2, 0.5, (0.3, 0.6))] == [False, False, True, True] * 2
    assert [c is not None for c in cut_depths(9, [True] * 3, 1 / 3, (0.3, 0.6))] == [False] * 6 + [True] * 3
    assert [c is not None for c in cut_depths(8, [False, True], 0.5, (0.3, 0.6))] == [False, False, False, True] * 2
    every = cut_depths(10, [True], 1.0, (0.3, 0.6))
    with pytest.raises(ValidationError, match="cut_depth"):
        PipelineConfig(views={"cut_depth": (0.3, 1.0)})
    assert min(every) >= 0.3 and max(every) <= 0.6 and np.diff(sorted(every)).min() > 0.3 / 20


def test_noise_does_not_hide_a_voxel_inside_a_thing():
    values = np.zeros((6, 7, 9), np.float32)
    values[:, :, :5] = 0.6
    values[3, 3, 2] = 0.4  # noise
    bone = TransferFunction(
        np.array([[0.0, 1.0, 1.0, 1.0]]), np.array([[0.0, 0.0], [0.5, 0.0], [0.55, 0.01], [1.0, 0.5]]), 1.0
    )
    shown = visible_voxels(values, (bone,))
    assert shown[3, 3, 2]
    np.testing.assert_array_equal(shown, np.broadcast_to(np.arange(9) < 5, values.shape))
    veil = dataclasses.replace(bone, opacity_knots=bone.opacity_knots * [1.0, 0.1])
    assert not visible_voxels(values, (veil,)).any()
    assert visible_voxels(values, (veil,), min_alpha=0.0)[:, :, :5].all()
