"""Scores by hand on a 5x4x3 grid."""

import numpy as np
import pytest

from voxlang.core.errors import QueryError
from voxlang.core.levels import Level
from voxlang.evaluate.metrics import dice, evaluate_queries, iou, truth_of
from voxlang.geometry.grid import VolumeGrid
from voxlang.query.answer import QueryResult
from voxlang.volume.types import LabelVolume, Part, PartTree

GRID = VolumeGrid((5, 4, 3))
TREE = PartTree(
    (
        Part(1, "plant", Level.WHOLE, None),
        Part(2, "pot", Level.PART, 1, ("vessel",)),
        Part(3, "leaves", Level.PART, 1),
        Part(4, "bud", Level.SMALL, 3),
    )
)


def truth() -> LabelVolume:
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[0] = 2
    labels[2, :2] = 3
    labels[2, 0, 0] = 4
    return LabelVolume(labels, GRID, TREE)


def answer(prompt: str, selected: np.ndarray) -> QueryResult:
    return QueryResult(
        prompt,
        Level.PART,
        bool(selected.any()),
        0.9,
        0.5,
        selected,
        np.zeros((3, 0), np.float32),
        np.zeros(0, np.int64),
        GRID,
    )


def boxes(*slices) -> np.ndarray:
    out = np.zeros((3, 4, 5), bool)
    for s in slices:
        out[s] = True
    return out


def test_iou_and_dice_by_hand():
    a, b = boxes(np.s_[0, :2]), boxes(np.s_[0, 1:3])  # 10 and 10 voxels, 5 in common
    assert iou(a, b) == pytest.approx(5 / 15)
    assert dice(a, b) == pytest.approx(10 / 20)


def test_two_empty_masks_agree():
    empty = boxes()
    assert iou(empty, empty) == 1.0
    assert dice(empty, empty) == 1.0


def test_a_whole_is_the_union_of_its_parts():
    assert truth_of("Plant", truth()).sum() == 20 + 10


def test_queries_are_scored_by_name_and_synonym():
    report = evaluate_queries(
        [answer("vessel", boxes(np.s_[0])), answer("leaves", boxes(np.s_[2, :1])), answer("moon", boxes())], truth()
    )
    assert report.value("iou", "vessel") == 1.0
    assert report.value("iou", "leaves") == pytest.approx(0.5)
    assert report.value("iou") == pytest.approx(0.75), "the prompt without truth does not count"
    assert report.as_dict()["protocol"] == "voxel-iou-1"


def test_no_prompt_with_truth_is_an_error_that_lists_the_names():
    with pytest.raises(QueryError, match="leaves, plant, pot"):
        evaluate_queries([answer("moon", boxes())], truth())


def test_smalls_have_a_mean_of_their_own():
    report = evaluate_queries([answer("pot", boxes(np.s_[0])), answer("bud", boxes())], truth())
    assert report.value("iou") == 1.0
    assert report.value("iou", "mean of small") == 0.0
    assert report.value("iou", "leaves") is None
