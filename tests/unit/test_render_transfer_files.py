"""ParaView JSON in and out: hand-worked values, VTK as the oracle for curved segments, and every refusal."""

import json
from pathlib import Path

import numpy as np
import pytest

from voxlang.core.errors import TransferFunctionError
from voxlang.render.transfer import TransferFunction
from voxlang.render.transfer_files import read_transfers, transfer_from_paraview, write_transfers

GLANCE = Path(__file__).parents[3] / "shared/data/tf_presets/glance_Presets.json"


def entry(**changes):
    return {
        "Name": "two ramps",
        "Points": [-1000, 0, 0.5, 0, 0, 0.2, 0.5, 0, 1000, 1.0, 0.5, 0],
        "RGBPoints": [-1000, 0, 0, 0, 1000, 1, 0.5, 0],
        **changes,
    }


def read(e, value_range=(-1000.0, 1000.0), **options):
    return transfer_from_paraview(e, value_range=value_range, unit_distance=2.0, **options)


def test_native_points_become_normalised_knots():
    t = read(entry())
    np.testing.assert_allclose(t.opacity_knots, [[0, 0], [0.5, 0.2], [1, 1]])
    np.testing.assert_allclose(t.color(np.array([0.5])), [[0.5, 0.25, 0]])
    assert t.name == "two ramps" and t.unit_distance == 2.0


def test_a_range_inside_the_points_cuts_them_and_one_outside_extends_them():
    t = read(entry(), (-500.0, 500.0))
    np.testing.assert_allclose(t.opacity_knots, [[0, 0.1], [0.5, 0.2], [1, 0.6]])
    wide = read(entry(), (-2000.0, 2000.0))
    np.testing.assert_allclose(wide.alpha(np.array([0.0, 0.25, 0.5, 0.75, 1.0])), [0, 0, 0.2, 1, 1])


def test_units_are_detected_or_chosen():
    unit = {"OpacityPoints": [0, 0, 0.5, 0.3, 1, 0.9], "RGBPoints": [0, 1, 1, 1, 1, 1, 1, 1]}
    np.testing.assert_allclose(read(unit).alpha(np.array([0.5])), [0.3])
    native = read(unit, (-1000.0, 1000.0), units="native")
    np.testing.assert_allclose(native.alpha(np.array([0.5, 0.50025, 0.6])), [0, 0.3, 0.9])
    np.testing.assert_allclose(read(unit, (0.0, 1.0)).alpha(np.array([0.5])), [0.3])


@pytest.mark.parametrize(("midpoint", "sharpness"), [(0.5, 0), (0.2, 0), (0.7, 0.3), (0.4, 0.8), (0.6, 1.0)])
def test_midpoint_and_sharpness_follow_vtk(midpoint, sharpness):
    vtk = pytest.importorskip("vtk")
    oracle = vtk.vtkPiecewiseFunction()
    oracle.AddPoint(0.0, 0.1, midpoint, sharpness)
    oracle.AddPoint(100.0, 0.9)
    points = [0, 0.1, midpoint, sharpness, 100, 0.9, 0.5, 0]
    t = read(entry(Points=points), (0.0, 100.0))
    x = np.array([1.0, 7, 15, 23, 31, 38, 45, 52, 64, 75, 83, 92, 99])
    np.testing.assert_allclose(t.alpha(x / 100.0), [oracle.GetValue(v) for v in x], atol=0.012)


BLUE, RED, DULL, WHITE = (0.23, 0.30, 0.75), (0.70, 0.015, 0.15), (0.5, 0.55, 0.5), (1.0, 1.0, 1.0)
PURPLE, GREEN, NIGHT = (0.55, 0.10, 0.60), (0.1, 0.7, 0.2), (0.2, 0.2, 0.6)


ENDS = [(BLUE, RED), (RED, GREEN), (BLUE, PURPLE), (DULL, RED), (PURPLE, WHITE), (WHITE, NIGHT)]


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("space", ["RGB", "HSV", "HSV, wrapped", "Lab", "Diverging", "Step"])
def test_color_spaces_follow_vtk(space, ends):
    vtk = pytest.importorskip("vtk")
    name, _, wrapped = space.partition(", ")
    oracle = vtk.vtkColorTransferFunction()
    getattr(oracle, f"SetColorSpaceTo{name}")()
    oracle.SetHSVWrap(bool(wrapped))
    oracle.AddRGBPoint(0.0, *ends[0])
    oracle.AddRGBPoint(100.0, *ends[1])
    keys = {"ColorSpace": name} | ({"HSVWrap": 1} if wrapped else {})
    t = read(entry(RGBPoints=[0, *ends[0], 100, *ends[1]], **keys), (0.0, 100.0))
    x = np.array([0.0, 1, 7, 15, 23, 31, 38, 45, 49, 52, 64, 75, 83, 92, 99, 100])
    x = x[1:] if space == "Step" else x  # a jump
    np.testing.assert_allclose(t.color(x / 100.0), [oracle.GetColor(v) for v in x], atol=0.012)


