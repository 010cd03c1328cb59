"""Encoders that are recognised but not converted, against the projects' own key names."""

import pytest
import torch

from voxlang.checkpoints.layouts import LAYOUTS
from voxlang.checkpoints.understand import detect, understand
from voxlang.checkpoints.vit import MOBILE_ENCODER
from voxlang.core.errors import WeightsError


def timm_state(name, **options):
    import timm

    return timm.create_model(name, embed_dim=48, depth=2, num_heads=2, img_size=28, **options).state_dict()


def described(state):
    known = understand(state)
    assert known.match.is_sure
    return known.match.layout.name, {name: fact.value for name, fact in known.facts.items()}


def test_timm_vit_and_ijepa():
    state = timm_state("vit_tiny_patch16_224", patch_size=14)
    name, facts = described(state)
    assert name == "timm-vit"
    assert (facts["width"], facts["blocks"], facts["patch"], facts["grid"]) == (48, 2, 14, 2)
    assert facts["has_class_token"]
    original = {k: v for k, v in state.items() if k != "cls_token" and not k.startswith("head.")}
    original["pos_embed"] = original["pos_embed"][:, 1:]
    name, facts = described(original)
    assert name == "ijepa"
    assert (facts["has_class_token"], facts["grid"]) == (False, 2)


def test_dinov2():
    name, facts = described(timm_state("vit_small_patch14_dinov2"))
    assert name == "dinov2"
    assert (facts["width"], facts["blocks"], facts["grid"]) == (48, 2, 2)


def test_transformers():
    from transformers import Dinov2Config, Dinov2Model, IJepaConfig, IJepaModel

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    with torch.device("meta"):
        dino = Dinov2Model(Dinov2Config(**small)).state_dict()
        ijepa = IJepaModel(IJepaConfig(intermediate_size=64, **small)).state_dict()
    for expected, state in (("hf-dinov2", dino), ("hf-ijepa", ijepa)):
        name, facts = described(state)
        assert name == expected
        assert (facts["width"], facts["blocks"], facts["patch"], facts["grid"]) == (32, 2, 14, 2)


def test_open_clip():
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=64, patch_size=16, image_size=32, head_width=32)
    text = CLIPTextCfg(context_length=8, vocab_size=16, width=32, heads=2, layers=2)
    name, facts = described(CLIP(32, vision, text).state_dict())
    assert name == "open-clip"
    assert (facts["width"], facts["blocks"], facts["patch"], facts["grid"]) == (64, 2, 16, 2)


def test_mobile_sam_shares_the_decoder_of_sam1():
    decoder = {form for form in LAYOUTS["sam1"].forms if not form.startswith("image_encoder.")}
    assert detect(MOBILE_ENCODER | decoder).layout.name == "mobile-sam"
    assert detect(LAYOUTS["sam1"].forms).layout.name == "sam1"


def test_other_encoders_are_no_sam():
    with pytest.raises(WeightsError, match="got ViT of timm"):
        understand(timm_state("vit_tiny_patch16_224", patch_size=14)).require_whole("a.pt")


def test_foreign_file_names_the_nearest_layout():
    known = understand({f"layer.{i}.weight": torch.zeros(1) for i in range(5)})
    assert not known.match.is_sure
    with pytest.raises(WeightsError, match=r"nearest known layout .* 0% of the key forms agree"):
        known.require_whole("a.pt")
