"""The paths for CUDA without a GPU: on a pretended device nothing is mixed up, and the answers are those of the CPU."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend_cuda import DeviceError, pretend_cuda

from voxlang.field.config import FieldConfig
from voxlang.field.fit import fit_field
from voxlang.geometry.orbits import orbit_camera
from voxlang.pipeline.config import PipelineConfig
from voxlang.pipeline.stages import run_pipeline
from voxlang.render.presets import transfer_from_appearance
from voxlang.render.render import render_view
from voxlang.render.settings import RenderSettings
from voxlang.segtrain.config import load_config, smoke_config
from voxlang.segtrain.train import train
from voxlang.volume.phantoms import make_phantom


@pytest.fixture(scope="module")
def phantom():
    return make_phantom("bonsai", 7, size_xyz=(24, 22, 26))


@pytest.mark.parametrize(
    "mixed",
    [
        lambda there: there + torch.ones(6),
        lambda there: torch.stack([there, torch.ones(6)]),
        lambda there: torch.ones(6)[there.long()],
        lambda there: there.__setitem__(there > 2, torch.ones(3)),
        lambda there: torch.randn(3, device="cuda", generator=torch.Generator()),
        lambda there: torch.nn.functional.linear(there, torch.ones(2, 6)),
        lambda there: torch.nn.Linear(6, 2)(there),
    ],
)
def test_what_a_gpu_refuses_is_refused(mixed):
    with pretend_cuda():
        there = torch.arange(6.0, device="cuda")
        with pytest.raises(DeviceError):
            mixed(there)
        for read in (there.numpy, lambda: np.asarray(there), lambda: torch.nn.Parameter(there).detach().numpy()):
            with pytest.raises(TypeError, match=r"Tensor\.cpu"):
                read()


def test_what_a_gpu_takes_is_taken():
    with pretend_cuda():
        there = torch.arange(6.0, device="cuda")
        assert there.is_cuda and there.device == torch.device("cuda", 0) and (there * 2).device.type == "cuda"
        assert there.cpu().numpy().tolist() == list(range(6)) and there.sum().item() == 15.0
        assert there[torch.tensor([1, 2])].tolist() == [1.0, 2.0] and (there + torch.tensor(1.0)).is_cuda
        layer = torch.nn.Linear(6, 2).to("cuda")
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
        before = layer.weight.detach().clone()
        layer(there).square().sum().backward()
        optimizer.step()
        assert layer.weight.grad.is_cuda and not torch.equal(layer.weight, before)
        assert all(t.is_cuda for t in layer.state_dict().values())
    assert not torch.cuda.is_available()


def test_views_are_rendered_there(phantom):
    grid = phantom.volume.grid
    camera = orbit_camera(grid, np.array([1.0, -1.6, 0.7]), width=24, height=20)
    transfer = transfer_from_appearance(phantom.appearances[0], grid)
    with pretend_cuda():
        there = render_view(phantom.volume.values, grid, transfer, camera, RenderSettings(backend="torch"))
    here = render_view(phantom.volume.values, grid, transfer, camera, RenderSettings(backend="torch"))
    np.testing.assert_array_equal(there.rgb, here.rgb)


@pytest.mark.parametrize("backend", ["hash", "dense"])
def test_fields_are_fitted_there(phantom, backend):
    config = FieldConfig(backend=backend, rounds=1, steps=3)
    with pretend_cuda():
        there = fit_field(phantom.volume, config, device="cuda", progress=False)
    here = fit_field(phantom.volume, config, device="cpu", progress=False)
    assert there.psnr_db == pytest.approx(here.psnr_db, abs=1e-6)


def test_a_run_goes_there_and_answers_as_on_the_cpu(tmp_path):
    answers = []
    for device in ("auto", "cpu"):
        settings = {
            "name": device,
            "runs_dir": str(tmp_path / "runs"),
            "cache_dir": str(tmp_path / device),
            "device": device,
            "volume": {"size_xyz": [26, 24, 28]},
            "views": {"n": 2, "width": 64, "height": 64, "transfers": ["phantom"]},
            "stage1": {"backend": "dense", "steps": 2},
            "render": {"backend": "torch"},
            "sam": {"points_per_side": 6, "device": device},
            "embed": {"device": device},
            "semantics": {"steps": 3, "rays_per_step": 256},
            "query": {"prompts": ["pot", "foliage"]},
            "tracking": {"neptune": "off", "trackio": False},
        }
        with pretend_cuda() if device == "auto" else pytest.MonkeyPatch.context():
            for changes in ({}, {"mode": "infer", "query": {"prompts": ["pot", "soil"], "source": "field"}}):
                run_pipeline(PipelineConfig.model_validate(settings | changes))
                answers.append((Path(tmp_path / "runs" / device / "queries" / "answers.json")).read_text())
    assert answers[:2] == answers[2:]
    assert [a["prompt"] for a in json.loads(answers[1])["answers"]] == ["pot", "soil"]


def test_a_training_goes_on_there(tmp_path):
    recipe = smoke_config(load_config("configs/training/sam2_micro.yaml"), str(tmp_path))
    with pretend_cuda():
        train(recipe.model_copy(update={"device": "cuda"}), stop_step=2)
        there = train(recipe.model_copy(update={"device": "cuda"}), stop_step=3)
    assert there.steps == 3 and np.isfinite(there.last["loss"])
