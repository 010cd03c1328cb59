"""The whole flow on a small file with known answers; only the two learned models are replaced by colour rules."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from color_models import ColorDense, ColorEncoder, ColorGenerator, OneMask

import voxlang.pipeline.infer as infer_module
import voxlang.pipeline.run as run_module
import voxlang.pipeline.stage1 as stage1_module
import voxlang.pipeline.stage2 as stage2_module
from voxlang.core.errors import ArtifactError, ConfigError, QueryError
from voxlang.field.fit import fit_field
from voxlang.pipeline.config import PipelineConfig
from voxlang.pipeline.run import load_input
from voxlang.pipeline.stages import run_pipeline
from voxlang.supervision.cache import read_header

ANGLE = np.radians(20)
DIRECTION = (np.cos(ANGLE), -np.sin(ANGLE), 0.0, np.sin(ANGLE), np.cos(ANGLE), 0.0, 0.0, 0.0, 1.0)


def write_scan(values: np.ndarray) -> None:
    """scan.nii.gz and its labels: hundreds of the values."""
    for name, array in (("scan.nii.gz", values), ("labels.nii.gz", (values / 100).astype(np.uint8))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.5, 2.0))
        image.SetOrigin((-7.0, 11.0, 3.5))
        image.SetDirection(DIRECTION)
        sitk.WriteImage(image, name)


def scene_values() -> np.ndarray:
    """28x24x20 (x, y, z): a low-valued box at small x, a high-valued ball at large x and large z."""
    z, y, x = np.mgrid[0:20, 0:24, 0:28].astype(np.float32)
    values = np.zeros((20, 24, 28), np.float32)
    values[4:10, 6:18, 3:11] = 100.0
    values[(x - 20) ** 2 + (y - 12) ** 2 + (z - 13) ** 2 < 25] = 200.0
    return values


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """An oblique NIfTI with labels, names and a transfer function: the box red, the ball blue."""
    monkeypatch.chdir(tmp_path)
    write_scan(scene_values())
    (tmp_path / "names.json").write_text(json.dumps({"1": "red box", "2": "blue ball"}))
    knots = [(0, 0), (94, 0), (96, 0.9), (104, 0.9), (106, 0), (180, 0), (185, 0.9), (255, 0.9)]
    opacity = [v for x, alpha in knots for v in (x, alpha, 0.5, 0)]  # narrow: the ball's soft edge passes 100 too
    colors = [0, 1, 0, 0, 149, 1, 0, 0, 151, 0, 0, 1, 255, 0, 0, 1]
    (tmp_path / "look.json").write_text(json.dumps([{"Name": "look", "Points": opacity, "RGBPoints": colors}]))
    generator, encoder = ColorGenerator(), ColorEncoder()
    monkeypatch.setattr(stage2_module, "sam_generator_from_settings", lambda settings: generator)
    monkeypatch.setattr(run_module, "load_encoder", lambda settings: encoder)
    monkeypatch.setattr(stage2_module, "load_dense_encoder", lambda settings, encoder: None)
    return generator


def settings(**changes) -> PipelineConfig:
    base = {
        "name": "test",
        "device": "cpu",
        "volume": {"path": "scan.nii.gz", "labels": "labels.nii.gz", "label_names": "names.json"},
        "views": {"n": 6, "width": 64, "height": 48, "transfers": ["look.json"], "source": "grid"},
        "semantics": {"steps": 60, "rays_per_step": 512, "grid_levels": [4, 8], "hidden": 16},
        "query": {"prompts": ["red box", "blue ball", "green moss"]},
        "tracking": {"neptune": "off", "trackio": False},
    }
    for key, value in changes.items():
        base[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return PipelineConfig.model_validate(base)


def label_map() -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage("runs/test/queries/label_map.nii.gz"))


def test_volume_to_label_map_on_the_inputs_own_grid(scan):
    run_pipeline(settings())
    report = json.loads(Path("runs/test/report.json").read_text())
    found = {q["prompt"]: q for q in report["queries"]}
    assert found["red box"]["iou"] > 0.7
    assert found["blue ball"]["iou"] > 0.7
    assert not found["green moss"]["found"]
    assert report["mean_iou"] == pytest.approx((found["red box"]["iou"] + found["blue ball"]["iou"]) / 2)
    given, made = sitk.ReadImage("scan.nii.gz"), sitk.ReadImage("runs/test/queries/label_map.nii.gz")
    assert given.GetSize() == made.GetSize()
    np.testing.assert_allclose(made.GetSpacing(), given.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(made.GetOrigin(), given.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(made.GetDirection(), given.GetDirection(), atol=1e-6)
    names = {s["name"] for s in report["stages"]}
    assert {"render", "masks and embeddings", "semantic field", "queries"} <= names
    assert "<svg" in Path("runs/test/report.html").read_text()


@pytest.mark.parametrize("source", ["masks", "field"])
def test_a_mask_over_two_things_is_cut_where_the_dense_tower_calls_them_differently(scan, monkeypatch, capsys, source):
    monkeypatch.setattr(stage2_module, "sam_generator_from_settings", lambda settings: OneMask())
    changes = {"query": {"source": source}, "semantics": {"steps": 200}}
    ious = lambda: [json.loads(Path("runs/test/report.json").read_text())["queries"][k]["iou"] for k in range(2)]
    run_pipeline(settings(**changes))
    assert min(ious()) == 0.0
    monkeypatch.setattr(stage2_module, "load_dense_encoder", lambda settings, encoder: ColorDense())
    capsys.readouterr()
    run_pipeline(settings(**changes))
    said = capsys.readouterr().out
    assert "changed: dense tower" in said and "is believed" in said
    assert min(ious()) > 0.7
    report = json.loads(Path("runs/test/report.json").read_text())
    assert sum(level["masks"] for level in report["levels"].values()) == 6, "pieces are not counted as masks"


def test_a_tower_that_disagrees_with_the_masks_is_not_believed(scan, monkeypatch, capsys):
    monkeypatch.setattr(stage2_module, "sam_generator_from_settings", lambda settings: OneMask())
    monkeypatch.setattr(stage2_module, "load_dense_encoder", lambda settings, encoder: ColorDense())
    ious = []
    for trusted in (0.2, 1.0, 0.2):
        run_pipeline(settings(embed={"trusted": trusted}))
        ious.append([q["iou"] for q in json.loads(Path("runs/test/report.json").read_text())["queries"][:2]])
        said = capsys.readouterr().out
        assert ("the masks stand alone" in said) is (trusted == 1.0), "also when the views come from the cache"
        assert "changed" not in said
    assert min(ious[0]) > 0.7 and min(ious[1]) == 0.0 and ious[2] == ious[0]


def test_another_tower_makes_the_cache_stale(scan, monkeypatch, capsys):
    for tower, stale in ((ColorDense(), False), (ColorDense("dense-2"), True)):
        monkeypatch.setattr(stage2_module, "load_dense_encoder", lambda settings, encoder, tower=tower: tower)
        run_pipeline(settings())
        assert ("changed: dense tower" in capsys.readouterr().out) is stale


@pytest.mark.parametrize(("cut_share", "least", "most"), [(0.0, 0.0, 0.0), (0.5, 0.6, 1.0)])
def test_views_that_are_cut_open_find_what_an_opaque_thing_hides(scan, cut_share, least, most):
    z, y, x = np.mgrid[0:20, 0:24, 0:28].astype(np.float32)
    values = np.zeros((20, 24, 28), np.float32)
    values[3:17, 3:21, 2:26] = 100.0
    values[(x - 13) ** 2 + (1.5 * (y - 11)) ** 2 + (2 * (z - 10)) ** 2 < 81] = 200.0
    write_scan(values)
    run_pipeline(settings(views={"cut_share": cut_share, "n": 12}))
    found = {q["prompt"]: q for q in json.loads(Path("runs/test/report.json").read_text())["queries"]}
    assert found["red box"]["iou"] > 0.6
    assert least <= found["blue ball"]["iou"] <= most


def test_cuts_that_show_nothing_new_are_not_made_and_it_is_said(scan, capsys):
    run_pipeline(settings(mode="render", views={"cut_share": 0.5}))
    assert "none is cut open" in capsys.readouterr().out
    run_pipeline(settings(mode="render", views={"cut_share": 0.5, "cut_hidden": 0}))
    assert "none is cut open" not in capsys.readouterr().out


def test_a_run_that_was_killed_continues_and_ends_the_same(scan, monkeypatch):
    run_pipeline(settings(name="whole"))
    wanted = sitk.GetArrayFromImage(sitk.ReadImage("runs/whole/queries/label_map.nii.gz"))
    for cache in Path("cache").glob("*"):
        cache.unlink()
    generate = ColorGenerator.generate

    def dies_at_the_fourth(self, rgb, **others):
        if self.calls == 3 + calls_before:
            raise KeyboardInterrupt
        return generate(self, rgb, **others)

    calls_before = scan.calls
    monkeypatch.setattr(ColorGenerator, "generate", dies_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(settings())
    monkeypatch.setattr(ColorGenerator, "generate", generate)
    run_pipeline(settings())
    assert scan.calls == calls_before + 6, "three views before the kill, three after it, none twice"
    np.testing.assert_array_equal(label_map(), wanted)


def test_a_stage_1_that_was_killed_continues_and_stands_in_no_other_ones_way(scan, monkeypatch):
    started = []

    def dies_at_the_second_step(*args, **options):
        def on_step(step):
            started.append(step)
            if len(started) == 2:
                raise KeyboardInterrupt

        return fit_field(*args, **options, on_step=on_step)

    monkeypatch.setattr(stage1_module, "fit_field", dies_at_the_second_step)
    slow, quick = {"steps": 4, "checkpoint_seconds": 0.0}, {"steps": 1}
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(settings(mode="stage1", stage1=slow))
    run_pipeline(settings(mode="stage1", stage1=quick))
    run_pipeline(settings(mode="stage1", stage1=slow))
    assert started == [1, 2, 1, 3, 4]
    assert [p.name for p in Path("runs/test").glob("field*")] == ["field.safetensors"]


def test_a_second_start_uses_what_is_there(scan, capsys):
    run_pipeline(settings())
    calls = scan.calls
    first = label_map()
    run_pipeline(settings())
    assert scan.calls == calls
    assert "cache is up to date" in capsys.readouterr().out
    np.testing.assert_array_equal(label_map(), first)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"views": {"seed": 1}}, "cameras"),
        ({"views": {"cut_share": 0.5, "cut_hidden": 0}}, "cameras"),
        ({"views": {"width": 80}}, "resolution"),
        ({"render": {"step_voxels": 0.7}}, "render settings"),
        ({"sam": {"level_rule": "area"}}, "level rule"),
        ({"embed": {"policy": "box"}}, "crop policy"),
    ],
)
def test_a_stale_cache_is_named_and_set_aside(scan, capsys, change, name):
    run_pipeline(settings(mode="stage2"))
    before = read_header("cache/sam_cache_6views.pkl").inputs
    run_pipeline(settings(mode="stage2", **change))
    said = capsys.readouterr().out
    assert "is not used (changed:" in said
    assert name in said
    assert read_header("cache/sam_cache_6views.pkl").inputs[name] != before[name]
    run_pipeline(settings(mode="stage2"))
    assert "was found at" in capsys.readouterr().out, "going back finds the former cache"


def test_other_weights_make_the_cache_stale(scan, capsys):
    run_pipeline(settings(mode="stage2"))
    scan.id = "colors-2"
    run_pipeline(settings(mode="stage2"))
    assert "SAM weights and thresholds" in capsys.readouterr().out


def test_a_mode_without_its_input_says_which_command_makes_it(scan):
    with pytest.raises(ArtifactError, match="run the stage that writes it"):
        run_pipeline(settings(mode="infer"))
    with pytest.raises(ArtifactError, match="--mode=stage1"):
        run_pipeline(settings(mode="render", views={"source": "inr"}))
    with pytest.raises(QueryError, match=r"query\.prompts"):
        run_pipeline(settings(mode="stage2"))
        run_pipeline(settings(mode="infer", query={"prompts": []}))


def test_the_pictures_of_a_run_are_those_of_its_last_settings(scan, monkeypatch):
    pictures = lambda kind: {p.name: p.read_bytes() for p in Path(f"runs/test/{kind}").glob("view_*.png")}
    run_pipeline(settings(mode="stage2"))
    first = pictures("masks")
    monkeypatch.setattr(stage2_module, "sam_generator_from_settings", lambda settings: OneMask("one"))
    run_pipeline(settings(mode="stage2"))
    assert len(first) == 6 and all(pictures("masks")[name] != old for name, old in first.items())
    monkeypatch.setattr(stage2_module, "sam_generator_from_settings", lambda settings: scan)
    calls = scan.calls
    run_pipeline(settings(mode="stage2"))
    assert scan.calls == calls, "from the former cache"
    assert pictures("masks") == first
    written = {p: p.stat().st_mtime_ns for p in Path("runs/test/masks").glob("view_*.png")}
    run_pipeline(settings(mode="stage2"))
    assert {p: p.stat().st_mtime_ns for p in written} == written, "drawn once"
    run_pipeline(settings(views={"n": 4}))
    assert sorted(pictures("masks")) == sorted(pictures("views")) == [f"view_00{i}.png" for i in range(4)]


def test_answers_never_come_from_the_masks_of_another_volume(scan, capsys):
    run_pipeline(settings(mode="stage2"))
    run_pipeline(settings(mode="infer"))
    assert "changed since" not in capsys.readouterr().out
    run_pipeline(settings(mode="infer", views={"seed": 1}))
    assert "changed since: cameras (--mode=stage2" in capsys.readouterr().out
    write_scan(scene_values()[:, ::-1].copy())
    with pytest.raises(ArtifactError, match=r"masks of another volume.*--mode=stage2"):
        run_pipeline(settings(mode="infer"))
    run_pipeline(settings(mode="stage2"))
    run_pipeline(settings(mode="infer"))
    assert "query: label map" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: labels.SetOrigin((-7.0, 11.0, 4.5)),
        lambda labels: labels.SetSpacing((1.0, 1.5, 2.01)),
        lambda labels: labels.SetDirection((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)),
        lambda labels: sitk.Flip(labels, (True, False, False)),
        lambda labels: labels[:, :, 1:],
    ],
)
def test_labels_of_another_grid_are_refused_before_any_work(scan, change):
    labels = sitk.ReadImage("labels.nii.gz")
    sitk.WriteImage(change(labels) or labels, "labels.nii.gz")
    with pytest.raises(ConfigError, match=r"labels on the volume's grid.*labels\.nii\.gz.*nearest neighbour"):
        run_pipeline(settings())
    assert not Path("runs/test/views").exists()


def test_labels_without_a_place_need_the_size_alone(scan):
    np.save("labels.npy", sitk.GetArrayFromImage(sitk.ReadImage("labels.nii.gz")))
    run = settings(volume={"labels": "labels.npy"})
    assert load_input(run).truth.labels.any()
    np.save("labels.npy", np.zeros((20, 24, 27), np.uint8))
    with pytest.raises(ConfigError, match=r"\(27, 24, 20\)"):
        load_input(run)


def test_every_prompt_has_files_of_its_own(scan):
    prompts = ["red box", "Red-box", "red_box 2", "赤い箱", "青い球", "?", "!", "x" * 300]
    names = infer_module.file_names(prompts)
    assert names[:7] == ["red_box", "red_box_2", "red_box_2_2", "赤い箱", "青い球", "prompt", "prompt_2"]
    assert len(names[7].encode()) < 200
    run_pipeline(settings(mode="stage2"))
    run_pipeline(settings(mode="infer", query={"prompts": prompts[:5]}))
    folder = Path("runs/test/queries")
    for name in names[:5]:
        assert (folder / f"relevancy_{name}.nii.gz").is_file() and (folder / f"highlight_{name}.png").is_file()


@pytest.mark.parametrize(
    "query",
    [
        {"prompts": []},
        {"prompts": ["red box", "  "]},
        {"prompts": ["red box", "red box "]},
        {"negatives": []},
        {"templates": ["a rendering"]},
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_before_any_work(scan, query):
    with pytest.raises(QueryError):
        run_pipeline(settings(query=query))
    assert not Path("runs/test/views").exists()


def test_prompts_that_the_truth_does_not_know_are_answered_all_the_same(scan, capsys):
    dragon = {"prompts": ["dragon"], "templates": ["{}", "the {} in {braces}"]}
    with pytest.raises(QueryError, match=r"names a part: blue ball, red box; got 'dragon'"):
        run_pipeline(settings(mode="evaluate", query=dragon))
    assert not Path("runs/test/queries").exists()
    run_pipeline(settings(query=dragon))
    assert "nothing is scored" in capsys.readouterr().out
    report = json.loads(Path("runs/test/report.json").read_text())
    assert report["mean_iou"] is None and [q["prompt"] for q in report["queries"]] == ["dragon"]


def test_a_field_without_any_error_has_a_report(scan):
    np.save("two.npy", np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    run_pipeline(settings(volume={"path": "two.npy", "labels": ""}, views={"source": "inr", "transfers": ["surface"]}))
    assert json.loads(Path("runs/test/report.json").read_text())["psnr_db"] is None
