"""The fast generator against sam2's own, on random weights: decoder numbers, masks, records, formats."""

import json

import numpy as np
import pytest
import torch

from benchmarks.masks_parity import rounding_errors
from benchmarks.random_sam import discs, random_sam
from voxlang.core.errors import ConfigError
from voxlang.masks.build import read_sam_config
from voxlang.masks.fast.decoder import FastDecoder
from voxlang.masks.fast.encode import encode_pictures
from voxlang.masks.fast.generator import FastMaskGenerator
from voxlang.masks.fast.rle import coco_rle, mask_of_rle, uncompressed_rle
from voxlang.masks.fast.speed import SpeedSettings
from voxlang.masks.official import official_generator

ASKED = {
    "points_per_side": 5,
    "points_per_batch": 7,
    "pred_iou_thresh": 0.45,
    "stability_score_thresh": 0.3,
    "box_nms_thresh": 0.97,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def micro():
    return random_sam("micro")


def small(tmp_path_factory, name, **changes):
    """An official size at 256 pixels, with changes to its configuration."""
    path = tmp_path_factory.mktemp("configs") / "model.yaml"
    path.write_text(json.dumps({"model": read_sam_config(name) | {"image_size": 256} | changes}))
    return random_sam(path)


@pytest.fixture(scope="module")
def models(tmp_path_factory, micro):
    return {
        "micro": micro,
        "2.1 tiny": small(tmp_path_factory, "tiny"),
        "dino trunk": random_sam("configs/sam2/sam2_vit_dino_micro.yaml"),
        "2.0 tiny": small(tmp_path_factory, "configs/sam2/sam2_hiera_t.yaml"),
        "no fine features": small(tmp_path_factory, "tiny", use_high_res_features_in_sam=False),
        "no object scores": small(
            tmp_path_factory, "tiny", pred_obj_scores=False, pred_obj_scores_mlp=False, fixed_no_obj_ptr=False
        ),
    }


NAMES = ["micro", "2.1 tiny", "2.0 tiny", "dino trunk", "no fine features", "no object scores"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mask_prompts", [False, True])
def test_decoder_says_what_the_official_decoder_says(models, name, mask_prompts, rng):
    model = models[name]
    decoder = FastDecoder(model)
    points = torch.from_numpy(rng.uniform(0, 256, (5, 2))).float()
    masks = torch.from_numpy(rng.normal(0, 5, (5, 1, 64, 64))).float() if mask_prompts else None
    with torch.inference_mode():
        features = encode_pictures(model, [discs(96, 128)])[0]
        maps = decoder.picture_maps(features, mask_prompts=mask_prompts)
        decoded = decoder.decode(maps, points, masks)
        logits = decoder.mask_logits(maps, decoded, [0, 1, 2, 3])
        prompts = (points[:, None], torch.ones(5, 1, dtype=torch.int))
        sparse, dense = model.sam_prompt_encoder(points=prompts, boxes=None, masks=masks)
        expected, scores, _, _ = model.sam_mask_decoder.predict_masks(
            image_embeddings=features.embedding[None],
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=True,
            high_res_features=[f[None] for f in features.fine],
        )
    assert expected.std() > 0.5 and scores.std() > 0.01
    assert torch.allclose(decoded.scores, scores, atol=2e-6)
    assert torch.allclose(logits, expected, atol=2e-5 * float(expected.abs().max()))


def test_features_are_those_of_the_official_predictor(models):
    pictures = [discs(96, 128), discs(50, 31, seed=1), discs(256, 256, seed=2), discs(1, 40), discs(700, 300)]
    model = models["2.1 tiny"]
    predictor = official_generator(model).predictor
    with torch.inference_mode():
        for rgb, ours in zip(pictures, encode_pictures(model, pictures), strict=True):
            predictor.set_image(rgb)
            theirs = predictor._features
            for a, b in zip(
                [ours.embedding, *ours.fine], [theirs["image_embed"], *theirs["high_res_feats"]], strict=True
            ):
                assert torch.allclose(a, b[0], atol=1e-5)


def assert_same_records(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        if isinstance(b["segmentation"], dict):
            assert a["segmentation"] == b["segmentation"]
        else:
            assert a["segmentation"].dtype == bool and np.array_equal(a["segmentation"], b["segmentation"])
        assert a["area"] == b["area"] and a["bbox"] == b["bbox"] and a["crop_box"] == b["crop_box"]
        assert a["point_coords"] == b["point_coords"]
        assert a["predicted_iou"] == pytest.approx(b["predicted_iou"], abs=1e-5)
        assert a["stability_score"] == pytest.approx(b["stability_score"], abs=1e-6)
        assert {k: type(v) for k, v in a.items()} == {k: type(v) for k, v in b.items()}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"box_nms_thresh": 0.6},
        {"crop_n_layers": 1, "points_per_side": 3},
        {"crop_n_layers": 2, "points_per_side": 4, "crop_n_points_downscale_factor": 2, "crop_overlap_ratio": 0.2},
        {"use_m2m": True},
        {"multimask_output": False},
        {"multimask_output": False, "use_m2m": True, "pred_iou_thresh": 0.0},
        {"min_mask_region_area": 20, "stability_score_thresh": 0.1},
        {"min_mask_region_area": 9, "mask_threshold": 0.4, "stability_score_thresh": 0.1},
        {"mask_threshold": 0.3, "stability_score_offset": 0.5},
        {"output_mode": "uncompressed_rle"},
        {"points_per_side": None, "point_grids": [np.array([[0.5, 0.25], [0.1, 0.9], [0.99, 0.01]])]},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.05},
    ],
    ids=lambda extra: ",".join(extra) or "plain",
)
def test_records_equal_the_official_generators(micro, extra):
    rgb = discs(96, 128)
    theirs = official_generator(micro, **(ASKED | extra)).generate(rgb)
    assert len(theirs) > 0
    assert_same_records(FastMaskGenerator(micro, **(ASKED | extra)).generate(rgb), theirs)


