"""Read neptune's offline logs back, and rebuild the dashboard from them alone."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voxlang.core.errors import TrackingError
from voxlang.core.runs import free_name
from voxlang.tracking.log import EncodedImage, Parameter
from voxlang.tracking.trackio_log import TrackioLog

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedMetric:
    """One point of a curve."""

    name: str
    """`group/name`."""
    value: float
    """The number."""
    step: int
    """The step it was logged at; its index in the series where none was given."""
    time: float
    """Seconds since 1970, UTC."""


@dataclass(frozen=True)
class LoggedImage:
    """One picture of a series."""

    name: str
    """`group/name`."""
    image: EncodedImage
    """The bytes."""
    caption: str
    """Empty for none."""
    step: int
    """As in `LoggedMetric`."""
    time: float
    """Seconds since 1970, UTC."""


@dataclass(frozen=True)
class LoggedText:
    """One text of a series."""

    name: str
    """`group/name`."""
    text: str
    """Whole, however long."""
    step: int
    """As in `LoggedMetric`."""
    time: float
    """Seconds since 1970, UTC."""


@dataclass
class RunRecord:
    """What one run told, in the order in which it told it."""

    name: str = ""
    """The run's name."""
    created: str = ""
    """ISO time of the first start."""
    tags: list[str] = field(default_factory=list)
    """Sorted, without repetition."""
    parameters: dict[str, Parameter] = field(default_factory=dict)
    """Flat settings; later assignments win."""
    metrics: list[LoggedMetric] = field(default_factory=list)
    """All points of all curves."""
    images: list[LoggedImage] = field(default_factory=list)
    """All pictures."""
    texts: list[LoggedText] = field(default_factory=list)
    """All texts."""
    files: dict[str, Path] = field(default_factory=dict)
    """Artifact name to the path that it had."""


def find_neptune_runs(*roots: Path | str) -> list[Path]:
    """Folders of runs of neptune's client at or below `roots`, the oldest first."""
    found: dict[Path, str] = {}
    for root in map(Path, roots):
        for metadata in [root / "metadata.json", *root.rglob("metadata.json")]:
            folder = metadata.parent.resolve()
            if metadata.is_file() and any(folder.glob("data-*.log")):
                found[folder] = _metadata(folder).get("createdAt", "")
    return sorted(found, key=lambda folder: (found[folder], str(folder)))


def read_neptune_run(folder: Path | str) -> RunRecord:
    """Read one run's offline log.

    A log whose last line was cut by a kill is read up to that line; what is missing is reported as a warning.

    Raises:
        TrackingError: no log there, or an operation that the client itself does not understand.
    """
    folder = Path(folder)
    record = RunRecord(created=_metadata(folder).get("createdAt", ""))
    seen: dict[str, int] = {}
    for operation in _operations(folder):
        _apply(record, operation, seen)
    record.tags.sort()
    return record


def merge_starts(records: Sequence[RunRecord]) -> RunRecord:
    """One record of a run that was started several times; a value told again at the same step replaces the earlier."""
    merged = RunRecord(name=records[0].name, created=records[0].created)
    merged.tags = sorted({tag for record in records for tag in record.tags})
    for record in records:
        merged.parameters.update(record.parameters)
        merged.files.update(record.files)
    merged.metrics = _latest([point for record in records for point in record.metrics])
    merged.images = _latest([image for record in records for image in record.images])
    merged.texts = _latest([text for record in records for text in record.texts])
    return merged


def rebuild_dashboard(
    neptune_dirs: Path | str | Sequence[Path | str], *, home: Path, project: str = "voxlang"
) -> list[str]:
    """Rebuild a dashboard project from neptune's offline logs alone; returns the names of its runs.

    Starts of one run (the same name in the same folder) become one run; a run of that name that the project already
    holds is replaced. Points keep the time at which they were logged.

    Args:
        neptune_dirs: folders to search for logs: a run's `neptune` folder, or the folder of all runs.
        home: folder of the dashboard's data, see `dashboard_home`.
        project: name of the project to fill.

    Raises:
        TrackingError: no log there, or one that cannot be read.
    """
    roots = [neptune_dirs] if isinstance(neptune_dirs, Path | str) else list(neptune_dirs)
    folders = find_neptune_runs(*roots)
    if not folders:
        raise TrackingError(
            "offline logs of neptune (folders with data-*.log)",
            got="none",
            where=", ".join(map(str, roots)),
            do="pass the folder of the run directories, by custom runs/",
        )
    starts: dict[tuple[Path, str], list[RunRecord]] = {}
    for folder in folders:
        record = read_neptune_run(folder)
        starts.setdefault((folder.parent, record.name), []).append(record)
    names: list[str] = []
    for (_, name), records in starts.items():
        unique = free_name(name, names)
        _fill(merge_starts(records), home=home, project=project, name=unique)
        names.append(unique)
    return names


