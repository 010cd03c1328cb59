"""Axis truth: one marked voxel goes in and comes out at the same index and the same place in the world.

The oracles know nothing of the code: bytes and header text by hand, nibabel's affine, VTK's points.
"""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from voxlang.geometry.grid import VolumeGrid, transform_points
from voxlang.volume.read import load_labels, load_volume
from voxlang.volume.write import save_label_map, save_scalar_map, save_volume

SIZE_XYZ = (5, 4, 3)
MARKED_XYZ = (4, 1, 2)
MARKED_BYTE = 4 + 5 * (1 + 4 * 2)  # x fastest
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def voxel_bytes() -> bytes:
    data = bytearray(60)
    data[MARKED_BYTE] = 200
    return bytes(data)


def marked_array(dtype="uint8") -> np.ndarray:
    array = np.zeros((3, 4, 5), dtype)
    array[2, 1, 4] = 200
    return array


def marked_world(volume) -> np.ndarray:
    """World position of the highest voxel, after checking that it is the marked one."""
    z, y, x = np.unravel_index(volume.values.argmax(), volume.values.shape)
    assert (int(x), int(y), int(z)) == MARKED_XYZ
    assert volume.values.shape == (3, 4, 5)
    assert volume.values.sum() == 1.0
    assert volume.value_range == (0.0, 200.0)
    return transform_points(volume.grid.world_from_index, np.array(MARKED_XYZ, np.float64))


def rotation(angles_deg) -> np.ndarray:
    a, b, c = np.radians(angles_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


def oblique_affine_ras(handedness: float) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation([20, -35, 50]) @ np.diag([handedness, 1.0, 1.0]) @ np.diag([0.75, 1.5, 2.125])
    affine[:3, 3] = [-12.5, 40.25, 7.0]
    return affine


def test_raw_by_name(tmp_path):
    path = tmp_path / "marked_5x4x3_uint8.raw"
    path.write_bytes(voxel_bytes())
    volume = load_volume(path)
    assert volume.name == "marked"
    assert volume.grid == VolumeGrid(SIZE_XYZ, unit="voxel")
    assert marked_world(volume).tolist() == [4.0, 1.0, 2.0]


@pytest.mark.parametrize("endian", ["little", "big"])
def test_raw_by_arguments_of_either_byte_order(tmp_path, endian):
    path = tmp_path / "voxels.bin"
    path.write_bytes(b"".join(value.to_bytes(2, endian) for value in voxel_bytes()))
    volume = load_volume(path, size_xyz=SIZE_XYZ, dtype="uint16", endian=endian, spacing_xyz=(1.0, 2.0, 3.0))
    assert volume.grid == VolumeGrid(SIZE_XYZ, (1.0, 2.0, 3.0), unit="mm")
    assert marked_world(volume).tolist() == [4.0, 2.0, 6.0]


def test_npy_is_zyx(tmp_path):
    np.save(tmp_path / "marked.npy", marked_array())
    assert marked_world(load_volume(tmp_path / "marked.npy")).tolist() == [4.0, 1.0, 2.0]
    np.save(tmp_path / "fortran.npy", np.asfortranarray(marked_array(">f4")))
    volume = load_volume(tmp_path / "fortran.npy", spacing_xyz=(0.5, 1.0, 2.0))
    assert marked_world(volume).tolist() == [2.0, 1.0, 4.0]
    assert volume.values.flags.c_contiguous


def test_nrrd_header_by_hand_in_ras(tmp_path):
    header = (
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: right-anterior-superior\nsizes: 5 4 3\n"
        "space directions: (0,2,0) (-0.5,0,0) (0,0,3)\nkinds: domain domain domain\n"
        "encoding: gzip\nspace origin: (10,20,30)\n\n"
    )
    path = tmp_path / "marked.nrrd"
    path.write_bytes(header.encode() + gzip.compress(voxel_bytes()))
    volume = load_volume(path)
    # by hand, RAS: origin + 4 (0,2,0) + 1 (-0.5,0,0) + 2 (0,0,3) = (9.5, 28, 36); LPS turns the signs of x and y
    np.testing.assert_allclose(marked_world(volume), [-9.5, -28.0, 36.0], atol=1e-12)
    assert volume.grid.spacing_xyz == (2.0, 0.5, 3.0)
    assert volume.grid.unit == "mm"


def test_detached_big_endian_nhdr(tmp_path):
    (tmp_path / "voxels.raw").write_bytes(b"".join(value.to_bytes(2, "big") for value in voxel_bytes()))
    (tmp_path / "marked.nhdr").write_text(
        "NRRD0001\ntype: unsigned short\ndimension: 3\nsizes: 5 4 3\nspacings: 1 2 1.5\n"
        "data file: ./voxels.raw\nendian: big\nencoding: raw\n"
    )
    np.testing.assert_allclose(marked_world(load_volume(tmp_path / "marked.nhdr")), [4.0, 2.0, 3.0], atol=1e-12)


def test_metaimage_header_by_hand(tmp_path):
    (tmp_path / "voxels.raw").write_bytes(voxel_bytes())
    (tmp_path / "marked.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nTransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 10 20 30\n"
        "ElementSpacing = 2 0.5 3\nDimSize = 5 4 3\nElementType = MET_UCHAR\nElementDataFile = voxels.raw\n"
    )
    # rows of TransformMatrix are the axes: 10,20,30 + 4*2 (0,1,0) + 1*0.5 (-1,0,0) + 2*3 (0,0,1)
    np.testing.assert_allclose(marked_world(load_volume(tmp_path / "marked.mhd")), [9.5, 28.0, 36.0], atol=1e-12)


def test_single_file_metaimage(tmp_path):
    image = sitk.GetImageFromArray(marked_array("int16"))
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "marked.mha"), True)
    np.testing.assert_allclose(marked_world(load_volume(tmp_path / "marked.mha")), [5.0, 3.0, 5.0], atol=1e-12)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("handedness", [1.0, -1.0])
