"""The masks room against the real sam2 package, with random weights."""

import json

import numpy as np
import pytest
import torch

from voxlang.core.errors import ConfigError, WeightsError
from voxlang.masks.build import build_sam2_model, read_sam_config
from voxlang.masks.sam_generator import SamGenerator
from voxlang.masks.settings import SamSettings

THRESHOLDS = {
    "points_per_side": 4,
    "points_per_batch": 5,
    "pred_iou_thresh": 0.3,
    "stability_score_thresh": 0.3,
    "box_nms_thresh": 0.97,
}


def random_model(name, checkpoint=None, seed=5):
    """A model whose random weights give masks with borders: mask logits of some units, predicted IoU around a half."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_sam2_model(name, checkpoint)
    with torch.no_grad():
        for head in model.sam_mask_decoder.output_hypernetworks_mlps:
            head.layers[-1].weight *= 40
        model.sam_mask_decoder.iou_prediction_head.layers[-1].weight *= 8
    return model


def picture(height=96, width=128):
    """A disc on a square on black: not square, not symmetric."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[20:80, 30:100] = (200, 120, 40)
    v, u = np.mgrid[:height, :width]
    rgb[(v - 45) ** 2 + (u - 60) ** 2 < 18**2] = (40, 180, 220)
    return rgb


def official_records(model, settings, rgb):
    """Records of sam2's own generator, set up apart from ours."""
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    keys = ("points_per_side", "points_per_batch", "pred_iou_thresh", "stability_score_thresh", "crop_n_layers")
    generator = SAM2AutomaticMaskGenerator(
        model, box_nms_thresh=settings.box_nms_thresh, **{k: getattr(settings, k) for k in keys}
    )
    side = model.image_size
    generator.predictor._bb_feat_sizes = [(side // 4, side // 4), (side // 8, side // 8), (side // 16, side // 16)]
    return generator.generate(rgb)


def assert_same_masks(masks, records):
    assert len(masks) == len(records) > 1
    for i, record in enumerate(records):
        assert np.array_equal(masks.dense(i), record["segmentation"])
        x, y, w, h = record["bbox"]
        assert masks.boxes_xyxy[i].tolist() == [x, y, x + w + 1, y + h + 1]
        assert masks.areas_px()[i] == record["area"]
        assert masks.predicted_iou[i] == pytest.approx(record["predicted_iou"])
        assert masks.stability[i] == pytest.approx(record["stability_score"])
        assert masks.points_uv[i] == pytest.approx(record["point_coords"][0])


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small tensors gain nothing from threads, and lose much on a machine that is busy with others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def micro():
    return random_model("micro", seed=1)


@pytest.mark.parametrize("extra", [{}, {"crop_n_layers": 1, "points_per_side": 3}, {"box_nms_thresh": 0.8}])
def test_micro_masks_equal_the_official_generator(micro, extra):
    settings = SamSettings(**(THRESHOLDS | extra))
    ours = SamGenerator(micro, settings, config_digest="c").generate(picture())
    assert_same_masks(ours, official_records(micro, settings, picture()))


def test_tiny_masks_equal_the_official_generator(tmp_path):
    config = tmp_path / "tiny_256.yaml"
    config.write_text(json.dumps({"model": read_sam_config("tiny") | {"image_size": 256}}))
    model = random_model(config)
    settings = SamSettings(**(THRESHOLDS | {"points_per_side": 3, "pred_iou_thresh": 0.2}))
    ours = SamGenerator(model, settings, config_digest="c").generate(picture())
    assert_same_masks(ours, official_records(model, settings, picture()))


def test_points_on_foreground_give_the_masks_they_give_without_it(micro):
    settings = SamSettings(**(THRESHOLDS | {"box_nms_thresh": 1.0, "points_per_batch": 1}))
    generator = SamGenerator(micro, settings, config_digest="c")
    foreground = picture().any(axis=2)
    everywhere, on_object = generator.generate(picture()), generator.generate(picture(), foreground=foreground)
    columns, rows = everywhere.points_uv.astype(int).T
    wanted = everywhere.select(foreground[rows, columns])
    assert 0 < len(on_object) < len(everywhere)
    assert {m.tobytes() for m in wanted.packed} == {m.tobytes() for m in on_object.packed}
    assert on_object.predicted_iou == pytest.approx(wanted.predicted_iou, abs=1e-5)


def test_no_masks_and_no_points_are_answers(micro):
    strict = SamGenerator(micro, SamSettings(**(THRESHOLDS | {"pred_iou_thresh": 1.0})), config_digest="c")
    crops = SamSettings(**(THRESHOLDS | {"pred_iou_thresh": 1.0, "crop_n_layers": 1, "points_per_side": 2}))
    assert len(strict.generate(np.zeros((40, 56, 3), np.uint8))) == 0
    assert len(SamGenerator(micro, crops, config_digest="c").generate(picture())) == 0
    nothing = strict.generate(picture(), foreground=np.zeros((96, 128), bool))
    assert (len(nothing), nothing.height, nothing.width) == (0, 96, 128)


def test_small_regions_are_cleaned_without_the_cuda_extension(micro, recwarn):
    from scipy import ndimage

    settings = SamSettings(**(THRESHOLDS | {"stability_score_thresh": 0.0, "min_mask_region_area": 12}))
    generator = SamGenerator(micro, settings, config_digest="c")
    assert len(generator.generate(picture())) > 0
    assert not [w for w in recwarn if "Skipping the post-processing" in str(w.message)]
    noise = np.random.default_rng(3).normal(size=(2, 3, 40, 56))
    logits = torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, 1.5, 1.5))).float()
    cleaned = generator.official.predictor._transforms.postprocess_masks(logits, (40, 56)).numpy()
    cleaned_px = 0
    for before, after in zip(logits.numpy().reshape(6, 40, 56) > 0, cleaned.reshape(6, 40, 56) > 0, strict=True):
        labels, _ = ndimage.label(before, structure=np.ones((3, 3)))
        small = np.isin(labels, np.flatnonzero(np.bincount(labels.ravel()) <= 12)) & before
        assert not after[small].any()
        cleaned_px += small.sum()
    assert cleaned_px > 20


