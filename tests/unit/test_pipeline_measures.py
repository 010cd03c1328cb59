"""What the models are worth, with models whose answers are known."""

import numpy as np
import pytest
from color_models import ColorEncoder

from voxlang.core.levels import Level
from voxlang.masks.settings import SamSettings
from voxlang.masks.types import mask_set_from_dense
from voxlang.pipeline.measures import measure_masks, measure_text
from voxlang.scenes.buffer import StoredScenes
from voxlang.segtrain.model import build_student
from voxlang.volume.types import Part, PartTree


def toys(views: int = 2) -> StoredScenes:
    """A blue toy with a red disc and a green bar, in different places of 256x256."""
    rgb, index = np.zeros((views, 256, 256, 3), np.uint8), np.full((views, 3, 256, 256), -1, np.int16)
    for i in range(views):
        at = 20 + 30 * i
        index[i, 2, at : at + 160, 30:200] = 1
        index[i, 1, at + 10 : at + 60, 40:120] = 2
        index[i, 1, at + 80 : at + 140, 40:180] = 3
        rgb[i][index[i, 2] == 1] = (0, 0, 250)
        rgb[i][index[i, 1] == 2] = (250, 0, 0)
        rgb[i][index[i, 1] == 3] = (0, 250, 0)
    tree = PartTree(
        (
            Part(1, "blue toy", Level.WHOLE, None),
            Part(2, "red disc", Level.PART, 1, ("plate",)),
            Part(3, "green bar", Level.PART, 1),
        )
    )
    return StoredScenes(rgb, np.where(index[:, 2] >= 0, 255, 0).astype(np.uint8), index, tree, "toys", 0)


class KnowingGenerator:
    """Finds every true region of the toys."""

    def __init__(self, scenes: StoredScenes) -> None:
        self.scenes, self.model = scenes, build_student("configs/sam2/sam2.1_hiera_micro.yaml", seed=0).sam.eval()
        self.settings = SamSettings().resolved()

    def generate(self, rgb, *, foreground=None):
        i = next(i for i, other in enumerate(self.scenes.rgb) if (other == rgb).all())
        index = self.scenes.part_index[i]
        masks = np.stack([index[2] == 1, index[1] == 2, index[1] == 3])
        return mask_set_from_dense(masks, predicted_iou=np.ones(3), stability=np.ones(3), points_uv=np.zeros((3, 2)))


def unwrapped(function):
    """Annotations name the real models; the wrapped function takes any."""
    return getattr(function, "__wrapped__", function)


def test_masks_that_know_the_truth_find_everything_on_the_same_level():
    scenes = toys()
    measures = unwrapped(measure_masks)([scenes], KnowingGenerator(scenes))
    assert measures.automatic.recall_50 == measures.automatic.recall_75 == 1
    assert measures.agreement.same == 1 and measures.agreement.pairs == 3
    assert {p.level: p.regions for p in measures.points} == {"part": 4, "whole": 2}
    assert set(measures.calibration) == {"part", "whole"}
    assert set(measures.as_dict()) == {"points", "automatic", "agreement", "calibration"}


def test_text_by_colour():
    text = unwrapped(measure_text)([toys()], ColorEncoder(), "masked")
    assert text.crops == 6
    assert text.retrieval["training names"] == {"top1": 1.0, "top5": 1.0}
    assert np.isnan(text.retrieval["names of unseen families"]["top1"]), "no family is unseen"
    assert text.retrieval_strict["training names"] == {"top1": 1.0, "top5": 1.0}
    assert text.found == 1.0 and text.absent_refused == 1.0, "all other words are where the negatives are"
    assert text.calibration.count.sum() == 6 + 2 * 2, "own names, and for disc and bar the other one: toy is kin"


def test_names_of_unseen_families_are_counted_apart():
    text = unwrapped(measure_text)([toys()], ColorEncoder(), "masked", unseen_families=["toys"])
    assert text.retrieval["names of unseen families"]["top1"] == 1.0
    assert np.isnan(text.retrieval["training names"]["top1"])
    assert text.as_dict()["calibration"]["expected_error"] == pytest.approx(text.calibration.expected_error, abs=1e-4)