@pytest.mark.parametrize("forms", ["sform", "qform", "both"])
def test_oblique_nifti_agrees_with_nibabel(tmp_path, suffix, handedness, forms):
    affine = oblique_affine_ras(handedness)
    image = nibabel.Nifti1Image(marked_array().transpose(2, 1, 0), None)
    image.header.set_sform(affine if forms != "qform" else None, 2 if forms != "qform" else 0)
    image.header.set_qform(affine if forms != "sform" else None, 1 if forms != "sform" else 0)
    if forms == "sform":
        image.header["pixdim"][1:4] = [0.75, 1.5, 2.125]
    path = tmp_path / f"marked{suffix}"
    nibabel.save(image, path)
    volume = load_volume(path)
    oracle = (LPS_FROM_RAS @ nibabel.load(path).affine @ np.array([*MARKED_XYZ, 1.0]))[:3]
    np.testing.assert_allclose(marked_world(volume), oracle, atol=1e-5)
    np.testing.assert_allclose(volume.grid.spacing_xyz, (0.75, 1.5, 2.125), atol=1e-6)
    assert np.sign(np.linalg.det(np.asarray(volume.grid.direction))) == handedness


def test_tiff_stack(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(marked_array()), str(tmp_path / "marked.tif"))
    with pytest.warns(UserWarning, match="TIFF does not say how far apart"):
        volume = load_volume(tmp_path / "marked.tif")
    assert marked_world(volume).tolist() == [4.0, 1.0, 2.0]
    assert volume.grid.unit == "voxel"


def test_vti_with_extent_and_direction(tmp_path):
    vtk = pytest.importorskip("vtk", reason="vtk is an optional reader")
    from vtkmodules.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetExtent(1, 5, 2, 5, 3, 5)
    image.SetSpacing(0.5, 1.0, 2.0)
    image.SetOrigin(10.0, 20.0, 30.0)
    image.SetDirectionMatrix(0, -1, 0, 1, 0, 0, 0, 0, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(marked_array().ravel(), deep=1))
    writer = vtk.vtkXMLImageDataWriter()
    writer.SetFileName(str(tmp_path / "marked.vti"))
    writer.SetInputData(image)
    writer.Write()
    np.testing.assert_allclose(marked_world(load_volume(tmp_path / "marked.vti")), image.GetPoint(MARKED_BYTE))


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("handedness", [1.0, -1.0])
def test_what_goes_out_lies_where_it_came_in(tmp_path, suffix, handedness):
    """Oblique NIfTI in; label map, scalar map and volume out; read by nibabel and SimpleITK, not by us."""
    source = tmp_path / "source.nii.gz"
    nibabel.save(nibabel.Nifti1Image(marked_array().transpose(2, 1, 0), oblique_affine_ras(handedness)), source)
    volume = load_volume(source)
    world = marked_world(volume)
    outputs = [tmp_path / f"{kind}{suffix}" for kind in ("labels", "map", "volume")]
    save_label_map(outputs[0], (volume.values * 7).astype(np.uint16), volume.grid)
    save_scalar_map(outputs[1], volume.values, volume.grid)
    save_volume(outputs[2], volume)
    original = sitk.ReadImage(str(source))
    for path, peak in zip(outputs, (7, 1, 200), strict=True):
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image)
        assert array[2, 1, 4] == peak
        assert np.count_nonzero(array) == 1
        assert image.GetSize() == original.GetSize()
        np.testing.assert_allclose(image.GetSpacing(), original.GetSpacing(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.GetOrigin(), original.GetOrigin(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.GetDirection(), original.GetDirection(), rtol=0, atol=1e-6)
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(MARKED_XYZ), world, atol=1e-5)
        if suffix != ".nrrd":
            theirs = nibabel.load(path)
            np.testing.assert_allclose(theirs.affine, nibabel.load(source).affine, rtol=0, atol=1e-5)
            assert np.asarray(theirs.dataobj)[MARKED_XYZ] == peak
    labels, grid = load_labels(outputs[0])
    assert labels[2, 1, 4] == 7
    np.testing.assert_allclose(grid.world_from_index, volume.grid.world_from_index, atol=1e-6)


def test_nrrd_out_is_readable_text_and_exact(tmp_path, marked_volume):
    grid = VolumeGrid((5, 4, 3), (0.1, 1 / 3, 2.0), (-170.7, 33.333333333333336, 1e-3), unit="um")
    save_scalar_map(tmp_path / "map.nrrd", marked_volume.values, grid)
    header = Path(tmp_path / "map.nrrd").read_bytes().split(b"\n\n")[0].decode().split("\n")
    assert header[0] == "NRRD0004"
    assert "sizes: 5 4 3" in header
    assert 'space units: "um" "um" "um"' in header
    back = load_volume(tmp_path / "map.nrrd")
    np.testing.assert_allclose(back.grid.spacing_xyz, grid.spacing_xyz, rtol=1e-15)
    assert back.grid.origin_xyz == grid.origin_xyz
    assert back.grid.unit == "um"
    np.testing.assert_array_equal(back.values, marked_volume.values)
