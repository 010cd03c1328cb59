"""ViT trunks against transformers' own models with small random weights."""

import json
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from voxlang.core.errors import ConfigError, MaskError, ModelMissingError, WeightsError
from voxlang.encoders import ViTTrunkMultiScale, build_sam2
from voxlang.encoders.build import build_image_encoder
from voxlang.encoders.compose import compose_sam2
from voxlang.encoders.hf_vit import load_vit
from voxlang.encoders.pyramid import PatchPyramid

SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES = {
    "dinov2": {"mlp_ratio": 2},
    "dinov2_with_registers": {"mlp_ratio": 2, "num_register_tokens": 3},
    "dinov3_vit": {"intermediate_size": 96, "num_register_tokens": 2},
    "vit": {"intermediate_size": 96},
    "ijepa": {"intermediate_size": 96},
}


def small(family: str = "dinov2", patch: int = 14) -> dict:
    return {"model_type": family, **SMALL, **FAMILIES[family], "patch_size": patch, "image_size": 4 * patch}


def kind(family: str) -> str:
    return "ijepa" if family == "ijepa" else "dino"


def trunk_of(family: str = "dinov2", patch: int = 14, **settings) -> ViTTrunkMultiScale:
    torch.manual_seed(0)
    settings = {"out_dims": [8, 7, 6, 5]} | settings
    return ViTTrunkMultiScale(small(family, patch), encoder_type=kind(family), **settings)


