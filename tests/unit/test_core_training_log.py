"""The log of a training: means a line, unknown numbers left out of them, appended to what an earlier run wrote."""

import json
import math

import pytest

from voxlang.core.training_log import LOG_NAME, TrainingLog, mean_of_known


def test_a_line_holds_the_means_since_the_last_one_and_the_listener_hears_the_same(tmp_path):
    heard = []
    log = TrainingLog(tmp_path / "run", every=2, on_means=lambda step, means: heard.append((step, means)))
    assert log.add(1, {"loss": 3.0, "part": math.nan}, phase="a", seconds=0.4) == {}
    assert not (tmp_path / "run").exists()
    assert log.add(2, {"loss": 1.0, "part": 0.25}, phase="a", seconds=0.81) == {"loss": 2.0, "part": 0.25}
    means = log.add(3, {"loss": 7.0, "part": math.nan}, phase="b", seconds=1.2, last=True)
    assert means["loss"] == 7.0 and math.isnan(means["part"])
    rows = [json.loads(line) for line in (tmp_path / "run" / LOG_NAME).read_text().splitlines()]
    assert rows == [
        {"step": 2, "phase": "a", "seconds": 0.8, "loss": 2.0, "part": 0.25},
        {"step": 3, "phase": "b", "seconds": 1.2, "loss": 7.0, "part": None},
    ]
    assert [step for step, _ in heard] == [2, 3] and heard[0][1] == {"loss": 2.0, "part": 0.25}
    TrainingLog(tmp_path / "run", every=1).add(4, {"loss": 5.0}, phase="b", seconds=2.0)
    assert len((tmp_path / "run" / LOG_NAME).read_text().splitlines()) == 3


def test_a_log_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TrainingLog(None, every=1).add(1, {"loss": 2.0}, phase="a", seconds=0.0) == {"loss": 2.0}
    assert not list(tmp_path.iterdir())


def test_means_leave_out_what_is_not_known():
    assert mean_of_known([1.0, math.nan, 4.0]) == pytest.approx(2.5)
    assert math.isnan(mean_of_known([math.nan])) and math.isnan(mean_of_known([]))
