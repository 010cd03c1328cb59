"""However a program is entered, what a user can mend is one readable line and an exit status, never a traceback."""

import errno
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from voxlang.core.artifacts import atomic_path, write_text
from voxlang.core.doors import through_door
from voxlang.core.errors import VolumeError

ROOT = Path(__file__).parents[2]

BAD_INPUT = {
    "main.py": ["--volume.path", "none.nrrd"],
    "stage1.py": ["--volume.path", "none.nrrd"],
    "stage2.py": ["--volume.path", "none.nrrd"],
    "sam_demo_enhanced.py": ["--image", "none.png"],
    "training/train.py": ["--config", "none.yaml"],
    "training/train_clip.py": ["--config", "none.yaml"],
    "training/train_dense.py": ["--config", "none.yaml"],
    "training/render_views.py": ["--out", "renders", "--config.phantoms", "unicorn", "2"],
    "training/contact_sheet.py": ["--renders", "none", "--out", "sheet.png"],
    "training/evaluate_masks.py": ["--renders", "none"],
    "training/train_mmseg.py": ["--config", "none.py", "--out", "mmseg"],
    "benchmarks/scans.py": ["--data", "none", "--scans", "tooth_seg3d"],
    "benchmarks/embedded.py": ["--out", "measures", "--checkpoint", "none.pt"],
    "benchmarks/demo.py": ["--families", "unicorn", "--seeds", "7"],
    "tools/checkpoint.py": ["inspect", "none.pt"],
    "tools/model_converters/sam2hiera2mmseg.py": ["none.pt", "out.pth"],
    "checkpoints/download_ckpts.py": ["--folder", "a_file"],
}


@pytest.mark.parametrize("door", BAD_INPUT)
def test_bad_input_is_one_line_at_every_door(door, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("no folder")
    monkeypatch.setattr(sys, "argv", [door, *BAD_INPUT[door]])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / door), run_name="__main__")
    assert stop.value.code == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "Error: Expected " in told and " Do: " in told, told


def raising(error):
    def act():
        raise error

    return act


def test_what_a_program_says_is_printed_and_done_is_zero(capsys):
    assert through_door(lambda: "12 masks") == 0
    assert through_door(lambda: None) == 0
    assert capsys.readouterr().out == "12 masks\n"


def test_an_error_to_mend_is_one_line(capsys):
    error = VolumeError("a volume", got="no such file", where="scan.nrrd", do="check the path")
    assert through_door(raising(error)) == 1
    assert capsys.readouterr().err == (
        "VolumeError: Expected a volume; got no such file. In: scan.nrrd. Do: check the path.\n"
    )


def test_ctrl_c_says_how_to_go_on(capsys):
    assert through_door(raising(KeyboardInterrupt())) == 130
    told = capsys.readouterr().err
    assert "the same command goes on" in told and "Traceback" not in told


def test_a_place_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "runs").write_text("a file where a folder is wanted")
    assert through_door(lambda: write_text(tmp_path / "runs" / "a" / "b.txt", "x")) == 1
    told = capsys.readouterr().err
    assert str(tmp_path / "runs") in told and " Do: " in told
    assert through_door(raising(OSError(errno.ENOSPC, "No space left on device", "/data/x"))) == 1
    assert "No space left on device" in capsys.readouterr().err


def test_faults_of_our_own_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        through_door(raising(ZeroDivisionError()))
    with pytest.raises(FileNotFoundError):
        through_door(raising(FileNotFoundError(errno.ENOENT, "No such file", "x")))


def test_a_writer_that_hides_the_full_disk_is_understood(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(OSError, match="No space left") as caught, atomic_path(tmp_path / "weights.pt"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "weights.pt")
    assert list(tmp_path.iterdir()) == []
