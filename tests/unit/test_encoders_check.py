"""The integration check: what passes, and that a failure is shown and counted."""

import runpy
import sys
from pathlib import Path

import pytest

from voxlang.core.errors import ConfigError
from voxlang.segtrain import check_encoders

ROOT = Path(__file__).parents[2]


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
