"""The integration check: what passes, and that a failure is shown and counted."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voxlang.core.errors import ConfigError
from voxlang.segtrain import check_encoders

ROOT = Path(__file__).parents[2]


def run_script(folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "test_dino_jepa_integration.py")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.slow
def test_the_whole_script_passes():
    done = run_script(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.startswith(f"ok      {name}") for line, name in zip(lines, check_encoders.CHECKS, strict=False)] == [
        True
    ] * 5
    assert lines[-1] == "5 of 5 checks passed"


@pytest.mark.slow
def test_a_broken_configuration_ends_the_whole_script_with_1(tmp_path):
    """A user's own sam2_vit_ijepa.yaml, in the working folder, that is no SAM 2.1 any more and has half a trunk."""
    folder = tmp_path / "configs" / "sam2"
    shutil.copytree(ROOT / "configs" / "sam2", folder)
    text = (folder / "sam2_vit_ijepa.yaml").read_text()
    assert "backbone_channel_list: [1280, 1280, 1280, 1280]" in text
    (folder / "sam2_vit_ijepa.yaml").write_text(
        text.replace(
            "backbone_channel_list: [1280, 1280, 1280, 1280]", "backbone_channel_list: [1280, 1280, 1280, 640]"
        )
        + "  num_maskmem: 3\n"
    )
    done = run_script(tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("FAILED  configuration loading") and "sam2_vit_ijepa is SAM 2.1" in lines[0]
    assert lines[1].startswith("FAILED  feature shapes") and "[1280, 1280, 1280, 640]" in lines[1]
    assert all(line.startswith("ok") for line in lines[2:5]), done.stdout
    assert lines[5] == "3 of 5 checks passed; failed: ['configuration loading', 'feature shapes']"


def test_configurations_and_parts_hold():
    names = ("configuration loading", "component compatibility", "parameter validation")
    results = check_encoders.run_checks({name: check_encoders.CHECKS[name] for name in names})
    assert [(r.name, r.passed) for r in results] == [(name, True) for name in names], results


def test_a_failure_does_not_stop_the_others_and_ends_the_script_with_1(monkeypatch, capsys):
    def fail() -> str:
        raise ConfigError("four", got="three", where="here", do="count")

    monkeypatch.setattr(check_encoders, "CHECKS", {"counting": fail, "breathing": lambda: "in and out"})
    monkeypatch.setattr(sys, "argv", ["test_dino_jepa_integration.py"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "test_dino_jepa_integration.py"), run_name="__main__")
    assert caught.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAILED  counting") and "Expected four; got three" in lines[0]
    assert lines[1].startswith("ok      breathing") and lines[1].endswith("in and out")
    assert lines[2] == "1 of 2 checks passed; failed: ['counting']"


def test_a_configuration_that_lost_its_base_is_found(monkeypatch):
    real = check_encoders.compose_sam2

    def broken(name, *args, **kwargs):
        config = real(name, *args, **kwargs)
        return config | {"num_maskmem": 3} if name == "sam2_vit_ijepa" else config

    monkeypatch.setattr(check_encoders, "compose_sam2", broken)
    with pytest.raises(ConfigError, match=r"sam2_vit_ijepa is SAM 2\.1 but for the trunk"):
        check_encoders.check_configurations()


def test_pytest_does_not_collect_the_script():
    text = (ROOT / "test_dino_jepa_integration.py").read_text()
    assert "def test" not in text and len(text.splitlines()) < 60
