"""Values, units and limits of what is read; where voxels lie is in test_volume_axes.py."""

import locale
import os
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlang.core.errors import VolumeError
from voxlang.volume import native
from voxlang.volume.describe import axcodes, describe
from voxlang.volume.headers import nrrd_unit
from voxlang.volume.raw import RAW_DTYPES
from voxlang.volume.read import load_labels, load_volume


@pytest.mark.parametrize("dtype", RAW_DTYPES)
@pytest.mark.parametrize("endian", ["little", "big"])
def test_every_raw_type_keeps_its_extremes(tmp_path, dtype, endian):
    kind = np.dtype(dtype)
    lower, upper = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "ui" else (-1234.5, 98765.25)
    array = np.full((3, 4, 5), lower, kind)
    array[2, 1, 4] = upper
    array.astype(kind.newbyteorder("<" if endian == "little" else ">")).tofile(tmp_path / f"a_5x4x3_{dtype}.raw")
    volume = load_volume(tmp_path / f"a_5x4x3_{dtype}.raw", endian=endian)
    assert volume.value_range == (float(lower), float(upper))
    assert volume.values.dtype == np.float32
    assert volume.values[2, 1, 4] == 1.0
    assert np.count_nonzero(volume.values) == 1


def test_normalisation_does_not_lose_integers_beyond_float32(tmp_path):
    """2^24 and 2^24 + 1 are one number in float32; their normalised values must still differ."""
    array = np.full((2, 3, 4), 2**24, np.int32)
    array[0, 0, 1], array[1, 2, 3] = 2**24 + 1, 2**24 + 4
    np.save(tmp_path / "a.npy", array)
    volume = load_volume(tmp_path / "a.npy")
    assert volume.values[0, 0, 1] == 0.25
    assert volume.value_range == (2.0**24, 2.0**24 + 4)


def test_arguments_go_before_the_name(tmp_path):
    (tmp_path / "a_3x4x5_uint8.raw").write_bytes(bytes(range(60)))
    volume = load_volume(tmp_path / "a_3x4x5_uint8.raw", size_xyz=(5, 4, 3), dtype="int8")
    assert volume.grid.size_xyz == (5, 4, 3)
    assert volume.native_values()[1, 0, 0] == pytest.approx(20)


def test_spacing_given_goes_before_the_file(tmp_path):
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    grid = load_volume(tmp_path / "a.nrrd", spacing_xyz=(0.5, 0.25, 2.0)).grid
    assert grid.spacing_xyz == (0.5, 0.25, 2.0)
    assert grid.origin_xyz == (1.0, 2.0, 3.0)


def test_nifti_slope_and_intercept_are_applied(tmp_path):
    stored = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, -10.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    oracle = nibabel.load(tmp_path / "a.nii.gz").get_fdata()
    volume = load_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(volume.native_values().transpose(2, 1, 0), oracle, atol=1e-5)
    assert volume.value_range == (oracle.min(), oracle.max())


@pytest.mark.parametrize(("unit", "spacing_mm"), [("micron", 0.001), ("mm", 1.0), ("meter", 1000.0)])
def test_nifti_units_become_millimetres(tmp_path, unit, spacing_mm, recwarn):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    grid = load_volume(tmp_path / "a.nii").grid
    np.testing.assert_allclose(grid.spacing_xyz, np.array([1.0, 1.0, 2.0]) * spacing_mm, rtol=1e-6)
    assert grid.unit == "mm"
    assert not [w for w in recwarn if "sform" in str(w.message)]


def test_nifti_forms_that_disagree_are_announced(tmp_path):
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), None)
    image.header.set_qform(np.diag([3.0, 3.0, 3.0, 1.0]), 1)
    image.header.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), 1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match="sform and qform place the voxels differently"):
        grid = load_volume(tmp_path / "a.nii").grid
    assert grid.spacing_xyz == sitk.ReadImage(str(tmp_path / "a.nii")).GetSpacing()


@pytest.mark.parametrize(
    ("lines", "unit"),
    [
        ("", "voxel"),
        ("spacings: nan nan nan\n", "voxel"),
        ("spacings: 1 2 3\n", "mm"),
        ('spacings: 1 2 3\nunits: "micron" "micron" "micron"\n', "um"),
        (
            'space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace units: "cm" "cm" "cm"\n',
            "cm",
        ),
    ],
)
def test_unit_of_nrrd(tmp_path, lines, unit):
    header = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\n{lines}encoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + bytes(range(60)))
    assert load_volume(tmp_path / "a.nrrd").grid.unit == unit


def test_axes_without_a_direction_give_no_unit(tmp_path):
    (tmp_path / "a.nrrd").write_text("NRRD0004\nspace directions: none none none\n\n")
    assert nrrd_unit(tmp_path / "a.nrrd") == "voxel"
    (tmp_path / "b.nrrd").write_text("NRRD0004\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\n\n")
    assert nrrd_unit(tmp_path / "b.nrrd") == "mm"


@pytest.mark.parametrize(("line", "unit"), [("", "voxel"), ("ElementSpacing = 1 2 3\n", "mm")])
def test_unit_of_metaimage(tmp_path, line, unit):
    head = f"ObjectType = Image\nNDims = 3\nDimSize = 5 4 3\n{line}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(range(60)))
    assert load_volume(tmp_path / "a.mha").grid.unit == unit


def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path):
    """A sparse file of 8 TB: reading it would not come back."""
    path = tmp_path / "huge_20000x20000x20000_uint8.raw"
    path.touch()
    os.truncate(path, 20000**3)
    with pytest.raises(VolumeError, match=r"8000000000000 voxels, which need 67055\.23 GiB"):
        load_volume(path)


