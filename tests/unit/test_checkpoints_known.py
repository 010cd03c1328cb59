from pathlib import Path

import pytest
import yaml
from checkpoint_models import TINY_SAM2

from voxlang.checkpoints.hiera import hiera_skeleton, infer_trunk
from voxlang.checkpoints.known import MICRO_CONFIG, embedded_sam2, known_sam2
from voxlang.checkpoints.published import trunk_of
from voxlang.checkpoints.sam2 import infer_sam2, sam2_size, sam2_skeleton
from voxlang.core.errors import ConfigError

SOURCE_TREE = Path(__file__).resolve().parents[2]


@pytest.fixture
def write_micro(tmp_path, monkeypatch):
    """Put another configuration of the embedded model into the working folder."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((SOURCE_TREE / MICRO_CONFIG).read_text("utf-8"))

    def write(**trunk):
        content["model"]["image_encoder"]["trunk"] |= trunk
        content["model"]["image_size"] = 192
        path = tmp_path / MICRO_CONFIG
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content), "utf-8")

    return write


def test_numbers_of_the_embedded_model_come_from_its_configuration(write_micro):
    write_micro(embed_dim=24, stages=[2, 3, 5, 1], num_heads=3, global_att_blocks=[8, 9], window_spec=[8, 4, 2, 2])
    micro = known_sam2(24, (2, 3, 5, 1))
    assert (micro.size, micro.heads, micro.global_blocks, micro.windows) == ("micro", 3, (8, 9), (8, 4, 2, 2))
    trunk = trunk_of(micro)
    config, facts = infer_trunk(hiera_skeleton(trunk, ""))
    assert config == trunk
    assert facts["global_blocks"].source == "look-up"
    whole, facts = infer_sam2(sam2_skeleton(TINY_SAM2) | hiera_skeleton(trunk, "image_encoder.trunk."))
    assert (sam2_size(whole), whole.image_size, facts["image_size"].because) == ("micro", 192, "SAM 2 micro")


def test_a_broken_configuration_is_named(write_micro):
    write_micro(stages=None)
    with pytest.raises(ConfigError, match="TypeError"):
        embedded_sam2()


def test_unknown_trunks_are_unknown():
    assert known_sam2(96, (1, 2, 7, 3)) is None
    assert known_sam2(97, (1, 2, 7, 2)) is None
