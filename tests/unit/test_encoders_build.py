"""Building from YAML: names, overrides, Hydra's state, and what is said about configurations that cannot work."""

import inspect
import math

import pytest
import torch

from voxlang.core.errors import ConfigError, MaskError, WeightsError
from voxlang.encoders import build_sam2
from voxlang.encoders.build import build_image_encoder
from voxlang.encoders.compose import compose_sam2, hydra_set_aside
from voxlang.encoders.files import find_config, locate_config, sam2_folder

MICRO = "sam2.1_hiera_micro.yaml"
TRUNK, NECK = "model.image_encoder.trunk", "model.image_encoder.neck"


def test_arguments_are_those_of_sam2():
    from sam2.build_sam import build_sam2 as official

    ours, theirs = (list(inspect.signature(f).parameters) for f in (build_sam2, official))
    assert ours == theirs[: len(ours)]


@pytest.mark.parametrize(
    "name",
    [MICRO, "sam2.1_hiera_micro", f"configs/sam2/{MICRO}", "configs/sam2.1/sam2.1_hiera_b+.yaml", "sam2_hiera_t.yaml"],
)
def test_configurations_are_found_by_path_and_by_name(name):
    path = find_config(name)
    assert path.is_file() and path.name.startswith(name.rpartition("/")[2].removesuffix(".yaml"))
    assert compose_sam2(name)["_target_"].startswith("sam2.modeling.sam2_base")


def test_a_file_of_the_user_wins_and_an_unknown_one_lists_ours(tmp_path, monkeypatch):
    assert locate_config("none.yaml") is None
    with pytest.raises(ConfigError, match=MICRO):
        find_config("none.yaml")
    own = tmp_path / MICRO
    own.write_text(find_config(MICRO).read_text().replace("image_size: 256", "image_size: 128"))
    assert compose_sam2(own)["image_size"] == 128
    monkeypatch.chdir(tmp_path)
    assert compose_sam2(MICRO)["image_size"] == 128


def test_inheritance_from_ours_and_from_the_package(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(
        "# @package _global_\ndefaults:\n  - /configs/sam2.1/sam2.1_hiera_t@_here_\n  - _self_\n"
        "model:\n  image_size: 512\n"
    )
    composed, official = compose_sam2(own), compose_sam2("configs/sam2.1/sam2.1_hiera_t.yaml")
    assert composed == official | {"image_size": 512}
    own.write_text("defaults: [sam2.1_hiera_micro, _self_]\nmodel: {num_maskmem: 2}\n")
    assert compose_sam2(own) == compose_sam2(MICRO) | {"num_maskmem": 2}


def test_overrides_and_postprocessing():
    overrides = ["model.image_size=128", f"++{TRUNK}.drop_path_rate=0.1"]
    model = build_sam2(MICRO, device="cpu", hydra_overrides_extra=overrides)
    assert model.image_size == 128
    assert model.image_encoder.trunk.blocks[-1].drop_path.drop_prob == pytest.approx(0.1)
    assert len(overrides) == 2, "the caller's list is left as it is"
    decoder = model.sam_mask_decoder
    assert decoder.dynamic_multimask_via_stability
    assert (decoder.dynamic_multimask_stability_delta, decoder.dynamic_multimask_stability_thresh) == (0.05, 0.98)
    plain = build_sam2(MICRO, device="cpu", apply_postprocessing=False)
    assert not plain.sam_mask_decoder.dynamic_multimask_via_stability
    kept = build_sam2(
        MICRO,
        device="cpu",
        apply_postprocessing=False,
        hydra_overrides_extra=["++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.2"],
    )
    assert kept.sam_mask_decoder.dynamic_multimask_stability_delta == 0.2


def test_modes_and_devices():
    assert not build_sam2(MICRO, device="cpu").training
    assert build_sam2(MICRO, device=torch.device("cpu"), mode="train").training
    with pytest.raises(ConfigError, match="eval or train"):
        build_sam2(MICRO, device="cpu", mode="test")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_cuda_device_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match=r"a CUDA device.*none that torch can see.*use auto or cpu"):
        build_sam2(MICRO, device="cuda")


def test_resolvers_of_training_configurations(tmp_path):
    own = tmp_path / "mine.yaml"
    own.write_text(
        "defaults: [sam2.1_hiera_micro, _self_]\nside: 64\nmodel:\n"
        "  image_size: ${times:${side},4}\n  num_maskmem: ${int:${divide:6,${subtract:4,2}}}\n"
        "  multimask_max_pt_num: ${ceil_int:${add:0.5,0.7}}\n  sigmoid_scale_for_mem_enc: ${pow:2,3}\n"
    )
    composed = compose_sam2(own)
    assert (composed["image_size"], composed["num_maskmem"]) == (256, 3)
    assert (composed["multimask_max_pt_num"], composed["sigmoid_scale_for_mem_enc"]) == (2, 8)


