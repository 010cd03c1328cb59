"""The description against hand counts, the pictures of the levels, and the mode of the command line."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from voxlang.core.errors import ConfigError, MaskError
from voxlang.encoders.build import build_image_encoder
from voxlang.encoders.describe import describe_encoder, principal_colours
from voxlang.pipeline.cli import main

TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"


@pytest.fixture(scope="module")
def tiny():
    return build_image_encoder(TINY)


def test_stages_of_the_tiny_model_by_hand(tiny):
    d = describe_encoder(tiny, 256, 320, name="tiny")
    assert [len(stage) for stage in d.stages] == [1, 2, 7, 2]
    assert [[b.index for b in stage if b.window == 0] for stage in d.stages] == [[], [], [5, 7, 9], []]
    assert [b.index for stage in d.stages for b in stage if b.pools] == [1, 3, 10]
    assert [stage[-1].heads for stage in d.stages] == [1, 2, 4, 8]
    assert [(s[-1].channels, s[-1].stride) for s in d.stages] == [(96, 4), (192, 8), (384, 16), (768, 32)]
    assert [(s[-1].rows, s[-1].columns) for s in d.stages] == [(64, 80), (32, 40), (16, 20), (8, 10)]
    assert [stage[0].window for stage in d.stages] == [8, 8, 4, 14], "a stage's first block has the windows before it"
    assert [level.trunk_shape for level in d.levels] == [(96, 64, 80), (192, 32, 40), (384, 16, 20), (768, 8, 10)]
    assert [level.neck_shape[0] for level in d.levels] == [256] * 4
    assert [level.top_down for level in d.levels] == [False, False, True, False]
    assert [level.used for level in d.levels] == [True, True, True, False]


def test_parameters_and_operations_by_hand(tiny):
    d = describe_encoder(tiny, 256, 256, name="tiny")
    assert d.parameters["total"] == sum(p.numel() for p in tiny.parameters())
    c = 96
    first = d.stages[0][0]
    assert first.parameters == 2 * 2 * c + (3 * c * c + 3 * c) + (c * c + c) + (8 * c * c + 4 * c + c)
    pixels, window = 64 * 64, 8
    attention = 2 * 2 * pixels * window**2 * c
    linear = 2 * pixels * (3 * c * c + c * c + 8 * c * c)
    assert first.gflop == pytest.approx((attention + linear) / 1e9)
    neck = sum(2 * side * side * width * 256 for side, width in ((64, 96), (32, 192), (16, 384), (8, 768)))
    assert d.gflop["neck"] == pytest.approx(neck / 1e9, abs=1e-3)
    patches = 2 * 64 * 64 * 7 * 7 * 3 * c
    assert d.gflop["patches"] == pytest.approx(patches / 1e9, abs=2e-3)
    assert d.gflop["total"] == pytest.approx(sum(v for k, v in d.gflop.items() if k != "total"), abs=5e-3)


def test_a_vit_is_one_stage_of_blocks_on_the_whole_map_and_a_pyramid():
    encoder = build_image_encoder("sam2_vit_dino_micro")
    d = describe_encoder(encoder, 256, 256, name="dino")
    (blocks,) = d.stages
    assert [(b.window, b.heads, b.stride, b.rows, b.channels) for b in blocks] == [(0, 4, 16, 16, 128)] * 6
    tokens, c = 16 * 16 + 1, 128
    assert blocks[0].gflop == pytest.approx((2 * tokens * 12 * c * c + 2 * 2 * tokens * tokens * c) / 1e9)
    assert d.parameters["pyramid"] == sum(p.numel() for p in encoder.trunk.pyramid.parameters())
    assert "Dinov2Model, patches of 14" in d.trunk
    text = d.as_markdown()
    assert "| 1     | 0-5" in text and "| pyramid" in text
    with torch.no_grad():
        assert encoder(torch.zeros(1, 3, 64, 64))["vision_pos_enc"][0].device.type == "cpu", (
            "nothing meta is left inside"
        )


def test_sizes_that_do_not_fit_are_refused(tiny):
    with pytest.raises(MaskError, match="multiples of 32"):
        describe_encoder(tiny, 250, 256, name="tiny")


def test_colours_follow_the_main_directions(rng):
    """Three planted directions of falling strength come out as red, green and blue."""
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0][:3]
    planes = rng.normal(size=(3, 20, 24)) * np.array([9.0, 3.0, 1.0])[:, None, None]
    features = np.einsum("kc,khw->chw", basis, planes).astype(np.float32)
    colours = principal_colours(features)
    assert colours.shape == (20, 24, 3) and colours.dtype == np.uint8
    for i in range(3):
        assert abs(np.corrcoef(colours[..., i].ravel(), planes[i].ravel())[0, 1]) > 0.97
    flat = principal_colours(np.ones((2, 4, 4), np.float32))
    assert (flat == flat[0, 0]).all(), "fewer than three directions, and none of them used"


def test_the_mode_writes_table_drawing_and_pictures(tmp_path, capsys):
    picture = tmp_path / "p.png"
    rgb = np.zeros((60, 90, 3), np.uint8)
    rgb[20:40, 30:60] = (220, 90, 30)
    Image.fromarray(rgb).save(picture)
    arguments = ["--mode=describe-encoder", "--encoder", "configs/sam2/sam2_vit_dino_micro.yaml"]
    main([*arguments, "--image", str(picture), "--height", "64", "--width", "96", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    folder = tmp_path / "sam2_vit_dino_micro"
    assert "ViTTrunkMultiScale (Dinov2Model, patches of 14) at 64x96 pixels" in said and str(folder) in said
    names = sorted(p.name for p in folder.iterdir())
    assert names == [
        "description.json", "drawing.png", "features_stride16.png", "features_stride4.png", "features_stride8.png",
        "picture.png", "table.md",
    ]  # fmt: skip
    assert Image.open(folder / "features_stride8.png").size == (96, 64)
    assert (folder / "table.md").read_text().strip() in said
    assert json.loads((folder / "description.json").read_text())["width"] == 96


def test_the_mode_says_what_is_wrong(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--mode", "describe-encoder", "--encoder", "nothing.yaml"])
    assert caught.value.code == 1
    assert "ConfigError: Expected a SAM 2 size" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        build_image_encoder("nothing.yaml")
