"""Any grid, any values: what is written comes back."""

import warnings

import numpy as np
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.raw import fitting_choices
from voxlang.volume.read import load_labels, load_volume
from voxlang.volume.write import save_label_map

QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def grids(draw):
    size = draw(st.tuples(*[st.integers(2, 6)] * 3))
    spacing = draw(st.tuples(*[st.floats(0.01, 50.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-2000.0, 2000.0)] * 3))
    q, _ = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 10**6))).normal(size=(3, 3)))
    q[:, 0] *= draw(st.sampled_from([-1.0, 1.0]))
    return VolumeGrid(size, spacing, origin, tuple(map(tuple, q.tolist())))


@QUIET
@given(grid=grids(), suffix=st.sampled_from([".nrrd", ".nii"]), seed=st.integers(0, 10**6))
def test_label_maps_on_any_grid(tmp_path, grid, suffix, seed):
    labels = np.random.default_rng(seed).integers(0, 65536, grid.shape_zyx).astype(np.uint16)
    path = tmp_path / f"a{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NIfTI's float32 origin, measured below
        save_label_map(path, labels, grid)
    back, back_grid = load_labels(path)
    np.testing.assert_array_equal(back, labels)
    np.testing.assert_allclose(back_grid.direction, grid.direction, rtol=0, atol=1e-6)
    if suffix == ".nrrd":
        np.testing.assert_allclose(back_grid.spacing_xyz, grid.spacing_xyz, rtol=1e-14)
        assert back_grid.origin_xyz == grid.origin_xyz
    else:  # half a step of float32
        np.testing.assert_allclose(back_grid.spacing_xyz, grid.spacing_xyz, rtol=1e-6)
        np.testing.assert_allclose(back_grid.origin_xyz, grid.origin_xyz, rtol=1e-6, atol=1e-6)


@QUIET
@given(grid=grids(), suffix=st.sampled_from([".nrrd", ".mha", ".nii"]), seed=st.integers(0, 10**6))
def test_files_of_simpleitk_lie_where_simpleitk_puts_them(tmp_path, grid, suffix, seed):
    array = np.random.default_rng(seed).permutation(grid.n_voxels).reshape(grid.shape_zyx).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing_xyz)
    image.SetOrigin(grid.origin_xyz)
    image.SetDirection(np.ravel(grid.direction).tolist())
    path = str(tmp_path / f"a{suffix}")
    sitk.WriteImage(image, path)
    theirs, ours = sitk.ReadImage(path), load_volume(path)
    last = tuple(n - 1 for n in grid.size_xyz)
    corner = ours.grid.world_from_index @ np.array([*last, 1.0])
    np.testing.assert_allclose(corner[:3], theirs.TransformIndexToPhysicalPoint(last), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.native_values(), array, atol=1e-4)


@given(
    size=st.tuples(*[st.integers(2, 40)] * 3),
    dtype=st.sampled_from(["uint8", "int16", "float32", "float64"]),
    n_bytes=st.integers(1, 10**6),
)
def test_every_size_and_type_offered_fits_the_file(size, dtype, n_bytes):
    text = fitting_choices(n_bytes, size, dtype)
    offered = [part for part in text.split(", or ") if part.startswith("pass size_xyz=")]
    for part in offered:
        numbers = part.removeprefix("pass size_xyz=(").split(")")[0]
        assert np.prod([int(n) for n in numbers.split(", ")]) * np.dtype(dtype).itemsize == n_bytes
    if "for these sizes" in text:
        first = text.split("pass dtype=")[1].split(" ")[0]
        assert np.prod(size) * np.dtype(first).itemsize == n_bytes
