"""report.html is one file that shows every number and picture; report.json has a frozen shape."""

import base64
import io
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voxlang.apps.report import ReportPictures, byte_size, duration, picture_source, write_report
from voxlang.apps.report_charts import Chart
from voxlang.apps.report_schema import Report
from voxlang.core.errors import ArtifactError

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "report_schema.json"


def _report():
    return {
        "volume": {"name": "bonsai <1>", "size_xyz": (5, 4, 3), "spacing_xyz": (1.0, 2.0, 3.0), "unit": "mm"},
        "settings": {"sam": {"size": "micro", "points_per_side": 32}, "source": None, "levels": ["small", "whole"]},
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "stages": [
            {"name": "fit", "seconds": 40.0, "peak_memory_bytes": 1_430_000_000, "resumed": True},
            {"name": "masks", "seconds": 83.4, "peak_memory_bytes": 1_900_000_000},
        ],
        "levels": {"small": 6, "part": {"masks": 3, "final_loss": 0.25}, "whole": 1},
        "queries": [
            {
                "prompt": "pot",
                "level": "part",
                "found": True,
                "score": 0.93,
                "iou": 0.81,
                "outputs": ["queries/a pot.nrrd", "queries/gone.nrrd"],
                "label": 1,
                "color_rgb": (1.0, 0.5, 0.0),
            },
            {"prompt": 'a "skull" & <bone>', "level": None, "found": False, "score": 0.31},
        ],
        "mean_iou": 0.81,
        "psnr_db": 44.13,
    }


def _pictures(rng):
    def picture():
        return rng.random((6, 8, 3))

    return ReportPictures(
        views=[("from +x", picture()), ("from -y", picture())],
        mask_panels=[("view 0", picture())],
        queries={"pot": [("plain", picture()), ("highlight", picture())]},
        charts={"loss": Chart({"small": ([0, 1, 2], [3.0, 2.0, 1.0])}, caption="Loss per level.")},
    )


class Page(HTMLParser):
    """What a browser would read."""

    VOID = frozenset({"meta", "link", "img", "br", "path", "use"})

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.VOID:
            return
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def written(tmp_path, rng):
    run_dir = tmp_path / "runs" / "demo"
    (run_dir / "queries").mkdir(parents=True)
    (run_dir / "queries" / "a pot.nrrd").write_bytes(b"x" * 1500)
    path = write_report(run_dir, _report(), _pictures(rng))
    return path, Page(path.read_text("utf-8")), json.loads((run_dir / "report.json").read_text("utf-8"))


def test_json_has_what_machines_read(written):
    _, _, found = written
    assert found["settings"]["sam"] == {"size": "micro", "points_per_side": 32}
    assert found["versions"] == {"python": "3.11.7", "torch": "2.15.0"}
    assert found["stages"] == [
        {"name": "fit", "seconds": 40.0, "peak_memory_bytes": 1_430_000_000, "resumed": True},
        {"name": "masks", "seconds": 83.4, "peak_memory_bytes": 1_900_000_000},
    ]
    assert found["levels"] == {
        "small": {"masks": 6, "share": 0.6},
        "part": {"masks": 3, "share": 0.3, "final_loss": 0.25},
        "whole": {"masks": 1, "share": 0.1},
    }
    first, second = found["queries"]
    assert first["iou"] == 0.81
    assert first["outputs"] == ["queries/a pot.nrrd", "queries/gone.nrrd"]
    assert "iou" not in second
    assert (second["level"], second["found"], second["outputs"]) == (None, False, [])
    assert (found["mean_iou"], found["psnr_db"], found["name"]) == (0.81, 44.13, "demo")


def test_json_is_read_back_as_a_report(written):
    _, _, found = written
    assert Report.model_validate(found).as_json() == found


def test_the_page_is_well_formed_and_fetches_nothing(written):
    path, page, _ = written
    assert page.open == []
    assert page.text.count("<bone>") == 1
    for tag in ("script", "img", "link", "iframe", "use", "a"):
        for attributes in page.all(tag):
            for name in ("src", "href", "xlink:href"):
                value = attributes.get(name) or "#"
                assert value.startswith(("data:", "#", "queries/", "report.json")), value
    style = path.read_text("utf-8").split("<style>")[1].split("</style>")[0]
    assert "@import" not in style
    assert "url(" not in style
    assert "default-src 'none'" in page.all("meta")[2]["content"]


