import pytest
import torch
from checkpoint_models import TINY, random_state

from voxlang.checkpoints.cli import LayoutName
from voxlang.checkpoints.convert import convert_file, convert_state
from voxlang.checkpoints.layouts import LAYOUTS
from voxlang.checkpoints.reading import read_weights_file
from voxlang.checkpoints.understand import understand
from voxlang.checkpoints.writing import write_weights_file
from voxlang.core.errors import ConfigError, WeightsError

PAIRS = [
    ("sam1", "sam1-stages"),
    ("sam1", "hf-sam"),
    ("sam1-stages", "hf-sam"),
    ("sam2", "hf-sam2-video"),
    ("sam1-stages", "sam1"),
    ("hf-sam", "sam1-stages"),
    ("hf-sam2-video", "sam2"),
]


def assert_equal(a, b):
    assert a.keys() == b.keys()
    assert all(a[k].dtype == b[k].dtype and torch.equal(a[k], b[k]) for k in a)


def test_command_line_knows_all_layouts():
    assert set(LayoutName.__args__) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_configuration_is_read_off_the_weights(name):
    known = understand(random_state(name))
    assert known.match.layout.name == name
    assert known.is_whole
    assert known.config == TINY[name]
    assert known.size == "custom"


@pytest.mark.parametrize(("source", "target"), PAIRS)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_file_there_and_back_is_the_same_to_the_bit(tmp_path, source, target, suffix):
    state = random_state(source)
    a, b, c = (tmp_path / f"{name}{suffix}" for name in "abc")
    write_weights_file(a, state)
    report = convert_file(a, b, to=target)
    assert report.is_whole
    assert understand(read_weights_file(b).state).match.layout.name == target
    assert convert_file(b, c, to=source, from_layout=target).is_whole
    assert_equal(read_weights_file(c).state, state)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_kept(tmp_path, kind):
    state = {k: v.to(kind) for k, v in random_state("sam2").items()}
    write_weights_file(tmp_path / "a.safetensors", state)
    convert_file(tmp_path / "a.safetensors", tmp_path / "b.pt", to="hf-sam2-video")
    convert_file(tmp_path / "b.pt", tmp_path / "c.safetensors", to="sam2")
    assert_equal(read_weights_file(tmp_path / "c.safetensors").state, state)


def test_trunk_leaves_and_comes_back_alone():
    whole = random_state("sam2")
    done = convert_state(whole, "mmseg-hiera")
    trunk, report = done.state, done.report
    assert report.is_whole
    assert all("only the trunk" in why for _, why in report.dropped)
    assert len(report.dropped) + len(trunk) == len(whole)
    done = convert_state(trunk, "sam2", partial=True)
    back, report = done.state, done.report
    assert_equal(back, {k: v for k, v in whole.items() if k.startswith("image_encoder.trunk.")})
    assert "memory_attention.**" in report.missing
    with pytest.raises(WeightsError, match="--partial"):
        convert_state(trunk, "sam2")


def test_still_model_has_no_memory():
    whole = random_state("sam2")
    still = convert_state(whole, "hf-sam2")
    assert "memory of the video model" in still.report.text()
    done = convert_state(still.state, "sam2", partial=True)
    back, report = done.state, done.report
    assert all(torch.equal(v, whole[k]) for k, v in back.items())
    assert "memory_encoder.**" in report.missing
    assert understand(back).config.memory is None


@pytest.mark.parametrize(
    ("source", "to", "options", "message"),
    [
        ("sam1", "sam2", {}, "one of sam1, sam1-stages, hf-sam for SAM 1"),
        ("sam2", "sam3", {}, "one of sam1"),
        ("sam2", "hf-sam2-video", {"source": "hf-sam2"}, "layout hf-sam2; got layout sam2"),
        ("mmseg-hiera", "hf-sam2", {"partial": True}, "one of mmseg-hiera, sam2"),
    ],
)
def test_pairs_that_make_no_sense(source, to, options, message):
    with pytest.raises((ConfigError, WeightsError), match=message):
        convert_state(random_state(source), to, **options)


def test_model_that_would_compute_something_else_is_refused():
    state = {k: v for k, v in random_state("sam2").items() if "obj_score" not in k and k != "no_obj_ptr"}
    with pytest.raises(WeightsError, match="object score head of three layers"):
        convert_state(state, "hf-sam2-video")


def test_global_blocks_that_do_not_end_stages():
    state = random_state("sam1")
    windowed, whole = (state[f"image_encoder.blocks.{i}.attn.rel_pos_h"] for i in (0, 1))
    for axis in "hw":
        state[f"image_encoder.blocks.0.attn.rel_pos_{axis}"] = whole
        state[f"image_encoder.blocks.1.attn.rel_pos_{axis}"] = windowed
    assert understand(state).config.global_blocks == (0, 3)
    with pytest.raises(WeightsError, match="stages of equal length"):
        convert_state(state, "sam1-stages")


def test_report_counts_every_key():
    state = random_state("sam1")
    report = convert_state(state, "sam1-stages").report
    assert len(report.renamed) == len(state)
    assert len(report.reshaped) == 11  # ten layer-norm weights and biases over pictures, and the position embedding
    assert ("image_encoder.blocks.3.mlp.lin2.bias", "image_encoder.stages.1.global_attn_block.mlp.layers.2.bias") in (
        report.renamed
    )


def test_half_a_file_names_the_first_keys():
    state = random_state("sam1")
    half = {k: v for k, v in state.items() if not k.startswith("mask_decoder.")}
    with pytest.raises(WeightsError) as error:
        understand(half).require_whole("a.pt")
    assert "nearest known layout sam1 (segment-anything" in str(error.value)
    assert "missing: " in str(error.value)
    assert "mask_decoder." in str(error.value)
    assert " more" in str(error.value)
