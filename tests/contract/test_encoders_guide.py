"""Every claim of the guide to DINO and I-JEPA encoders (docs/encoders.md), and where it is tested.

Use
- `device="cuda"` on a machine without: test_encoders_build `a_cuda_device_that_is_not_there_is_said`
- both configurations by name: test_encoders_vit `shipped_configurations`, `inherited_configurations`; built and
  computed in full by `python -m benchmarks.encoder_check`
- the trunk alone, with sam2's own neck: test_encoders_vit `a_trunk_joins_sam2s_own_classes`
- training by a hub id: test_encoders_options `the_door_names_what_is_wrong`, test_encoders_vit `a_hub_id_comes...`
- training by a folder, frozen, in half precision: here

Flags (that each reaches the recipe: test_encoders_options `every_flag_reaches_the_recipe`)
- --encoder-type, --encoder-ckpt: test_encoders_options `a_hiera_gives_way_to_a_vit`, `options_that_do_not_fit`; here
- --encoder-out-dims: test_encoders_options `other_flags_and_wrong_ones`; test_segtrain_encoders `..._stage_2_takes`
- --encoder-upsample-mode, --no-refine-highres: test_encoders_vit `deconv_learns...`; `..._stage_2_takes`
- --freeze-vit: test_segtrain_encoders `frozen_means_frozen`; test_encoders_vit `a_frozen_vit_neither_learns_nor_drops`
- --force-dtype: test_encoders_vit `forced_dtypes_compute_learn_and_pass_the_neck`; here
- --vit-verbose: test_encoders_vit `verbose_shows_each_shape_once`; here

What is inside
- F4, F8, F16 and F32 exact, by hand: test_encoders_vit `levels_are_exact...`, `the_pyramid_by_hand`
- widths: the hidden size, or as asked: test_encoders_vit `widths_default_to_the_hidden_size`
- torch.compile: test_encoders_vit `one_graph_without_breaks`
- SAM 2 as it was: test_encoders_sam2 `every_official_encoder_has_the_names_of_sam2`

Troubleshooting
- resolvers: test_encoders_options `the_door_names...`; test_encoders_build `resolvers_of...`, `what_cannot...`
- model not found: test_encoders_vit `what_is_not_there_is_said`, `a_hub_id_comes_from_the_local_store`
- channel mismatch: test_encoders_vit `mismatched_widths_are_named`; test_encoders_build `what_cannot_be_built...`

Tips for memory and speed: here. Validation script: test_encoders_check.
"""

import pytest
import torch

from voxlang.encoders import ViTTrunkMultiScale, build_sam2
from voxlang.encoders.hf_vit import load_vit
from voxlang.segtrain.command import TrainCommand, run_training

BASE = "configs/sam2_training/base_config.yaml"
SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "image_size": 56}


def kept_for_backward(**settings) -> int:
    """Bytes of the activations that a forward pass keeps for the way back; weights are not counted."""
    trunk = ViTTrunkMultiScale({"model_type": "dinov2", **SMALL}, out_dims=[8, 8, 8, 8], **settings).train()
    weights = {p.untyped_storage().data_ptr() for p in trunk.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        levels = trunk(torch.randn(1, 3, 256, 256))
    assert any(level.requires_grad for level in levels)
    return sum(kept.values())


@pytest.mark.parametrize(
    ("tip", "share"),
    [
        ({"freeze_vit": True}, 0.6),
        ({"force_dtype": "bf16"}, 0.8),
        ({"force_dtype": "fp16"}, 0.8),
        ({"refine_highres": False}, 0.8),
        ({"gradient_checkpointing": True}, 0.8),
    ],
)
def test_every_tip_for_memory_saves_activations(tip, share):
    assert kept_for_backward(**tip) < share * kept_for_backward()


def test_without_refinement_there_is_less_to_compute():
    count = lambda **settings: sum(
        p.numel()
        for p in ViTTrunkMultiScale({"model_type": "dinov2", **SMALL}, out_dims=[8] * 4, **settings).parameters()
    )
    depthwise, norm, pointwise = 8 * 9 + 8, 2 * 8, 8 * 8 + 8
    assert count() - count(refine_highres=False) == 2 * (depthwise + norm + pointwise)


def test_the_second_command_of_the_guide_trains_a_frozen_folder_in_half_precision(tmp_path, capsys):
    """--encoder-type ijepa --encoder-ckpt FOLDER --freeze-vit --force-dtype fp16, and --vit-verbose."""
    torch.manual_seed(3)
    vit = load_vit({"model_type": "ijepa", "intermediate_size": 96, **SMALL}, "ijepa")
    vit.save_pretrained(tmp_path / "vit")
    command = TrainCommand(
        config=BASE, smoke=True, run_dir=str(tmp_path / "run"), encoder_type="ijepa",
        encoder_ckpt=str(tmp_path / "vit"), freeze_vit=True, force_dtype="fp16", vit_verbose=True,
    )  # fmt: skip
    run_training(command)
    said = capsys.readouterr().out
    assert "ijepa ViT, patches of 14: picture [1, 3, " in said and "float16" in said
    (tmp_path / "vit").rename(tmp_path / "gone")
    trained = build_sam2(tmp_path / "run" / "weights.yaml", tmp_path / "run" / "weights.safetensors", "cpu")
    trunk = trained.image_encoder.trunk
    assert (trunk.encoder_type, trunk.out_dims, trunk.dtype) == ("ijepa", [48] * 4, torch.float16)
    for name, tensor in vit.state_dict().items():
        assert torch.equal(tensor, trunk.vit.state_dict()[name]), name
    assert all(bool(p.isfinite().all()) for p in trained.parameters())
    assert trunk.pyramid.levels["4"][2].pointwise.weight.abs().max() > 0, "the refinement began at zero, and learned"