def test_headers_are_measured_against_memory_before_the_voxels(tmp_path, monkeypatch):
    """1000 x 1000 x 1000 in the header, 60 bytes of voxels: the message is about memory, so no voxel was read."""
    monkeypatch.setattr(native.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    head = "ObjectType = Image\nNDims = 3\nDimSize = 1000 1000 1000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(60))
    with pytest.raises(VolumeError, match=r"available memory of 1\.00 GiB; got .* which need 11\.18 GiB"):
        load_volume(tmp_path / "a.mha")
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    monkeypatch.setattr(native.psutil, "virtual_memory", lambda: SimpleNamespace(available=100))
    with pytest.raises(VolumeError, match="8 voxels"):
        load_volume(tmp_path / "a.npy")


def test_a_container_limit_counts_as_memory(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    monkeypatch.setattr(native, "_CGROUP", tmp_path)
    assert native.available_memory() == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert native.available_memory() > 2**20


def test_labels_keep_their_numbers(tmp_path):
    labels = np.zeros((3, 4, 5), np.int32)
    labels[2, 1, 4], labels[0, 3, 0] = 65535, 3
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "float.npy", labels.astype(np.float64))
    for name in ("labels.npy", "float.npy"):
        read, grid = load_labels(tmp_path / name)
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, labels)
        assert grid.size_xyz == (5, 4, 3)


def test_an_empty_label_map_is_a_label_map(tmp_path):
    (tmp_path / "l_5x4x3_uint8.raw").write_bytes(bytes(60))
    labels, _ = load_labels(tmp_path / "l_5x4x3_uint8.raw")
    assert not labels.any()


def test_describe_and_axcodes(tmp_path):
    affine = np.diag([1.0, -2.0, 3.0, 1.0])[:, [1, 0, 2, 3]]  # x runs to -anterior, y to right, in RAS
    nibabel.save(nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), affine), tmp_path / "a.nii")
    volume = load_volume(tmp_path / "a.nii")
    assert axcodes(volume.grid) == "".join(nibabel.aff2axcodes(nibabel.load(tmp_path / "a.nii").affine))
    assert describe(volume) == (
        "a: 5 x 4 x 3 voxels (x, y, z), spacing 2 x 1 x 3 mm, extent 8 x 3 x 6 mm between voxel centres, "
        f"origin (0, 0, 0), axes {axcodes(volume.grid)}, native values 0 to 59 (mean 29.5)."
    )


@pytest.mark.parametrize("seed", range(20))
def test_axcodes_of_oblique_grids_agree_with_nibabel(seed):
    from voxlang.geometry.grid import VolumeGrid

    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    grid = VolumeGrid((5, 4, 3), direction=tuple(map(tuple, q.tolist())))
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ q
    codes = axcodes(grid)
    assert len({{"R": "L", "A": "P", "I": "S"}.get(c, c) for c in codes}) == 3
    strongest = np.unravel_index(np.abs(q).argmax(), (3, 3))[1]
    assert codes[strongest] == nibabel.aff2axcodes(affine)[strongest]


@pytest.mark.parametrize(("suffix", "unit"), [(".vtk", "mm"), (".mrc", "angstrom"), (".rec", "angstrom")])
def test_legacy_vtk_and_mrc_keep_values_and_place(tmp_path, suffix, unit):
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) - 5
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((1.5, 2.0, 2.5))
    image.SetOrigin((3.0, -4.0, 5.0))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path))
    volume = load_volume(path)
    np.testing.assert_allclose(volume.native_values(), values, atol=1e-5)
    grid = volume.grid
    assert (grid.spacing_xyz, grid.origin_xyz, grid.unit) == ((1.5, 2.0, 2.5), (3.0, -4.0, 5.0), unit)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(VolumeError, match=rf"48 bytes behind the header; got 46.*a\{suffix}"):
        load_volume(path)


def test_reading_leaves_the_locale_of_the_process_alone(tmp_path):
    path = tmp_path / "a.vtk"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), str(path))
    before = locale.setlocale(locale.LC_ALL)
    load_volume(path)
    assert locale.setlocale(locale.LC_ALL) == before
    path.write_text("# vtk DataFile Version 3.0\nx\nASCII\n")
    with pytest.raises(VolumeError):
        load_volume(path)
    assert locale.setlocale(locale.LC_ALL) == before


def test_bytes_that_are_missing_are_called_bytes(tmp_path):
    path = tmp_path / "a.vtk"
    sitk.WriteImage(sitk.GetImageFromArray(np.arange(24, dtype=np.uint8).reshape(2, 3, 4)), str(path))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(VolumeError, match="24 bytes behind the header; got 22"):
        load_volume(path)


def test_legacy_vtk_in_words(tmp_path):
    head = "# vtk DataFile Version 3.0\nx\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 4 3 2\nSPACING 1 1 2\n"
    head += "ORIGIN 0 0 0\nPOINT_DATA 24\nSCALARS scalars float 1\nLOOKUP_TABLE default\n"
    path = tmp_path / "a.vtk"
    path.write_text(head + " ".join(map(str, range(24))) + "\n")
    assert load_volume(path).native_values()[1, 2].tolist() == [20.0, 21.0, 22.0, 23.0]
    path.write_text(head + " ".join(map(str, range(23))) + "\n")
    with pytest.raises(VolumeError, match="24 values behind the header; got 23"):
        load_volume(path)
