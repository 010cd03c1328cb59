"""Training on other encoders: frozen means frozen, resuming is exact, and the result runs in stage 2's generator."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from voxlang.core.errors import ConfigError
from voxlang.encoders import build_sam2
from voxlang.segtrain.command import TrainCommand, run_training
from voxlang.segtrain.config import SegTrainConfig, load_config, smoke_config
from voxlang.segtrain.data import at_side, make_batch, make_sources
from voxlang.segtrain.model import build_student, trained_parameters
from voxlang.segtrain.train import CHECKPOINT_NAME, train

BASE = "configs/sam2_training/base_config.yaml"
VIT = "sam.image_encoder.trunk.vit."


def recipe(tmp_path, **encoder) -> SegTrainConfig:
    config = smoke_config(load_config(BASE), str(tmp_path / "run"))
    return SegTrainConfig(**(config.model_dump() | {"encoder": {"type": "dino"} | encoder}))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_means_frozen(tmp_path, frozen):
    config = recipe(tmp_path, freeze_vit=frozen)
    before = build_student(config.model_yaml, seed=config.seed, encoder=config.encoder).state_dict()
    result = train(config, stop_step=4)
    after = result.student.state_dict()
    kept = torch.load(tmp_path / "run" / CHECKPOINT_NAME, weights_only=True)
    of_vit = [name for name in before if name.startswith(VIT)]
    assert len(of_vit) > 50
    same = [torch.equal(before[n], after[n]) and torch.equal(before[n], kept["student"][n]) for n in of_vit]
    assert all(same) if frozen else not any(s for n, s in zip(of_vit, same, strict=True) if "fc1.weight" in n)
    name = "sam.image_encoder.trunk.pyramid.levels.16.0.weight"
    assert not torch.equal(before[name], after[name]), "the pyramid learns in both"
    student = build_student(config.model_yaml, seed=config.seed, encoder=config.encoder)
    groups = trained_parameters(student)
    learning = {id(p) for group in groups.values() for p in group}
    assert any(id(p) in learning for p in student.sam.image_encoder.trunk.vit.parameters()) != frozen
    assert sum(len(g["params"]) for state in kept["optimizers"] for g in state["param_groups"]) == len(learning)


def test_a_resumed_training_of_a_vit_ends_with_the_same_weights(tmp_path):
    whole = train(recipe(tmp_path / "a"))
    train(recipe(tmp_path / "b"), stop_step=3)
    rest = train(recipe(tmp_path / "b"))
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(tensor, rest.student.state_dict()[name]), name
    with pytest.raises(ConfigError, match="freeze_vit"):
        train(recipe(tmp_path / "b", freeze_vit=True))


def test_the_command_leaves_a_model_that_stage_2_takes(tmp_path):
    from voxlang.masks.generate import build_sam_generator

    command = TrainCommand(
        config=BASE, smoke=True, run_dir=str(tmp_path), encoder_type="dino", freeze_vit=True,
        encoder_out_dims="24,16,16,8", encoder_upsample_mode="deconv", no_refine_highres=True,
    )  # fmt: skip
    said = run_training(command)
    assert f"--sam.config {tmp_path / 'weights.yaml'} --sam.checkpoint {tmp_path / 'weights.safetensors'}" in said
    generator = build_sam_generator(
        points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, device="cpu",
        config=tmp_path / "weights.yaml", checkpoint=tmp_path / "weights.safetensors",
    )  # fmt: skip
    trunk = generator.model.image_encoder.trunk
    assert trunk.out_dims == [24, 16, 16, 8] and trunk.vit.config.num_hidden_layers == 6
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[10:30, 20:50] = 200
    masks = generator.generate(rgb)
    assert (masks.height, masks.width) == (48, 64)
    again = load_config(tmp_path / "recipe.yaml")
    assert again == command.recipe()
    initial = build_student(again.model_yaml, seed=again.seed, encoder=again.encoder).sam
    exported = build_sam2(tmp_path / "weights.yaml", tmp_path / "weights.safetensors", "cpu")
    for name, tensor in initial.image_encoder.trunk.vit.state_dict().items():
        assert torch.equal(tensor, exported.image_encoder.trunk.vit.state_dict()[name]), name


def test_batches_grow_to_the_side_of_the_model(tmp_path):
    config = recipe(tmp_path)
    config = config.model_copy(update={"phases": (config.phases[0].model_copy(update={"side": 256, "steps": 9}),)})
    batch = make_batch(config, make_sources(config), 3)
    assert at_side(batch, 256) is batch
    large = at_side(batch, 512)
    assert large.images.shape[-1] == 512 and large.targets.shape[-1] == 128
    assert torch.equal(large.coords, 2 * batch.coords)
    assert torch.equal(large.targets[..., ::2, 1::2], batch.targets)
    q = batch.targets.shape[-1]
    small_row, small_column = batch.dense.cells // q, batch.dense.cells % q
    row, column = large.dense.cells // (2 * q), large.dense.cells % (2 * q)
    assert torch.equal(row // 2, small_row) and torch.equal(column // 2, small_column)
    for one, other in ((batch.dense.regions, large.dense.regions), (batch.dense.kinds, large.dense.kinds)):
        assert torch.equal(other[..., 1::2, ::2], one)
    for side in (128, 384):
        with pytest.raises(ConfigError, match=f"image_size {side}"):
            at_side(batch, side)


def test_phantoms_are_rendered_when_none_are_there(tmp_path, monkeypatch):
    from voxlang.scenes import buffer
    from voxlang.segtrain.command import render_missing

    asked = []
    monkeypatch.setattr(buffer, "generate_scenes", lambda folder, config: asked.append((folder, config.per_family)))
    config = load_config(BASE).model_copy(update={"render_dir": str(tmp_path)})
    render_missing(config)
    assert asked == [(str(tmp_path), config.renders_per_family)]
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "scenes_x_0001000.npz").touch()
    render_missing(config)
    assert len(asked) == 1


@pytest.mark.slow
def test_two_processes_train_one_vit_by_the_command(tmp_path):
    """torchrun with gloo: both processes take every step, one writes the log, and the frozen ViT is untouched."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    flags = ["--config", BASE, "--smoke", "--run-dir", str(tmp_path), "--encoder-type", "dino", "--freeze-vit"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "training/train.py", *flags], capture_output=True, text=True, timeout=500, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 steps in") == 2
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 6
    trained = build_sam2(tmp_path / "weights.yaml", tmp_path / "weights.safetensors", "cpu").image_encoder.trunk
    config = load_config(tmp_path / "recipe.yaml")
    fresh = build_student(config.model_yaml, seed=config.seed, encoder=config.encoder).sam.image_encoder.trunk
    for name, tensor in fresh.vit.state_dict().items():
        assert torch.equal(tensor, trained.vit.state_dict()[name]), name
    assert not torch.equal(fresh.pyramid.levels["16"][0].weight, trained.pyramid.levels["16"][0].weight)
