"""How the parameters of the backbone become a trunk; nothing here needs MMSegmentation."""

from pathlib import Path

import pytest

from voxlang.checkpoints.hiera import HieraConfig, hiera_skeleton
from voxlang.checkpoints.published import PUBLISHED_HIERA
from voxlang.core.errors import ConfigError
from voxlang.mmseg.parameters import HieraParameters, backbone_text, settle

ENDS = {"tiny": (0, 2, 9, 11), "small": (0, 2, 13, 15), "base_plus": (1, 4, 20, 23), "large": (1, 7, 43, 47)}
OWN = HieraConfig(3, 7, 40, (1, 2, 3), 4, (7, 7), 2, (8, 4, 4), (5,))


def settled(shapes=None, **said):
    return settle(HieraParameters(**said), shapes)


def test_nothing_said_is_base_plus():
    found = settled()
    assert found.trunk == PUBLISHED_HIERA["base_plus"]
    assert (found.out_blocks, found.out_channels, found.notes) == (ENDS["base_plus"], (112, 224, 448, 896), ())


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ("tiny", {"num_layers": 12}),
        ("tiny", {"embed_dims": 96}),
        ("small", {"num_layers": 16, "embed_dims": 96, "num_heads": 1, "patch_size": 4}),
        ("small", {"proj_layers": [1, 3, 14]}),
        ("base_plus", {"num_layers": 24, "proj_layers": [2, 5, 21], "img_size": (512, 768)}),
        ("large", {"embed_dims": 144}),
        ("large", {"embed_dims": 768, "num_layers": 48}),
    ],
)
def test_a_few_numbers_name_a_size(size, said):
    found = settled(**said)
    assert (found.trunk, found.out_blocks) == (PUBLISHED_HIERA[size], ENDS[size])


@pytest.mark.parametrize("size", ENDS)
def test_the_checkpoint_decides(size):
    trunk = PUBLISHED_HIERA[size]
    shapes = hiera_skeleton(trunk, "")
    assert settled(shapes).trunk == trunk
    with pytest.raises(ConfigError, match=rf"num_layers={trunk.blocks} of SAM 2 {size} \(as the checkpoint says\)"):
        settled(shapes, num_layers=13)


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"embed_dims": 768}, "embed_dims=768: that is a plain ViT-B's; SAM 2 base_plus has embed_dims=112"),
        ({"num_heads": 12}, "num_heads=12: that is a plain ViT-B's; SAM 2 base_plus has num_heads=2"),
        ({"patch_size": 16}, "patch_size=16: that is the stride of the features of stage 3"),
        ({"patch_size": 7}, "patch_size=7: that is the kernel"),
        ({"patch_norm": True}, "none is added"),
        ({"out_indices": [2, 5, 11, 23]}, r"strides [8, 16, 16, 32] and channels [224, 448, 448, 896]"),
    ],
)
def test_numbers_that_no_sam2_has_are_explained(said, note):
    found = settled(num_layers=24, **said)
    assert found.trunk == PUBLISHED_HIERA["base_plus"]
    (told,) = found.notes
    assert note in told


def test_the_width_of_a_later_stage_is_understood():
    (note,) = settled(hiera_skeleton(PUBLISHED_HIERA["base_plus"], ""), embed_dims=896).notes
    assert "width of stage 4" in note


def test_a_trunk_of_ones_own_says_what_it_assumes():
    said = {"embed_dims": 40, "num_layers": 6, "proj_layers": [1, 3]}
    found = settled(**said, num_heads=2, window_spec=[8, 4, 4], global_att_blocks=[5])
    assert (found.trunk, found.notes) == (OWN, ())
    notes = settled(hiera_skeleton(OWN, ""), num_heads=2).notes
    assert [note.split("=")[0] for note in notes] == ["window_spec", "global_att_blocks"]
    assert all("assumed" in note for note in notes)


def test_out_indices_are_stages_or_blocks():
    assert settled(out_indices=[1, 3]).out_blocks == (4, 23)
    assert settled(out_indices=[4, 23]).out_blocks == (4, 23)
    assert settled(out_indices=[4, 23]).notes == ()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"embed_dims": 100}, "base_plus: embed_dims=112, num_heads=2, num_layers=24.*got embed_dims=100"),
        ({"num_layers": 6, "embed_dims": 40, "proj_layers": [3, 3]}, "ascend from 1 on"),
        ({"num_heads": 3}, "num_heads=2 of SAM 2 base_plus; got num_heads=3"),
        ({"patch_size": 14}, "patch_size=4"),
        ({"img_size": 1000}, "multiples of 32"),
        ({"norm_cfg": {"type": "BN"}}, "type LN"),
        ({"norm_cfg": {"type": "LN", "momentum": 1}}, "no more than eps"),
        ({"frozen_stages": 5}, "from -1 to 4"),
        ({"out_indices": []}, "ascending stages"),
        ({"out_indices": [3, 1]}, "ascending stages"),
        ({"out_indices": [3, 24]}, "ascending stages"),
        ({"embed_dims": 40, "num_layers": 6, "proj_layers": [1, 3], "window_spec": [8]}, "window_spec with 3"),
        ({"embed_dims": 40, "num_layers": 6, "proj_layers": [1, 3], "num_heads": 7}, "num_heads that divides"),
        ({"embed_dims": 40, "num_layers": 6, "proj_layers": [1, 3], "global_att_blocks": [6]}, "from 0 to 5"),
    ],
)
def test_what_cannot_be_is_refused_with_the_real_values(said, message):
    with pytest.raises(ConfigError, match=message):
        settled(**said)


def test_a_backbone_is_spelled_out_as_it_is():
    text = backbone_text(hiera_skeleton(PUBLISHED_HIERA["tiny"], ""), Path("tiny.pth"))
    said = eval(text.split("backbone=")[1])
    assert said.pop("type") == "HieraSAM2" and said.pop("init_cfg")["checkpoint"] == "tiny.pth"
    found = settled(**said)
    assert (found.trunk, found.notes) == (PUBLISHED_HIERA["tiny"], ())
