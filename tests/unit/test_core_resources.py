"""The stage clock measures seconds and peaks, and keeps them over a restart."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from voxlang.core.errors import ArtifactError
from voxlang.core.resources import StageClock

MIB = 1 << 20


def test_seconds_and_keys():
    clock = StageClock()
    with clock.stage("sleep"):
        time.sleep(0.2)
    (record,) = clock.records()
    assert set(record) == {"name", "seconds", "peak_memory_bytes"}
    assert record["name"] == "sleep"
    assert 0.2 <= record["seconds"] < 1.0
    assert clock.total_seconds() == record["seconds"]
    json.dumps(clock.records())


def test_peak_counts_memory_that_was_freed_before_the_end():
    clock = StageClock()
    with clock.stage("small"):
        time.sleep(0.15)
    with clock.stage("large"):
        block = np.ones(300 * MIB, np.uint8)
        time.sleep(0.25)
        del block
    with clock.stage("after"):
        time.sleep(0.15)
    small, large, after = (r["peak_memory_bytes"] for r in clock.records())
    assert 290 * MIB < large - small < 330 * MIB
    assert after < large - 200 * MIB
    assert clock.peak_memory_bytes() == large


def test_a_spike_between_two_samples_counts_when_it_is_a_new_maximum():
    code = (
        "import numpy as np\n"
        "from voxlang.core import resources\n"
        "resources.SAMPLES_PER_SECOND = 0.2\n"
        "clock = resources.StageClock()\n"
        "with clock.stage('x'):\n"
        "    block = np.ones(400 << 20, np.uint8)\n"
        "    del block\n"
        "print(clock.records()[0]['peak_memory_bytes'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 400 * MIB


def test_children_count():
    clock = StageClock()
    with clock.stage("alone"):
        time.sleep(0.15)
    code = "import time; block = bytearray(200 << 20); time.sleep(1.5)"
    with clock.stage("with a child"):
        subprocess.run([sys.executable, "-c", code], check=True)
    alone, both = (r["peak_memory_bytes"] for r in clock.records())
    assert both - alone > 200 * MIB


def test_nested_stages_both_see_the_peak():
    clock = StageClock()
    with clock.stage("outer"):
        with clock.stage("inner"):
            block = np.ones(200 * MIB, np.uint8)
            time.sleep(0.25)
        del block
    inner, outer = clock.records()
    assert (inner["name"], outer["name"]) == ("inner", "outer")
    assert outer["peak_memory_bytes"] >= inner["peak_memory_bytes"] - 2 * MIB
    assert outer["seconds"] >= inner["seconds"]


def test_records_survive_a_restart(tmp_path):
    path = tmp_path / "stages.json"
    first = StageClock(path)
    with first.stage("fit"):
        time.sleep(0.2)
    fit = first.records()[0]

    second = StageClock(path)
    assert second.records() == [{**fit, "resumed": True}]
    with second.stage("fit") as meter:
        meter.reuse()
    with second.stage("lift"):
        time.sleep(0.01)
    kept, lift = second.records()
    assert kept == {**fit, "resumed": True}
    assert "resumed" not in lift
    assert json.loads(path.read_text()) == second.records()


def test_a_stage_that_is_computed_again_replaces_its_record(tmp_path):
    path = tmp_path / "stages.json"
    with StageClock(path).stage("fit"):
        time.sleep(0.2)
    clock = StageClock(path)
    with clock.stage("fit"):
        time.sleep(0.01)
    (record,) = clock.records()
    assert record["seconds"] < 0.15
    assert "resumed" not in record


def test_a_stage_that_raises_leaves_no_record_and_keeps_the_earlier_one(tmp_path):
    path = tmp_path / "stages.json"
    with StageClock(path).stage("fit"):
        pass
    clock = StageClock(path)
    with pytest.raises(KeyboardInterrupt), clock.stage("fit"):
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="x"), clock.stage("lift"):
        raise ValueError("x")
    assert [(r["name"], r["resumed"]) for r in clock.records()] == [("fit", True)]


def test_reuse_without_an_earlier_record_says_so():
    clock = StageClock()
    with clock.stage("fit") as meter:
        meter.reuse()
    assert clock.records()[0]["resumed"] is True


def test_a_foreign_file_is_refused(tmp_path):
    path = tmp_path / "stages.json"
    path.write_text('{"name": "fit"}')
    with pytest.raises(ArtifactError, match="list of stage records"):
        StageClock(path)
    path.write_text('[{"name": "fit"}]')
    with pytest.raises(ArtifactError, match=r"stages\.json"):
        StageClock(path)


def test_records_are_copies():
    clock = StageClock()
    with clock.stage("fit"):
        pass
    clock.records()[0]["name"] = "other"
    assert clock.records()[0]["name"] == "fit"


class _FakeCuda:
    """torch.cuda as far as the clock asks: one device whose peak the test sets."""

    def __init__(self):
        self.peak = 0

    def is_initialized(self):
        return True

    def device_count(self):
        return 1

    def max_memory_allocated(self, device):
        return self.peak

    def reset_peak_memory_stats(self, device):
        self.peak = 0


def test_cuda_peaks_per_stage_with_nesting(monkeypatch):
    import types

    cuda = _FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    clock = StageClock()
    cuda.peak = 999
    with clock.stage("outer"):
        cuda.peak = 50
        with clock.stage("inner"):
            cuda.peak = 20
    inner, outer = clock.records()
    assert (inner["peak_device_bytes"], outer["peak_device_bytes"]) == (20, 50)
