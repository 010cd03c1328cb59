import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from sam2.sam2_image_predictor import SAM2ImagePredictor

from voxlang.masks.build import build_sam2_model
from voxlang.segtrain.config import PhaseConfig, SegTrainConfig
from voxlang.segtrain.data import Batch, DenseTruth, make_batch, make_sources, normalise, shrink
from voxlang.segtrain.evaluate import ask_points, stability_of
from voxlang.segtrain.model import (
    PixelEmbeddingHead,
    answer_prompts,
    build_student,
    cells_of,
    corrected_prompts,
    embeddings_at,
    trained_parameters,
)
from voxlang.segtrain.shapes import draw_picture

YAML = "configs/sam2/sam2.1_hiera_micro.yaml"


@pytest.fixture(scope="module")
def student():
    return build_student(YAML, seed=0).eval()


def test_prompts_are_answered_as_by_the_official_predictor(student):
    picture = draw_picture(np.random.default_rng(0), "full")
    points = np.array([[40.3, 70.8], [128.0, 128.0], [200.5, 31.2]])
    logits, predicted = ask_points(student.sam, picture, points)
    predictor = SAM2ImagePredictor(student.sam)
    predictor._bb_feat_sizes = [(64, 64), (32, 32), (16, 16)]
    predictor.set_image(picture.rgb)
    for i, point in enumerate(points):
        masks, scores, _ = predictor.predict(point[None], np.array([1]), multimask_output=True, return_logits=True)
        np.testing.assert_allclose(logits[i].numpy(), masks, atol=2e-4)
        np.testing.assert_allclose(predicted[i].numpy(), scores, atol=1e-5)


def test_pictures_are_normalised_as_by_the_official_predictor(student):
    rgb = draw_picture(np.random.default_rng(0), "full").rgb
    official = SAM2ImagePredictor(student.sam)._transforms(rgb)
    torch.testing.assert_close(normalise(rgb), official, atol=1e-5, rtol=0)


def test_a_fresh_prompt_looks_at_its_own_place(student):
    """Attention score between the positions of a prompt and of all image cells, from the projections alone."""
    encoder, decoder = student.sam.sam_prompt_encoder, student.sam.sam_mask_decoder
    grid = encoder.get_dense_pe()[0].flatten(1).T
    attention = decoder.transformer.layers[0].cross_attn_token_to_image
    q = attention._separate_heads(attention.q_proj(grid)[None], attention.num_heads)[0]
    k = attention._separate_heads(attention.k_proj(grid)[None], attention.num_heads)[0]
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    assert (weights.argmax(-1) == torch.arange(256)).float().mean() > 0.95
    assert weights.diagonal(dim1=-2, dim2=-1).mean() > 10 / 256


def test_the_seed_decides_the_weights_and_leaves_the_global_state():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, two, other = (build_student(YAML, seed=s) for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    name = "image_encoder.trunk.patch_embed.proj.weight"
    assert torch.equal(one.sam.state_dict()[name], two.sam.state_dict()[name])
    assert not torch.equal(one.sam.state_dict()[name], other.sam.state_dict()[name])


def test_auxiliary_logits_are_scaled_cosines():
    head = PixelEmbeddingHead(8)
    features = [torch.randn(1, 8, size, size, generator=torch.Generator().manual_seed(1)) for size in (16, 8, 4)]
    e, kinds = head(features)
    assert kinds.shape == (1, 3, 256, 8, 8)
    cells = cells_of(torch.tensor([[[9.0, 3.0], [63.9, 63.9]]]), 64, 16)
    assert cells.tolist() == [[2, 255]]
    embeddings = embeddings_at(e, cells)
    logits = head.compare(e, embeddings)
    scale, bias = head.scale.detach(), head.bias.detach()
    for k, (row, column) in enumerate([(0, 2), (15, 15)]):
        torch.testing.assert_close(embeddings[0, k], e[0, :, :, row, column])
        torch.testing.assert_close(logits[0, k, :, row, column], scale - bias, msg="a pixel and itself: cosine 1")
    torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(1, 2, 3))
    assert (logits <= (scale - bias)[:, None, None] + 1e-5).all()


