"""The real trackio: local data, rebuilt from neptune's log alone, shown on 127.0.0.1 and nowhere else."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest

from voxlang.core.errors import TrackingError
from voxlang.tracking.dashboard import open_dashboard, start_dashboard
from voxlang.tracking.replay import rebuild_dashboard
from voxlang.tracking.tracker import Tracker, TrackerConfig
from voxlang.tracking.trackio_log import TrackioLog, dashboard_home


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    for name in ("NEPTUNE_API_TOKEN", "NEPTUNE_PROJECT", "NEPTUNE_MODE", "NEPTUNE_DATA_DIRECTORY", "TRACKIO_DIR"):
        monkeypatch.delenv(name, raising=False)


def _stored(home, project="voxlang"):
    """{(run, name): {step: value}} and {run: configuration}, read with sqlite and not with trackio."""
    values, settings = {}, {}
    with sqlite3.connect(home / f"{project}.db") as connection:
        for run, step, metrics in connection.execute("select run_name, step, metrics from metrics order by id"):
            for name, value in json.loads(metrics).items():
                values.setdefault((run, name), {})[step] = value
        for run, config in connection.execute("select run_name, config from configs"):
            settings[run] = {k: v for k, v in json.loads(config).items() if not k.startswith("_")}
    return values, settings


def _log_a_run(run_dir, rgb, config=None):
    with Tracker(run_dir, config or TrackerConfig(tags=("demo",))) as tracker:
        tracker.log_parameters({"sam": {"size": "micro"}})
        for step in range(5):
            tracker.log_metric("train/loss_small", 1.0 / (step + 1), step)
        tracker.log_image("views", rgb, 2, caption="front")
        tracker.log_text("tree", "pot\n  soil", 1)
        tracker.log_parameters({"late": 7})


def test_values_settings_and_pictures_are_stored_beside_the_runs(tmp_path, rng):
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    _log_a_run(tmp_path / "runs" / "demo", rgb)
    home = dashboard_home(tmp_path / "runs")
    values, settings = _stored(home)
    assert values["demo", "train/loss_small"] == {0: 1.0, 1: 0.5, 2: 1 / 3, 3: 0.25, 4: 0.2}
    assert values["demo", "tree"][1]["_value"] == "pot\n  soil"
    assert settings["demo"] == {"tags": ["demo"], "sam/size": "micro", "late": 7}
    picture = values["demo", "views"][2]
    assert picture["caption"] == "front"
    from PIL import Image

    stored = np.asarray(Image.open(home / "media" / picture["file_path"]).convert("RGB"))
    np.testing.assert_array_equal(stored, rgb)


def test_a_run_is_continued_under_its_name(tmp_path):
    config = TrackerConfig(neptune="off")
    for step in range(2):
        with Tracker(tmp_path / "demo", config) as tracker:
            tracker.log_metric("loss", float(step), step)
    values, _ = _stored(dashboard_home(tmp_path))
    assert values == {("demo", "loss"): {0: 0.0, 1: 1.0}}
    with sqlite3.connect(dashboard_home(tmp_path) / "voxlang.db") as connection:
        assert connection.execute("select count(distinct run_id) from metrics").fetchone() == (1,)


def test_a_run_that_logged_only_settings_appears(tmp_path):
    with Tracker(tmp_path / "demo", TrackerConfig(neptune="off")) as tracker:
        tracker.log_parameters({"a": 1})
    assert _stored(dashboard_home(tmp_path))[1] == {"demo": {"a": 1}}


def test_artifacts_are_recorded(tmp_path):
    (tmp_path / "labels.nrrd").write_bytes(b"labels")
    with Tracker(tmp_path / "demo", TrackerConfig(neptune="off")) as tracker:
        tracker.log_artifact("pot/labels", tmp_path / "labels.nrrd")
    blobs = [p for p in (dashboard_home(tmp_path) / "artifacts").rglob("*") if p.is_file()]
    assert [p.read_bytes() for p in blobs] == [b"labels"]


def test_one_dashboard_folder_per_process(tmp_path):
    with Tracker(tmp_path / "a" / "demo", TrackerConfig(neptune="off")):
        with pytest.raises(TrackingError, match="one dashboard folder per process"):
            Tracker(tmp_path / "b" / "demo", TrackerConfig(neptune="off"))
        Tracker(tmp_path / "a" / "other", TrackerConfig(neptune="off")).close()
    Tracker(tmp_path / "b" / "demo", TrackerConfig(neptune="off")).close()


def test_a_project_name_that_trackio_refuses(tmp_path):
    with pytest.raises(TrackingError, match="not allowed"):
        TrackioLog(tmp_path, project="registry-x", name="demo")


def test_the_dashboard_is_rebuilt_from_the_neptune_log_alone(tmp_path, rng):
    rgb = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    runs = tmp_path / "runs"
    _log_a_run(runs / "demo", rgb)
    _log_a_run(runs / "second", rgb)
    home = dashboard_home(runs)
    before = _stored(home)
    shutil.rmtree(home)

    for _ in range(2):
        assert rebuild_dashboard(runs, home=home) == ["demo", "second"]
        values, settings = _stored(home)
        assert settings == before[1]
        assert values.keys() == before[0].keys()
        for key in values.keys() - {("demo", "views"), ("second", "views")}:
            assert values[key] == before[0][key]
        picture = values["demo", "views"][2]
        from PIL import Image

        np.testing.assert_array_equal(np.asarray(Image.open(home / "media" / picture["file_path"])), rgb)
    with sqlite3.connect(home / "voxlang.db") as connection:
        rows = connection.execute("select metrics from metrics where run_name='demo'").fetchall()
    assert sum(b"loss_small" in metrics for (metrics,) in rows) == 5


def test_rebuilt_points_keep_their_time(tmp_path):
    from voxlang.tracking.replay import find_neptune_runs, read_neptune_run

    with Tracker(tmp_path / "demo", TrackerConfig(trackio=False)) as tracker:
        tracker.log_metric("loss", 1.0, 0)
    (folder,) = find_neptune_runs(tmp_path)
    rebuild_dashboard(tmp_path / "demo" / "neptune", home=dashboard_home(tmp_path))
    from datetime import datetime

    with sqlite3.connect(dashboard_home(tmp_path) / "voxlang.db") as connection:
        (stamp,) = connection.execute("select timestamp from metrics").fetchone()
    told = read_neptune_run(folder).metrics[0].time
    assert abs(datetime.fromisoformat(stamp).timestamp() - told) < 1e-3


def test_rebuilt_runs_of_one_name_never_replace_another(tmp_path):
    for number, run in enumerate(("one/a", "one/a-3", "two/a")):
        with Tracker(tmp_path / run, TrackerConfig(trackio=False)) as tracker:
            tracker.log_metric("number", number, 0)
    home = dashboard_home(tmp_path)
    assert rebuild_dashboard(tmp_path, home=home) == ["a", "a-3", "a-2"]
    values, _ = _stored(home)
    assert {name: row[0] for (name, _), row in values.items()} == {"a": 0.0, "a-3": 1.0, "a-2": 2.0}


def test_nothing_to_rebuild_or_show_is_an_error(tmp_path):
    with pytest.raises(TrackingError, match="offline logs of neptune"):
        rebuild_dashboard(tmp_path, home=dashboard_home(tmp_path))
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(TrackingError, match="make demo"):
            start_dashboard(root)


def _projects(address):
    request = urllib.request.Request(
        address + "/api/get_all_projects", data=b"{}", headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())["data"]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_dashboard_is_served_on_localhost_and_finds_the_project(tmp_path):
    with Tracker(tmp_path / "demo", TrackerConfig(trackio=False)) as tracker:
        tracker.log_metric("loss", 1.0, 0)
    port = _free_port()
    with start_dashboard(tmp_path, port=port) as dashboard:
        assert dashboard.url == f"http://127.0.0.1:{port}/?project=voxlang"
        with urllib.request.urlopen(dashboard.url, timeout=20) as answer:
            page = answer.read().decode()
        assert "<title>Trackio Dashboard</title>" in page
        assert "http://" not in page.replace("http://127.0.0.1", "")
        assert "https://" not in page
        assert _projects(f"http://127.0.0.1:{port}") == ["voxlang"]
        with pytest.raises(TrackingError, match=f"port {port}"):
            start_dashboard(tmp_path, port=port)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_open_dashboard_blocks_until_it_is_stopped(tmp_path):
    with Tracker(tmp_path / "demo", TrackerConfig(neptune="off")) as tracker:
        tracker.log_metric("loss", 1.0, 0)
    port, stop, told, announced = _free_port(), threading.Event(), [], threading.Event()

    def announce(line):
        told.append(line)
        announced.set()

    thread = threading.Thread(
        target=open_dashboard,
        args=(tmp_path,),
        kwargs={"port": port, "open_browser": False, "announce": announce, "stop": stop},
    )
    thread.start()
    assert announced.wait(30)
    assert _projects(f"http://127.0.0.1:{port}") == ["voxlang"]
    assert thread.is_alive()
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert len(told) == 1
    assert f"http://127.0.0.1:{port}" in told[0]


LOCAL_ONLY = """
import socket, sys, json
outside = []
connect, lookup = socket.socket.connect, socket.getaddrinfo
def guarded_connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
        outside.append(str(address))
        raise OSError("outside")
    return connect(self, address)
