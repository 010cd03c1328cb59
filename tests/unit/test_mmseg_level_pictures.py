"""Levels as classes of pixels, and the folder of pictures; nothing here needs MMSegmentation."""

import numpy as np
import pytest
from PIL import Image

from voxlang.core.errors import ArtifactError
from voxlang.mmseg.level_pictures import CLASSES, finest_level, write_level_pictures
from voxlang.scenes.plan import SceneConfig


def test_a_pixel_has_the_finest_level_on_which_it_lies_well_inside_one_part():
    parts = np.full((3, 7, 14), -1, np.int16)
    parts[2, :, 2:] = 1  # the whole begins at column 2
    parts[1, :, 2:8], parts[1, :, 8:] = 2, 3  # two parts
    parts[0, :, 8:] = 4  # the second has a small part that fills it
    row = finest_level(parts, reach=1)[3]
    assert CLASSES == ("background", "small", "part", "whole")
    assert row.tolist() == [0, 0, 3, 2, 2, 2, 2, 3, 3, 1, 1, 1, 1, 1]


def test_pictures_are_written_once_and_other_settings_are_refused(tmp_path):
    config = SceneConfig(split="dev", phantoms={"tooth": 1}, per_family=0, views_per_phantom=2, size_px=32, voxels=16)
    assert write_level_pictures(tmp_path, config) == 2
    pictures, maps = (sorted((tmp_path / kind / "dev").iterdir()) for kind in ("img_dir", "ann_dir"))
    assert [p.name for p in pictures] == [m.name for m in maps] == [f"tooth_0000500_0{k}.png" for k in range(2)]
    classes = np.stack([np.asarray(Image.open(m)) for m in maps])
    assert classes.shape == (2, 32, 32) and set(np.unique(classes)) <= {0, 1, 2, 3} and (classes > 0).any()
    written = pictures[0].stat().st_mtime_ns
    write_level_pictures(tmp_path, config)
    assert pictures[0].stat().st_mtime_ns == written
    with pytest.raises(ArtifactError, match="pictures made with"):
        write_level_pictures(tmp_path, config.model_copy(update={"size_px": 64}))
