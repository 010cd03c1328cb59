"""The backbone against sam2's own trunk, and what a configuration may say about it."""

import pytest
import torch

pytest.importorskip("mmengine", reason="the extra mmseg is not installed; `make test-mmseg` runs these")

from mmengine.config import Config
from mmengine.runner import save_checkpoint
from mmengine.runner.checkpoint import load_checkpoint
from mmseg.registry import MODELS
from sam2_models import random_model, random_trunk, sam2_config

from voxlang.core.errors import ConfigError, WeightsError
from voxlang.masks.build import read_sam_config
from voxlang.mmseg.converter import main as convert
from voxlang.mmseg.hiera_sam2 import HieraSAM2

TRUNK = read_sam_config("micro")["image_encoder"]["trunk"]
WIDTHS = [TRUNK["embed_dim"] * 2**stage for stage in range(4)]
BLOCKS = sum(TRUNK["stages"])
OWN = dict(embed_dims=TRUNK["embed_dim"], num_layers=BLOCKS)
MICRO = dict(type="Pretrained", checkpoint="checkpoints/voxlang_sam2_micro.safetensors")
SIZES = {
    "tiny": dict(embed_dims=96, num_layers=12),
    "small": dict(embed_dims=96, num_layers=16),
    "base_plus": dict(),
    "large": dict(embed_dims=144),
}


def same(features, truth):
    return len(features) == len(truth) and all(torch.equal(a, b) for a, b in zip(features, truth, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_four_feature_maps_equal_those_of_sam2(size, picture):
    trunk = random_trunk(size)
    backbone = MODELS.build(dict(type="HieraSAM2", **SIZES[size])).eval()
    backbone.load_state_dict(trunk.state_dict(), strict=True)
    features, truth = backbone(picture), trunk(picture)
    assert same(features, truth)
    assert [f.shape[-1] for f in features] == [24, 12, 6, 3]
    assert backbone.out_channels == [f.shape[1] for f in features]


@torch.no_grad()
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_a_sam2_checkpoint_and_what_the_converter_makes_of_it_are_the_same_backbone(tmp_path, picture, version, capsys):
    model = random_model(sam2_config("tiny", version))
    raw, converted = tmp_path / "sam2.pt", tmp_path / "hiera.pth"
    torch.save({"model": model.state_dict()}, raw)
    assert convert([str(raw), str(converted), "--analyze", "--print-keys"]) == 0
    told = capsys.readouterr().out
    for text in ("image_encoder.trunk.pos_embed_window", "embed_dims=96", "proj_layers=[1, 3, 10]", "look-up", version):
        assert text in told
    truth = model.image_encoder.trunk(picture)
    for path in (raw, converted):
        backbone = HieraSAM2(init_cfg=dict(type="Pretrained", checkpoint=str(path)))
        backbone.init_weights()
        assert same(backbone.eval()(picture), truth)
    written, expected = torch.load(converted, weights_only=True), model.image_encoder.trunk.state_dict()
    assert written.keys() == expected.keys() and all(torch.equal(written[k], expected[k]) for k in expected)


@torch.no_grad()
def test_everything_left_out_comes_from_the_checkpoint():
    backbone = HieraSAM2(init_cfg=MICRO)
    assert backbone.out_channels == WIDTHS
    each = [width for width, blocks in zip(WIDTHS, TRUNK["stages"], strict=True) for _ in range(blocks)]
    assert [len(b.attn.qkv.weight) // 3 for b in backbone.blocks] == each
    assert list(backbone.global_att_blocks) == list(TRUNK["global_att_blocks"])
    assert list(backbone.window_spec) == list(TRUNK["window_spec"])
    message = rf"embed_dims={WIDTHS[0]} of SAM 2 micro \(as the checkpoint says\); got embed_dims=96"
    with pytest.raises(ConfigError, match=message):
        HieraSAM2(init_cfg=MICRO, embed_dims=96)


@torch.no_grad()
def test_the_configuration_that_circulates_is_base_plus_and_says_the_real_numbers(picture, caplog):
    backbone = MODELS.build(
        dict(
            type="HieraSAM2",
            img_size=1024,
            patch_size=16,
            in_channels=3,
            embed_dims=768,
            num_layers=24,
            num_heads=12,
            mlp_ratio=4.0,
            out_indices=[2, 5, 11, 23],
            drop_rate=0.0,
            drop_path_rate=0.1,
            norm_cfg=dict(type="LN"),
            patch_norm=True,
            frozen_stages=-1,
            proj_layers=[2, 5, 21],
            use_pos_embed=True,
        )
    ).eval()
    trunk = random_trunk("base_plus")
    backbone.load_state_dict(trunk.state_dict(), strict=True)
    outputs = []
    for block in trunk.blocks:
        block.register_forward_hook(lambda block, inputs, output: outputs.append(output.permute(0, 3, 1, 2)))
    trunk(picture)
    assert same(backbone(picture), [outputs[i] for i in (2, 5, 11, 23)])
    assert backbone.out_channels == [224, 448, 448, 896]


def test_frozen_stages_do_not_move(picture):
    backbone = HieraSAM2(init_cfg=MICRO, frozen_stages=2, drop_path_rate=0.5, drop_rate=0.5)
    backbone.init_weights()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=0.1, weight_decay=0.5)
    backbone.train()
    assert torch.equal(backbone(picture)[1], backbone(picture)[1])  # no dropout, no stochastic depth below
    for _ in range(2):
        optimizer.zero_grad()
        sum(f.square().mean() for f in backbone(picture)).backward()
        optimizer.step()
    moved = {k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])}
    below = [f"blocks.{i}." for i in range(sum(TRUNK["stages"][:2]))]
    frozen = {k for k in before if k.startswith(("pos_embed", "patch_embed", *below))}
    assert moved == before.keys() - frozen


