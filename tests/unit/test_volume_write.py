"""Writers: values, names, segment keys, atomicity and refusals; positions are in test_volume_axes.py."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlang.core.errors import VolumeError
from voxlang.geometry.grid import VolumeGrid
from voxlang.volume.read import load_labels, load_volume
from voxlang.volume.types import Volume
from voxlang.volume.write import load_label_names, save_label_map, save_scalar_map, save_volume

GRID = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))


@pytest.fixture
def labels(rng):
    return rng.integers(0, 4, (3, 4, 5)).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_names_lie_beside_the_label_map(tmp_path, labels, suffix):
    path = tmp_path / f"labels{suffix}"
    save_label_map(path, labels, GRID, names={2: "trunk", 1: "pot"})
    assert json.loads((tmp_path / f"labels{suffix}.json").read_text()) == {
        "schema": 1,
        "kind": "label-names",
        "names": {"1": "pot", "2": "trunk"},
    }
    assert load_label_names(path) == {1: "pot", 2: "trunk"}
    save_label_map(path, labels, GRID)
    assert load_label_names(path) == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_segment_keys_are_those_of_slicer(tmp_path):
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[1, 2, 3], labels[2, 1, 4] = 6, 6
    save_label_map(tmp_path / "a.nrrd", labels, GRID, names={6: "left\nkidney", 9: "absent"})
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment")}
    assert keys["Segment0_ID"] == "Segment_6"
    assert keys["Segment0_LabelValue"] == "6"
    assert keys["Segment0_Layer"] == "0"
    assert keys["Segment0_Extent"] == "3 4 1 2 1 2"
    assert keys["Segment0_Name"].replace("\\n", "\n") == "left\nkidney"
    assert keys["Segment1_Name"] == "absent"
    assert keys["Segment1_Extent"] == "0 -1 0 -1 0 -1"
    red, green, blue = (float(c) for c in keys["Segment0_Color"].split())
    assert 0 <= min(red, green, blue) <= max(red, green, blue) <= 1


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz"])
def test_label_map_round_trip_of_any_integer_type(tmp_path, labels, suffix):
    path = tmp_path / f"a{suffix}"
    for dtype in (np.uint8, np.int64, np.uint16):
        save_label_map(path, labels.astype(dtype), GRID)
        assert sitk.ReadImage(str(path)).GetPixelID() == sitk.sitkUInt16
        back, grid = load_labels(path)
        np.testing.assert_array_equal(back, labels)
        assert grid == GRID


@pytest.mark.parametrize(
    ("dtype", "lower", "upper"),
    [("uint8", 3, 250), ("int16", -1024, 3071), ("uint16", 0, 65535), ("int32", 70000, 99999)],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_whole_numbers_come_back_bit_for_bit(tmp_path, rng, dtype, lower, upper, suffix):
    array = rng.integers(lower, upper, (3, 4, 5), endpoint=True).astype(dtype)
    array[0, 0, 0], array[2, 3, 4] = lower, upper
    np.save(tmp_path / "in.npy", array)
    volume = load_volume(tmp_path / "in.npy", spacing_xyz=(1.0, 2.0, 3.0))
    save_volume(tmp_path / f"out{suffix}", volume)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out{suffix}")))
    assert written.dtype.kind in "ui"
    np.testing.assert_array_equal(written, array)
    assert load_volume(tmp_path / f"out{suffix}").digest == volume.digest


def test_fractions_are_written_as_float(tmp_path, rng):
    array = rng.normal(size=(3, 4, 5)).astype(np.float32)
    np.save(tmp_path / "in.npy", array)
    save_volume(tmp_path / "out.nrrd", load_volume(tmp_path / "in.npy"))
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nrrd")))
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, array, atol=1e-6)
    assert load_volume(tmp_path / "out.nrrd").grid.unit == "voxel"


@pytest.mark.parametrize("suffix", [".nrrd", ".nii"])
def test_values_far_from_zero_are_written_as_double(tmp_path, suffix):
    array = np.arange(60, dtype=np.int64).reshape(3, 4, 5) + 2**33
    np.save(tmp_path / "in.npy", array)
    save_volume(tmp_path / f"out{suffix}", load_volume(tmp_path / "in.npy"))
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"out{suffix}")))
    assert written.dtype == np.float64
    np.testing.assert_allclose(written, array, rtol=0, atol=1e-4)


def test_whole_range_with_a_fraction_inside_stays_float(tmp_path):
    values = np.zeros((3, 4, 5), np.float32)
    values[0, 0, 1], values[2, 1, 4] = 0.5, 1.0
    save_volume(tmp_path / "a.nrrd", Volume(values, GRID, (0.0, 255.0), "half"))
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd")))[0, 0, 1] == 127.5


def test_nifti_keeps_micrometres_in_millimetres(tmp_path, marked_volume):
    grid = VolumeGrid((5, 4, 3), (500.0, 1000.0, 2000.0), unit="um")
    save_scalar_map(tmp_path / "a.nii", marked_volume.values, grid)
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii").header.get_zooms(), (0.5, 1.0, 2.0))


def test_nifti_says_when_float32_is_too_coarse(tmp_path, marked_volume):
    grid = VolumeGrid((5, 4, 3), origin_xyz=(-1234.56789, 0.0, 0.0))
    with pytest.warns(UserWarning, match=r"moves spacing by 0.0e\+00, origin by .*e-05"):
        save_scalar_map(tmp_path / "a.nii.gz", marked_volume.values, grid)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a.vti", {}, r"a suffix out of \.nrrd, \.nii, \.nii\.gz; got '\.vti'"),
        ("a.nrrd", {"grid": VolumeGrid((3, 4, 5))}, r"shape \(5, 4, 3\).*got shape \(3, 4, 5\)"),
        ("a.nrrd", {"values": np.full((3, 4, 5), 70000)}, "labels from 70000 to 70000"),
        ("a.nrrd", {"values": np.full((3, 4, 5), -1)}, "labels from -1 to -1"),
        ("a.nrrd", {"names": {0: "air"}}, r"names for \[0\]"),
        ("a.nii", {"grid": VolumeGrid((5, 4, 3), unit="furlong")}, "a unit out of mm.*got 'furlong'"),
    ],
)
def test_label_maps_that_cannot_be_written(tmp_path, name, change, message):
    values = change.get("values", np.zeros((3, 4, 5), np.uint16))
    with pytest.raises(VolumeError, match=message):
        save_label_map(tmp_path / name, values, change.get("grid", GRID), names=change.get("names"))
    assert list(tmp_path.iterdir()) == []


def test_nifti_cannot_hold_very_long_axes(tmp_path):
    grid = VolumeGrid((40000, 2, 2))
    with pytest.raises(VolumeError, match=r"32767.*\(40000, 2, 2\).*save as \.nrrd"):
        save_label_map(tmp_path / "a.nii", np.zeros((2, 2, 40000), np.uint16), grid)


def test_scalar_maps_must_be_finite(tmp_path):
    values = np.zeros((3, 4, 5), np.float32)
    values[0, 0, 0] = np.nan
    with pytest.raises(VolumeError, match="1 NaN or infinite voxels"):
        save_scalar_map(tmp_path / "a.nrrd", values, GRID)


def test_foreign_json_beside_a_label_map_is_neither_read_nor_deleted(tmp_path, labels):
    (tmp_path / "a.nrrd.json").write_text('{"kind": "notes"}')
    save_label_map(tmp_path / "a.nrrd", labels, GRID)
    with pytest.raises(VolumeError, match="got notes schema None"):
        load_label_names(tmp_path / "a.nrrd")


def test_a_failed_write_leaves_the_old_file(tmp_path, labels, monkeypatch):
    from voxlang.volume import write

    path = tmp_path / "a.nrrd"
    save_label_map(path, labels, GRID)
    before = path.read_bytes()

    def broken(temporary, *args, **kwargs):
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(write, "write_nrrd", broken)
    with pytest.raises(OSError, match="disk full"):
        save_label_map(path, labels + 1, GRID)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nrrd"]
