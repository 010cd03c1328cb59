"""Run directories and their provenance."""

import importlib.metadata
import json
import platform
import subprocess
import sys

import pytest

from voxlang.core.errors import ConfigError
from voxlang.core.runs import RunDirectory, git_state, machine, versions


def test_the_folder_and_its_paths(tmp_path):
    run = RunDirectory(tmp_path / "runs", "demo")
    assert run.path == tmp_path / "runs" / "demo"
    assert run.path.is_dir()
    paths = [run.config_path, run.provenance_path, run.stages_path, run.report_html_path, run.report_json_path]
    paths += [run.field_path, run.semantics_path]
    assert len(set(paths)) == 7
    assert all(path.parent == run.path for path in paths)
    assert run.folder("views").is_dir()
    assert RunDirectory(tmp_path / "runs", "demo").path == run.path


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "-x", "a b", "ü", "x" * 101])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="run name"):
        RunDirectory(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_the_refusal_proposes_a_name_that_works(tmp_path):
    with pytest.raises(ConfigError) as caught:
        RunDirectory(tmp_path, "../my run")
    assert caught.value.do == "use --name my-run"
    RunDirectory(tmp_path, "my-run")


def test_start_writes_config_and_provenance(tmp_path):
    run = RunDirectory(tmp_path, "demo")
    run.start({"views": 20}, seeds={"phantom": 3, "cameras": 7})
    assert run.config() == {"views": 20}
    stored = json.loads(run.provenance_path.read_text())
    assert (stored["schema"], stored["kind"]) == (1, "provenance")
    (start,) = stored["starts"]
    assert start["seeds"] == {"phantom": 3, "cameras": 7}
    assert start["versions"]["python"] == platform.python_version()
    assert set(start["git"]) == {"commit", "dirty"}
    assert start["machine"]["device"] == "cpu"


def test_a_second_start_is_added_and_the_config_is_the_latest(tmp_path):
    run = RunDirectory(tmp_path, "demo")
    run.start({"views": 20}, seeds={"all": 0})
    RunDirectory(tmp_path, "demo").start({"views": 8}, seeds={"all": 1})
    starts = json.loads(run.provenance_path.read_text())["starts"]
    assert [s["seeds"]["all"] for s in starts] == [0, 1]
    assert run.config() == {"views": 8}


def test_versions_are_those_of_the_installed_distributions_and_import_nothing():
    code = (
        "import sys, json; from voxlang.core.runs import versions; v = versions();"
        "print(json.dumps([v, [m for m in ('torch', 'sam2', 'open_clip', 'neptune') if m in sys.modules]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, imported = json.loads(done.stdout)
    assert imported == []
    assert found == versions()
    for name in ("torch", "sam2", "open_clip_torch", "neptune", "trackio", "voxlang"):
        assert found[name] == importlib.metadata.version(name)


def test_machine_is_what_the_system_says():
    import psutil

    found = machine(device="cpu")
    assert found["memory_bytes"] == psutil.virtual_memory().total
    assert found["cpu_count"] >= 1
    assert found["device_name"] is None


def _git(folder, *arguments):
    settings = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *settings, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_git_state_of_a_clean_and_of_a_changed_tree(tmp_path):
    _git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1")
    _git(tmp_path, "add", "a.txt")
    _git(tmp_path, "commit", "-qm", "one")
    assert git_state(tmp_path) == {"commit": _git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "a.txt").write_text("2")
    assert git_state(tmp_path)["dirty"] is True


def test_git_state_outside_of_a_repository_and_in_an_untracked_folder(tmp_path):
    unknown = {"commit": None, "dirty": None}
    assert git_state(tmp_path) == unknown
    _git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1")
    _git(tmp_path, "add", "a.txt")
    _git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "site-packages").mkdir()
    assert git_state(tmp_path / "site-packages") == unknown


def test_git_state_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state() == {"commit": None, "dirty": None}