@pytest.mark.parametrize("name", NAMES[1:])
def test_records_of_official_sizes(models, name):
    asked = ASKED | {"points_per_side": 3, "pred_iou_thresh": 0.3, "stability_score_thresh": 0.1, "box_nms_thresh": 1.0}
    rgb = discs(70, 90, seed=3)
    theirs = official_generator(models[name], **asked).generate(rgb)
    assert len(theirs) > 1
    assert_same_records(FastMaskGenerator(models[name], **asked).generate(rgb), theirs)


def test_a_single_mask_falls_back_where_it_is_not_stable(micro):
    decoder, rgb = micro.sam_mask_decoder, discs(96, 128)
    asked = ASKED | {"multimask_output": False, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    found = {}
    for least in (0.0, 0.6, 1.1):
        decoder.dynamic_multimask_stability_thresh = least
        theirs = official_generator(micro, **asked).generate(rgb)
        assert_same_records(FastMaskGenerator(micro, **asked).generate(rgb), theirs)
        found[least] = [r["predicted_iou"] for r in theirs]
    decoder.dynamic_multimask_stability_thresh = 0.98
    assert found[0.0] != found[1.1]


def test_tokens_say_which_output_of_the_official_predictor_gave_a_mask(micro):
    rgb, asked = discs(96, 128), ASKED | {"box_nms_thresh": 1.0, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    generator = FastMaskGenerator(micro, **asked)
    found = generator.find(rgb)
    masks = found.masks
    assert set(masks.tokens.tolist()) == {0, 1, 2}
    predictor = official_generator(micro, **asked).predictor
    predictor.set_image(rgb)
    for i in range(0, len(found), 5):
        drawn, scores, _ = predictor.predict(masks.points[i][None], np.array([1]), multimask_output=True)
        token = masks.tokens[i]
        assert masks.scores[i] == pytest.approx(scores[token], abs=1e-5)
        assert (found.dense(i) == drawn[token].astype(bool)).mean() > 0.999
    again = generator.refilter(generator.collect(rgb))
    np.testing.assert_array_equal(again.masks.tokens, masks.tokens)
    refined = FastMaskGenerator(micro, **asked, use_m2m=True).find(rgb).masks
    asked_again = {(*p.tolist(), t) for p, t in zip(masks.points, masks.tokens, strict=True)}
    assert {(*p.tolist(), t) for p, t in zip(refined.points, refined.tokens, strict=True)} <= asked_again


def test_a_single_mask_has_no_token_unless_it_fell_back(micro):
    decoder, rgb = micro.sam_mask_decoder, discs(96, 128)
    asked = ASKED | {"multimask_output": False, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    try:
        decoder.dynamic_multimask_stability_thresh = 0.0
        assert set(FastMaskGenerator(micro, **asked).find(rgb).masks.tokens.tolist()) == {-1}
        decoder.dynamic_multimask_stability_thresh = 1.1
        assert set(FastMaskGenerator(micro, **asked).find(rgb).masks.tokens.tolist()) <= {0, 1, 2}
    finally:
        decoder.dynamic_multimask_stability_thresh = 0.98


def test_default_parameters_are_the_official_ones(micro):
    ours, theirs = FastMaskGenerator(micro).parameters, official_generator(micro)
    names = [name for name in vars(ours) if name != "point_grids"]
    checked = [name for name in names if hasattr(theirs, name)]
    assert set(names) - set(checked) == {"points_per_side"} and len(theirs.point_grids[0]) == ours.points_per_side**2
    assert all(getattr(ours, name) == getattr(theirs, name) for name in checked)


def test_run_lengths_are_the_official_ones(rng):
    from sam2.utils.amg import mask_to_rle_pytorch, rle_to_mask

    masks = rng.random((6, 9, 14)) < np.array([0, 0.03, 0.3, 0.7, 0.97, 1])[:, None, None]
    masks[2, 0, 0], masks[3, 0, 0] = True, False
    for mask, theirs in zip(masks, mask_to_rle_pytorch(torch.from_numpy(masks)), strict=True):
        ours = uncompressed_rle(mask)
        assert ours == theirs
        assert np.array_equal(mask_of_rle(ours), mask) and np.array_equal(rle_to_mask(ours), mask)


def test_coco_text_by_hand():
    # 5 -> '5'; 40 = 8 + 32 -> low five bits 8 with the more-bit: chr(8 + 32 + 48) = 'X', then 1: '1'
    assert coco_rle({"size": [9, 9], "counts": [5, 40]})["counts"] == "5X1"
    # fourth count is 3 - 40 = -37: low five bits 27 with the more-bit: 'k', then -2: chr(30 + 48) = 'N'
    assert coco_rle({"size": [9, 9], "counts": [5, 40, 2, 3]})["counts"] == "5X12kN"


def counts_of(text):
    """Run lengths of COCO's text."""
    values, place = [], 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[place]) - 48
            place, more = place + 1, bool(bits & 32)
            value |= (bits & 31) << shift
            shift += 5
            if not more and bits & 16:
                value |= -1 << shift
        values.append(value + (values[-2] if len(values) > 2 else 0))
    return values


def test_coco_text_is_read_back(rng):
    for _ in range(50):
        counts = rng.integers(0, 10 ** rng.integers(1, 6), rng.integers(1, 30)).tolist()
        assert counts_of(coco_rle({"size": [1, sum(counts)], "counts": counts})["counts"]) == counts


def test_coco_records_hold_the_official_run_lengths(micro):
    """sam2 needs pycocotools to write them as text, so its numbers are read from our text."""
    rgb = discs(96, 128)
    theirs = official_generator(micro, **ASKED, output_mode="uncompressed_rle").generate(rgb)
    ours = FastMaskGenerator(micro, **ASKED, output_mode="coco_rle").generate(rgb)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        assert counts_of(a["segmentation"]["counts"]) == b["segmentation"]["counts"]
        assert a["segmentation"]["size"] == b["segmentation"]["size"]


def test_rounding_is_no_coarser_than_that_of_sam2(micro):
    """Against sam2's decoder in float64: where a pixel's logit is zero to six digits, neither is right by right."""
    ours, theirs = rounding_errors(micro, discs(96, 128), points_per_side=4)
    assert 0 < ours < 1.3 * theirs < 1e-5


def test_cuda_graphs_without_cuda_are_refused(micro):
    with pytest.raises(ConfigError, match=r"CUDA device.*model on cpu.*compile default"):
        FastMaskGenerator(micro, speed=SpeedSettings(compile="cuda-graphs"))
