"""The same outputs as upstream: their classes with random weights, saved in their layout, loaded by ours, and back."""

import json
from functools import partial

import numpy as np
import pytest
import torch

from voxlang.checkpoints.convert import convert_file
from voxlang.checkpoints.hf_config import hf_config
from voxlang.masks.load import load_sam, open_sam

TOLERANCE = 1e-5
HEADS_GIVEN = {"image_size": 128, "windows": (8, 4, 4, 2), "heads": 1, "global_blocks": (4, 5)}


def shuffle(model, seed=0):
    """Random values for every weight, also for those that upstream starts with zeros; signals keep their size."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            inputs = tensor[0].numel() if tensor.ndim > 1 else 4
            tensor.copy_(torch.randn(tensor.shape, generator=g) / inputs**0.5)
    return model.eval()


def far(a, b):
    return (a - b).abs().max().item() / max(1.0, b.abs().max().item())


@pytest.fixture(scope="module")
def sam1():
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    return shuffle(
        Sam(
            ImageEncoderViT(
                img_size=32,
                patch_size=4,
                embed_dim=24,
                depth=4,
                num_heads=2,
                out_chans=32,
                norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
                use_rel_pos=True,
                window_size=3,
                global_attn_indexes=(1, 3),
            ),
            PromptEncoder(embed_dim=32, image_embedding_size=(8, 8), input_image_size=(32, 32), mask_in_chans=8),
            MaskDecoder(
                transformer_dim=32,
                transformer=TwoWayTransformer(depth=2, embedding_dim=32, num_heads=8, mlp_dim=40),
                iou_head_hidden_dim=16,
            ),
        )
    )


def sam1_answer(model):
    picture = 255 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    asked = {
        "image": picture,
        "original_size": (32, 32),
        "point_coords": torch.tensor([[[10.0, 20.0]], [[3.0, 7.0]]]),
        "point_labels": torch.ones(2, 1),
    }
    (answer,) = model([asked], multimask_output=True)
    return answer["low_res_logits"], answer["iou_predictions"]


def assert_same_answer(ours, theirs):
    assert far(ours[0], theirs[0]) <= TOLERANCE
    assert far(ours[1], theirs[1]) <= TOLERANCE


@pytest.mark.filterwarnings("ignore:.*nothing in the weights decides")
@pytest.mark.parametrize("layout", ["sam1", "sam1-stages", "hf-sam"])
def test_sam1_in_every_layout(sam1, tmp_path, layout):
    torch.save(sam1.state_dict(), tmp_path / "a.pth")
    convert_file(tmp_path / "a.pth", tmp_path / "b.pt", to=layout)
    loaded = open_sam(tmp_path / "b.pt")
    assert loaded.config.global_blocks == (1, 3)
    assert loaded.config.heads == 2
    assert loaded.config.window == 3
    assert_same_answer(sam1_answer(loaded.model), sam1_answer(sam1))
    convert_file(tmp_path / "b.pt", tmp_path / "c.pth", to="sam1")
    back = torch.load(tmp_path / "c.pth", weights_only=True)
    assert back.keys() == sam1.state_dict().keys()
    assert all(torch.equal(v, back[k]) for k, v in sam1.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*nothing in the weights decides")
def test_sam1_in_transformers(sam1, tmp_path):
    from transformers import SamModel

    torch.save(sam1.state_dict(), tmp_path / "a.pth")
    convert_file(tmp_path / "a.pth", tmp_path / "hf", to="hf-sam")
    theirs, info = SamModel.from_pretrained(tmp_path / "hf", local_files_only=True, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    picture = 255 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answer = theirs.eval()(
            pixel_values=sam1.preprocess(picture)[None],
            input_points=torch.tensor([[[[10.0, 20.0]], [[3.0, 7.0]]]]),
            multimask_output=True,
        )
    assert_same_answer(sam1_answer(sam1), (answer.pred_masks[0], answer.iou_scores[0]))

    shuffle(theirs, seed=5).save_pretrained(tmp_path / "theirs")
    ours = load_sam(tmp_path / "theirs")
    with torch.no_grad():
        answer = theirs(
            pixel_values=ours.preprocess(picture)[None],
            input_points=torch.tensor([[[[10.0, 20.0]], [[3.0, 7.0]]]]),
            multimask_output=True,
        )
    assert_same_answer(sam1_answer(ours), (answer.pred_masks[0], answer.iou_scores[0]))


@pytest.fixture(scope="module")
def sam2():
    """A small SAM 2.1 of upstream's classes, written as upstream's YAML files are."""
    from voxlang.encoders.build import instantiate_sam2
    from voxlang.masks.build import read_sam_config

    node = read_sam_config("tiny")
    node["image_size"] = 128
    trunk = dict(embed_dim=16, num_heads=1, stages=[1, 2, 3, 1], global_att_blocks=[4, 5], window_spec=[8, 4, 4, 2])
    node["image_encoder"]["trunk"].update(trunk)
    node["image_encoder"]["neck"].update(backbone_channel_list=[128, 64, 32, 16])
    node["memory_attention"]["num_layers"] = 1
    for part in ("self_attention", "cross_attention"):
        node["memory_attention"]["layer"][part]["feat_sizes"] = [8, 8]
    return shuffle(instantiate_sam2(node))


def sam2_answer(model):
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(model)
    predictor._bb_feat_sizes = [(32, 32), (16, 16), (8, 8)]
    picture = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    predictor.set_image(picture)
    _, iou, low = predictor.predict(np.array([[30, 70]]), np.array([1]), return_logits=True, normalize_coords=True)
    return torch.from_numpy(low), torch.from_numpy(iou), picture, predictor


@pytest.mark.parametrize("layout", ["sam2", "hf-sam2", "hf-sam2-video"])
def test_sam2_in_every_layout(sam2, tmp_path, layout):
    torch.save({"model": sam2.state_dict()}, tmp_path / "a.pt")
    convert_file(tmp_path / "a.pt", tmp_path / "b.safetensors", to=layout)
    with pytest.warns(UserWarning, match="top_down=") as caught:
        model = load_sam(tmp_path / "b.safetensors", given=HEADS_GIVEN)
    assert not any("heads=" in str(w.message) for w in caught)
    assert_same_answer(sam2_answer(model)[:2], sam2_answer(sam2)[:2])
    convert_file(tmp_path / "b.safetensors", tmp_path / "c.safetensors", to="sam2", partial=layout == "hf-sam2")
    with pytest.warns(UserWarning, match="top_down="):
        back = open_sam(tmp_path / "c.safetensors", given=HEADS_GIVEN)
    whole = sam2.state_dict()
    kept = [k for k in whole if layout != "hf-sam2" or not k.startswith(("memory", "maskmem", "no_mem_pos", "obj_ptr"))]
    state = back.model.state_dict()
    assert all(torch.equal(state[k], whole[k]) for k in kept if k in state or layout != "hf-sam2")


@pytest.mark.parametrize("layout", ["hf-sam2", "hf-sam2-video"])
def test_sam2_in_transformers(sam2, tmp_path, layout):
    from transformers import Sam2Model, Sam2VideoModel

    torch.save({"model": sam2.state_dict()}, tmp_path / "a.pt")
    convert_file(tmp_path / "a.pt", tmp_path / "hf", to=layout)
    with pytest.warns(UserWarning, match="top_down="):
        config = open_sam(tmp_path / "a.pt", given=HEADS_GIVEN).config
    (tmp_path / "hf" / "config.json").write_text(json.dumps(hf_config(layout, config)))
    kind = Sam2Model if layout == "hf-sam2" else Sam2VideoModel
    theirs, info = kind.from_pretrained(tmp_path / "hf", local_files_only=True, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    low, iou, picture, predictor = sam2_answer(sam2)
    pixels = predictor._transforms(picture)[None]
    if layout == "hf-sam2":
        with torch.no_grad():
            answer = theirs.eval()(pixel_values=pixels, input_points=torch.tensor([[[[30.0, 70.0]]]]))
        assert_same_answer((low, iou), (answer.pred_masks[0, 0], answer.iou_scores[0, 0]))
    else:
        with torch.no_grad():
            features = theirs.eval().get_image_features(pixels).fpn_hidden_states
        ours = sam2.forward_image(pixels)["backbone_fpn"]
        assert len(features) == len(ours) == 3
        assert all(
            far(a.permute(1, 2, 0).reshape(b.shape), b) <= TOLERANCE for a, b in zip(features, ours, strict=True)
        )


def test_embedded_model():
    from voxlang.masks.build import build_sam2_model
    from voxlang.masks.models import resolve_files

    files = resolve_files("micro")
    loaded = open_sam(files.checkpoint)
    usual = build_sam2_model("micro", files.checkpoint)
    assert loaded.size == "micro"
    x = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for a, b in zip(
            loaded.model.forward_image(x)["backbone_fpn"], usual.forward_image(x)["backbone_fpn"], strict=True
        ):
            assert torch.equal(a, b)