def _fill(record: RunRecord, *, home: Path, project: str, name: str) -> None:
    log = TrackioLog(home, project=project, name=name)
    log.delete()
    log.parameters(record.parameters)
    log.tags(tuple(record.tags))
    points: list[tuple[dict[str, Any], int, str]] = [({m.name: m.value}, m.step, _iso(m.time)) for m in record.metrics]
    for picture in record.images:
        stored = log.stored_image(picture.image, picture.step, picture.caption)
        points.append(({picture.name: stored}, picture.step, _iso(picture.time)))
    points += [({t.name: log.stored_text(t.text)}, t.step, _iso(t.time)) for t in record.texts]
    log.write_points(points)
    for artifact, path in record.files.items():
        if path.is_file():
            log.artifact(artifact, path)
    log.close()


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "metadata.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _operations(folder: Path) -> Iterator[Any]:
    """The operations of a log in their order, by neptune's own reader."""
    from neptune.common.exceptions import NeptuneException
    from neptune.core.components.queue.json_file_splitter import JsonFileSplitter
    from neptune.internal.operation import Operation

    files = sorted(folder.glob("data-*.log"), key=lambda path: int(path.stem.split("-")[-1]))
    if not files:
        raise TrackingError(
            "an offline log of neptune", got="no data-*.log", where=str(folder), do="pass a run__... folder"
        )
    version = 0
    for path in files:
        with JsonFileSplitter(path) as splitter:
            while (element := splitter.get()) is not None:
                try:
                    version = element["version"]
                    operation = Operation.from_dict(element["obj"])
                except (KeyError, TypeError, ValueError, NeptuneException) as error:
                    raise TrackingError(
                        "an operation that this neptune client knows",
                        got=f"{type(error).__name__}: {error}"[:200],
                        where=str(path),
                        do="remove the broken line, or leave this run out",
                    ) from error
                yield operation
    put = folder / "last_put_version"
    last = put.read_text().strip() if put.is_file() else ""
    if last.isdigit() and int(last) > version:
        logger.warning(
            "%s ends early: %d of %s operations were written before the run was killed", folder, version, last
        )


def _apply(record: RunRecord, operation: Any, seen: dict[str, int]) -> None:
    """Add one operation to the record; `seen` counts the values per series, for those without a step."""
    kind, path = type(operation).__name__, list(operation.path)
    name = "/".join(path)
    if kind.startswith("Assign") and hasattr(operation, "value"):
        if name == "sys/name":
            record.name = operation.value
        elif path[0] == "parameters":
            record.parameters["/".join(path[1:])] = operation.value
    elif kind == "AddStrings" and name == "sys/tags":
        record.tags.extend(tag for tag in operation.values if tag not in record.tags)
    elif kind == "RemoveStrings" and name == "sys/tags":
        record.tags = [tag for tag in record.tags if tag not in operation.values]
    elif kind == "UploadFile" and path[0] == "artifacts" and operation.file_path:
        record.files["/".join(path[1:-1])] = Path(operation.file_path)
    elif kind in ("LogFloats", "LogImages", "LogStrings"):
        for value in operation.values:
            step = seen.get(name, 0) if value.step is None else int(value.step)
            seen[name] = seen.get(name, 0) + 1
            _append(record, kind, name, value, step)


def _append(record: RunRecord, kind: str, name: str, value: Any, step: int) -> None:
    if kind == "LogFloats":
        record.metrics.append(LoggedMetric(name, float(value.value), step, float(value.ts)))
    elif kind == "LogImages":
        data = base64.b64decode(value.value.data or "")
        if data:
            image = EncodedImage(data, "jpg" if data.startswith(b"\xff\xd8") else "png")
            record.images.append(LoggedImage(name, image, value.value.name or "", step, float(value.ts)))
    else:
        last = record.texts[-1] if record.texts else None
        if last is not None and (last.name, last.step, last.time) == (name, step, float(value.ts)):
            record.texts[-1] = LoggedText(name, last.text + value.value, step, last.time)
        else:
            record.texts.append(LoggedText(name, value.value, step, float(value.ts)))


def _latest(entries: list[Any]) -> list[Any]:
    """The last entry of each (name, step), at the place of the first."""
    return list({(entry.name, entry.step): entry for entry in entries}.values())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
