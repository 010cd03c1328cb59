"""Skeletons and rule tables against the state dicts of the projects themselves, all published sizes, without memory."""

import pytest
import torch

from voxlang.checkpoints.facts import shapes_of
from voxlang.checkpoints.hf_config import hf_config
from voxlang.checkpoints.hiera import infer_trunk
from voxlang.checkpoints.meta import WeightsOnMeta
from voxlang.checkpoints.published import PUBLISHED_HIERA, PUBLISHED_SAM1, PUBLISHED_SAM2
from voxlang.checkpoints.sam1 import infer_sam1, sam1_skeleton
from voxlang.checkpoints.sam1_layouts import hf_sam_table
from voxlang.checkpoints.sam2 import infer_sam2, sam2_size, sam2_skeleton, sam2_version
from voxlang.checkpoints.sam2_layouts import MMSEG_TABLE, hf_still_table, hf_video_table, structure_of
from voxlang.checkpoints.skeleton import as_meta, compare
from voxlang.masks.build import read_sam_config
from voxlang.masks.models import RELEASES

SAM2 = [pytest.param(r, id=f"{r.size}-{r.version}") for r in RELEASES]


def no_difference(shapes, skeleton):
    found = compare(shapes, skeleton)
    return not (found.missing or found.unexpected or found.misshapen)


def sam2_shapes(config_name):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from voxlang.masks.build import import_sam2

    import_sam2()
    with WeightsOnMeta():
        model = instantiate(OmegaConf.create(read_sam_config(config_name)), _recursive_=True)
    return shapes_of(model.state_dict())


@pytest.mark.parametrize("size", PUBLISHED_SAM1)
def test_sam1(size):
    from segment_anything import sam_model_registry
    from transformers import SamConfig, SamModel

    with WeightsOnMeta():
        shapes = shapes_of(sam_model_registry[size]().state_dict())
    config, facts = infer_sam1(shapes)
    assert config == PUBLISHED_SAM1[size]
    assert no_difference(shapes, sam1_skeleton(config))
    assert facts["heads"].source == facts["global_blocks"].source == facts["window"].source == "weights"
    assert facts["decoder_heads"].source == "look-up"
    with torch.device("meta"):
        theirs = SamModel(SamConfig.from_dict(hf_config("hf-sam", config))).state_dict()
    ours, report = hf_sam_table(config.iou_depth).to_other(as_meta(sam1_skeleton(config)))
    assert report.is_whole
    assert no_difference(shapes_of(ours), shapes_of(theirs))


@pytest.mark.parametrize("release", SAM2)
def test_sam2(release):
    shapes = sam2_shapes(release.config_name)
    config, facts = infer_sam2(shapes)
    assert config == PUBLISHED_SAM2[release.size, release.version]
    assert no_difference(shapes, sam2_skeleton(config))
    assert (sam2_size(config), sam2_version(config).value) == (release.size, release.version)
    yaml = read_sam_config(release.config_name)
    trunk = yaml["image_encoder"]["trunk"]
    assert trunk["embed_dim"] == config.trunk.width
    assert trunk["num_heads"] == config.trunk.heads
    assert tuple(trunk.get("stages", (2, 3, 16, 3))) == config.trunk.stages
    assert tuple(trunk.get("global_att_blocks", (12, 16, 20))) == config.trunk.global_blocks
    assert tuple(trunk.get("window_spec", (8, 4, 14, 7))) == config.trunk.windows
    assert facts["stages"].source == "weights"
    assert facts["global_blocks"].source == "look-up"


def test_micro():
    config, facts = infer_sam2(sam2_shapes("micro"))
    assert no_difference(sam2_shapes("micro"), sam2_skeleton(config))
    yaml = read_sam_config("micro")
    trunk, neck = yaml["image_encoder"]["trunk"], yaml["image_encoder"]["neck"]
    assert sam2_size(config) == "micro"
    assert (trunk["embed_dim"], tuple(trunk["stages"])) == (config.trunk.width, config.trunk.stages)
    assert trunk["num_heads"] == config.trunk.heads
    assert tuple(trunk["window_spec"]) == config.trunk.windows
    assert tuple(trunk["global_att_blocks"]) == config.trunk.global_blocks
    assert tuple(neck["fpn_top_down_levels"]) == config.top_down
    assert neck["fpn_interp_model"] == config.top_down_mode
    assert yaml["image_size"] == config.image_size
    assert yaml["directly_add_no_mem_embed"] == config.adds_no_memory
    assert facts["image_size"].source == "look-up"


@pytest.mark.parametrize("release", SAM2)
def test_sam2_in_transformers(release):
    from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

    config = PUBLISHED_SAM2[release.size, release.version]
    trunk, is_new = config.trunk, release.version == "2.1"
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": trunk.width,
        "num_attention_heads": trunk.heads,
        "blocks_per_stage": list(trunk.stages),
        "embed_dim_per_stage": list(trunk.widths),
        "num_attention_heads_per_stage": [trunk.heads * 2**i for i in range(4)],
        "window_size_per_stage": list(trunk.windows),
        "global_attention_blocks": list(trunk.global_blocks),
        "window_positional_embedding_background_size": list(trunk.background),
    }
    vision = {"backbone_config": backbone, "backbone_channel_list": list(reversed(trunk.widths))}
    hub = as_meta(sam2_skeleton(config))
    structure = structure_of(config)
    with torch.device("meta"):
        still = Sam2Model(Sam2Config(vision_config=vision)).state_dict()
        video = Sam2VideoModel(
            Sam2VideoConfig(
                vision_config=vision,
                enable_temporal_pos_encoding_for_object_pointers=is_new,
                enable_occlusion_spatial_embedding=is_new,
            )
        ).state_dict()
    for table, theirs in ((hf_still_table(structure), still), (hf_video_table(structure), video)):
        ours, report = table.to_other(hub)
        assert report.is_whole
        assert no_difference(shapes_of(ours), shapes_of(theirs))
        back, report = table.to_hub(theirs)
        assert report.is_whole
        assert all(hub[k].shape == v.shape for k, v in back.items())
        assert len(back) == len(ours) + 2  # four point embeddings from one tensor, one copy of two dropped


@pytest.mark.parametrize("size", [*PUBLISHED_HIERA, "micro"])
def test_trunk_for_mmseg(size):
    whole = infer_sam2(sam2_shapes("micro"))[0] if size == "micro" else PUBLISHED_SAM2[size, "2.1"]
    hub = as_meta(sam2_skeleton(whole))
    trunk, report = MMSEG_TABLE.to_other(hub)
    assert report.is_whole
    config, _ = infer_trunk(shapes_of(trunk))
    assert config == whole.trunk
    back, report = MMSEG_TABLE.to_hub(trunk)
    assert report.is_whole
    assert set(back) == {k for k in hub if k.startswith("image_encoder.trunk.")}
