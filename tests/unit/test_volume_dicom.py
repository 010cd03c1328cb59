"""DICOM folders: series written slice by slice with SimpleITK, in an order that the file names do not have."""

import locale
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from voxlang.core.errors import VolumeError
from voxlang.volume.read import load_volume


def write_series(folder: Path, uid: str, *, positions_z, size_xy=(5, 4), shift_x=0.0, base=-7) -> np.ndarray:
    """int16 slices at the given z; pixel spacing 0.75 (x) by 1.5 (y); returns the array [z, y, x]."""
    folder.mkdir(exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)  # SimpleITK leaves it at "C" once it has written DICOM
    n = len(positions_z)
    array = np.arange(n * size_xy[0] * size_xy[1], dtype=np.int16).reshape(n, size_xy[1], size_xy[0]) + np.int16(base)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k, z in enumerate(positions_z):
        image = sitk.GetImageFromArray(array[k])
        image.SetSpacing((0.75, 1.5))
        tags = {
            "0008|0060": "CT",
            "0020|000d": "1.2.3",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{k + 1}",
            "0020|0013": str(k + 1),
            "0020|0032": f"{10 + shift_x * k:g}\\20\\{z:g}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": "0",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{uid}_{n - k:03d}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, before)
    return array


def test_a_series_is_sorted_by_position(tmp_path):
    array = write_series(tmp_path / "ct", "1.2.3.4", positions_z=[30.0, 32.5, 35.0])
    volume = load_volume(tmp_path / "ct")
    np.testing.assert_allclose(volume.native_values(), array, atol=1e-4)
    assert volume.grid.size_xyz == (5, 4, 3)
    assert volume.grid.spacing_xyz == (0.75, 1.5, 2.5)
    assert volume.grid.origin_xyz == (10.0, 20.0, 30.0)
    assert volume.value_range == (-7.0, 52.0)
    assert (volume.name, volume.grid.unit) == ("ct", "mm")


def test_of_several_series_the_largest_is_read_and_named(tmp_path):
    write_series(tmp_path / "study", "1.2.3.4", positions_z=[0.0, 1.0])
    array = write_series(tmp_path / "study", "1.2.3.9", positions_z=[0.0, 1.0, 2.0], base=100)
    with pytest.warns(
        UserWarning, match=r"2 DICOM series; the largest is read \(.*1\.2\.3\.9.*: 3 slices; .*: 2 slices"
    ):
        volume = load_volume(tmp_path / "study")
    assert volume.value_range == (100.0, 100.0 + array.size - 1)


def test_two_series_of_one_size_are_not_chosen_between(tmp_path):
    write_series(tmp_path / "study", "1.2.3.4", positions_z=[0.0, 1.0])
    write_series(tmp_path / "study", "1.2.3.9", positions_z=[0.0, 1.0])
    with pytest.raises(VolumeError, match=r"got 2 series .*1.2.3.9.*1.2.3.4.*folder of its own"):
        load_volume(tmp_path / "study")


def test_a_missing_slice_is_refused(tmp_path):
    write_series(tmp_path / "gap", "1.2.3.4", positions_z=[0.0, 2.5, 7.5, 10.0])
    with pytest.raises(VolumeError, match=r"gap of 5 mm between slices 1 and 2, where 2\.5 mm is usual"):
        load_volume(tmp_path / "gap")


def test_positions_that_a_scanner_rounded_are_taken_as_even(tmp_path):
    write_series(tmp_path / "rounded", "1.2.3.4", positions_z=[0.0, 1.2, 2.5, 3.8, 5.0])
    with pytest.warns(UserWarning, match=r"0\.05 mm beside even places.*1\.25 mm apart"):
        assert load_volume(tmp_path / "rounded").grid.spacing_xyz[2] == pytest.approx(1.25)
    write_series(tmp_path / "uneven", "1.2.3.4", positions_z=[0.0, 2.5, 5.4, 7.5])
    with pytest.raises(VolumeError, match=r"gap of 2\.9 mm between slices 1 and 2, where 2\.5 mm is usual"):
        load_volume(tmp_path / "uneven")


def test_a_repeated_position_is_refused(tmp_path):
    write_series(tmp_path / "time", "1.2.3.4", positions_z=[0.0, 2.5, 2.5, 5.0])
    with pytest.raises(VolumeError, match="same position, as in a time series"):
        load_volume(tmp_path / "time")


def test_gantry_tilt_is_refused(tmp_path):
    write_series(tmp_path / "tilt", "1.2.3.4", positions_z=[0.0, 2.5, 5.0], shift_x=1.0)
    with pytest.raises(VolumeError, match="shifted sideways by up to 2 mm"):
        load_volume(tmp_path / "tilt")


def test_one_slice_is_2d(tmp_path):
    write_series(tmp_path / "one", "1.2.3.4", positions_z=[0.0])
    with pytest.raises(VolumeError, match=r"got 2D data of size \(5, 4, 1\).*folder of the series"):
        load_volume(tmp_path / "one")
    (name,) = (tmp_path / "one").iterdir()
    with pytest.raises(VolumeError, match="2D data"):
        load_volume(name)


def test_slices_of_two_sizes_are_refused(tmp_path):
    write_series(tmp_path / "mixed", "1.2.3.4", positions_z=[0.0, 1.0])
    write_series(tmp_path / "other", "1.2.3.4", positions_z=[2.0, 3.0], size_xy=(6, 7))
    for n, path in enumerate(sorted((tmp_path / "other").iterdir())):
        path.rename(tmp_path / "mixed" / f"more{n}.dcm")
    with pytest.raises(VolumeError, match=r"got sizes \[\(5, 4\), \(6, 7\)\] in one series"):
        load_volume(tmp_path / "mixed")


def test_a_folder_without_slices_says_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("no pixels")
    with pytest.raises(VolumeError, match=r"no DICOM file among its 1 entries \(notes\.txt\)"):
        load_volume(tmp_path)


def test_one_file_of_many_frames(tmp_path):
    array = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.75, 1.5, 2.5))
    image.SetOrigin((1.0, 2.0, 3.0))
    (tmp_path / "frames").mkdir()
    sitk.WriteImage(image, str(tmp_path / "frames" / "all.dcm"))
    for path in (tmp_path / "frames", tmp_path / "frames" / "all.dcm"):
        volume = load_volume(path)
        np.testing.assert_allclose(volume.native_values(), array, atol=1e-4)
        assert volume.grid.spacing_xyz == (0.75, 1.5, 2.5)
        assert volume.grid.origin_xyz == (1.0, 2.0, 3.0)
