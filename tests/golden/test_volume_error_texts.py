"""The exact wording for every kind of bad input, in volume_errors.txt; DIR stands for the folder."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from voxlang.core.errors import VolumeError
from voxlang.volume.read import load_labels, load_volume

GOLDEN = Path(__file__).with_name("volume_errors.txt")


def nrrd(lines: str, data: bytes) -> bytes:
    return f"NRRD0004\ntype: uint8\n{lines}encoding: raw\n\n".encode() + data


def mha(lines: str, data: bytes = bytes(range(60))) -> bytes:
    return f"ObjectType = Image\nNDims = 3\n{lines}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + data


def nifti(*, size=(3, 5, 4, 3, 1, 1, 1, 1), sform=None, qform_code=0, header_size=348) -> bytes:
    header = bytearray(348)
    struct.pack_into("<i", header, 0, header_size)
    struct.pack_into("<8h", header, 40, *size)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, qform_code, 0 if sform is None else 1)
    struct.pack_into("<12f", header, 280, *np.ravel(np.zeros((3, 4)) if sform is None else sform))
    header[344:348] = b"n+1\0"
    return bytes(header) + bytes(4) + bytes(i % 256 for i in range(int(np.prod(size[1 : size[0] + 1]))))


SHEARED = [[1, 0.25, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
INFINITE = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
INFINITE[1, 2, 3], INFINITE[2, 0, 1], INFINITE[2, 3, 4] = np.nan, np.nan, -np.inf

FILES = {
    "raw, half the bytes": ("bonsai_8x4x2_uint16.raw", bytes(64), {}),
    "raw, a header before the voxels": ("skull_5x4x3_uint8.raw", bytes(76), {}),
    "raw, twice the slices": ("bonsai.raw", bytes(512), {"size_xyz": (8, 8, 4), "dtype": "uint8"}),
    "raw, nothing fits": ("odd_5x4x3_uint16.raw", bytes(37), {}),
    "raw, no convention": ("scan.raw", bytes(60), {}),
    "raw, size without type": ("scan.raw", bytes(60), {"size_xyz": (5, 4, 3)}),
    "raw, unknown type": ("scan_5x4x3_uint24.raw", bytes(60), {}),
    "raw, unknown byte order": ("scan_5x4x3_uint8.raw", bytes(60), {"endian": "middle"}),
    "raw, size of zero": ("scan_5x0x3_uint8.raw", bytes(60), {}),
    "raw, negative size": ("scan.raw", bytes(60), {"size_xyz": (5, -4, 3), "dtype": "uint8"}),
    "raw, negative spacing": ("s_5x4x3_uint8.raw", bytes(range(60)), {"spacing_xyz": (1.0, -1.0, 1.0)}),
    "constant": ("air_5x4x3_uint8.raw", bytes([7]) * 60, {}),
    "NaN and Inf": ("holes.npy", INFINITE, {}),
    "range beyond float64": ("far.npy", np.array([-1.7e308, 1.7e308] * 30).reshape(3, 4, 5), {}),
    "npy, 2D": ("slice.npy", np.zeros((4, 5)), {}),
    "npy, 4D": ("film.npy", np.zeros((2, 3, 4, 5)), {}),
    "npy, complex": ("kspace.npy", np.zeros((3, 4, 5), np.complex64), {}),
    "npy, junk": ("junk.npy", b"junk" * 50, {}),
    "size for a file with a header": ("a.npy", np.zeros((3, 4, 5)), {"size_xyz": (5, 4, 3)}),
    "unknown suffix": ("scan.xyz", b"1 2 3", {}),
    "empty file": ("scan.nrrd", b"", {}),
    "nrrd, 2D": ("a.nrrd", nrrd("dimension: 2\nsizes: 5 4\n", bytes(20)), {}),
    "nrrd, one slice": ("a.nrrd", nrrd("dimension: 3\nsizes: 5 4 1\n", bytes(20)), {}),
    "nrrd, 4D": ("a.nrrd", nrrd("dimension: 4\nsizes: 5 4 3 2\n", bytes(120)), {}),
    "nrrd, colours": (
        "a.nrrd",
        nrrd("dimension: 4\nsizes: 3 5 4 3\nkinds: vector domain domain domain\n", bytes(180)),
        {},
    ),
    "nrrd, sheared": (
        "a.nrrd",
        nrrd(
            "dimension: 3\nspace: left-posterior-superior\nsizes: 5 4 3\n"
            "space directions: (1,0,0) (0.75,1,0) (0,0,3)\nspace origin: (0,0,0)\n",
            bytes(range(60)),
        ),
        {},
    ),
    "nrrd, mixed units": (
        "a.nrrd",
        nrrd('dimension: 3\nsizes: 5 4 3\nspacings: 1 1 1\nunits: "mm" "mm" "um"\n', bytes(range(60))),
        {},
    ),
    "metaimage, negative spacing": ("a.mha", mha("DimSize = 5 4 3\nElementSpacing = -1 1 1\n"), {}),
    "metaimage, size of zero": ("a.mha", mha("DimSize = 5 4 0\n"), {}),
    "nifti, sheared": ("a.nii", nifti(sform=SHEARED), {}),
    "nifti, sheared sform beside a qform": ("a.nii", nifti(sform=SHEARED, qform_code=1), {}),
    "nifti, singular": ("a.nii", nifti(sform=np.zeros((3, 4))), {}),
    "nifti, origin of NaN": ("a.nii", nifti(sform=[[1, 0, 0, np.nan], [0, 1, 0, 0], [0, 0, 1, 0]]), {}),
    "nifti, 2D": ("a.nii", nifti(size=(2, 5, 4, 1, 1, 1, 1, 1)), {}),
    "nifti, 4D": ("a.nii", nifti(size=(4, 5, 4, 3, 2, 1, 1, 1)), {}),
    "nifti, cut voxels": ("a.nii", nifti()[:-10], {}),
    "nifti, cut header": ("a.nii", nifti()[:100], {}),
    "nifti, junk": ("a.nii", b"junk" * 200, {}),
    "nifti, version 2": ("a.nii", nifti(header_size=540), {}),
    "nifti, truncated gzip": ("a.nii.gz", gzip.compress(nifti(), compresslevel=0)[:400], {}),
}
LABEL_FILES = {
    "labels, fractions": ("l.npy", np.full((3, 4, 5), 1.5)),
    "labels, negative": ("l.npy", np.full((3, 4, 5), -2)),
    "labels, too large": ("l.npy", np.full((3, 4, 5), 65536)),
}


def golden_texts() -> dict[str, str]:
    blocks = [block.split("\n", 1) for block in GOLDEN.read_text("utf-8").strip().split("\n\n")]
    return {name.strip("[]"): text for name, text in blocks}


def write(folder: Path, name: str, content: bytes | np.ndarray) -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    return path


def text_of(error: VolumeError, folder: Path) -> str:
    assert all((error.expected, error.got, error.where, error.do))
    return str(error).replace(str(folder), "DIR")


@pytest.mark.parametrize("case", FILES)
def test_bad_volume(tmp_path, case):
    name, content, arguments = FILES[case]
    path = write(tmp_path, name, content)
    with pytest.raises(VolumeError) as caught:
        load_volume(path, **arguments)
    assert text_of(caught.value, tmp_path) == golden_texts()[case]


@pytest.mark.parametrize("case", LABEL_FILES)
def test_bad_labels(tmp_path, case):
    path = write(tmp_path, *LABEL_FILES[case])
    with pytest.raises(VolumeError) as caught:
        load_labels(path)
    assert text_of(caught.value, tmp_path) == golden_texts()[case]


def test_missing_file_and_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bonsai.nrrd").touch()
    (tmp_path / "tooth.raw").write_bytes(bytes(60))
    (tmp_path / "tooth.nhdr").touch()
    texts = []
    for name in ("bonsay.nrrd", "nowhere/a.nrrd", "empty", "tooth.raw"):
        with pytest.raises(VolumeError) as caught:
            load_volume(tmp_path / name)
        texts.append(text_of(caught.value, tmp_path))
    golden = golden_texts()
    assert texts == [
        golden[c] for c in ("missing file", "missing folder", "empty folder", "raw with a header beside it")
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("junk.nrrd", b"junk" * 100),
        ("junk.mha", b"junk" * 100),
        ("short.nrrd", nrrd("dimension: 3\nsizes: 5 4 3\n", bytes(50))),
        ("short.mha", mha("DimSize = 5 4 3\n", bytes(50))),
        ("alone.nhdr", b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 5 4 3\nencoding: raw\ndata file: no.raw\n"),
    ],
)
def test_what_simpleitk_refuses_comes_with_its_reason(tmp_path, name, content):
    """Its words differ by version, so only ours are compared."""
    path = write(tmp_path, name, content)
    with pytest.raises(VolumeError) as caught:
        load_volume(path)
    text = text_of(caught.value, tmp_path)
    assert text.startswith("Expected a volume that SimpleITK can read; got SimpleITK's message: ")
    assert f"In: DIR/{name}. Do: check that the file is whole" in text
    assert "0x" not in text
    assert "\n" not in text


@pytest.mark.parametrize("content", [np.full((3, 4, 5), None), b"\x93NUMPY\x01\x00\x76"])
def test_what_numpy_refuses_comes_with_its_reason(tmp_path, content):
    path = write(tmp_path, "a.npy", content)
    with pytest.raises(
        VolumeError, match=r"a whole \.npy file with an array \[z, y, x\] of numbers; got .+ Do: write it"
    ):
        load_volume(path)


def test_a_gzip_stream_cut_inside_the_header(tmp_path):
    path = write(tmp_path, "a.nii.gz", gzip.compress(nifti(), compresslevel=0)[:200])
    with pytest.raises(VolumeError, match="a gzip stream that breaks off inside the header"):
        load_volume(path)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz", ".tif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_compressed_file_cut_anywhere_is_refused(tmp_path, suffix, share, rng):
    array = rng.integers(0, 255, (20, 30, 40)).astype(np.uint8)
    whole = tmp_path / f"whole{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(whole), True)
    data = whole.read_bytes()
    path = write(tmp_path, f"cut{suffix}", data[: int(len(data) * share)])
    with pytest.raises(VolumeError):
        load_volume(path)


def vti(folder: Path, name: str, *, components=1, on_cells=False) -> Path:
    vtk = pytest.importorskip("vtk", reason="vtk is an optional reader")
    from vtkmodules.util.numpy_support import numpy_to_vtk

    image = vtk.vtkImageData()
    image.SetDimensions(5, 4, 3)
    array = numpy_to_vtk(np.arange((24 if on_cells else 60) * components).reshape(-1, components), deep=1)
    (image.GetCellData() if on_cells else image.GetPointData()).SetScalars(array)
    writer = vtk.vtkXMLImageDataWriter()
    writer.SetFileName(str(folder / name))
    writer.SetInputData(image)
    writer.Write()
    return folder / name


def test_bad_vti(tmp_path):
    with pytest.raises(VolumeError, match="got 3 values per voxel"):
        load_volume(vti(tmp_path, "vector.vti", components=3))
    with pytest.raises(VolumeError, match="got no scalars on the points"):
        load_volume(vti(tmp_path, "cells.vti", on_cells=True))
    data = vti(tmp_path, "whole.vti").read_bytes()
    for n, end in enumerate((40, len(data) // 2, len(data) - 60)):
        with pytest.raises(VolumeError, match=r"a \.vti file with scalars on its points"):
            load_volume(write(tmp_path, f"cut{n}.vti", data[:end]))


def test_vti_without_vtk_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vtkmodules.vtkIOXML", None)
    with pytest.raises(VolumeError, match=r"Expected VTK for .*pip install vtk"):
        load_volume(write(tmp_path, "a.vti", b"<VTKFile/>"))


def test_every_golden_text_is_used():
    used = {*FILES, *LABEL_FILES, "missing file", "missing folder", "empty folder", "raw with a header beside it"}
    assert set(golden_texts()) == used
