"""Pictures as RGB: 16 bits, fractions, orientation and transparency by hand."""

import numpy as np
import pytest
from PIL import Image

from voxlang.core.errors import ConfigError
from voxlang.core.pictures import read_rgb

ORIENTATION = 0x0112


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_stretched_and_not_cut_off(tmp_path, name):
    values = np.array([[1000, 14000, 27000], [40000, 40000, 1000]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    assert read_rgb(tmp_path / name)[..., 1].tolist() == [[0, 85, 170], [255, 255, 0]]


def test_a_grey_that_a_file_calls_transparent_is_one_of_sixteen_bits(tmp_path):
    values = np.array([[1000, 14000, 27000, 40000]], np.uint16)
    Image.fromarray(values).save(tmp_path / "t.png", transparency=170)  # 170 is the third grey once it is stretched
    assert read_rgb(tmp_path / "t.png")[0, :, 1].tolist() == [0, 85, 170, 255]


def test_fractions_are_stretched_and_a_flat_picture_is_black(tmp_path):
    Image.fromarray(np.array([[-0.5, 0.0, 0.5]], np.float32)).save(tmp_path / "f.tif")
    assert read_rgb(tmp_path / "f.tif")[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    Image.fromarray(np.full((2, 3), 7000, np.uint16)).save(tmp_path / "flat.png")
    assert not read_rgb(tmp_path / "flat.png").any()
    Image.fromarray(np.array([[0.0, np.nan]], np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(ConfigError, match=r"finite grey values.*nan\.tif"):
        read_rgb(tmp_path / "nan.tif")


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a, 1))],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_photographs_stand_upright(tmp_path, orientation, turned, kind):
    grey = np.zeros((2, 3), kind)
    grey[0] = 10, 100, 255
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(grey).save(tmp_path / "p.png", exif=exif)
    assert read_rgb(tmp_path / "p.png")[..., 0].tolist() == turned(grey).tolist()
    assert read_rgb(tmp_path / "p.png", upright=False)[..., 0].tolist() == grey.tolist()


@pytest.mark.parametrize("name", ["text.png", "absent.png", "short.png", "folder.png"])
def test_what_is_no_picture_is_named(tmp_path, rng, name):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "short.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    with pytest.raises(ConfigError, match=rf"a picture file.*{name}"):
        read_rgb(tmp_path / name)


def test_a_picture_that_could_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(ConfigError, match="exceeds limit"):
        read_rgb(tmp_path / "large.png")
