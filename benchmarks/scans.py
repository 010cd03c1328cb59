"""3D IoU on real scans that took no part in training: python -m benchmarks.scans --data FOLDER [--json]

The folder holds totalseg_abdomen (labels predicted by a model, not manual), head_seg3d (manual), visible_male_head and
tooth_seg3d (no labels: pictures only). The peer is what a prompt scores when it selects everything visible.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from voxlang.core.doors import through_door
from voxlang.core.errors import ConfigError
from voxlang.core.runs import machine
from voxlang.evaluate.metrics import iou
from voxlang.pipeline.config import PipelineConfig
from voxlang.pipeline.infer import run_infer
from voxlang.pipeline.run import open_run
from voxlang.pipeline.stage2 import run_stage2


@dataclass(frozen=True)
class Scan:
    """A volume, how to show it, and what to ask."""

    file: str
    transfers: tuple[str, ...]
    """Fitting the modality."""
    prompts: dict[str, tuple[str, ...]]
    """What each prompt means: beginnings of label names; empty where there is no truth."""
    has_labels: bool = True
    up_world: tuple[float, float, float] | None = None
    cut_share: float = 0.0
    """Of the views, where what is asked for lies inside something opaque."""


SCANS = {
    "totalseg_abdomen": Scan(
        "ct.nii.gz",
        ("ct-skin", "ct-soft-tissue", "ct-bone", "ct-lungs", "ct-bone"),
        {
            "bones": ("vertebrae", "rib", "femur", "hip", "sacrum"),
            "liver": ("liver",),
            "kidneys": ("kidney",),
            "spleen": ("spleen",),
            "lungs": ("lung",),
        },
    ),
    "head_seg3d": Scan(
        "mr.nii.gz", ("mri-head", "mri-inside"), {"brain": ("brain",), "skull": ("skull",)}, cut_share=0.5
    ),
    "visible_male_head": Scan(
        "volume.nrrd", ("auto",), dict.fromkeys(("skin", "skull", "teeth"), ()), False, (0.0, 0.0, -1.0)
    ),
    "tooth_seg3d": Scan("tooth.nhdr", ("auto",), dict.fromkeys(("enamel", "dentin", "pulp chamber"), ()), False),
}


def scan_config(data: Path, name: str, folder: Path, *, views: int, encoder: str) -> PipelineConfig:
    """Settings of a run on a scan: 256x256 views of the volume itself, answers from the lifted masks."""
    scan = SCANS[name]
    truth = {"labels": str(data / name / "labels.nii.gz"), "label_names": str(data / name / "meta.json")}
    return PipelineConfig.model_validate(
        {
            "name": name,
            "runs_dir": str(folder / "runs"),
            "cache_dir": str(folder / f"cache_{name}"),
            "volume": {"path": str(data / name / scan.file)} | (truth if scan.has_labels else {}),
            "views": {
                "n": views,
                "width": 256,
                "height": 256,
                "transfers": scan.transfers,
                "source": "grid",
                "up_world": scan.up_world,
                "cut_share": scan.cut_share,
            },
            "embed": {"model": encoder},
            "semantics": {"steps": 2},
            "query": {"prompts": list(scan.prompts)},
            "tracking": {"neptune": "off", "trackio": False},
        }
    )


def run_scan(config: PipelineConfig, scan: Scan, pictures: Path | None) -> dict[str, Any]:
    """Answer the prompts; IoU with the union of the labels that each means, and that of everything visible."""
    with open_run(config) as run:
        stage2 = run_stage2(run)
        answers = run_infer(run, stage2=stage2)
        truth = run.input.truth
        everything = np.zeros(stage2.lifted.grid.n_voxels, bool)
        everything[stage2.lifted.voxel] = True
        everything = everything.reshape(stage2.lifted.grid.shape_zyx)
        rows: dict[str, Any] = {"seconds": round(run.clock.total_seconds(), 1), "iou": {}, "peer": {}, "voxels": {}}
        for result in answers.results:
            rows["voxels"][result.prompt] = int(result.selected.sum())
            if truth is not None:
                begins = scan.prompts[result.prompt]
                wanted = np.isin(truth.labels, [p.id for p in truth.tree if p.name.startswith(begins)])
                rows["iou"][result.prompt] = iou(result.selected, wanted)
                rows["peer"][result.prompt] = iou(everything, wanted)
        if pictures is not None:
            shutil.copytree(run.folder.folder("queries"), pictures / config.name, dirs_exist_ok=True)
    return rows


def main(
    data: Path = Path("../shared/data"),
    scans: tuple[str, ...] = tuple(SCANS),
    json_line: Annotated[bool, tyro.conf.arg(name="json")] = False,
    views: int = 20,
    encoder: str = "micro",
    pictures: Path | None = None,
) -> None:
    """Score the scans and print a table, or one JSON line last.

    Args:
        data: folder of the scans.
        scans: which.
        json_line: print JSON.
        views: of each scan.
        encoder: image-text model, as --embed.model takes it.
        pictures: folder for the highlights and label maps; by default they are thrown away.
    """
    unknown = sorted(set(scans) - set(SCANS))
    if unknown:
        raise ConfigError(f"scans out of {', '.join(SCANS)}", got=", ".join(unknown), where="--scans", do="use these")
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            name: run_scan(scan_config(data, name, Path(folder), views=views, encoder=encoder), SCANS[name], pictures)
            for name in scans
        }
    scores = {prompt: value for row in rows.values() for prompt, value in row["iou"].items()}
    if json_line:
        print(json.dumps({"name": "scans", "iou": scores, "unit": "3D IoU", "scans": rows, "machine": machine()}))
        return
    for name, row in rows.items():
        for prompt, voxels in row["voxels"].items():
            score = f"IoU {row['iou'][prompt]:.3f} (all: {row['peer'][prompt]:.3f})" if prompt in row["iou"] else ""
            print(f"{name:<20} {prompt:<14} {voxels:>9,} voxels  {score}")


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