def test_one_frozen_stage_more_than_the_embedding_is_the_first_blocks():
    def frozen(stages):
        backbone = HieraSAM2(init_cfg=MICRO, frozen_stages=stages)
        keys = (key.split(".") for key, p in backbone.named_parameters() if not p.requires_grad)
        return {key[1] if key[0] == "blocks" else key[0] for key in keys}

    embeddings = {"pos_embed", "pos_embed_window", "patch_embed"}
    assert frozen(-1) == set()
    assert frozen(0) == embeddings
    assert frozen(1) == embeddings | {str(i) for i in range(TRUNK["stages"][0])}
    assert frozen(4) == embeddings | {str(i) for i in range(BLOCKS)}


def test_stochastic_depth_grows_along_the_blocks_and_rests_in_evaluation(picture):
    backbone = HieraSAM2(init_cfg=MICRO, drop_path_rate=0.7)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in backbone.blocks]
    assert rates == pytest.approx([0.7 * i / (BLOCKS - 1) for i in range(BLOCKS)])
    torch.manual_seed(0)
    assert not torch.equal(backbone.train()(picture)[3], backbone(picture)[3])
    assert torch.equal(backbone.eval()(picture)[3], backbone(picture)[3])


@torch.no_grad()
def test_other_settings_reach_the_network(picture):
    backbone = HieraSAM2(**OWN, in_channels=1, mlp_ratio=2, out_indices=[1], norm_cfg=dict(type="LN", eps=1e-3)).eval()
    assert backbone(picture[:, :1])[0].shape == (2, WIDTHS[1], 8, 12)
    assert backbone.patch_embed.proj.in_channels == 1
    assert all(b.mlp.layers[0].out_features == 2 * b.dim_out and b.norm1.eps == 1e-3 for b in backbone.blocks)
    backbone = HieraSAM2(init_cfg=MICRO, use_pos_embed=False)
    backbone.init_weights()
    before = backbone.eval()(picture)
    backbone.pos_embed.fill_(9.0)
    assert same(backbone(picture), before)


def test_random_weights_are_small_and_not_zero():
    backbone = HieraSAM2(**OWN)
    backbone.init_weights()
    for name, p in backbone.named_parameters():
        if name.endswith("qkv.weight") or name.startswith("pos_embed"):
            assert 0.01 < p.std() < 0.03, name


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError, match=r"multiples of 32; got \(60, 64\).*size_divisor=32"):
        HieraSAM2(init_cfg=MICRO)(torch.zeros(1, 3, 60, 64))


def test_weights_of_another_size_are_refused_where_mmengine_would_only_log(tmp_path):
    backbone = MODELS.build(dict(type="HieraSAM2", **OWN))
    path = tmp_path / "segmentor.pth"
    save_checkpoint({"state_dict": {f"backbone.{k}": v for k, v in backbone.state_dict().items()}}, str(path))

    class Segmentor(torch.nn.Module):
        def __init__(self, **parameters):
            super().__init__()
            self.backbone = HieraSAM2(**parameters)

    load_checkpoint(Segmentor(**OWN), str(path), map_location="cpu")
    with pytest.raises(WeightsError, match=f"say embed_dims={WIDTHS[0]}, num_layers={BLOCKS} in the configuration"):
        load_checkpoint(Segmentor(embed_dims=96, num_layers=12), str(path), map_location="cpu")


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    (tmp_path / "empty.pt").touch()
    for name, got in (("none.pt", "no such file"), ("empty.pt", "empty file")):
        with pytest.raises(WeightsError, match=got):
            HieraSAM2(init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / name)))
    with pytest.raises(ConfigError, match="or None"):
        HieraSAM2(init_cfg=dict(type="TruncNormal", std=0.02))


@torch.no_grad()
def test_the_base_configuration_builds_a_whole_segmentor():
    config = Config.fromfile("configs/_base_/models/hiera_sam2.py")
    for head in (config.model.decode_head, config.model.auxiliary_head):
        head.norm_cfg = dict(type="BN")
    with MODELS.switch_scope_and_registry("mmseg") as registry:
        model = registry.build(config.model).eval()
    assert model.backbone.out_channels == config.model.decode_head.in_channels == [112, 224, 448, 896]
    assert model(torch.zeros(1, 3, 64, 64)).shape[:2] == (1, 19)
