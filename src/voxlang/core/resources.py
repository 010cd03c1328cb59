"""Seconds and peak memory of each stage of a run."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxlang.core.artifacts import read_json, write_json
from voxlang.core.errors import ArtifactError

SAMPLES_PER_SECOND = 10.0
_CHILDREN_EVERY = 5


@dataclass
class StageMeter:
    """One open stage; `with clock.stage(name) as meter` hands it out."""

    name: str
    """What the stage is called in the report."""
    peak_memory_bytes: int = 0
    """Highest resident memory seen so far, of this process and its children together."""
    peak_device_bytes: int = 0
    """Highest CUDA memory in tensors seen so far; 0 without CUDA."""
    reused: bool = False
    """The stage found its result on disk."""

    def reuse(self) -> None:
        """Say that the result was already there: the figures of the start that computed it stay."""
        self.reused = True


class StageClock:
    """Measure named stages; the list of records is JSON-able and survives a restart.

    Resident memory is the sum over this process and its children, sampled at 10 Hz; a spike of this process between
    two samples counts too where it was a new maximum of its life (getrusage). Pages that processes share count once
    for each. Stages may be nested: an outer stage includes its inner ones.

    Args:
        path: file that keeps the records over a restart (`RunDirectory.stages_path`); None keeps them in memory.

    Raises:
        ArtifactError: the file is there but is not a list of stage records.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self._path = None if path is None else Path(path)
        self._records: list[dict[str, Any]] = []
        self._open: list[StageMeter] = []
        if self._path is not None and self._path.is_file():
            self._records = [{**record, "resumed": True} for record in _read_records(self._path)]

    def records(self) -> list[dict[str, Any]]:
        """One {"name", "seconds", "peak_memory_bytes"} per finished stage, in the order in which they finished.

        With CUDA also "peak_device_bytes"; a stage of an earlier start carries "resumed": True.
        """
        return [dict(record) for record in self._records]

    def total_seconds(self) -> float:
        """Sum of all stages, those of earlier starts included; nested stages count twice."""
        return float(sum(record["seconds"] for record in self._records))

    def peak_memory_bytes(self) -> int:
        """The highest of the stages' peaks; 0 before the first."""
        return max((record["peak_memory_bytes"] for record in self._records), default=0)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[StageMeter]:
        """Measure the block. A block that raises leaves no record; a name that comes again replaces its record."""
        meter = StageMeter(name)
        self._fold_device_peak()
        self._open.append(meter)
        stop = threading.Event()
        lifetime_before = _lifetime_peak_bytes()
        sampler = threading.Thread(target=_sample, args=(meter, stop), name=f"memory of {name}", daemon=True)
        started = time.perf_counter()
        sampler.start()
        try:
            try:
                yield meter
                seconds = time.perf_counter() - started
            finally:
                stop.set()
                sampler.join()
            lifetime_after = _lifetime_peak_bytes()
            if lifetime_after > lifetime_before:
                meter.peak_memory_bytes = max(meter.peak_memory_bytes, lifetime_after)
            self._fold_device_peak()
        finally:
            self._open.remove(meter)
        self._keep(meter, seconds)

    def _keep(self, meter: StageMeter, seconds: float) -> None:
        earlier = next((record for record in self._records if record["name"] == meter.name), None)
        if meter.reused and earlier is not None:
            earlier["resumed"] = True
        else:
            record: dict[str, Any] = {
                "name": meter.name,
                "seconds": round(seconds, 4),
                "peak_memory_bytes": meter.peak_memory_bytes,
            }
            if meter.peak_device_bytes:
                record["peak_device_bytes"] = meter.peak_device_bytes
            if meter.reused:
                record["resumed"] = True
            self._records = [r for r in self._records if r["name"] != meter.name] + [record]
        if self._path is not None:
            write_json(self._path, self._records)

    def _fold_device_peak(self) -> None:
        """Give the CUDA peak since the last call to every open stage, and begin a new peak."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return
        peak = sum(torch.cuda.max_memory_allocated(d) for d in range(torch.cuda.device_count()))
        for meter in self._open:
            meter.peak_device_bytes = max(meter.peak_device_bytes, peak)
        for d in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(d)


def _read_records(path: Path) -> list[dict[str, Any]]:
    records = read_json(path)
    keys = {"name", "seconds", "peak_memory_bytes"}
    if not isinstance(records, list) or not all(isinstance(r, dict) and keys <= r.keys() for r in records):
        raise ArtifactError(
            f"a list of stage records with {', '.join(sorted(keys))}",
            got=repr(records)[:80],
            where=str(path),
            do="delete the file; only the times of earlier starts are lost",
        )
    return records


def _sample(meter: StageMeter, stop: threading.Event) -> None:
    """Keep the meter's resident peak up to date until `stop`; the list of children is renewed twice a second."""
    import psutil

    process = psutil.Process()
    children: list[Any] = []
    count = 0
    while True:
        if count % _CHILDREN_EVERY == 0:
            children = process.children(recursive=True)
        count += 1
        resident = process.memory_info().rss
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                resident += child.memory_info().rss
        meter.peak_memory_bytes = max(meter.peak_memory_bytes, resident)
        if stop.wait(1.0 / SAMPLES_PER_SECOND):
            return


def _lifetime_peak_bytes() -> int:
    """Highest resident memory of this process in its life; 0 where the system does not tell.

    Linux's VmHWM begins anew with each program; getrusage would begin with the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next((row for row in status.read_text().splitlines() if row.startswith("VmHWM:")), "VmHWM: 0 kB")
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