def test_tiny_has_the_names_and_settings_of_the_official_builder():
    from hydra import initialize_config_module
    from hydra.core.global_hydra import GlobalHydra

    ours = build_sam2_model("tiny")
    GlobalHydra.instance().clear()  # importing sam2 elsewhere leaves its own initialisation behind
    generator = SamGenerator(ours, SamSettings(), config_digest="c")
    with initialize_config_module("sam2", version_base="1.2"):
        from sam2.build_sam import build_sam2
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        theirs = build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu")
    shapes = lambda model: {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert shapes(ours) == shapes(theirs)
    for name in ("stability_delta", "stability_thresh", "via_stability"):
        attribute = f"dynamic_multimask_{name}"
        assert getattr(ours.sam_mask_decoder, attribute) == getattr(theirs.sam_mask_decoder, attribute)
    assert generator.official.predictor._bb_feat_sizes == SAM2ImagePredictor(theirs)._bb_feat_sizes
    assert not ours.training


@pytest.mark.parametrize("size", ["micro", "tiny", "small", "base_plus", "large"])
def test_every_size_has_a_readable_configuration(size):
    model = read_sam_config(size)
    assert model["_target_"] == "sam2.modeling.sam2_base.SAM2Base"
    assert model["image_size"] == (256 if size == "micro" else 1024)


def test_micro_is_small_and_spends_little_on_memory_modules(micro):
    count = lambda module: sum(p.numel() for p in module.parameters())
    assert count(micro) < 5_000_000
    assert count(micro.memory_attention) + count(micro.memory_encoder) < 0.1 * count(micro)


def test_building_leaves_hydra_as_it_was():
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().is_initialized()
    build_sam2_model("micro")
    assert GlobalHydra.instance().is_initialized() == before


@pytest.mark.parametrize("kind", ["pt", "bare.pt", "safetensors"])
def test_weights_survive_the_round_trip(micro, tmp_path, kind):
    from safetensors.torch import save_file

    path = tmp_path / f"weights.{kind}"
    state = micro.state_dict()
    if kind == "safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state if kind == "bare.pt" else {"model": state}, path)
    again = build_sam2_model("micro", path)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in state.items())
    settings = SamSettings(**THRESHOLDS)
    assert SamGenerator(again, settings, config_digest="c").id == SamGenerator(micro, settings, config_digest="c").id


def test_foreign_weights_are_named(micro, tmp_path):
    state = dict(micro.state_dict())
    del state["no_mem_embed"]
    state["stranger.weight"] = torch.zeros(2)
    state["maskmem_tpos_enc"] = torch.zeros(1, 1, 1, 5)
    torch.save({"model": state}, tmp_path / "w.pt")
    with pytest.raises(WeightsError) as caught:
        build_sam2_model("micro", tmp_path / "w.pt")
    for part in (
        "1 missing: no_mem_embed",
        "1 unexpected: stranger.weight",
        "maskmem_tpos_enc (1, 1, 1, 5) instead of",
    ):
        assert part in str(caught.value)


def test_at_most_ten_names_a_group_are_listed(micro, tmp_path):
    torch.save({"model": {f"stranger{i:02d}": torch.zeros(1) for i in range(12)}}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="12 unexpected: stranger00, stranger01") as caught:
        build_sam2_model("micro", tmp_path / "w.pt")
    assert "stranger09" in str(caught.value) and "stranger10" not in str(caught.value)


class _Payload:
    def __reduce__(self):
        return (print, ("code from a checkpoint",))


def test_code_in_a_checkpoint_is_refused(tmp_path, capsys):
    torch.save({"model": _Payload()}, tmp_path / "w.pt")
    with pytest.raises(WeightsError):
        build_sam2_model("micro", tmp_path / "w.pt")
    assert "code from a checkpoint" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"not a file of weights", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_broken_files_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\."):
        build_sam2_model("micro", path)


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}, {"epoch": 3}])
def test_torch_files_without_a_state_dict_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="state dict"):
        build_sam2_model("micro", tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model:\n  _target_: os.system\n", "os.system"),
        ("model:\n  _target_: sam2.X\n  parts: [{_target_: builtins.eval}]\n", "builtins.eval"),
        ("size: 3\n", "`model` node"),
        ("- 1\n", "must be a DictConfig"),
        ("model: [\n", "readable YAML"),
    ],
)
def test_configurations_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        build_sam2_model(path)


def test_id_names_weights_thresholds_and_configuration_but_not_speed(micro):
    make = lambda digest="c", **extra: SamGenerator(micro, SamSettings(**(THRESHOLDS | extra)), config_digest=digest).id
    assert make() == make(points_per_batch=64) == make(level_rule="area") == make(device="cpu")
    others = [
        make("d"),
        make(points_per_side=5),
        make(pred_iou_thresh=0.5),
        make(box_nms_thresh=0.6),
        make(use_m2m=True),
    ]
    assert len({make(), *others}) == 1 + len(others)
    first = make()
    with torch.no_grad():
        micro.no_mem_embed[0, 0, 3] += 1e-3
    assert make() != first
    json.dumps(first)
