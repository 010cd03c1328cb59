"""Sizes, files, settings, and the messages when something is not there."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from voxlang.core import places
from voxlang.core.errors import ConfigError, MaskError, MemoryLimitError, ModelMissingError
from voxlang.masks.build import build_sam2_model
from voxlang.masks.fast.grid import points_on_foreground
from voxlang.masks.generate import build_sam_generator
from voxlang.masks.models import RELEASES, config_path, resolve_files
from voxlang.masks.sam_generator import SamGenerator
from voxlang.masks.settings import SamSettings


@pytest.fixture
def empty_root(tmp_path, monkeypatch):
    """Only a fresh folder is searched."""
    monkeypatch.setattr(places, "search_roots", lambda: (tmp_path,))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def test_official_names_and_places():
    names = {(r.size, r.version): (r.file_name, r.config_name, r.url) for r in RELEASES}
    assert len(names) == 8
    site = "https://dl.fbaipublicfiles.com/segment_anything_2"
    assert names["large", "2.0"] == (
        "sam2_hiera_large.pt",
        "configs/sam2/sam2_hiera_l.yaml",
        f"{site}/072824/sam2_hiera_large.pt",
    )
    assert names["base_plus", "2.1"] == (
        "sam2.1_hiera_base_plus.pt",
        "configs/sam2.1/sam2.1_hiera_b+.yaml",
        f"{site}/092824/sam2.1_hiera_base_plus.pt",
    )


def test_official_table_agrees_with_the_package():
    from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES

    assert {(r.config_name, r.file_name) for r in RELEASES} == set(HF_MODEL_ID_TO_FILENAMES.values())


def test_the_newer_checkpoint_is_taken_first(empty_root):
    folder = empty_root / "checkpoints"
    (folder / "sam2_hiera_small.pt").touch()
    older = resolve_files("small")
    (folder / "sam2.1_hiera_small.pt").touch()
    newer = resolve_files("small")
    assert (older.config.name, older.checkpoint.name) == ("sam2_hiera_s.yaml", "sam2_hiera_small.pt")
    assert (newer.config.name, newer.checkpoint.name) == ("sam2.1_hiera_s.yaml", "sam2.1_hiera_small.pt")


def test_a_named_checkpoint_brings_its_own_configuration(empty_root, tmp_path):
    official, own = tmp_path / "sam2_hiera_tiny.pt", tmp_path / "mine.pt"
    official.touch()
    own.touch()
    assert resolve_files("large", checkpoint=official).config.name == "sam2_hiera_t.yaml"
    assert resolve_files("large", checkpoint=own).config.name == "sam2.1_hiera_l.yaml"
    assert resolve_files("micro", config=config_path("tiny"), checkpoint=own).config.name == "sam2.1_hiera_t.yaml"


def test_missing_weights_say_where_to_get_and_put_them(empty_root):
    with pytest.raises(ModelMissingError) as caught:
        resolve_files("large")
    message = str(caught.value)
    for part in (
        "sam2.1_hiera_large.pt or sam2_hiera_large.pt",
        "https://dl.fbaipublicfiles.com/segment_anything_2/092824/sam2.1_hiera_large.pt",
        str(empty_root / "checkpoints" / "sam2.1_hiera_large.pt"),
        "python checkpoints/download_ckpts.py --size large",
        "`--sam.size micro` works without a download",
    ):
        assert part in message
    with pytest.raises(ModelMissingError, match="restore the file from the repository"):
        resolve_files("micro")
    with pytest.raises(ModelMissingError, match=r"elsewhere\.pt"):
        resolve_files("tiny", checkpoint=empty_root / "elsewhere.pt")


@pytest.mark.parametrize("call", [resolve_files, config_path, build_sam2_model, build_sam_generator])
def test_unknown_sizes_list_the_choices(call):
    with pytest.raises(ConfigError, match="micro, tiny, small, base_plus, large"):
        call("huge")


def test_presets_fill_what_is_not_given():
    picked = lambda **given: (lambda s: (s.size, s.points_per_side))(SamSettings(**given).resolved())
    assert picked() == ("micro", 32)
    assert picked(preset="speed") == ("small", 16)
    assert picked(preset="quality") == ("large", 32)
    assert picked(preset="coverage") == ("large", 64)
    assert picked(preset="coverage", size="tiny") == ("tiny", 64)
    assert picked(preset="speed", points_per_side=8) == ("small", 8)
    with pytest.raises(ValidationError):
        SamSettings(points=3)
    with pytest.raises(ValidationError):
        SamSettings(pred_iou_thresh=1.2)


def test_the_embedded_weights_say_levels_themselves_and_others_do_not(tmp_path):
    rule = lambda **given: SamSettings(**given).resolved().level_rule
    assert rule() == rule(size="micro") == "token"
    assert rule(size="tiny") == rule(family="sam1") == rule(preset="quality") == "containment"
    assert rule(checkpoint=tmp_path / "own.pt") == rule(config=tmp_path / "own.yaml") == "containment"
    assert rule(level_rule="area") == "area" and rule(size="tiny", level_rule="token") == "token"


def test_settings_of_the_generator_are_checked_by_name():
    with pytest.raises(ConfigError, match=r"pred_iou_thresh.*1\.5"):
        build_sam_generator("micro", pred_iou_thresh=1.5)
    with pytest.raises(ConfigError, match="points_per_row"):
        build_sam_generator("micro", points_per_row=3)


def test_points_are_kept_where_their_pixel_is_foreground():
    foreground = np.zeros((4, 6), bool)
    foreground[2:, 3:] = True
    points = np.array(
        [[0.49, 0.6], [0.5, 0.5], [0.99, 0.1], [1.0, 1.0]]
    )  # pixels (u, v): (2, 2), (3, 2), (5, 0), (5, 3)
    assert points_on_foreground(points, foreground, [0, 0, 6, 4]).tolist() == [[0.5, 0.5], [1.0, 1.0]]
    assert points_on_foreground(points, foreground, [0, 0, 3, 4]).tolist() == []
    assert len(points_on_foreground(points, None, [0, 0, 3, 4])) == 4


@pytest.fixture(scope="module")
def untrained():
    return build_sam2_model("micro")


@pytest.mark.parametrize(
    "raised",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_smaller_settings(untrained, monkeypatch, raised):
    generator = SamGenerator(untrained, SamSettings(size="large", points_per_side=64), config_digest="c")

    def fail(*_args, **_settings):
        raise raised

    monkeypatch.setattr(generator.fast, "find_many", fail)
    with pytest.raises(MemoryLimitError) as caught:
        generator.generate(np.zeros((20, 30, 3), np.uint8))
    message = str(caught.value)
    for part in ("--sam.size base_plus", "--sam.points-per-batch 32", "--sam.points-per-side 32"):
        assert part in message


def test_other_faults_keep_their_own_message(untrained, monkeypatch):
    generator = SamGenerator(untrained, SamSettings(), config_digest="c")

    def fail(*_args, **_settings):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(generator.fast, "find_many", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        generator.generate(np.zeros((20, 30, 3), np.uint8))


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_pictures_without_pixels_are_refused(untrained, shape):
    with pytest.raises(MaskError, match="uint8 picture"):
        SamGenerator(untrained, SamSettings(), config_digest="c").generate(np.zeros(shape, np.uint8))


def test_a_foreground_of_another_size_is_refused(untrained):
    generator = SamGenerator(untrained, SamSettings(), config_digest="c")
    with pytest.raises(MaskError, match=r"\(20, 30\).*\(1, 1\)"):
        generator.generate.__wrapped__(generator, np.zeros((20, 30, 3), np.uint8), foreground=np.ones((1, 1), bool))
