"""Settings of a run: command line over preset, the run's name, and errors as one line."""

import pytest

from voxlang.core.errors import ConfigError
from voxlang.core.runs import RunDirectory
from voxlang.pipeline.cli import main, parse
from voxlang.pipeline.config import PipelineConfig, load_preset


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/scan.nii.gz", "scan"),
        ("scan.v2.NII.GZ", "scan.v2"),
        ("bonsai_256x256x256_uint8.raw", "bonsai_256x256x256_uint8"),
        ("my scan (1).nrrd", "my-scan-1"),
        ("series 1.2/", "series-1.2"),
        ("脳.nrrd", "volume"),
        (".", "volume"),
    ],
)
def test_a_run_is_named_after_its_file(path, name, tmp_path):
    config = PipelineConfig(volume={"path": path})
    assert config.run_name == name
    RunDirectory(tmp_path, config.run_name)


def test_command_line_lies_over_the_preset(tmp_path):
    preset = tmp_path / "p.yaml"
    preset.write_text("views: {n: 7, width: 100}\nname: a\n")
    config, files = parse(["--config", str(preset), "--views.n", "9", "--mode=stage2"])
    assert (config.views.n, config.views.width, config.name, config.mode, files) == (9, 100, "a", "stage2", [])
    assert parse(["--views.up-world", "0", "-1", "0"])[0].views.up_world == (0.0, -1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("views: {m: 7}", r"views\.m"),
        ("views: {n: many}", r"views\.n"),
        ("views: [", "valid YAML"),
        ("7", "settings"),
        ("views: {transfers: []}", r"views\.transfers"),
        ("views: {up_world: [0, 0, 0]}", r"views\.up_world.*not all 0"),
        ("render: {light_direction_camera: [0, .nan, 1]}", r"render\.light_direction_camera.*finite"),
    ],
)
def test_a_broken_preset_is_refused_by_name(tmp_path, text, what):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=what):
        load_preset(path)


def test_a_missing_preset_is_refused():
    with pytest.raises(ConfigError, match="no such file"):
        load_preset("nowhere.yaml")


def test_errors_reach_the_user_as_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["--mode=stage1", "--volume.path", "nothing.nrrd", "--tracking.neptune", "off", "--tracking.no-trackio"])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("VolumeError: ")
    assert "Traceback" not in said
