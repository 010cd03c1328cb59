"""The real neptune client, offline: what is written can be read back, from a killed run too."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from voxlang.core.digest import digest_file
from voxlang.core.errors import TrackingError
from voxlang.core.levels import Level
from voxlang.tracking.replay import find_neptune_runs, merge_starts, read_neptune_run
from voxlang.tracking.tracker import Tracker, TrackerConfig

ONLY_NEPTUNE = TrackerConfig(neptune="offline", trackio=False, tags=("bonsai", "demo"))


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    for name in ("NEPTUNE_API_TOKEN", "NEPTUNE_PROJECT", "NEPTUNE_MODE", "NEPTUNE_DATA_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def test_everything_comes_back(tmp_path, rng, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    text = "".join(chr(97 + i % 26) for i in range(2345))
    (tmp_path / "labels.nrrd").write_bytes(b"labels")
    with Tracker(tmp_path / "runs" / "demo", ONLY_NEPTUNE) as tracker:
        tracker.log_parameters({"sam": {"size": "micro", "points": 32}, "seed": 2**40, "shaded": True, "step": 0.5})
        for step in range(3):
            tracker.log_level_losses({Level.SMALL: 1.0 / (step + 1), Level.PART: 2.0}, step)
        tracker.log_image("views/plain", rgb, 4, caption="from +x")
        tracker.log_text("tree", text, 1)
        tracker.log_text("tree", "short", 2)
        tracker.log_artifact("labels", tmp_path / "labels.nrrd")

    (folder,) = find_neptune_runs(tmp_path / "runs")
    record = read_neptune_run(folder)
    assert record.name == "demo"
    assert record.tags == ["bonsai", "demo"]
    assert record.parameters == {
        "sam/size": "micro",
        "sam/points": 32,
        "seed": str(2**40),
        "shaded": True,
        "step": 0.5,
    }
    points = [(m.name, m.value, m.step) for m in record.metrics]
    assert points[:4] == [
        ("train/loss_small", 1.0, 0),
        ("train/loss_part", 2.0, 0),
        ("train/loss_small", 0.5, 1),
        ("train/loss_part", 2.0, 1),
    ]
    assert [m.time for m in record.metrics] == sorted(m.time for m in record.metrics)
    (picture,) = record.images
    assert (picture.name, picture.caption, picture.step) == ("views/plain", "from +x", 4)
    (tmp_path / "back.png").write_bytes(picture.image.data)
    np.testing.assert_array_equal(imread(tmp_path / "back.png"), rgb.astype(np.float32) / 255.0)
    assert [(t.name, t.text, t.step) for t in record.texts] == [("tree", text, 1), ("tree", "short", 2)]
    assert record.files == {"labels": tmp_path / "labels.nrrd"}
    log = next(folder.glob("data-*.log")).read_text()
    assert digest_file(tmp_path / "labels.nrrd") in log


def test_all_files_lie_in_the_run_directory_and_the_environment_is_restored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with Tracker(Path("runs") / "demo", ONLY_NEPTUNE) as tracker:
        tracker.log_metric("x", 1.0, 0)
    assert dict(os.environ) == before
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["demo"]
    assert (tmp_path / "runs" / "demo" / "neptune" / "offline").is_dir()


def test_a_figure_is_kept_as_a_picture(tmp_path):
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot([1, 2, 3])
    with Tracker(tmp_path / "demo", ONLY_NEPTUNE) as tracker:
        tracker.log_figure("loss", figure, caption="loss")
    record = read_neptune_run(find_neptune_runs(tmp_path)[0])
    assert record.images[0].image.data.startswith(b"\x89PNG")
    assert record.images[0].caption == "loss"


KILLED = """
import sys
from voxlang.tracking.tracker import Tracker, TrackerConfig
tracker = Tracker(sys.argv[1], TrackerConfig(neptune="offline", trackio=False, flush_every=10))
for step in range(400):
    tracker.log_metric("loss", 1.0 / (step + 1), step)
print("told", flush=True)
import time; time.sleep(60)
"""


def _kill_a_run(run_dir):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(run_dir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "told\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()


def test_a_killed_run_loses_at_most_one_flush_and_a_restart_is_merged(tmp_path, caplog):
    _kill_a_run(tmp_path / "demo")
    (folder,) = find_neptune_runs(tmp_path)
    first = read_neptune_run(folder)
    assert 390 <= len(first.metrics) <= 400
    with Tracker(tmp_path / "demo", ONLY_NEPTUNE) as tracker:
        tracker.log_metric("loss", 77.0, 10)
        tracker.log_metric("loss", 88.0, 400)
    folders = find_neptune_runs(tmp_path)
    assert folders[0] == folder
    merged = merge_starts([read_neptune_run(f) for f in folders])
    values = {m.step: m.value for m in merged.metrics}
    assert len(merged.metrics) == len(values) == len(first.metrics) + 1
    assert (values[9], values[10], values[400]) == (0.1, 77.0, 88.0)


def test_a_cut_last_line_is_read_up_to_it_and_reported(tmp_path, caplog):
    with Tracker(tmp_path / "demo", ONLY_NEPTUNE) as tracker:
        for step in range(20):
            tracker.log_metric("loss", 1.0, step)
    (folder,) = find_neptune_runs(tmp_path)
    log = next(folder.glob("data-*.log"))
    log.write_bytes(log.read_bytes()[:-30])
    record = read_neptune_run(folder)
    assert [m.step for m in record.metrics] == list(range(19))
    assert "ends early" in caplog.text


def test_an_operation_that_the_client_does_not_know_is_refused(tmp_path):
    folder = tmp_path / "run__x"
    folder.mkdir()
    (folder / "metadata.json").write_text("{}")
    line = {"obj": {"type": "AssignMoon", "path": ["a"]}, "version": 1}
    (folder / "data-1.log").write_text(json.dumps(line))
    with pytest.raises(TrackingError, match=r"AssignMoon.*data-1\.log"):
        read_neptune_run(folder)


def test_no_log_is_an_error(tmp_path):
    assert find_neptune_runs(tmp_path) == []
    with pytest.raises(TrackingError, match=r"no data-\*\.log"):
        read_neptune_run(tmp_path)


def test_a_server_that_does_not_answer_is_an_error_at_construction(tmp_path):
    token = base64.b64encode(json.dumps({"api_address": "http://127.0.0.1:9", "api_key": "x"}).encode()).decode()
    code = (
        "import sys\n"
        "from voxlang.core.errors import TrackingError\n"
        "from voxlang.tracking.tracker import Tracker, TrackerConfig\n"
        "try:\n"
        "    Tracker(sys.argv[1], TrackerConfig(neptune='online', neptune_project='lab/head', trackio=False))\n"
        "except TrackingError as error:\n"
        "    print(error)\n"
    )
    variables = {**os.environ, "NEPTUNE_API_TOKEN": token, "NEPTUNE_RETRIES_TIMEOUT": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "demo")], capture_output=True, text=True, env=variables, timeout=90
    )
    message = done.stdout.strip().splitlines()[-1]
    assert message.startswith("Expected a neptune run in lab/head")
    assert "--tracking.neptune offline" in message
