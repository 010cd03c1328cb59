"""The tracker tells every backend the same, and outlives their failures."""

import logging

import numpy as np
import pytest

from voxlang.core.errors import TrackingError
from voxlang.core.levels import Level
from voxlang.tracking import tracker as module
from voxlang.tracking.tracker import Tracker, TrackerConfig


class FakeLog:
    """A backend that keeps what it is told, and fails when it is asked to."""

    failures = (OSError,)

    def __init__(self, label):
        self.label = label
        self.calls = []
        self.broken = False

    def _note(self, *call):
        if self.broken:
            raise OSError(28, "No space left on device")
        self.calls.append(call)

    def parameters(self, values):
        self._note("parameters", values)

    def tags(self, tags):
        self._note("tags", tags)

    def metric(self, name, value, step):
        self._note("metric", name, value, step)

    def image(self, name, image, step, caption):
        self._note("image", name, image.suffix, step, caption)

    def text(self, name, text, step):
        self._note("text", name, text, step)

    def artifact(self, name, path):
        self._note("artifact", name, path.name)

    def close(self):
        self._note("close")


@pytest.fixture
def backends(monkeypatch):
    made = {}

    def maker(label):
        def make(*args, **kwargs):
            made[label] = FakeLog(label)
            return made[label]

        return make

    monkeypatch.setattr(module, "NeptuneLog", maker("neptune"))
    monkeypatch.setattr(module, "TrackioLog", maker("trackio"))
    return made


def test_both_backends_hear_the_same(tmp_path, backends):
    (tmp_path / "labels.nrrd").write_bytes(b"x")
    with Tracker(tmp_path / "demo", TrackerConfig(tags=("demo",))) as tracker:
        tracker.log_parameters({"sam": {"size": "micro"}})
        tracker.log_metric("train/loss", np.float32(0.5), 3)
        tracker.log_image("views", np.zeros((2, 3, 3)), 1, caption="front")
        tracker.log_text("note", "hi", 2)
        tracker.log_artifact("labels", tmp_path / "labels.nrrd")
    expected = [
        ("tags", ("demo",)),
        ("parameters", {"sam/size": "micro"}),
        ("metric", "train/loss", 0.5, 3),
        ("image", "views", "png", 1, "front"),
        ("text", "note", "hi", 2),
        ("artifact", "labels", "labels.nrrd"),
        ("close",),
    ]
    assert backends["neptune"].calls == expected
    assert backends["trackio"].calls == expected


def test_level_losses_and_statistics_have_one_curve_per_level(tmp_path, backends):
    with Tracker(tmp_path / "demo") as tracker:
        tracker.log_level_losses({Level.SMALL: 1.0, Level.WHOLE: 3.0}, 7)
        tracker.log_level_statistics({Level.SMALL: 3, Level.WHOLE: 1}, 2)
        tracker.log_level_statistics({}, 5)
    metrics = [call[1:] for call in backends["trackio"].calls if call[0] == "metric"]
    assert metrics == [
        ("train/loss_small", 1.0, 7),
        ("train/loss_whole", 3.0, 7),
        ("masks/count_small", 3.0, 2),
        ("masks/share_small", 0.75, 2),
        ("masks/count_part", 0.0, 2),
        ("masks/share_part", 0.0, 2),
        ("masks/count_whole", 1.0, 2),
        ("masks/share_whole", 0.25, 2),
        ("masks/count_small", 0.0, 5),
        ("masks/count_part", 0.0, 5),
        ("masks/count_whole", 0.0, 5),
    ]


def test_a_loss_that_is_not_finite_is_told_as_a_text(tmp_path, backends):
    with Tracker(tmp_path / "demo") as tracker:
        tracker.log_metric("train/loss_small", float("nan"), 12)
    assert backends["neptune"].calls[0] == ("text", "warnings", "train/loss_small is nan at step 12", 12)


def test_a_backend_that_fails_is_reported_once_and_the_run_goes_on(tmp_path, backends, caplog):
    tracker = Tracker(tmp_path / "demo")
    backends["neptune"].broken = True
    with caplog.at_level(logging.WARNING):
        for step in range(5):
            tracker.log_metric("loss", 1.0, step)
        assert len(caplog.records) == 1
        assert "neptune cannot write (OSError" in caplog.text
        assert "No space left" in caplog.text
        backends["neptune"].broken = False
        tracker.log_metric("loss", 1.0, 5)
        tracker.close()
    assert len(caplog.records) == 2
    assert "neptune lost 5 entries" in caplog.records[1].getMessage()
    assert len(backends["trackio"].calls) == 7
    assert backends["neptune"].calls == [("metric", "loss", 1.0, 5), ("close",)]


def test_a_fault_of_our_own_is_not_swallowed(tmp_path, backends):
    tracker = Tracker(tmp_path / "demo")
    backends["trackio"].metric = None
    with pytest.raises(TypeError):
        tracker.log_metric("loss", 1.0, 0)


def test_what_cannot_be_logged_is_an_error_of_the_caller(tmp_path, backends):
    with Tracker(tmp_path / "demo") as tracker:
        with pytest.raises(TrackingError, match=r"log_artifact\(labels"):
            tracker.log_artifact("labels", tmp_path / "absent.nrrd")
        with pytest.raises(TrackingError, match="shape"):
            tracker.log_image("views", np.zeros((3, 2, 2)))
    assert backends["neptune"].calls == [("close",)]


def test_closing_twice_closes_once(tmp_path, backends):
    tracker = Tracker(tmp_path / "demo")
    tracker.close()
    tracker.close()
    assert backends["neptune"].calls == [("close",)]


def test_backends_can_be_off(tmp_path, backends):
    Tracker(tmp_path / "demo", TrackerConfig(neptune="off", trackio=False)).log_metric("loss", 1.0, 0)
    assert backends == {}


def test_a_run_directory_that_cannot_be_made_is_an_error_at_once(tmp_path, backends):
    (tmp_path / "file").write_text("x")
    with pytest.raises(TrackingError, match="run directory") as caught:
        Tracker(tmp_path / "file" / "demo")
    assert "--runs-dir" in caught.value.do


def test_what_was_open_is_closed_when_another_backend_cannot_start(tmp_path, backends, monkeypatch):
    monkeypatch.delenv("NEPTUNE_API_TOKEN", raising=False)
    with pytest.raises(TrackingError, match="NEPTUNE_API_TOKEN"):
        Tracker(tmp_path / "demo", TrackerConfig(neptune="online"))
    assert backends["trackio"].calls == [("close",)]