def test_every_picture_has_a_text_and_its_own_pixels(written, rng):
    _, page, _ = written
    images = [a for a in page.all("img") if a.get("src")]
    assert len(images) == 6
    assert all(a["alt"] for a in images)
    assert all((a["width"], a["height"]) == ("8", "6") for a in images)
    expected = _pictures(np.random.default_rng(20260307))
    source = next(a["src"] for a in images if a["alt"] == "Rendered view, from -y")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))))
    np.testing.assert_allclose(shown / 255.0, expected.views[1][1], atol=0.5 / 255 + 1e-9)


def test_the_page_shows_the_numbers(written):
    _, page, _ = written
    for text in (
        "bonsai <1>",
        "0.81",
        "44.1 dB",
        "2 min 03 s",
        "1.90 GB",
        "1 of 2 queries found",
        "from an earlier start",
    ):
        assert text in page.text, text
    for text in (
        "not found",
        "60.0 %",
        "sam.points_per_side",
        "Loss per level.",
        "2.15.0",
        "5 × 4 × 3",
        "1 × 2 × 3 mm",
    ):
        assert text in page.text, text
    links = [a["href"] for a in page.all("a")]
    assert "queries/a%20pot.nrrd" in links
    assert not any("gone" in link for link in links)
    assert "gone.nrrd missing" in " ".join(page.text.split())


def test_the_page_says_nothing_about_truth_that_is_not_known(tmp_path):
    report = _report()
    report["mean_iou"] = report["psnr_db"] = None
    report["queries"] = []
    report["volume"] = None
    text = write_report(tmp_path, report, ReportPictures()).read_text("utf-8")
    page = Page(text)
    assert "IoU" not in page.text
    assert "PSNR" not in page.text
    assert [a["id"] for a in page.all("section")] == ["masks", "resources", "settings"]


def test_absolute_outputs_become_relative(tmp_path):
    report = _report()
    report["queries"][0]["outputs"] = [str(tmp_path / "demo" / "labels.nrrd"), str(tmp_path / "cache" / "x.pkl")]
    write_report(tmp_path / "demo", report, ReportPictures())
    found = json.loads((tmp_path / "demo" / "report.json").read_text())
    assert found["queries"][0]["outputs"] == ["labels.nrrd", "../cache/x.pkl"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": [{"name": "fit", "seconds": -1.0, "peak_memory_bytes": 1}]}, r"stages\.0\.seconds"),
        ({"levels": {"small": 1, "part": 2}}, r"levels\.whole"),
        ({"mean_iou": float("nan")}, "mean_iou"),
        ({"mean_iou": 1.5}, "mean_iou"),
        ({"queries": [{"prompt": "x", "level": "medium", "found": True, "score": 1.0}]}, r"queries\.0\.level"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_wrong_report_is_refused_and_nothing_is_written(tmp_path, change, message):
    with pytest.raises(ArtifactError, match=message):
        write_report(tmp_path, _report() | change, ReportPictures())
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_none_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ArtifactError, match=r"shape \(3, 4\)"):
        write_report(tmp_path, _report(), ReportPictures(views=[("x", np.zeros((3, 4)))]))
    assert list(tmp_path.iterdir()) == []


def test_the_shape_of_the_json_is_frozen():
    assert Report.model_json_schema() == json.loads(GOLDEN.read_text("utf-8"))


def test_smooth_pictures_become_jpeg_and_flat_ones_stay_exact(rng):
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.random((128, 96, 3)), (3, 3, 0)) + 0.01 * rng.random((128, 96, 3))
    source = picture_source(smooth)
    assert source.startswith("data:image/jpeg")
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
    assert np.abs(shown / 255.0 - smooth).mean() < 0.01
    flat = np.zeros((64, 64, 3), np.uint8)
    flat[10:30, 5:50] = (255, 0, 7)
    source = picture_source(flat)
    assert source.startswith("data:image/png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))), flat)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (9.99, "9.99 s"),
        (12.34, "12.3 s"),
        (59.96, "1 min 00 s"),
        (185.2, "3 min 05 s"),
        (3725.0, "1 h 02 min"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1234, "1.23 kB"),
        (45_600_000, "45.6 MB"),
        (999_900_000, "1.00 GB"),
        (4 * 10**11, "400 GB"),
    ],
)
def test_byte_size(count, text):
    assert byte_size(count) == text