def test_a_step_takes_the_second_colour_of_its_segment():
    t = read(entry(RGBPoints=[0, *RED, 50, *GREEN, 100, *BLUE], ColorSpace="Step"), (0.0, 100.0))
    np.testing.assert_allclose(t.color(np.array([0.01, 0.49, 0.51, 1.0])), [GREEN, GREEN, BLUE, BLUE])


def test_the_rainbow_of_paraview_goes_by_green():
    rainbow = [0, 0, 0, 1, 100, 1, 0, 0]
    np.testing.assert_allclose(
        read(entry(RGBPoints=rainbow, ColorSpace="HSV"), (0.0, 100.0)).color(np.array([0.5])), [[0, 1, 0]], atol=0.01
    )
    wrapped = read(entry(RGBPoints=rainbow, ColorSpace="HSV", HSVWrap=1), (0.0, 100.0))
    np.testing.assert_allclose(wrapped.color(np.array([0.5])), [[1, 0, 1]], atol=0.01)


def test_what_is_written_is_read_back(tmp_path):
    color = np.array([[0, 0.1, 0.2, 0.3], [0.4, 1, 0, 0], [1, 0, 0, 1]])
    first = TransferFunction(color, np.array([[0, 0], [1, 0.8]]), 1.5)
    second = TransferFunction(color[[0, 2]], np.array([[0, 0], [0.3, 0.5], [1, 0.5]]), 0.7, "b")
    path = tmp_path / "presets.json"
    write_transfers(path, [first, second], value_range=(-1024.0, 3071.0))
    assert json.loads(path.read_text())[0]["Points"][:4] == [-1024.0, 0.0, 0.5, 0.0]
    back = read_transfers(path, value_range=(-1024.0, 3071.0), unit_distance=9.0)
    assert [t.name for t in back] == ["transfer", "b"]
    for a, b in zip((first, second), back, strict=True):
        np.testing.assert_allclose(b.color_knots, a.color_knots, atol=1e-9)
        np.testing.assert_allclose(b.opacity_knots, a.opacity_knots, atol=1e-9)
        assert b.unit_distance == a.unit_distance
    (only,) = read_transfers(path, value_range=(-1024.0, 3071.0), unit_distance=9.0, name="B")
    assert only.name == "b"


def test_groups_are_flattened(tmp_path):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps([{"Name": "CT", "Children": [entry(Name="x"), {"Children": [entry(Name="y")]}]}]))
    assert [t.name for t in read_transfers(path, value_range=(-1000.0, 1000.0), unit_distance=1.0)] == ["x", "y"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"RGBPoints": [0, 1, 1, 1]}, "OpacityPoints"),
        ({"OpacityPoints": [0, 0, 1, 1]}, "RGBPoints"),
        (entry(Points=[0, 0, 0.5]), "flat list of 4"),
        (entry(Points=[]), "at least one point"),
        (entry(Points=["a", 0, 0.5, 0]), "flat list"),
        (entry(RGBPoints=[0, float("nan"), 0, 0]), "finite"),
        (entry(ColorSpace="CMYK"), "ColorSpace"),
        (entry(ScalarOpacityUnitDistance="far"), "ScalarOpacityUnitDistance"),
        (entry(ScalarOpacityUnitDistance=0), "positive unit distance"),
        (entry(Points=[0, 7.0, 0.5, 0, 1, 9.0, 0.5, 0]), "."),
    ],
)
def test_broken_presets_are_refused_or_clipped(broken, message):
    if message == ".":
        assert read(broken).opacity_knots[:, 1].max() == 1.0
        return
    with pytest.raises(TransferFunctionError, match=message):
        read(broken)


def test_unreadable_files_say_what_to_do(tmp_path):
    options = dict(value_range=(0.0, 1.0), unit_distance=1.0)
    with pytest.raises(TransferFunctionError, match="no file"):
        read_transfers(tmp_path / "none.json", **options)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(TransferFunctionError, match="JSON"):
        read_transfers(tmp_path / "bad.json", **options)
    (tmp_path / "number.json").write_text("3")
    with pytest.raises(TransferFunctionError, match="list of presets"):
        read_transfers(tmp_path / "number.json", **options)
    (tmp_path / "good.json").write_text(json.dumps(entry()))
    with pytest.raises(TransferFunctionError, match="two ramps"):
        read_transfers(tmp_path / "good.json", name="other", **options)


@pytest.mark.skipif(not GLANCE.is_file(), reason="the collection of public presets is not on this machine")
def test_public_presets_are_read():
    found = read_transfers(GLANCE, value_range=(-1024.0, 3071.0), unit_distance=1.0)
    assert len(found) == 25
    bone = next(t for t in found if t.name == "CT-Bone")
    native = 641.385
    np.testing.assert_allclose(bone.alpha(np.array([(native + 1024) / 4095])), [0.715686], atol=1e-3)
