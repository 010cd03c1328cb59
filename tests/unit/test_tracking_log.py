"""Values in the form that every backend takes, and the choice of neptune's mode."""

import base64
import enum
import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voxlang.core.errors import TrackingError
from voxlang.tracking.log import encode_image, flat_parameters
from voxlang.tracking.neptune_log import choose_mode, server_of_token


def test_settings_are_flattened_and_made_plain():
    class Look(enum.Enum):
        SHADED = 1

    nested = {
        "sam": {"size": "micro", "thresholds": {"iou": 0.7}},
        "views": 20,
        "resume": True,
        "path": Path("a") / "b",
        "size_xyz": (5, 4, 3),
        "names": {"b", "a"},
        "none": None,
        "loss": float("inf"),
        "n": np.int64(3),
        "look": Look.SHADED,
    }
    assert flat_parameters(nested) == {
        "sam/size": "micro",
        "sam/thresholds/iou": 0.7,
        "views": 20,
        "resume": True,
        "path": str(Path("a") / "b"),
        "size_xyz": "[5, 4, 3]",
        "names": '["a", "b"]',
        "none": "None",
        "loss": "inf",
        "n": 3,
        "look": "shaded",
    }


def _decode(image):
    return np.asarray(Image.open(io.BytesIO(image.data)))


def test_float_pictures_are_scaled_rounded_and_clipped():
    rgb = np.zeros((2, 3, 3), np.float32)
    rgb[0, 0] = [0.0, 0.5, 1.0]
    rgb[1, 2] = [-1.0, 2.0, np.nan]
    back = _decode(encode_image(rgb, where="x"))
    assert back.shape == (2, 3, 3)
    assert back[0, 0].tolist() == [0, 128, 255]
    assert back[1, 2].tolist() == [0, 255, 0]


def test_uint8_and_grey_pictures_are_kept(rng):
    rgb = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(_decode(encode_image(rgb, where="x")), rgb)
    np.testing.assert_array_equal(_decode(encode_image(rgb[..., 0], where="x")), rgb[..., 0])
    np.testing.assert_array_equal(_decode(encode_image(rgb.transpose(1, 0, 2), where="x")), rgb.transpose(1, 0, 2))


def test_files_are_taken_as_they_are_or_converted(tmp_path, rng):
    rgb = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(rgb).save(tmp_path / "a.jpg")
    Image.fromarray(rgb).save(tmp_path / "a.bmp")
    assert encode_image(tmp_path / "a.png", where="x").data == (tmp_path / "a.png").read_bytes()
    assert encode_image(str(tmp_path / "a.jpg"), where="x").suffix == "jpg"
    np.testing.assert_array_equal(_decode(encode_image(tmp_path / "a.bmp", where="x")), rgb)


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    for image in (tmp_path / "absent.png", tmp_path / "note.txt", tmp_path):
        with pytest.raises(TrackingError, match=r"an image file.*log_image\(views\)"):
            encode_image(image, where="views")
    for shape in ((3, 4, 5), (2, 2, 2, 3), (0, 4, 3), (7,)):
        with pytest.raises(TrackingError, match="shape"):
            encode_image(np.zeros(shape), where="views")


def _token(address):
    return base64.b64encode(json.dumps({"api_address": address, "api_key": "x"}).encode()).decode()


OWN = _token("https://neptune.lab.example:8443")
HOSTED = _token("https://app.neptune.ai")


def test_server_of_a_token():
    assert server_of_token(OWN) == "https://neptune.lab.example:8443"
    for broken in ("ANONYMOUS", "", "e30=", base64.b64encode(b"[1]").decode(), "ü", base64.b64encode(b"\xff").decode()):
        assert server_of_token(broken) is None


@pytest.mark.parametrize(
    ("wanted", "token", "project", "mode"),
    [
        ("auto", None, None, "offline"),
        ("auto", OWN, None, "offline"),
        ("auto", None, "lab/head", "offline"),
        ("auto", "nonsense", "lab/head", "offline"),
        ("auto", OWN, "lab/head", "async"),
        ("offline", OWN, "lab/head", "offline"),
        ("online", OWN, "lab/head", "async"),
    ],
)
def test_mode(wanted, token, project, mode):
    assert choose_mode(wanted, token=token, project=project) == mode


def test_the_hosted_service_has_ended(caplog):
    with caplog.at_level(logging.WARNING):
        assert choose_mode("auto", token=HOSTED, project="lab/head") == "offline"
    assert "ended on 2026-03-05" in caplog.text
    assert choose_mode("auto", token=_token("https://app.neptune.ai.example.org"), project="a/b") == "async"


@pytest.mark.parametrize(
    ("token", "project", "missing"),
    [(None, "lab/head", "NEPTUNE_API_TOKEN"), (OWN, None, "NEPTUNE_PROJECT"), ("x", "a/b", "names no server")],
)
def test_online_without_a_server_says_what_is_missing(token, project, missing):
    with pytest.raises(TrackingError, match=missing) as caught:
        choose_mode("online", token=token, project=project)
    assert "--tracking.neptune offline" in caught.value.do
