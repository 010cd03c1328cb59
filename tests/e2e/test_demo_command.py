"""The README's main command on a small phantom, with the embedded models, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    "--config configs/demo.yaml --device cpu --views.n 4 --views.width 128 --views.height 128 --stage1.preset fast "
    "--sam.points-per-side 12 --semantics.steps 40 --volume.size-xyz 44 38 46"
)


def run(arguments: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "main.py", *arguments.split(), "--runs-dir", str(folder / "runs"), "--cache-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    done = run(f"--mode=all {SMALL} --query.prompts pot foliage trunk", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_demo_leaves_report_label_map_and_logs(finished):
    folder = finished / "runs" / "demo"
    report = json.loads((folder / "report.json").read_text())
    assert [q["prompt"] for q in report["queries"]] == ["pot", "foliage", "trunk"]
    assert report["psnr_db"] > 25
    assert 0 <= report["mean_iou"] <= 1
    assert {"small", "part", "whole"} == set(report["levels"])
    assert sum(level["masks"] for level in report["levels"].values()) > 0
    html = (folder / "report.html").read_text()
    assert "data:image/" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert (folder / "neptune").is_dir()
    assert (finished / "sam_cache_4views.pkl").is_file()


def test_the_label_map_lies_on_the_phantoms_grid(finished):
    from voxlang.volume.phantoms import make_phantom
    from voxlang.volume.read import load_labels

    labels, grid = load_labels(finished / "runs" / "demo" / "queries" / "label_map.nrrd")
    wanted = make_phantom("bonsai", 7, size_xyz=(44, 38, 46)).volume.grid
    assert grid.size_xyz == wanted.size_xyz
    np.testing.assert_allclose(grid.spacing_xyz, wanted.spacing_xyz, atol=1e-6)
    np.testing.assert_allclose(grid.origin_xyz, wanted.origin_xyz, atol=1e-6)
    np.testing.assert_allclose(grid.direction, wanted.direction, atol=1e-6)
    assert labels.max() <= 3


def test_another_question_needs_no_training(finished):
    done = run(f"--mode=infer {SMALL} --query.prompts soil", finished)
    assert done.returncode == 0, done.stderr
    answers = json.loads((finished / "runs" / "demo" / "queries" / "answers.json").read_text())
    assert [a["prompt"] for a in answers["answers"]] == ["soil"]
    assert "semantic field" not in done.stderr


def test_caches_are_compared(finished):
    cache = str(finished / "sam_cache_4views.pkl")
    done = run(f"--mode=cache-stats {cache} {cache}", finished)
    assert done.returncode == 0, done.stderr
    assert "whole" in done.stdout


def test_help_names_every_mode():
    done = subprocess.run([sys.executable, "main.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for mode in ("stage1", "render", "stage2", "infer", "evaluate", "dashboard", "cache-stats", "compare-sam", "all"):
        assert mode in done.stdout


def test_help_loads_no_model_library():
    code = (
        "import sys; sys.argv=['main.py','--help']\n"
        "from voxlang.pipeline.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'neptune', 'trackio', 'open_clip', 'transformers', 'sam2', 'matplotlib', 'numba'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("LOADED []")
