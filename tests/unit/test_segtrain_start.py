from dataclasses import fields

import numpy as np
import pytest
import torch

from voxlang.masks.build import build_sam2_model
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig
from voxlang.segtrain.data import Batch, make_batch, make_sources
from voxlang.segtrain.evaluate import ask_points
from voxlang.segtrain.model import build_student
from voxlang.segtrain.shapes import draw_picture
from voxlang.segtrain.start import FEATURE_RMS, start_decoder, whiten_patches

YAML = "configs/sam2/sam2.1_hiera_micro.yaml"


@pytest.fixture(scope="module")
def started():
    """A fresh network before and after the start, and the batch it was started with."""
    phase = PhaseConfig(name="a", steps=1, sources={"shapes-full": 1.0}, learning_rate=1e-3, final_learning_rate=1e-3)
    config = SegTrainConfig(phases=(phase,), pictures_per_step=2, prompts_per_picture=4)
    batch = make_batch(config, make_sources(config), 0)
    before, after = build_student(YAML, seed=0).eval(), build_student(YAML, seed=0).eval()
    state = torch.random.get_rng_state()
    start_decoder(after, [batch], seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    return before, after, batch


@torch.no_grad()
def test_the_auxiliary_head_answers_as_before(started):
    before, after, batch = started
    one, two = (s(batch, ask_decoder=False).auxiliary_logits for s in (before, after))
    torch.testing.assert_close(one, two, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_features_have_the_wanted_size_and_mask_channels_are_alive(started):
    _, after, batch = started
    features = after.sam.image_encoder(batch.images)["backbone_fpn"]
    sizes = [f.square().mean().sqrt().item() for f in features]
    assert np.mean(sizes) == pytest.approx(FEATURE_RMS, rel=1e-3)
    channels = after.sam.sam_mask_decoder.conv_s0(features[0])
    assert channels.mean((0, 2, 3)).numpy() == pytest.approx(0.3, abs=0.15)
    spread = channels.std((0, 2, 3))
    assert (spread > 0.2).all() and (spread < 1.5).all()


def test_prompts_reach_the_masks(started):
    """How far the masks of different prompts differ, against a model with sam2's usual initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        usual = build_sam2_model(YAML)
    points = np.array([[30.0, 30.0], [220.0, 60.0], [128.0, 200.0]])
    picture = draw_picture(np.random.default_rng(0), "full")
    differ = []
    for sam in (usual, started[1].sam):
        logits, _ = ask_points(sam, picture, points)
        differ.append(float(logits.std(0).mean()))
    assert differ[1] > 5 * differ[0], differ


def test_the_start_is_decided_by_its_seed(started):
    _, after, batch = started
    name = "sam_mask_decoder.conv_s0.weight"
    again, other = build_student(YAML, seed=0).eval(), build_student(YAML, seed=0).eval()
    start_decoder(again, [batch], seed=3)
    start_decoder(other, [batch], seed=4)
    assert torch.equal(again.sam.state_dict()[name], after.sam.state_dict()[name])
    assert not torch.equal(other.sam.state_dict()[name], after.sam.state_dict()[name])


@torch.no_grad()
def test_whitened_patches_have_one_strength_and_nothing_in_common():
    phase = PhaseConfig(name="a", steps=9, sources={"shapes-full": 1.0}, learning_rate=1e-3, final_learning_rate=1e-3)
    config = SegTrainConfig(phases=(phase,), pictures_per_step=4, prompts_per_picture=2)
    sources = make_sources(config)
    student = build_student(YAML, seed=0)
    batches = [make_batch(config, sources, step) for step in range(3)]
    whiten_patches(student.sam, batches)
    conv = student.sam.image_encoder.trunk.patch_embed.proj
    images = torch.cat([b.images for b in batches])
    patches = torch.nn.functional.unfold(images, conv.kernel_size, stride=conv.stride, padding=conv.padding)
    channels = conv(images).flatten(2).transpose(1, 2)[patches.transpose(1, 2).std(-1) > 0.05]
    assert channels.mean(0).abs().max() < 1e-2
    covariance = torch.cov(channels.T)
    assert covariance.diagonal().sqrt()[:8].numpy() == pytest.approx(0.5, rel=0.05)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-2
    before = conv.weight.clone()
    blank = Batch(torch.zeros_like(batches[0].images), *(getattr(batches[0], f.name) for f in fields(Batch)[1:]))
    whiten_patches(student.sam, [blank])
    assert torch.equal(conv.weight, before), "pictures without contrast teach nothing"
