import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from voxlang.cliptrain.dense_config import load_dense_config
from voxlang.core.errors import ArtifactError, ConfigError
from voxlang.masks.build import build_sam2_model
from voxlang.masks.generate import build_sam_generator
from voxlang.segtrain.average import WeightAverage
from voxlang.segtrain.command import TrainCommand, run_training, tracking_of_process
from voxlang.segtrain.config import (
    NO_TRACKING,
    PhaseConfig,
    SegTrainConfig,
    learning_rate_at,
    load_config,
    phase_at,
    smoke_config,
)
from voxlang.segtrain.evaluate import ask_points
from voxlang.segtrain.export import export_weights
from voxlang.segtrain.model import answer_prompts, build_student
from voxlang.segtrain.shapes import draw_picture
from voxlang.segtrain.train import load_student, train
from voxlang.segtrain.weights import with_logit_scale
from voxlang.tracking.config import TrackerConfig
from voxlang.tracking.replay import find_neptune_runs, read_neptune_run

RECIPE = "configs/training/sam2_micro.yaml"


def two_phases(**changes) -> SegTrainConfig:
    first = PhaseConfig(
        name="a", steps=10, sources={"shapes-simple": 1.0}, learning_rate=1e-3, final_learning_rate=5e-4
    )
    second = PhaseConfig(name="b", steps=30, sources={"shapes-full": 1.0}, learning_rate=4e-4, final_learning_rate=0.1)
    return SegTrainConfig(phases=(first, second), warmup_steps=3, **changes)


def test_phases_and_rates_by_hand():
    config = two_phases()
    assert config.total_steps == 40
    assert phase_at(config, 9)[0].name == "a" and phase_at(config, 10) == (config.phases[1], 0.0)
    assert learning_rate_at(config, 0) == pytest.approx(1e-3 / 4)
    assert learning_rate_at(config, 5) == pytest.approx(7.5e-4)
    assert learning_rate_at(config, 25) == pytest.approx((4e-4 + 0.1) / 2)
    with pytest.raises(ConfigError, match="below 40"):
        phase_at(config, 40)


def test_recipes_are_checked(tmp_path):
    assert load_config(RECIPE).model_yaml.endswith("sam2.1_hiera_micro.yaml")
    more = load_config("configs/training/sam2_micro_trunk.yaml")
    assert more.export_path == more.initial_weights == load_config(RECIPE).export_path, "it goes on from that recipe"
    assert more.initial_trunk == load_dense_config("configs/training/dense_micro.yaml").export_path
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    path.write_text("phases: []\nspeed: 3\n")
    with pytest.raises(ConfigError, match="speed"):
        load_config(path)


def test_average_by_hand():
    module = torch.nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(0.0)
    average = WeightAverage(module, decay=0.5)
    module.weight.data.fill_(1.0)
    average.update(module)
    assert average.module.weight.item() == pytest.approx(1 - 1 / 10)
    for _ in range(20):
        before = average.module.weight.item()
        average.update(module)
    assert average.module.weight.item() == pytest.approx(0.5 * before + 0.5)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return smoke_config(load_config(RECIPE), str(tmp_path_factory.mktemp("smoke")))


def test_a_resumed_training_ends_with_the_same_weights(recipe, tmp_path):
    whole = train(recipe.model_copy(update={"run_dir": str(tmp_path / "whole")}))
    halves = recipe.model_copy(update={"run_dir": str(tmp_path / "halves")})
    assert train(halves, stop_step=3).steps == 3
    metrics = []
    rest = train(halves, on_metrics=lambda step, means: metrics.append((step, means["loss"])))
    assert rest.steps == whole.steps == recipe.total_steps
    assert [step for step, _ in metrics] == [4, 5, 6]
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(tensor, rest.student.state_dict()[name]), name
    rows = [json.loads(line) for line in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ConfigError, match="another run_dir"):
        train(halves.model_copy(update={"seed": 9}))
    loaded = load_student(halves)
    assert torch.equal(loaded.auxiliary.scale, rest.student.auxiliary.scale)


def test_a_training_tells_its_losses_to_the_tracker(recipe, tmp_path, monkeypatch):
    """By the training command, read back from neptune's offline log; other processes of torchrun say nothing."""
    for name in ("NEPTUNE_API_TOKEN", "NEPTUNE_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    told = recipe.model_copy(
        update={
            "phases": recipe.phases[:1],
            "run_dir": str(tmp_path / "run"),
            "export_path": str(tmp_path / "w.safetensors"),
            "tracking": TrackerConfig(neptune="offline", trackio=False),
        }
    )
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(told.model_dump(mode="json")))
    run_training(TrainCommand(config=tmp_path / "recipe.yaml"))
    record = read_neptune_run(*find_neptune_runs(tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = {m.step: m.value for m in record.metrics if m.name == "train/loss"}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in rows}, abs=1e-5) and len(losses) == 2
    assert record.parameters["seed"] == told.seed and "training" in record.tags
    monkeypatch.setenv("RANK", "1")
    assert tracking_of_process(told) == NO_TRACKING


def test_accumulated_batches_average_their_gradients(recipe, tmp_path):
    config = recipe.model_copy(update={"run_dir": str(tmp_path / "run"), "accumulation": 2})
    result = train(config, stop_step=1)
    assert result.steps == 1 and result.last["loss"] > 0


