import numpy as np
import pytest

from voxlang.masks.types import mask_set_from_dense
from voxlang.segtrain.evaluate import as_rows, score_automatic, score_points, true_regions
from voxlang.segtrain.model import build_student
from voxlang.segtrain.shapes import LabelledPicture


def picture() -> LabelledPicture:
    """256x256: a whole of two parts, one small thing, and a speck below half a percent."""
    regions = np.full((3, 256, 256), -1, np.int16)
    regions[2, 50:200, 40:180] = 1
    regions[1, 50:200, 40:100] = 2
    regions[1, 50:200, 100:180] = 3
    regions[0, 60:90, 50:80] = 4
    regions[0, 150:160, 120:130] = 5
    rgb = np.zeros((256, 256, 3), np.uint8)
    rgb[regions[1] == 2] = (200, 40, 40)
    rgb[regions[1] == 3] = (40, 200, 40)
    rgb[regions[0] == 4] = (250, 250, 80)
    return LabelledPicture(rgb, regions)


class Oracle:
    """A generator that returns the masks it is given."""

    def __init__(self, masks: list[np.ndarray]) -> None:
        self.masks = masks

    def generate(self, rgb):
        n = len(self.masks)
        return mask_set_from_dense(
            np.array(self.masks, bool).reshape(n, *rgb.shape[:2]),
            predicted_iou=np.ones(n),
            stability=np.ones(n),
            points_uv=np.zeros((n, 2)),
        )


def score(masks, pictures):
    """The annotation of score_automatic names the real generator; the wrapped function takes any."""
    return getattr(score_automatic, "__wrapped__", score_automatic)(Oracle(masks), pictures)


def test_true_regions_by_hand():
    found = true_regions(picture())
    assert sorted((level, int(mask.sum())) for level, mask in found) == [
        (0, 30 * 30),
        (1, 150 * 60),
        (1, 150 * 80),
        (2, 150 * 140),
    ]


def test_perfect_masks_find_everything():
    masks = [mask for _, mask in true_regions(picture())]
    perfect = score(masks, [picture()])
    assert perfect.recall_50 == perfect.recall_75 == 1
    assert perfect.masks_per_picture == 4 and perfect.background_masks == 0 and perfect.regions == 4


def test_recall_by_hand():
    found = dict(true_regions(picture()))
    shifted = np.roll(found[0], 8, axis=1)
    background = picture().regions[2] < 0
    result = score([shifted, found[2], background], [picture()])
    assert result.recall_50 == pytest.approx(3 / 4), "one part is 0.57 of the whole"
    assert result.recall_75 == pytest.approx(1 / 4), "the small thing is met with (30-8)/(30+8) = 0.58"
    assert result.recall_50_by_level == {"small": 1.0, "part": 0.5, "whole": 1.0}
    assert result.background_masks == 1
    assert score([], [picture()]).recall_50 == 0


def test_points_of_a_fresh_model_are_scored():
    sam = build_student("configs/sam2/sam2.1_hiera_micro.yaml", seed=0).sam.eval()
    rows = score_points(sam, [picture(), picture()], rng=np.random.default_rng(0))
    assert [(row.level, row.regions) for row in rows] == [("small", 2), ("part", 4), ("whole", 2)]
    for row in rows:
        assert 0 <= row.own_iou <= row.best_iou <= 1
        assert 0 <= row.calibration_error <= 1 and 0 <= row.stable <= 1
    assert as_rows(rows, None)["points"][0]["level"] == "small"
