"""Every volume of the data folder beside the repository, where it exists."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlang.volume.describe import describe
from voxlang.volume.read import SUFFIXES, load_labels, load_volume, suffix_of
from voxlang.volume.write import save_label_map

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FILES = [
    pytest.param(p, id=str(p.relative_to(DATA)))
    for p in sorted(DATA.glob("*/*"))
    if suffix_of(p) in SUFFIXES and suffix_of(p) != ".raw"
]
LABELS = [file for file in FILES if file.values[0].name.startswith("labels")]

pytestmark = pytest.mark.skipif(not FILES, reason="no folder shared/data beside the repository")


@pytest.mark.parametrize("path", FILES)
def test_volume_is_read_as_simpleitk_has_it(path):
    volume = load_volume(path)
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    assert volume.grid.size_xyz == image.GetSize()
    assert volume.grid.spacing_xyz == image.GetSpacing()
    assert volume.grid.origin_xyz == image.GetOrigin()
    assert np.ravel(volume.grid.direction).tolist() == list(image.GetDirection())
    assert volume.value_range == (float(array.min()), float(array.max()))
    middle = array.shape[0] // 2
    lower, upper = volume.value_range
    np.testing.assert_allclose(
        volume.values[middle] * (upper - lower) + lower, array[middle], atol=(upper - lower) * 1e-6
    )
    assert path.name.split(".")[0] in describe(volume)


@pytest.mark.parametrize("path", [file for file in FILES if ".nii" in file.id])
def test_nifti_lies_where_nibabel_puts_it(path):
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ nibabel.load(path).affine
    np.testing.assert_allclose(load_volume(path).grid.world_from_index, affine, atol=1e-4)


@pytest.mark.parametrize("path", LABELS)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_label_maps_go_out_as_they_came(path, suffix, tmp_path):
    labels, grid = load_labels(path)
    save_label_map(tmp_path / f"out{suffix}", labels, grid)
    back, back_grid = load_labels(tmp_path / f"out{suffix}")
    np.testing.assert_array_equal(back, labels)
    assert back_grid.size_xyz == grid.size_xyz
    np.testing.assert_allclose(back_grid.spacing_xyz, grid.spacing_xyz, rtol=0, atol=1e-6)
    np.testing.assert_allclose(back_grid.origin_xyz, grid.origin_xyz, rtol=0, atol=1e-6)
    np.testing.assert_allclose(back_grid.direction, grid.direction, rtol=0, atol=1e-6)


def test_label_numbers_are_those_of_the_description():
    folder = DATA / "totalseg_abdomen"
    labels, _ = load_labels(folder / "labels.nii.gz")
    named = {int(label) for label in json.loads((folder / "meta.json").read_text())["labels"]}
    assert set(np.unique(labels).tolist()) - {0} <= named
