import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from voxlang.geometry.camera import look_at
from voxlang.masks.settings import SamSettings
from voxlang.masks.types import mask_set_from_dense
from voxlang.pipeline.compare_sam import comparison_table, measure_sam, sam1_settings
from voxlang.pipeline.config import PipelineConfig
from voxlang.render.types import RenderedView


class TwoSquares:
    """Finds one large and one small square."""

    id = "squares"

    def generate(self, rgb, *, foreground=None):
        masks = np.zeros((2, 16, 16), bool)
        masks[0, 4:12, 4:12] = True
        masks[1, 5:7, 5:7] = True
        ones = np.ones(2, np.float32)
        return mask_set_from_dense(masks, predicted_iou=ones, stability=ones, points_uv=np.zeros((2, 2), np.float32))


def view():
    """The object is the middle half of the picture."""
    up = (0.0, 0.0, 1.0)
    camera = look_at(np.array([0.0, -4.0, 1.0]), np.zeros(3), up_world=up, fov_y_deg=40.0, width=16, height=16)
    opacity = np.pad(np.ones((8, 16), np.float32), ((4, 4), (0, 0)))
    return RenderedView(camera, np.zeros((16, 16, 3), np.float32), opacity, opacity, opacity, "transfer")


def test_measure_counts_what_lies_on_the_object():
    measure = measure_sam(TwoSquares(), SamSettings(), [view(), view()])
    assert measure.object_coverage == 0.5  # 64 of 128 pixels
    assert measure.statistics.n_masks == 4
    assert [row.count for row in measure.statistics.rows] == [
        0,
        2,
        2,
    ]  # half of the object is a whole, a sixteenth of that a part
    assert len(measure.seconds) == 2
    json.dumps(measure.as_dict())


def test_table_divides_the_times():
    measure = measure_sam(TwoSquares(), SamSettings(size="large"), [view()])
    slow, fast = replace(measure, seconds=(3.0, 5.0, 4.0)), replace(measure, seconds=(2.0,))
    text = comparison_table({"SAM 1": slow, "SAM 2": fast})
    assert text.splitlines()[-1] == "time of SAM 1 over time of SAM 2: 2.00"
    assert "50.0%" in text


def test_sam1_is_asked_on_the_same_grid():
    sam = SamSettings(preset="quality", box_nms_thresh=0.6, pred_iou_thresh=0.8)
    sam1 = sam1_settings(sam, size="vit_h", checkpoint=None)
    assert (sam1.family, sam1.resolved().size) == ("sam1", "vit_h")
    assert sam1.resolved().points_per_side == 32
    assert (sam1.box_nms_thresh, sam1.resolved().pred_iou_thresh) == (0.6, 0.8)
    assert sam1_settings(SamSettings(), size="vit_b", checkpoint=None).resolved().pred_iou_thresh == 0.7


@pytest.mark.filterwarnings("ignore:.*nothing in the weights decides")
def test_mode_writes_table_and_pictures(tmp_path, capsys):
    from checkpoint_models import TINY_SAM1

    from voxlang.masks.sam1 import build_sam1
    from voxlang.pipeline.stages import run_pipeline

    torch.manual_seed(0)
    torch.save(build_sam1(TINY_SAM1).state_dict(), tmp_path / "sam1.pth")
    config = PipelineConfig.model_validate(
        {
            "mode": "compare-sam",
            "name": "pair",
            "volume": {"size_xyz": [24, 24, 24]},
            "views": {"n": 1, "width": 64, "height": 64, "source": "grid", "transfers": ["phantom"]},
            "sam": {"points_per_side": 3, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
            "compare_sam": {"checkpoint": str(tmp_path / "sam1.pth"), "views": 1},
            "tracking": {"neptune": "off", "trackio": False},
            "runs_dir": str(tmp_path / "runs"),
            "device": "cpu",
        }
    )
    run_pipeline(config)
    assert "time of SAM 1 over time of SAM 2" in capsys.readouterr().out
    folder = tmp_path / "runs" / "pair"
    assert set(json.loads((folder / "compare_sam.json").read_text())) == {"SAM 1", "SAM 2"}
    assert (folder / "masks" / "compare_sam.png").stat().st_size > 1000
    assert (folder / "masks" / "compare_sam_levels.png").stat().st_size > 1000
