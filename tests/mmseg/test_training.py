"""A short training through MMSegmentation's Runner, of both heads, from renders to the read-back score."""

from pathlib import Path

import pytest

pytest.importorskip("mmengine", reason="the extra mmseg is not installed; `make test-mmseg` runs these")

from mmengine.config import Config

from voxlang.masks.build import read_sam_config
from voxlang.mmseg.level_pictures import write_level_pictures
from voxlang.mmseg.train import train_and_score, with_checkpoint, with_iterations
from voxlang.scenes.plan import SceneConfig


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    for split in ("train", "dev"):
        config = SceneConfig(
            split=split, phantoms={"tooth": 1}, per_family=0, views_per_phantom=8, size_px=64, voxels=40
        )
        assert write_level_pictures(folder, config) == 8
    return folder


@pytest.mark.parametrize("head", ["upernet", "fcn"])
def test_training_raises_the_score_and_what_is_saved_has_it(head, phantoms, tmp_path):
    config = Config.fromfile(f"configs/mmseg/{head}_micro_phantoms.py")
    config.work_dir = str(tmp_path)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.data_root = str(phantoms)
    config.model.backbone.frozen_stages = 1
    with_iterations(config, 30)
    scores = train_and_score(config)
    assert scores.after > scores.before + 10.0
    assert scores.reloaded == scores.after
    assert scores.checkpoint.is_file()


def test_a_checkpoint_brings_its_channels_to_the_heads():
    config = Config.fromfile("configs/_base_/models/hiera_sam2.py")
    with_checkpoint(config, Path("checkpoints/voxlang_sam2_micro.safetensors"))
    width = read_sam_config("micro")["image_encoder"]["trunk"]["embed_dim"]
    assert config.model.decode_head.in_channels == [width, 2 * width, 4 * width, 8 * width]
    assert config.model.auxiliary_head.in_channels == 4 * width