def test_exported_weights_are_loaded_strictly_and_answer_alike(recipe, tmp_path):
    from safetensors import safe_open

    config = recipe.model_copy(
        update={
            "run_dir": str(tmp_path / "run"),
            "export_path": str(tmp_path / "w.safetensors"),
            "export_logit_scale": 1.0,
        }
    )
    result = train(config, stop_step=1)
    path = export_weights(result.student, config, steps=1, seconds=0.5)
    with safe_open(path, framework="pt") as f:
        metadata = f.metadata()
    assert metadata["config"] == "sam2.1_hiera_micro.yaml" and len(metadata["digest"]) == 32
    assert path.stat().st_size < 10e6
    model = build_sam2_model("micro", path)
    for name, tensor in result.student.sam.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)
    louder = config.model_copy(update={"export_logit_scale": 4.0})
    scaled = build_sam2_model("micro", export_weights(result.student, louder, steps=1, seconds=0.5))
    picture = draw_picture(np.random.default_rng(0), "full")
    (plain, iou), (large, same) = (ask_points(m, picture, np.array([[100.0, 90.0]])) for m in (model, scaled))
    torch.testing.assert_close(large, 4 * plain, atol=2e-2, rtol=1e-2)
    torch.testing.assert_close(same, iou)
    going_on = build_student(config.model_yaml, seed=9, initial_weights=str(louder.export_path)).sam
    torch.testing.assert_close(dict(going_on.state_dict()), dict(model.state_dict()), atol=1e-3, rtol=1e-2)


def test_the_trunk_of_a_dense_tower_is_put_under_the_rest(recipe):
    parts = {"initial_weights": "checkpoints/voxlang_sam2_micro.safetensors"}
    tower = "checkpoints/voxlang_dense_micro.safetensors"
    plain, mixed = (build_student(recipe.model_yaml, seed=1, **parts, initial_trunk=t).sam for t in (None, tower))
    stored, same = load_file(tower), dict(plain.named_parameters())
    for name, parameter in mixed.named_parameters():
        under = "image_encoder.trunk." in name
        wanted = stored[name.removeprefix("image_")].float() if under else same[name]
        torch.testing.assert_close(parameter.detach(), wanted.detach(), rtol=0, atol=0, msg=name)
    with pytest.raises(ArtifactError, match="dense tower"):
        build_student(recipe.model_yaml, seed=1, initial_trunk=parts["initial_weights"])


def test_a_mask_given_back_means_the_same_whatever_the_logits_are_multiplied_with(recipe):
    student = build_student(recipe.model_yaml, seed=3).eval()
    scaled = build_student(recipe.model_yaml, seed=3).sam.eval()
    scaled.load_state_dict(with_logit_scale(student.sam.state_dict(), 4.0))
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(1, 128, side, side, generator=generator) for side in (64, 32, 16)]
    mask = 3 * torch.randn(1, 1, 64, 64, generator=generator)
    prompt = torch.tensor([[[[100.0, 90.0]]]]), torch.ones(1, 1, 1, dtype=torch.int32)
    with torch.no_grad():
        plain = answer_prompts(student.sam, features, *prompt, mask)
        large = answer_prompts(scaled, features, *prompt, 4 * mask)
        unmasked = answer_prompts(student.sam, features, *prompt)
    torch.testing.assert_close(large.logits, 4 * plain.logits, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(unmasked.logits, plain.logits, atol=1e-3)


@pytest.mark.slow
def test_shipped_weights_find_the_object():
    """The official generator on a drawn picture of one bright disc: some mask is the disc."""
    rows, columns = np.mgrid[:256, :256]
    disc = (rows - 120) ** 2 + (columns - 140) ** 2 < 60**2
    rgb = np.where(disc[..., None], np.array([190, 120, 60]), 0).astype(np.uint8)
    masks = build_sam_generator("micro", 8, pred_iou_thresh=0.1, stability_score_thresh=0.5, device="cpu").generate(rgb)
    best = max((m & disc).sum() / (m | disc).sum() for m in masks.all_dense())
    assert best > 0.85


@pytest.mark.slow
def test_two_processes_train_one_model(recipe, tmp_path):
    """torchrun with gloo: the processes agree on the weights, and one of them writes the checkpoint."""
    script = tmp_path / "go.py"
    script.write_text(
        "import sys\n"
        "from voxlang.segtrain.config import SegTrainConfig\n"
        "from voxlang.segtrain.train import train\n"
        "import os, torch\n"
        "result = train(SegTrainConfig.model_validate_json(open(sys.argv[1]).read()), stop_step=2)\n"
        "torch.save(result.student.state_dict(), f'{sys.argv[2]}/rank{os.environ[\"RANK\"]}.pt')\n"
    )
    config = recipe.model_copy(update={"run_dir": str(tmp_path / "run")})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    subprocess.run(
        [*command, str(tmp_path / "config.json"), str(tmp_path)],
        check=True,
        timeout=240,
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    one, two = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 2
    alone = train(config.model_copy(update={"run_dir": str(tmp_path / "alone")}), stop_step=2)
    name = "sam.image_encoder.trunk.blocks.3.mlp.layers.0.weight"
    assert not torch.equal(alone.student.state_dict()[name], one[name]), "the second process adds its own pictures"


def test_smoke_door(tmp_path):
    done = subprocess.run(
        [sys.executable, "training/train.py", "--config", RECIPE, "--smoke"],
        check=True,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert "6 steps" in done.stdout and list(tmp_path.glob("voxlang-smoke-*/weights.safetensors"))