def test_a_click_corrects_the_greatest_error():
    """Level part is meant: a block is missing on the left, a smaller one is too much on the right."""
    wanted, answered = torch.zeros(64, 64), torch.full((64, 64), -1.0)
    wanted[10:40, 5:25] = 1
    answered[50:58, 50:58] = 1
    targets = torch.stack([wanted, torch.zeros(64, 64), wanted, torch.ones(64, 64)])[None, None]
    logits = torch.stack([torch.zeros(64, 64), torch.ones(64, 64), answered, torch.ones(64, 64)])[None, None]
    dense = DenseTruth(torch.zeros(1, 1).long(), torch.zeros(1, 3, 64, 64).int(), torch.zeros(1, 3, 64, 64).long())
    batch = Batch(
        torch.zeros(1, 3, 256, 256), torch.tensor([[[[60.0, 80.0]]]]), torch.ones(1, 1, 1, dtype=torch.int32),
        targets, torch.tensor([[[1.0, 0.0, 1.0, 0.0]]]), torch.ones(1, 1, dtype=torch.bool), dense, refine=True,
    )  # fmt: skip
    coords, labels, masks = corrected_prompts(logits, batch)
    assert torch.equal(masks[0, 0], answered) and labels.tolist() == [[[1, 1]]]
    u, v = (coords[0, 0, 1] / 4).long().tolist()
    assert wanted[v, u] == 1
    logits[0, 0, 2] = torch.where(wanted > 0, 1.0, answered)
    coords, labels, _ = corrected_prompts(logits, batch)
    u, v = (coords[0, 0, 1] / 4).long().tolist()
    assert labels.tolist() == [[[1, 0]]] and 50 <= v < 58 and 50 <= u < 58
    assert build_student(YAML, seed=0)(batch, ask_decoder=True).logits.shape == (1, 1, 4, 64, 64)


def test_every_trained_parameter_gets_a_gradient():
    phase = PhaseConfig(
        name="a", steps=1, sources={"shapes-full": 1.0}, learning_rate=1e-3, final_learning_rate=1e-3
    )  # fmt: skip
    config = SegTrainConfig(phases=(phase,), pictures_per_step=1, prompts_per_picture=4)
    student = build_student(YAML, seed=0)
    answers = student(make_batch(config, make_sources(config), 0))
    total = answers.logits.square().mean() + answers.predicted_iou.sum()
    (total + answers.auxiliary_logits.square().mean() + answers.token_embeddings.square().mean()).backward()
    trained = {id(p) for p in trained_parameters(student)}
    idle = [name for name, p in student.named_parameters() if id(p) in trained and p.grad is None]
    rest = ("point_embeddings", "mask_downscaling", "no_mem_embed", "conv_s")
    assert [name for name in idle if not any(r in name for r in rest)] == []


@torch.no_grad()
def test_half_size_pictures_are_answered_as_by_a_model_of_that_size(student, tmp_path):
    """The same weights in a model whose YAML says 128 pixels, which then changes nothing of its own."""
    config = OmegaConf.load(YAML)
    config.model.image_size = 128
    OmegaConf.save(config, tmp_path / "half.yaml")
    half = build_sam2_model(str(tmp_path / "half.yaml"))
    half.load_state_dict(student.sam.state_dict())
    image = normalise(shrink(draw_picture(np.random.default_rng(0), "full"), 128).rgb)[None]
    points = torch.tensor([[[[40.0, 70.0]], [[100.0, 30.0]]]])
    labels = torch.ones(1, 2, 1, dtype=torch.int32)
    features = list(student.sam.image_encoder(image)["backbone_fpn"])
    answers = answer_prompts(student.sam, features, points, labels)
    expected = answer_prompts(half, features, points, labels)
    torch.testing.assert_close(answers.logits, expected.logits)
    assert student.sam.sam_prompt_encoder.image_embedding_size == (16, 16), "the model is left as it was"


def test_stability_by_hand():
    logits = torch.tensor([[[[2.0, 0.5], [-0.5, -3.0]]]]).expand(1, 3, 2, 2)
    np.testing.assert_allclose(stability_of(logits), 1 / 3)
