"""Encoder options: every flag of the training command, and what they do to a configuration."""

import json
import os
import subprocess
import sys

import pytest
import tyro
import yaml
from pydantic import ValidationError

from voxlang.core.errors import ConfigError, ModelMissingError
from voxlang.encoders.compose import compose_sam2
from voxlang.encoders.options import EncoderOptions, with_encoder
from voxlang.segtrain.command import TrainCommand
from voxlang.segtrain.config import load_config

BASE = "configs/sam2_training/base_config.yaml"
SMALL = {"model_type": "dinov2", "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56}


@pytest.fixture
def vit(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(SMALL))
    return str(path)


def parts(config):
    return config["image_encoder"]["trunk"], config["image_encoder"]["neck"]["backbone_channel_list"]


def test_a_hiera_gives_way_to_a_vit(vit):
    hiera = compose_sam2("sam2.1_hiera_micro")
    before = json.dumps(hiera)
    trunk, channels = parts(with_encoder(hiera, EncoderOptions(type="dino", ckpt=vit)))
    assert json.dumps(hiera) == before
    assert trunk == {
        "_target_": "voxlang.encoders.vit_trunk.ViTTrunkMultiScale",
        "pretrained": vit,
        "encoder_type": "dino",
        "out_dims": [48] * 4,
    }
    assert channels == [48] * 4, "the hidden size, read from the configuration"
    options = EncoderOptions(
        type="dino", ckpt=vit, out_dims=(8, 7, 6, 5), upsample_mode="deconv", refine_highres=False, freeze_vit=True,
        force_dtype="bf16", gradient_checkpointing=True, verbose=True,
    )  # fmt: skip
    trunk, channels = parts(with_encoder(hiera, options))
    assert channels == trunk["out_dims"] == [8, 7, 6, 5]
    assert {k: trunk[k] for k in ("upsample_mode", "refine_highres", "freeze_vit", "force_dtype")} == {
        "upsample_mode": "deconv", "refine_highres": False, "freeze_vit": True, "force_dtype": "bf16"
    }  # fmt: skip
    assert trunk["gradient_checkpointing"] and trunk["verbose"]


def test_a_vit_is_changed_only_where_asked():
    given = compose_sam2("sam2_vit_ijepa_micro")
    assert with_encoder(given, None) == given
    same = with_encoder(given, EncoderOptions(type="ijepa"))
    assert same == given
    trunk, _ = parts(with_encoder(given, EncoderOptions(type="ijepa", freeze_vit=True)))
    assert trunk == parts(given)[0] | {"freeze_vit": True}


def test_another_vit_brings_its_own_width(vit):
    given = compose_sam2("sam2_vit_dino_micro")
    trunk, channels = parts(with_encoder(given, EncoderOptions(type="dino", ckpt=vit)))
    assert trunk["pretrained"] == vit and channels == trunk["out_dims"] == [48] * 4
    trunk, channels = parts(with_encoder(given, EncoderOptions(type="dino", ckpt=vit, out_dims=(9, 8, 7, 6))))
    assert channels == trunk["out_dims"] == [9, 8, 7, 6]


def test_options_that_do_not_fit(vit):
    hiera, dino = compose_sam2("sam2.1_hiera_micro"), compose_sam2("sam2_vit_dino_micro")
    assert with_encoder(hiera, EncoderOptions(type="hiera")) == hiera
    for config, options, message in (
        (hiera, EncoderOptions(type="dino"), "--encoder-ckpt.*trunk is Hiera"),
        (dino, EncoderOptions(type="ijepa"), "--encoder-ckpt.*trunk is dino"),
        (hiera, EncoderOptions(type="hiera", ckpt=vit, freeze_vit=True), "ckpt, freeze_vit with hiera"),
        (dino, EncoderOptions(type="hiera"), "Hiera trunk.*one with a ViT"),
        (hiera, EncoderOptions(type="ijepa", ckpt=vit), "use encoder_type dino"),
    ):
        with pytest.raises(ConfigError, match=message):
            with_encoder(config, options)
    with pytest.raises(ModelMissingError, match="facebook/dinov2-large"):
        with_encoder(hiera, EncoderOptions(type="dino", ckpt="facebook/dinov2-large"))
    with pytest.raises(ValidationError):
        EncoderOptions(type="clip")


def parsed(*flags):
    return tyro.cli(TrainCommand, args=["--config", BASE, *flags]).recipe()


def test_no_flags_leave_the_recipe():
    assert parsed() == load_config(BASE)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--encoder-type", "ijepa"], "type", "ijepa"),
        (["--encoder-ckpt", "facebook/dinov2-large"], "ckpt", "facebook/dinov2-large"),
        (["--encoder-out-dims", "1024,1024,512,256"], "out_dims", (1024, 1024, 512, 256)),
        (["--encoder-upsample-mode", "deconv"], "upsample_mode", "deconv"),
        (["--no-refine-highres"], "refine_highres", False),
        (["--freeze-vit"], "freeze_vit", True),
        (["--force-dtype", "fp16"], "force_dtype", "fp16"),
        (["--gradient-checkpointing"], "gradient_checkpointing", True),
        (["--vit-verbose"], "verbose", True),
    ],
)
def test_every_flag_reaches_the_recipe(flags, name, value):
    recipe = parsed(*flags)
    assert getattr(recipe.encoder, name) == value
    others = {k: v for k, v in recipe.encoder.model_dump().items() if k not in (name, "type")}
    assert set(others.values()) <= {None}
    assert recipe.export_dtype == "float32"


def test_other_flags_and_wrong_ones(tmp_path):
    recipe = parsed("--images", "pictures", "--annotations", "a.json", "--run-dir", str(tmp_path))
    assert (recipe.images, recipe.annotations) == ("pictures", "a.json")
    assert all(phase.sources == {"images": 1.0} for phase in recipe.phases)
    assert recipe.run_dir == str(tmp_path) and recipe.export_path == str(tmp_path / "weights.safetensors")
    assert [p.steps for p in recipe.phases] == [p.steps for p in load_config(BASE).phases]
    for text in ("1024", "1,2,3,x", "1,2,3,4,5"):
        with pytest.raises(ConfigError, match="C32,C16,C8,C4"):
            parsed("--encoder-out-dims", text)
    with pytest.raises(SystemExit):
        parsed("--encoder-type", "clip")
    with pytest.raises(SystemExit):
        parsed("--force-dtype", "int8")


def test_the_door_names_what_is_wrong(tmp_path):
    """A hub id that is not in the store, as a user would meet it; and the import that SAM 2's users know."""
    command = [sys.executable, "training/train.py", "--config", BASE, "--run-dir", str(tmp_path)]
    script = (
        "from training.utils.train_utils import register_omegaconf_resolvers as r; r();"
        "from omegaconf import OmegaConf; print(OmegaConf.create({'a': '${times:6,7}'}).a)"
    )
    resolved = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    assert resolved.stdout.strip() == "42", resolved.stderr
    done = subprocess.run(
        [*command, "--smoke", "--encoder-type", "dino", "--encoder-ckpt", "facebook/dinov2-nano"],
        capture_output=True, text=True, timeout=300, env={**os.environ, "HF_HOME": str(tmp_path / "store")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ModelMissingError: Expected a folder with config.json")
    assert "facebook/dinov2-nano" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("path", [BASE, "configs/training/sam2_vit_dino_micro.yaml"])
def test_recipes_are_whole(path):
    recipe = load_config(path)
    assert recipe.renders_per_family > 0 and recipe.export_dtype == "float32"
    assert yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))["model_yaml"] == recipe.model_yaml
