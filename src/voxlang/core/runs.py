"""Run directories: everything that one run was and made, under `runs/<name>/`.

`config.json` holds the settings, `provenance.json` the versions, the git state, the seeds and the machine, with one
entry per start, so that a run which was killed and continued says so.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from voxlang.core.artifacts import read_json, write_json
from voxlang.core.errors import ConfigError

DISTRIBUTIONS: tuple[str, ...] = (
    "voxlang",
    "torch",
    "torchvision",
    "sam2",
    "open_clip_torch",
    "transformers",
    "neptune",
    "trackio",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "numba",
    "SimpleITK",
    "pydantic",
    "matplotlib",
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunDirectory:
    """The folder `root/name` of one run, created when it is not there.

    Args:
        root: folder of all runs, by custom `runs`.
        name: letters, digits, dot, dash and underscore; begins with a letter or digit.

    Raises:
        ConfigError: the name cannot be a folder name.
    """

    def __init__(self, root: Path | str, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                "a run name of 1 to 100 letters, digits, '.', '-' or '_', beginning with a letter or digit",
                got=repr(name),
                where="RunDirectory",
                do=f"use --name {folder_name(name)}",
            )
        self.root = Path(root)
        self.name = name
        self.path = self.root / name
        self.path.mkdir(parents=True, exist_ok=True)

    @property
    def config_path(self) -> Path:
        """The settings of the latest start."""
        return self.path / "config.json"

    @property
    def provenance_path(self) -> Path:
        """Versions, git state, seeds and machine of every start."""
        return self.path / "provenance.json"

    @property
    def stages_path(self) -> Path:
        """Seconds and peak memory per stage, kept over a restart."""
        return self.path / "stages.json"

    @property
    def report_html_path(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    @property
    def report_json_path(self) -> Path:
        """The report for machines."""
        return self.path / "report.json"

    @property
    def field_path(self) -> Path:
        """The scalar field of stage 1."""
        return self.path / "field.safetensors"

    @property
    def semantics_path(self) -> Path:
        """The semantic field of stage 2."""
        return self.path / "semantics.safetensors"

    def folder(self, name: str) -> Path:
        """The sub-folder `name` ("views", "masks", "queries", ...), created when it is not there."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, config: Mapping[str, Any], *, seeds: Mapping[str, int], device: str = "cpu") -> dict[str, Any]:
        """Write config.json and add this start to provenance.json; returns the entry that was added.

        Args:
            config: JSON-able settings (`model.model_dump(mode="json")`).
            seeds: every seed of the run by what it seeds, e.g. {"phantom": 0, "cameras": 7}.
            device: the device that computes, "cpu" or "cuda:0".
        """
        entry = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "seeds": dict(seeds),
            "versions": versions(),
            "git": git_state(),
            "machine": machine(device=device),
        }
        starts = read_json(self.provenance_path)["starts"] if self.provenance_path.is_file() else []
        write_json(self.config_path, dict(config))
        write_json(self.provenance_path, {"schema": 1, "kind": "provenance", "starts": [*starts, entry]})
        return entry

    def config(self) -> dict[str, Any]:
        """The settings of the latest start.

        Raises:
            ArtifactError: the run was never started or its config.json is broken.
        """
        return read_json(self.config_path)


def folder_name(text: str, *, otherwise: str = "demo") -> str:
    """A text as the name of a run: what a folder name cannot hold becomes a dash; `otherwise` where nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:100] or otherwise


def free_name(name: str, taken: Collection[str], *, joint: str = "-") -> str:
    """A name that is not taken: itself, or the first of `name-2`, `name-3`, ... that is free."""
    numbered = (f"{name}{joint}{number}" for number in count(2))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def versions() -> dict[str, str]:
    """Versions of Python and of the installed distributions that can change a result; nothing is imported for it."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_state(folder: Path | str | None = None) -> dict[str, Any]:
    """Commit and dirtiness of the repository that tracks `folder`: {"commit": hex or None, "dirty": bool or None}.

    Both are None where git is not installed, or where no repository tracks the folder (an installed package that
    happens to lie inside somebody's repository is not tracked by it).

    Args:
        folder: a folder with tracked files; default the folder of this package.
    """
    folder = Path(__file__).resolve().parents[1] if folder is None else Path(folder)
    unknown = {"commit": None, "dirty": None}
    if shutil.which("git") is None or not _git(folder, "ls-files", "."):
        return unknown
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return unknown
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def machine(*, device: str = "cpu") -> dict[str, Any]:
    """What computes: platform, usable logical CPUs, bytes of memory, device and its name."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return {
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cpu_count": usable,
        "memory_bytes": psutil.virtual_memory().total,
        "device": device,
        "device_name": _device_name(device),
    }


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command in `folder`; empty where it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _device_name(device: str) -> str | None:
    """Name of a CUDA device; None for others and where torch is not imported."""
    torch = sys.modules.get("torch")
    if not device.startswith("cuda") or torch is None or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(device)