def guarded_lookup(host, *rest, **more):
    if host not in ("127.0.0.1", "localhost", None):
        outside.append(str(host))
        raise OSError("outside")
    return lookup(host, *rest, **more)
socket.socket.connect, socket.getaddrinfo = guarded_connect, guarded_lookup
import urllib.request
from voxlang.tracking.tracker import Tracker, TrackerConfig
from voxlang.tracking.dashboard import start_dashboard
with Tracker(sys.argv[1] + "/demo") as tracker:
    tracker.log_parameters({"a": 1})
    tracker.log_metric("loss", 1.0, 0)
with start_dashboard(sys.argv[1]) as dashboard:
    urllib.request.urlopen(dashboard.url, timeout=20).read()
print(json.dumps(outside))
"""


def test_no_connection_leaves_the_machine_and_no_file_leaves_the_runs(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    variables = {
        **os.environ,
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_TOKEN": "hf_token_of_nobody",
        "TRACKIO_SPACE_ID": "nobody/space",
        "TRACKIO_WEBHOOK_URL": "https://hooks.example.org/x",
    }
    working = tmp_path / "cwd"
    working.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LOCAL_ONLY, str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        env=variables,
        cwd=working,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == []
    assert done.stdout.strip().count("\n") == 0
    assert list(working.iterdir()) == []
    assert [p for p in home.rglob("*") if p.is_file()] == []


def test_runs_of_one_project_may_keep_a_name_in_different_formats(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from voxlang.tracking.tracker import Tracker, TrackerConfig\n"
        "root = Path(sys.argv[1])\n"
        "for name, file in (('a', 'map.nrrd'), ('b', 'map.nii.gz')):\n"
        "    (root / file).write_bytes(b'x')\n"
        "    with Tracker(root / 'runs' / name, TrackerConfig(neptune='off')) as tracker:\n"
        "        tracker.log_artifact('label_map', root / file)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot write" not in done.stderr
