"""What must hold for any picture, threshold, grid and batch size of the fast masks."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.random_sam import discs, random_sam
from voxlang.core.errors import ConfigError, MaskError
from voxlang.masks.build import read_sam_config
from voxlang.masks.fast.generator import FastMaskGenerator
from voxlang.masks.fast.grid import Crop, count_points, crops_of, grid_of_layer, point_grid
from voxlang.masks.fast.parameters import MaskParameters
from voxlang.masks.fast.resize import cut_out, draw, measure, measure_reference
from voxlang.masks.fast.speed import SpeedSettings
from voxlang.masks.fast.suppress import near_crop_edge
from voxlang.masks.official import official_generator

QUICK = settings(
    max_examples=8, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def nano(tmp_path_factory):
    """The micro model at 64 pixels."""
    path = tmp_path_factory.mktemp("configs") / "nano.yaml"
    path.write_text(json.dumps({"model": read_sam_config("micro") | {"image_size": 64}}))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield random_sam(path, seed=7)
    torch.set_num_threads(threads)


sizes = st.tuples(st.integers(1, 60), st.integers(1, 60)) | st.sampled_from([(1, 1), (1, 90), (90, 1), (2, 300)])
cuts = st.floats(-3, 3, width=32)


@st.composite
def questions(draw):
    return {
        "points_per_side": draw(st.integers(1, 4)),
        "points_per_batch": draw(st.integers(1, 30)),
        "pred_iou_thresh": draw(st.floats(0, 1)),
        "stability_score_thresh": draw(st.floats(0, 1)),
        "stability_score_offset": draw(st.floats(0, 3)),
        "mask_threshold": draw(st.floats(-2, 2)),
        "box_nms_thresh": draw(st.floats(0, 1)),
        "crop_n_layers": draw(st.integers(0, 1)),
        "min_mask_region_area": draw(st.integers(0, 12)),
        "multimask_output": draw(st.booleans()),
        "use_m2m": draw(st.booleans()),
    }


@st.composite
def pictures(draw):
    height, width = draw(sizes)
    kind = draw(st.sampled_from(["empty", "full", "discs", "noise"]))
    if kind == "discs":
        return discs(height, width, seed=draw(st.integers(0, 99)))
    if kind == "noise":
        return np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.full((height, width, 3), 255 if kind == "full" else 0, np.uint8)


@QUICK
@given(pictures(), questions())
def test_every_record_is_what_it_says(nano, rgb, asked):
    generator = FastMaskGenerator(nano, **asked)
    height, width = rgb.shape[:2]
    for record in generator.generate(rgb):
        mask = record["segmentation"]
        assert mask.shape == (height, width) and record["area"] == mask.sum()
        x, y, w, h = record["bbox"]
        if record["area"]:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            assert [x, y, x + w, y + h] == [columns[0], rows[0], columns[-1], rows[-1]]
        assert np.isfinite([record["predicted_iou"], record["stability_score"], *record["point_coords"][0]]).all()
        assert 0 <= record["stability_score"] <= 1
        p = generator.parameters
        assert p.pred_iou_thresh <= 0 or record["predicted_iou"] > np.float32(p.pred_iou_thresh)
        assert record["stability_score"] >= np.float32(p.stability_score_thresh)
        u, v = record["point_coords"][0]
        assert 0 <= u <= width and 0 <= v <= height


@QUICK
@given(pictures(), questions())
def test_records_are_the_official_ones(nano, rgb, asked):
    """Without crops, where the official generator can crash, and without ties that a duplicate filter has to break."""
    asked |= {"crop_n_layers": 0, "box_nms_thresh": 1.0}
    asked["stability_score_thresh"] = max(asked["stability_score_thresh"], 1e-3)
    order = lambda record: (record["point_coords"], record["predicted_iou"])
    theirs = sorted(official_generator(nano, **asked).generate(rgb), key=order)
    ours = sorted(FastMaskGenerator(nano, **asked).generate(rgb), key=order)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a["point_coords"] == b["point_coords"]
        assert a["predicted_iou"] == pytest.approx(b["predicted_iou"], abs=1e-4)
        assert (a["segmentation"] != b["segmentation"]).sum() <= 2, "pixels whose logit is zero to six digits"


@settings(QUICK, max_examples=5)
@given(pictures(), questions(), st.integers(1, 40), st.integers(1, 4))
def test_batch_sizes_change_nothing(nano, rgb, asked, other, per_pass):
    ours = FastMaskGenerator(nano, **asked).find(rgb)
    again = FastMaskGenerator(
        nano, speed=SpeedSettings(pictures_per_pass=per_pass), **(asked | {"points_per_batch": other})
    ).find(rgb)
    assert len(ours) == len(again)
    assert ours.masks.scores == pytest.approx(again.masks.scores, abs=1e-5)


@QUICK
@given(pictures(), questions(), questions())
def test_filtering_again_is_a_fresh_run(nano, rgb, asked, changed):
    """Any thresholds may change; the questions stay."""
    fixed = {
        k: asked[k] for k in ("points_per_side", "crop_n_layers", "use_m2m", "multimask_output", "points_per_batch")
    }
    lowest = {"pred_iou_thresh": 0.0, "mask_threshold": -2.0, "stability_score_offset": 3.0, "min_mask_region_area": 1}
    collector = FastMaskGenerator(nano, **(asked | lowest))
    candidates = collector.collect(rgb)
    thresholds = {k: v for k, v in changed.items() if k not in fixed}
    again = collector.refilter(candidates, **thresholds)
    fresh = FastMaskGenerator(nano, **(fixed | thresholds)).find(rgb)
    assert len(again) == len(fresh)
    assert again.masks.scores == pytest.approx(fresh.masks.scores, abs=1e-5)
    assert all(np.array_equal(again.dense(i), fresh.dense(i)) for i in range(len(fresh)))


@pytest.mark.parametrize(
    "speed", [{"encoder_dtype": "bfloat16"}, {"decoder_dtype": "bfloat16"}], ids=lambda s: next(iter(s))
)
def test_bfloat16_is_near_and_can_find_nothing(nano, speed):
    asked = {"points_per_side": 3, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    rgb = discs(40, 60)
    make = lambda floor, s: FastMaskGenerator(nano, speed=SpeedSettings(**s), pred_iou_thresh=floor, **asked)
    exact, near = make(0.0, {}).find(rgb), make(0.0, speed).find(rgb)
    assert len(near) == len(exact) == 27
    order = lambda found: np.sort(found.masks.scores)
    assert 0 < np.abs(order(near) - order(exact)).max() < 0.05
    assert len(make(2.0, speed).find(rgb)) == 0


@pytest.mark.slow
def test_what_torch_compile_traces_gives_the_same_masks(nano, monkeypatch):
    """With the backend that runs the traced graphs as they are: no C++ compiler, no minutes of compilation."""
    asked = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    rgb, traced, compile_ = discs(40, 60), [], torch.compile

    def trace(function, mode=None):
        traced.append(function.__name__)
        return compile_(function, backend="eager")

    monkeypatch.setattr(torch, "compile", trace)
    exact = FastMaskGenerator(nano, **asked).find(rgb)
    assert not traced
    found = FastMaskGenerator(nano, speed=SpeedSettings(compile="default"), **asked).find(rgb)
    assert sorted(traced) == ["decode", "forward_image", "mask_logits"]
    assert len(found) == len(exact) == 12
    assert np.allclose(found.masks.scores, exact.masks.scores, atol=1e-5)
    assert all((found.dense(i) != exact.dense(i)).sum() <= 2 for i in range(len(exact)))
    assert "forward_image" not in vars(nano), "the model stays as it is"


def test_filtering_below_what_was_kept_is_refused(nano):
    generator = FastMaskGenerator(nano, points_per_side=2, pred_iou_thresh=0.4)
    candidates = generator.collect(discs(20, 30))
    for changed in (
        {"pred_iou_thresh": 0.3},
        {"pred_iou_thresh": -1.0},
        {"mask_threshold": -0.5},
        {"stability_score_offset": 2.0},
        {"points_per_side": 3},
        {"use_m2m": True},
    ):
        with pytest.raises(MaskError, match=next(iter(changed)).replace("_", ".") + "|logits down"):
            generator.refilter(candidates, **changed)
    generator.refilter(candidates, pred_iou_thresh=0.9, mask_threshold=0.2, stability_score_thresh=0.1)


@settings(QUICK, max_examples=30)
@given(st.integers(0, 999), st.integers(2, 24), st.integers(2, 24), sizes, cuts, st.floats(0, 2), st.floats(0.05, 4))
def test_measures_and_masks_are_those_of_the_enlarged_logits(seed, mh, mw, size, threshold, offset, smooth):
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(10 * gaussian_filter(rng.normal(size=(3, mh, mw)), (0, smooth, smooth))).float()
    ours = measure(logits, size, threshold=threshold, offset=offset)
    reference = measure_reference(logits, size, threshold=threshold, offset=offset)
    large = torch.nn.functional.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0].numpy()
    for i in range(3):
        near = sum((np.abs(large[i] - cut) < 1e-4).sum() for cut in (threshold, threshold + offset, threshold - offset))
        for a, b in ((ours.area, reference.area), (ours.core, reference.core), (ours.reach, reference.reach)):
            assert abs(a[i] - b[i]) <= near
        assert near or np.array_equal(ours.boxes[i], reference.boxes[i])
        patch = cut_out(logits[i].numpy(), threshold - offset)
        mask = draw(patch, (mh, mw), size, threshold=threshold)
        assert (mask != (large[i] > threshold)).sum() <= near


def test_measures_by_hand():
    """2x2 logits at 4x4: rows and columns at 0, 1/4, 3/4, 1 of the way."""
    logits = torch.tensor([[[4.0, 0.0], [0.0, 0.0]]])
    found = measure(logits, (4, 4), threshold=1.5, offset=1.0)
    # 4 times the products of (1, 3/4, 1/4, 0): above 1.5 are 4 3 3 2.25, above 2.5 three of them, above 0.5 also
    # 1 1 and 0.75 0.75
    assert (found.area[0], found.core[0], found.reach[0]) == (4, 3, 8)
    assert found.boxes.tolist() == [[0, 0, 1, 1]]
    assert found.stability.tolist() == [0.375]


def test_pictures_wider_than_sixteen_bits_do_not_overflow():
    found = measure(torch.full((1, 16, 16), 5.0), (2, 40_000), threshold=0.0, offset=1.0)
    assert (found.area[0], found.stability[0]) == (80_000, 1.0)
    assert found.boxes.tolist() == [[0, 0, 39_999, 1]]


def test_crops_without_masks_do_not_crash(nano):
    """sam2's own generator concatenates an empty list of crop boxes there."""
    asked = {"points_per_side": 2, "crop_n_layers": 1, "pred_iou_thresh": 2.0}
    with pytest.raises(IndexError):
        official_generator(nano, **asked).generate(discs(30, 40))
    assert FastMaskGenerator(nano, **asked).generate(discs(30, 40)) == []
    everything = {"points_per_side": 2, "crop_n_layers": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    assert len(FastMaskGenerator(nano, **everything).find(discs(1, 9)))


@given(st.integers(1, 64))
@settings(max_examples=64, deadline=None)
def test_grids_are_the_official_ones(n):
    from sam2.utils.amg import build_point_grid

    assert np.allclose(point_grid(n), build_point_grid(n), rtol=0, atol=1e-15)


@given(sizes, st.integers(0, 3), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_crops_are_the_official_ones_that_have_pixels(size, n_layers, overlap):
    from sam2.utils.amg import generate_crop_boxes

    boxes, layers = generate_crop_boxes(size, n_layers, overlap)
    expected = [(*b, k) for b, k in zip(boxes, layers, strict=True) if b[2] > b[0] and b[3] > b[1]]
    assert [(*c.box, c.layer) for c in crops_of(*size, n_layers, overlap)] == expected


@given(st.integers(0, 999), sizes)
@settings(max_examples=40, deadline=None)
def test_boxes_near_an_edge_are_the_official_ones(seed, size):
    from sam2.utils.amg import is_box_near_crop_edge

    rng = np.random.default_rng(seed)
    height, width = (4 * v for v in size)
    x, y = np.sort(rng.integers(0, width + 1, 2)), np.sort(rng.integers(0, height + 1, 2))
    crop = Crop(int(x[0]), int(y[0]), int(x[1]), int(y[1]), 1)
    boxes = rng.integers(0, 1 + max(size), (7, 4)).astype(np.float32)
    expected = is_box_near_crop_edge(torch.from_numpy(boxes), list(crop.box), [0, 0, width, height])
    shifted = boxes + np.array([crop.x0, crop.y0, crop.x0, crop.y0], np.float32)
    assert np.array_equal(near_crop_edge(shifted, crop, (height, width)), expected.numpy())


def test_points_on_empty_pixels_are_counted_and_not_asked(nano):
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = 200
    foreground = rgb[..., 0] > 0
    generator = FastMaskGenerator(nano, points_per_side=6, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    found = generator.find(rgb, foreground=foreground)
    assert (found.counts.grid, found.counts.skipped) == (36, 18)
    assert len(found) and (found.masks.points[:, 0] >= 30).all()
    counts = count_points(MaskParameters(points_per_side=6, crop_n_layers=1), (40, 60), np.zeros((40, 60), bool))
    assert counts.grid == counts.skipped == 36 * 5
    nothing = generator.find(rgb, foreground=np.zeros((40, 60), bool))
    assert len(nothing) == 0 and nothing.counts.skipped == 36


@pytest.mark.parametrize(
    "wrong",
    [
        {"points_per_side": 0},
        {"points_per_side": None},
        {"point_grids": [np.zeros((1, 2))]},
        {"points_per_side": None, "point_grids": [np.zeros((1, 2))], "crop_n_layers": 1},
        {"points_per_batch": 0},
        {"output_mode": "png"},
        {"min_mask_region_area": -1},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match="MaskParameters"):
        MaskParameters(**wrong)


def test_layers_with_less_than_one_point_a_side_have_none():
    assert len(grid_of_layer(MaskParameters(points_per_side=3, crop_n_points_downscale_factor=4), 1)) == 0
