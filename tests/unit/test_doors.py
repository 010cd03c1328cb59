"""The doors keep the names and defaults that users of the pipeline know."""

import inspect
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in ("stage1", "stage2"):
        sys.modules.pop(name, None)


def test_stage2_builds_the_generator_with_the_known_arguments():
    import stage2

    parameters = inspect.signature(stage2.build_sam_generator).parameters
    defaults = {name: p.default for name, p in parameters.items() if p.default is not inspect.Parameter.empty}
    known = {
        "points_per_side": 32,
        "points_per_batch": 64,
        "pred_iou_thresh": 0.7,
        "stability_score_thresh": 0.92,
        "box_nms_thresh": 0.7,
    }
    assert next(iter(parameters)) == "model_size"
    assert {k: defaults[k] for k in known} == known


def test_doors_export_what_they_promise():
    import stage1
    import stage2

    assert sorted(stage1.__all__) == ["fit_field", "load_field", "save_field"]
    assert sorted(stage2.__all__) == ["build_sam_generator", "partition_levels", "read_cache"]
    assert all(callable(getattr(door, name)) for door in (stage1, stage2) for name in door.__all__)


def test_doors_are_thin():
    for name in ("main.py", "stage1.py", "stage2.py", "sam_demo_enhanced.py"):
        assert len((ROOT / name).read_text("utf-8").splitlines()) <= 60, name
