"""The mask demo: pictures in, panels, text and JSON out."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from voxlang.apps import mask_demo
from voxlang.apps.mask_demo import MaskDemoConfig, run_mask_demo, tree_text
from voxlang.apps.mask_pictures import object_on_plain_background, render_phantom
from voxlang.core import places
from voxlang.core.errors import ConfigError
from voxlang.core.pictures import read_rgb
from voxlang.masks.build import build_sam2_model
from voxlang.masks.settings import SamSettings
from voxlang.masks.types import MaskHierarchy, mask_set_from_dense


def test_tree_text_nests_larger_masks_first():
    dense = np.zeros((4, 20, 30), bool)
    for mask, side in zip(dense, (4, 16, 8, 6), strict=True):
        mask[:side, :side] = True
    masks = mask_set_from_dense(
        dense, predicted_iou=np.linspace(0.9, 0.6, 4), stability=np.ones(4), points_uv=np.zeros((4, 2))
    )
    hierarchy = MaskHierarchy(masks, np.array([0, 2, 1, 1], np.int16), np.array([3, -1, 1, 1], np.int32))
    assert [line.split("px")[0].split() for line in tree_text(hierarchy).splitlines()] == [
        ["whole", "1", "256"],
        ["part", "2", "64"],
        ["part", "3", "36"],
        ["small", "0", "16"],
    ]
    assert [len(line) - len(line.lstrip()) for line in tree_text(hierarchy).splitlines()] == [0, 2, 2, 4]
    none = masks.select(np.zeros(0, int))
    assert tree_text(MaskHierarchy(none, np.zeros(0, np.int16), np.zeros(0, np.int32))) == "no masks"


def test_a_plain_background_gives_the_object(rng):
    rgb = np.full((30, 40, 3), (20, 30, 40), np.uint8)
    rgb[8:20, 10:33] = (90, 30, 40)
    expected = np.zeros((30, 40), bool)
    expected[8:20, 10:33] = True
    noisy = np.clip(rgb + rng.integers(-3, 4, rgb.shape), 0, 255).astype(np.uint8)
    assert np.array_equal(object_on_plain_background(noisy), expected)
    assert object_on_plain_background(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)) is None
    assert object_on_plain_background(np.full((9, 9, 3), 7, np.uint8)) is None


def test_pictures_are_read_as_rgb_over_black(tmp_path):
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[..., 0], rgba[2:, :, 3] = 200, 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    rgb = read_rgb(tmp_path / "a.png")
    assert rgb[0, 0].tolist() == [0, 0, 0] and rgb[3, 5].tolist() == [200, 0, 0]
    Image.fromarray(rgba[..., 0]).save(tmp_path / "grey.png")
    assert read_rgb(tmp_path / "grey.png")[1, 1].tolist() == [200, 200, 200]
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "absent.png"):
        with pytest.raises(ConfigError, match=name):
            read_rgb(tmp_path / name)


def test_a_rendered_phantom_lies_on_its_object():
    rgb, on_object = render_phantom("bonsai", 7, size_px=48)
    assert rgb.shape == (48, 48, 3) and 0.02 < on_object.mean() < 0.9
    assert rgb[on_object].mean() > 10 * max(rgb[~on_object].mean(), 0.1)


@pytest.fixture
def untrained_checkpoint(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = build_sam2_model("micro")
    with torch.no_grad():
        for head in model.sam_mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight *= 40
    torch.save({"model": model.state_dict()}, tmp_path / "micro.pt")
    yield tmp_path / "micro.pt"
    torch.set_num_threads(threads)


def test_demo_writes_panels_and_tree(tmp_path, untrained_checkpoint, rng):
    rgb = np.zeros((60, 80, 3), np.uint8)
    rgb[10:50, 20:70] = rng.integers(60, 255, (40, 50, 3))
    Image.fromarray(rgb).save(tmp_path / "scene.png")
    sam = SamSettings(
        checkpoint=untrained_checkpoint,
        points_per_side=3,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.1,
        device="cpu",
    )
    result = run_mask_demo(MaskDemoConfig(image=tmp_path / "scene.png", out=tmp_path / "out", sam=sam))
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert written == {f"scene_{kind}" for kind in ("levels.png", "small.png", "part.png", "whole.png", "tree.json")}
    tree = json.loads(result.tree_path.read_text())
    assert tree["counts"] == result.hierarchy.counts() and sum(tree["counts"].values()) == len(tree["masks"]) > 0
    assert tree["size"] == [80, 60] and tree["sam"]["points_per_side"] == 3
    assert np.asarray(Image.open(tmp_path / "out" / "scene_part.png")).shape == (60, 80, 3)


def test_command_line_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(places, "search_roots", lambda: (tmp_path,))
    monkeypatch.setattr(sys, "argv", ["sam_demo_enhanced.py", "--sam.size", "large", "--out", str(tmp_path)])
    assert mask_demo.main() == 1
    assert "sam2.1_hiera_large.pt" in capsys.readouterr().err


def test_settings_load_no_model_library_and_building_leaves_hydra_free():
    program = """
import sys
import voxlang.apps.mask_demo, voxlang.masks.settings
heavy = {"torch", "sam2", "numpy", "PIL", "hydra"} & set(sys.modules)
assert not heavy, heavy
from voxlang.masks.build import build_sam2_model
build_sam2_model("micro")
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
assert not GlobalHydra.instance().is_initialized()
initialize_config_module("sam2", version_base="1.2")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