def picture(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("patch", [14, 16])
def test_levels_are_exact_and_patches_are_those_of_transformers(family, patch):
    trunk = trunk_of(family, patch).eval()
    x = picture()
    with torch.no_grad():
        levels = trunk(x)
        assert [tuple(f.shape) for f in levels] == [(2, 5, 16, 24), (2, 6, 8, 12), (2, 7, 4, 6), (2, 8, 2, 3)]
        seen = x if patch == 16 else F.interpolate(x, size=(56, 84), mode="bilinear", antialias=True)
        extra = {"interpolate_pos_encoding": True} if family in ("vit", "ijepa") else {}
        tokens = load_like(trunk)(seen, **extra).last_hidden_state
        prefix = {"dinov2": 1, "dinov2_with_registers": 4, "dinov3_vit": 3, "vit": 1, "ijepa": 0}[family]
        assert tokens.shape[1] == prefix + 24
        by_hand = torch.stack([tokens[:, prefix + i] for i in range(24)], -1).reshape(2, 48, 4, 6)
        project = trunk.pyramid.levels["16"][0]
        torch.testing.assert_close(levels[2], F.conv2d(by_hand, project.weight, project.bias))


def load_like(trunk: ViTTrunkMultiScale):
    """transformers' own class, by name, with the same weights."""
    import transformers

    own = getattr(transformers, type(trunk.vit).__name__)
    extra = {"add_pooling_layer": False} if trunk.vit.config.model_type in ("vit", "ijepa") else {}
    model = own(trunk.vit.config, **extra).eval()
    model.load_state_dict(trunk.vit.state_dict())
    return model


def test_a_patch_sees_its_own_sixteen_pixels():
    """Without attention's mixing (zeroed) the map of stride 16 changes only where the picture does."""
    trunk = trunk_of("dinov2", 14).eval()
    with torch.no_grad():
        for layer in trunk.vit.encoder.layer:
            layer.layer_scale1.lambda1.zero_()
        x = torch.zeros(1, 3, 64, 96)
        before = trunk(x)[2]
        x[..., 20:28, 36:44] = 1.0  # inside row 1, column 2
        changed = (trunk(x)[2] - before).abs().amax(1)[0] > 1e-6
    assert changed.nonzero().tolist() == [[1, 2]]


def test_the_pyramid_by_hand():
    torch.manual_seed(0)
    pyramid = PatchPyramid(4, [3, 3, 3, 3], upsample_mode="bilinear", refine_highres=True)
    x = torch.randn(1, 4, 4, 6)
    with torch.no_grad():
        fine, half, same, coarse = pyramid(x)
        project = lambda stride: pyramid.levels[str(stride)][0](x)
        torch.testing.assert_close(same, project(16))
        wanted = project(32).reshape(1, 3, 2, 2, 3, 2).mean((3, 5))
        torch.testing.assert_close(coarse, wanted)
        for level, stride, factor in ((half, 8, 2), (fine, 4, 4)):
            grown = F.interpolate(project(stride), scale_factor=factor, mode="bilinear", align_corners=False)
            torch.testing.assert_close(level, grown), "refinement adds nothing at first"
        pyramid.levels["8"][2].pointwise.bias.fill_(2.0)
        torch.testing.assert_close(pyramid(x)[1], half + 2)


def test_deconv_learns_its_enlargement_and_refinement_can_be_left_out():
    deconv = PatchPyramid(4, [3, 3, 3, 3], upsample_mode="deconv", refine_highres=False)
    names = {name for name, _ in deconv.named_parameters()}
    assert [tuple(f.shape[-2:]) for f in deconv(torch.zeros(1, 4, 2, 4))] == [(8, 16), (4, 8), (2, 4), (1, 2)]
    assert "levels.8.1.0.weight" in names and not any("depthwise" in name for name in names)
    plain = PatchPyramid(4, [3, 3, 3, 3], upsample_mode="bilinear", refine_highres=False)
    assert {name for name, _ in plain.named_parameters()} == {
        f"levels.{s}.0.{k}" for s in (32, 16, 8, 4) for k in ("weight", "bias")
    }


def test_widths_default_to_the_hidden_size():
    trunk = trunk_of(out_dims=None)
    assert trunk.channel_list == [48] * 4 and [f.shape[1] for f in trunk(picture(32, 32))] == [48] * 4


@pytest.mark.parametrize(
    ("name", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_forced_dtypes_compute_learn_and_pass_the_neck(name, dtype):
    trunk = trunk_of(force_dtype=name)
    levels = trunk(picture())
    assert {f.dtype for f in levels} == {dtype}
    assert {p.dtype for p in trunk.parameters()} == {torch.float32}
    sum(f.float().square().mean() for f in levels).backward()
    assert all(torch.isfinite(p.grad).all() for p in trunk.pyramid.parameters())
    for a, b in zip(levels, trunk_of()(picture()), strict=True):
        torch.testing.assert_close(a.float(), b, atol=0.05, rtol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        assert {f.dtype for f in trunk(picture())} == {dtype}, "what is forced wins over what is around"
    encoder = build_image_encoder(
        "sam2_vit_dino_micro", hydra_overrides_extra=[f"model.image_encoder.trunk.force_dtype={name}"]
    )
    assert {f.dtype for f in encoder(picture(32, 64))["backbone_fpn"]} == {torch.float32}


def test_a_frozen_vit_neither_learns_nor_drops():
    trunk = ViTTrunkMultiScale(small() | {"drop_path_rate": 0.9}, out_dims=[8, 7, 6, 5], freeze_vit=True).train()
    assert trunk.training and not trunk.vit.training and not any(m.training for m in trunk.vit.modules())
    first, second = trunk(picture()), trunk(picture())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "stochastic depth is off"
    sum(f.sum() for f in first).backward()
    assert all(p.grad is None and not p.requires_grad for p in trunk.vit.parameters())
    assert any(p.grad is not None for p in trunk.pyramid.parameters())
    free = ViTTrunkMultiScale(small() | {"drop_path_rate": 0.9}, out_dims=[8, 7, 6, 5]).train()
    assert not torch.equal(free(picture())[0], free(picture())[0])


def test_gradient_checkpointing_gives_the_same_gradients():
    grads = []
    for again in (False, True):
        trunk = trunk_of(gradient_checkpointing=again).train()
        trunk(picture())[0].square().mean().backward()
        grads.append([p.grad for p in trunk.vit.parameters() if p.grad is not None])
    assert len(grads[0]) > 10
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_one_graph_without_breaks(tmp_path):
    """torch.compile traces the whole trunk; the eager backend leaves out only the code generation.

    In a process of its own: the suite's shape checks are no code that can be traced.
    """
    script = f"""
import torch
from voxlang.encoders import ViTTrunkMultiScale
for config, kind in (({small()!r}, "dino"), ({small("ijepa")!r}, "ijepa")):
    trunk = ViTTrunkMultiScale(config, kind, [8, 7, 6, 5], freeze_vit=kind == "ijepa", verbose=True, force_dtype="bf16")
    whole = torch.compile(trunk, fullgraph=True, backend="eager")
    x = torch.randn(1, 3, 64, 96)
    for a, b in zip(whole(x), trunk(x), strict=True):
        torch.testing.assert_close(a, b)
    sum(f.float().sum() for f in whole(x)).backward()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("picture [1, 3, 64, 96]") == 2


def test_verbose_shows_each_shape_once(capsys):
    trunk = trunk_of(verbose=True, force_dtype="bf16")
    trunk(picture())
    trunk(picture())
    trunk(picture(32, 32))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0] == (
        "dino ViT, patches of 14: picture [2, 3, 64, 96] -> F4 [2, 5, 16, 24], F8 [2, 6, 8, 12], F16 [2, 7, 4, 6], "
        "F32 [2, 8, 2, 3], bfloat16"
    )
    trunk_of()(picture())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_type": "clip"}, "dino, ijepa"),
        ({"encoder_type": "ijepa"}, "ijepa.*model_type dinov2.*use encoder_type dino"),
        ({"upsample_mode": "nearest"}, "bilinear, deconv"),
        ({"force_dtype": "int8"}, "fp16, bf16, fp32"),
        ({"out_dims": [8, 8, 8]}, r"C32,C16,C8,C4.*\[8, 8, 8\]"),
        ({"out_dims": [8, 8, 8, 0]}, "four positive"),
        ({"pretrained": small() | {"hidden_sise": 3}}, "did you mean hidden_size"),
        ({"pretrained": {"model_type": "swin"}}, "model_type is one of dinov2.*'swin'"),
        ({"pretrained": {"hidden_size": 3}}, "model_type None"),
        ({"pretrained": small() | {"num_channels": 1}}, "1 channels"),
        ({"pretrained": small() | {"patch_size": [14, 16]}}, r"patches \[14, 16\]"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        ViTTrunkMultiScale(**({"pretrained": small(), "encoder_type": "dino"} | settings))


def test_pictures_of_other_sizes_are_refused():
    with pytest.raises(MaskError, match=r"multiples of 32.*100x96"):
        trunk_of()(picture(100, 96))


@pytest.fixture
def folder(tmp_path):
    """A saved ViT, as `save_pretrained` leaves it."""
    vit = load_vit(small(), "dino")
    with torch.no_grad():
        vit.layernorm.bias.fill_(0.25)
    vit.half().save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_folders_and_configurations(folder):
    own = ViTTrunkMultiScale(folder, "dino", out_dims=[8, 8, 8, 8])
    assert {p.dtype for p in own.parameters()} == {torch.float32}, "half weights on disk are no reason to compute so"
    assert (own.vit.layernorm.bias == 0.25).all() and own.patch_size == 14
    again = ViTTrunkMultiScale(own.architecture, "dino", out_dims=[8, 8, 8, 8])
    again.load_state_dict(own.state_dict())
    assert not (load_vit(folder / "config.json", "dino").layernorm.bias == 0.25).any(), "a config.json means random"
    assert torch.equal(again.eval()(picture())[0], own.eval()(picture())[0])


def test_a_hub_id_comes_from_the_local_store(folder, tmp_path, monkeypatch):
    """The store's own layout: refs name the revision, the snapshot holds the files."""
    from huggingface_hub import constants

    revision = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "models--facebook--dinov2-nano"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(revision)
    (place / "snapshots").mkdir()
    folder.rename(place / "snapshots" / revision)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    vit = load_vit("facebook/dinov2-nano", "dino")
    assert (vit.layernorm.bias == 0.25).all()
    with pytest.raises(ModelMissingError, match=r"hub id.*facebook/dinov2-large.*hf download facebook/dinov2-large"):
        load_vit("facebook/dinov2-large", "dino")


def test_what_is_not_there_is_said(folder, tmp_path):
    with pytest.raises(ModelMissingError, match="no such folder"):
        load_vit(str(tmp_path / "nowhere"), "dino")
    with pytest.raises(ModelMissingError, match="no such folder"):
        load_vit("dinov2-large", "dino")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelMissingError, match=r"config\.json and one of model\.safetensors.*got config\.json"):
        load_vit(folder, "dino")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelMissingError, match="an empty folder"):
        load_vit(tmp_path / "empty", "dino")


def test_weights_of_another_model_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(WeightsError, match=r"missing: encoder\.layer\.2"):
        load_vit(folder, "dino")
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(ConfigError, match="bert"):
        load_vit(folder, "dino")


@pytest.mark.parametrize("name", ["sam2_vit_dino", "sam2_vit_ijepa", "sam2_vit_dino_micro", "sam2_vit_ijepa_micro"])
@pytest.mark.parametrize("side", [256, 512, 1024])
def test_shipped_configurations_have_exact_pyramids(name, side):
    """On the meta device: every shape, no arithmetic. `python -m benchmarks.encoders` computes them."""
    encoder = on_meta(name)
    width = side + 32
    out = encoder(torch.empty(1, 3, side, width, device="meta"))["backbone_fpn"]
    d = encoder.neck.d_model
    assert [tuple(x.shape) for x in out] == [(1, d, side // s, width // s) for s in (4, 8, 16)]


_ON_META: dict = {}


def on_meta(name: str):
    if name not in _ON_META:
        with torch.device("meta"):
            _ON_META[name] = build_image_encoder(name)
    return _ON_META[name]


def test_inherited_configurations_are_sam2_but_for_the_encoder():
    for ours, official in (
        ("sam2_vit_dino", "configs/sam2.1/sam2.1_hiera_l.yaml"),
        ("sam2_vit_ijepa", "configs/sam2.1/sam2.1_hiera_t.yaml"),
    ):
        one, other = compose_sam2(ours), compose_sam2(official)
        for config in (one, other):
            del config["image_encoder"]["trunk"], config["image_encoder"]["neck"]["backbone_channel_list"]
        assert one == other, ours


@pytest.mark.parametrize("name", ["sam2_vit_dino_micro.yaml", "sam2_vit_ijepa_micro.yaml"])
def test_models_are_saved_and_loaded_strictly(name, tmp_path):
    from safetensors.torch import save_file

    model = build_sam2(name, device="cpu")
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    again = build_sam2(name, tmp_path / "w.safetensors", "cpu")
    with torch.no_grad():
        ours, theirs = (m.image_encoder(picture(64, 64))["vision_features"] for m in (model, again))
    assert torch.equal(ours, theirs)
    overrides = ["model.image_encoder.trunk.refine_highres=false"]
    with pytest.raises(WeightsError, match=r"unexpected: image_encoder\.trunk\.pyramid\.levels\.4\.2\.depthwise"):
        build_sam2(name, tmp_path / "w.safetensors", "cpu", hydra_overrides_extra=overrides)


def test_mismatched_widths_are_named():
    with pytest.raises(ConfigError, match=r"\[128, 128, 64, 16\].*\[128, 128, 64, 32\].*out_dims"):
        build_sam2(
            "sam2_vit_dino_micro",
            device="cpu",
            hydra_overrides_extra=["model.image_encoder.trunk.out_dims=[128,128,64,16]"],
        )


def test_a_trunk_joins_sam2s_own_classes():
    from voxlang.encoders.build import import_sam2

    import_sam2()
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    trunk = trunk_of()
    neck = FpnNeck(PositionEmbeddingSine(8), 8, trunk.channel_list, fpn_top_down_levels=[2, 3])
    out = ImageEncoder(trunk, neck, scalp=1)(picture())
    assert [tuple(x.shape[-2:]) for x in out["backbone_fpn"]] == [(16, 24), (8, 12), (4, 6)]
