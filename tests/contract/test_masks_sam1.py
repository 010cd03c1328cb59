"""SAM 1 behind the generator's door: segment-anything's own masks, from a file in any layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from voxlang.checkpoints.convert import convert_file
from voxlang.checkpoints.published import PUBLISHED_SAM1
from voxlang.core.errors import ConfigError, ModelMissingError, VoxlangError
from voxlang.masks.generate import sam_generator_from_settings
from voxlang.masks.sam1 import build_sam1
from voxlang.masks.settings import SamSettings

TINY = replace(
    PUBLISHED_SAM1["vit_b"],
    width=24,
    heads=2,
    global_blocks=(1,),
    blocks=2,
    window=3,
    grid=16,
    patch=4,
    mlp_width=32,
    prompt_width=32,
    mask_channels=8,
    decoder_inner=16,
    decoder_mlp=32,
    iou_hidden=16,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam1")
    torch.save(build_sam1(TINY).state_dict(), folder / "a.pth")
    convert_file(folder / "a.pth", folder / "stages.pt", to="sam1-stages")
    return folder


def settings(path, **others):
    thresholds = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    return SamSettings(
        family="sam1", checkpoint=path, points_per_side=4, device="cpu", skip_empty=False, **thresholds | others
    )


@pytest.mark.filterwarnings("ignore:.*nothing in the weights decides")
def test_same_masks_as_segment_anything(weights):
    from segment_anything import SamAutomaticMaskGenerator

    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    generator = sam_generator_from_settings(settings(weights / "stages.pt"))
    ours = generator.generate(picture)
    model = build_sam1(TINY).eval()
    model.load_state_dict(torch.load(weights / "a.pth", weights_only=True))
    theirs = SamAutomaticMaskGenerator(
        model, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=0.7
    ).generate(picture)
    expected = {record["segmentation"].tobytes() for record in theirs if record["area"]}
    assert expected
    assert {ours.dense(i).tobytes() for i in range(len(ours))} == expected
    assert generator.id == sam_generator_from_settings(settings(weights / "a.pth")).id  # the layout does not matter


@pytest.mark.filterwarnings("ignore:.*nothing in the weights decides")
def test_settings_that_only_sam2_has(weights):
    with pytest.raises(ConfigError, match="use_m2m"):
        sam_generator_from_settings(settings(weights / "a.pth", use_m2m=True))
    with pytest.raises(ConfigError, match="the weights say all"):
        sam_generator_from_settings(settings(weights / "a.pth", config="x.yaml"))


def test_sam2_weights_are_refused():
    with pytest.raises(VoxlangError, match="SAM 1"):
        sam_generator_from_settings(settings("checkpoints/voxlang_sam2_micro.safetensors"))


def test_missing_weights_say_where_to_get_them():
    with pytest.raises(ModelMissingError, match=r"sam_vit_l_0b3195\.pth and put it there"):
        sam_generator_from_settings(SamSettings(family="sam1", size="vit_l"))


def test_sizes_belong_to_families():
    with pytest.raises(ValueError, match="sam1 has vit_b, vit_l, vit_h"):
        SamSettings(family="sam1", size="tiny")
    with pytest.raises(ValueError, match="vit_h is not one of sam2"):
        SamSettings(size="vit_h")
    assert SamSettings(family="sam1").resolved().size == "vit_b"
    assert SamSettings(family="sam1", preset="coverage").resolved().size == "vit_h"
    assert SamSettings(family="sam1").resolved().pred_iou_thresh == 0.7