def test_a_hydra_program_around_is_not_disturbed(tmp_path):
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import JobRuntime
    from hydra.version import VersionBase

    (tmp_path / "app.yaml").write_text("name: outer\n")
    with hydra_set_aside():
        initialize_config_dir(str(tmp_path), job_name="outer_app", version_base="1.3")
        before, loaded = GlobalHydra.instance(), GlobalHydra.instance().hydra
        build_sam2(MICRO, device="cpu")
        with pytest.raises(ConfigError):
            build_sam2(MICRO, device="cpu", hydra_overrides_extra=["model.nothing=1"])
        assert GlobalHydra.instance() is before and before.hydra is loaded
        assert compose("app").name == "outer"
        assert JobRuntime.instance().get("name") == "outer_app"
        assert str(VersionBase.instance().getbase()) == "1.3"


def test_without_a_hydra_program_none_is_left():
    from hydra.core.global_hydra import GlobalHydra

    with hydra_set_aside():
        build_sam2(MICRO, device="cpu")
        assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.imag_size=3"], r"'model.imag_size'.*put \+\+"),
        (["model.image_size"], "Hydra can compose"),
        (["++model.imag_size=3"], "did you mean image_size"),
        ([f"++{TRUNK}.embed_dmi=3"], "did you mean embed_dim"),
        ([f"++{NECK}.position_encoding.temprature=3"], "model.image_encoder.neck.position_encoding.*temperature"),
        (["++model.memory_attention.layer.self_attention.num_head=3"], "self_attention.*num_heads"),
        (["++model.sam_mask_decoder_extra_args.stable=3"], "arguments of MaskDecoder.*stable"),
        ([f"{NECK}.backbone_channel_list=[768,384,192,95]"], r"\[768, 384, 192, 96\].*\[768, 384, 192, 95\]"),
        ([f"{TRUNK}.embed_dim=48"], r"\[384, 192, 96, 48\]"),
        ([f"{NECK}.fpn_top_down_levels=[2,4]"], r"0 \(finest\) to 3"),
        ([f"{NECK}.fpn_top_down_levels=[-1]"], r"fpn_top_down_levels \[-1\]"),
        ([f"{NECK}.fpn_top_down_levels=[2,2]"], r"fpn_top_down_levels \[2, 2\]"),
        ([f"{NECK}.fpn_interp_model=cubic"], "nearest, bilinear"),
        ([f"++{NECK}.fuse_type=max"], "sum, avg"),
        ([f"{NECK}.position_encoding.num_pos_feats=64"], "d_model 256.*num_pos_feats 64"),
        (["model.image_encoder.scalp=2"], "between 0 and 1"),
        ([f"{TRUNK}.stages=[1,2]"], r"settings that the class.*model\.image_encoder\.trunk"),
        ([f"~{TRUNK}"], "a trunk with a `_target_`"),
        (["model._target_=sam2.modeling.sam2_base.Sam"], "class that can be imported.*Sam"),
        ([f"{TRUNK}._target_=os.path.join"], "os.path.join"),
        (["model.image_size=${tims:2,3}"], "resolvers.*times.*register_new_resolver"),
        (["model.image_size=${nothing}"], "'nothing' not found"),
    ],
)
def test_what_cannot_be_built_is_said(overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", device="cpu", hydra_overrides_extra=overrides)


def test_an_encoder_alone_is_the_one_inside_the_model(tmp_path):
    torch.manual_seed(0)
    model = build_sam2(MICRO, device="cpu")
    torch.save({"model": model.state_dict()}, tmp_path / "w.pt")
    encoder = build_image_encoder(MICRO, tmp_path / "w.pt")
    picture = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        ours, whole = encoder(picture)["backbone_fpn"], model.image_encoder(picture)["backbone_fpn"]
    assert all(torch.equal(a, b) for a, b in zip(ours, whole, strict=True))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"missing: trunk\.pos_embed"):
        build_image_encoder(MICRO, tmp_path / "other.pt")


def test_pyramids_of_oblong_pictures_and_of_odd_ones():
    encoder = build_image_encoder(MICRO)
    for height, width in ((64, 160), (256, 32)):
        out = encoder(torch.zeros(1, 3, height, width))
        assert [tuple(x.shape) for x in out["backbone_fpn"]] == [
            (1, encoder.neck.d_model, height // s, width // s) for s in (4, 8, 16)
        ]
        assert [x.shape for x in out["vision_pos_enc"]] == [x.shape for x in out["backbone_fpn"]]
    for height, width in ((250, 256), (256, 16), (20, 20)):
        with pytest.raises(MaskError, match=rf"multiples of 32.*{height}x{width}"):
            encoder(torch.zeros(1, 3, height, width))


def test_windows_count_for_the_size_that_is_asked():
    encoder = build_image_encoder(MICRO, hydra_overrides_extra=[f"{TRUNK}.window_spec=[6,4,8,4]"])
    with pytest.raises(MaskError, match=f"multiples of {4 * math.lcm(6, 8)} "):
        encoder(torch.zeros(1, 3, 64, 64))
    encoder(torch.zeros(1, 3, 96, 192))


def test_the_package_folder_is_found_without_importing_it():
    assert (sam2_folder() / "configs" / "sam2.1" / "sam2.1_hiera_l.yaml").is_file()
