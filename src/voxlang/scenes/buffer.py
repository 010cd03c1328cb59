"""Labelled scenes on disk: one file per phantom, made once, continued after an interruption, with splits apart."""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int16, UInt8
from tqdm import tqdm

from voxlang.core.artifacts import atomic_path
from voxlang.core.errors import ArtifactError, ConfigError
from voxlang.core.levels import LEVELS
from voxlang.scenes.plan import SceneConfig, planned_scenes
from voxlang.scenes.sampling import SceneRanges, SceneSource
from voxlang.scenes.scans import partly_scanned, with_scanner_values
from voxlang.volume.phantoms import make_phantom
from voxlang.volume.types import PartTree

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class StoredScenes:
    """The pictures of one phantom."""

    rgb: UInt8[np.ndarray, "n h w 3"]
    """Pictures."""
    opacity: UInt8[np.ndarray, "n h w"]
    """Opacity times 255."""
    part_index: Int16[np.ndarray, "n 3 h w"]
    """Part ids at SMALL, PART and WHOLE; -1 none."""
    tree: PartTree
    """What the ids mean."""
    family: str
    """Phantom family."""
    seed: int
    """Phantom seed."""


def scene_files(folder: Path | str) -> list[Path]:
    """All scene files of a folder, in order."""
    return sorted(Path(folder).glob("scenes_*.npz"))


def files_by_family(folder: Path | str) -> dict[str, list[Path]]:
    """The scene files of a folder, at least one, by family.

    Raises:
        ConfigError: none there.
    """
    families: dict[str, list[Path]] = {}
    for path in some_scene_files([folder]):
        families.setdefault(path.stem.removeprefix("scenes_").rpartition("_")[0], []).append(path)
    return families


def some_scene_files(folders: Sequence[Path | str]) -> list[Path]:
    """All scene files of some folders, at least one.

    Raises:
        ConfigError: none there.
    """
    files = [file for folder in folders for file in scene_files(folder)]
    if not files:
        raise ConfigError(
            "files scenes_*.npz",
            got="none",
            where=", ".join(map(str, folders)),
            do="write views with `python training/render_views.py`",
        )
    return files


def _phantom_size(family: str, seed: int, voxels: int | None) -> tuple[int, int, int] | None:
    if voxels is None:
        return None
    size = make_phantom(family, seed, size_xyz=(8, 8, 8)).volume.grid.extent_world
    return tuple(max(8, round(voxels * float(e) / float(size.max()))) for e in size)


def make_scenes(config: SceneConfig, family: str, seed: int) -> StoredScenes:
    """All pictures of one phantom; the same config, family and seed give the same pictures."""
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), 77])
    phantom = make_phantom(family, seed, size_xyz=_phantom_size(family, seed, config.voxels))
    if config.partly and rng.random() < config.partly:
        phantom = partly_scanned(phantom, rng)
    general_looks = config.general_looks
    if config.scanner and rng.random() < config.scanner:
        phantom, general_looks = replace(phantom, volume=with_scanner_values(phantom.volume, rng)), 1.0
    source = SceneSource(phantom)
    ranges = SceneRanges(width=config.size_px, height=config.size_px, cut=config.cut, general_looks=general_looks)
    scenes = [source.draw(rng, ranges) for _ in range(config.views_per_phantom)]
    return StoredScenes(
        np.stack([np.round(s.view.rgb * 255.0).astype(np.uint8) for s in scenes]),
        np.stack([np.round(s.view.opacity * 255.0).astype(np.uint8) for s in scenes]),
        np.stack([s.part_index for s in scenes]),
        phantom.labels.tree,
        family,
        seed,
    )


def write_scenes(path: Path | str, scenes: StoredScenes, *, key: str) -> None:
    """Write one phantom's scenes as a compressed .npz, atomically; `key` names the config that made them."""
    header = {
        "schema": SCHEMA,
        "kind": "scenes",
        "key": key,
        "family": scenes.family,
        "seed": scenes.seed,
        "tree": scenes.tree.as_list(),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            header=np.frombuffer(json.dumps(header).encode(), np.uint8),
            rgb=scenes.rgb,
            opacity=scenes.opacity,
            part_index=scenes.part_index,
        )


def _read(path: Path, *, header_only: bool) -> tuple[dict, StoredScenes | None]:
    try:
        with np.load(path, allow_pickle=False) as data:
            header = json.loads(bytes(data["header"]))
            if header.get("schema") != SCHEMA or header.get("kind") != "scenes":
                raise ArtifactError(
                    f"scenes of schema {SCHEMA}",
                    got=f"{header.get('kind')} of schema {header.get('schema')}",
                    where=str(path),
                    do="delete the file and make the scenes again",
                )
            if header_only:
                return header, None
            tree = PartTree.from_list(header["tree"])
            arrays = data["rgb"], data["opacity"], data["part_index"]
            return header, StoredScenes(*arrays, tree, header["family"], int(header["seed"]))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(
            "a whole scenes file", got=f"{error}", where=str(path), do="delete it and make the scenes again"
        ) from error


def read_scenes(path: Path | str) -> StoredScenes:
    """Read a file of `write_scenes`.

    Raises:
        ArtifactError: missing, cut short, or another kind of file.
    """
    scenes = _read(Path(path), header_only=False)[1]
    assert scenes is not None
    return scenes


def generate_scenes(folder: Path | str, config: SceneConfig) -> list[Path]:
    """Make the planned scenes in `folder/<split>` and return their files; those already there are kept.

    Raises:
        ConfigError: a family that the split does not have, or more phantoms than it has seeds.
        ArtifactError: the folder holds scenes of the same phantom made with other settings.
    """
    files = []
    for family, seed in tqdm(
        planned_scenes(config), desc=f"scenes ({config.split})", unit="phantom", disable=not sys.stderr.isatty()
    ):
        path = Path(folder) / config.split / f"scenes_{family}_{seed:07d}.npz"
        if not path.exists():
            write_scenes(path, make_scenes(config, family, seed), key=config.key)
        elif _read(path, header_only=True)[0]["key"] != config.key:
            raise ArtifactError(
                f"scenes made with views_per_phantom={config.views_per_phantom}, size_px={config.size_px}, "
                f"voxels={config.voxels}, cut={config.cut}, partly={config.partly}, "
                f"scanner={config.scanner}, general_looks={config.general_looks}",
                got="scenes made with other settings",
                where=str(path),
                do="use another folder or delete the old scenes",
            )
        files.append(path)
    return files


def part_colors(part_index: np.ndarray) -> np.ndarray:
    """A colour per part id, the same everywhere, black for -1: float [... 3]."""
    hue = (part_index.astype(np.float64) * 0.618034) % 1.0
    sixth = hue[..., None] * 6.0 + np.array([0.0, 4.0, 2.0])
    rgb = np.clip(np.abs(sixth % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    value = 0.65 + 0.35 * ((part_index * 7) % 5)[..., None] / 4.0
    return np.where(part_index[..., None] >= 0, (0.25 + 0.75 * rgb) * value, 0.0)


def contact_sheet(path: Path | str, *scenes: StoredScenes, columns: int = 8, shrink: int = 1) -> None:
    """A PNG with one block for each scenes, one column per picture: the picture, then its WHOLE, PART and SMALL maps.

    Args:
        path: of the PNG.
        scenes: pictures of one size.
        columns: at most so many pictures of each.
        shrink: keep every so many pixels.
    """
    from PIL import Image

    rows = []
    for block in scenes:
        part_index = block.part_index[:columns, :, ::shrink, ::shrink]
        pictures = [np.concatenate(list(block.rgb[:columns, ::shrink, ::shrink] / 255.0), axis=1)]
        pictures += [np.concatenate(list(part_colors(part_index[:, level])), axis=1) for level in reversed(LEVELS)]
        rows.append(np.concatenate(pictures, axis=0))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    sheet = Image.fromarray((np.concatenate(rows, axis=0) * 255.0).astype(np.uint8))
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def mixed_views(paths: Sequence[Path], count: int) -> StoredScenes:
    """One view of each of `count` scene files spread evenly over `paths`; a file taken again gives its next view.

    The part ids are those of each view's own phantom; the tree is the first one's.
    """
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]
    read = {path: read_scenes(path) for path in dict.fromkeys(chosen)}
    views = [(read[path], chosen[:k].count(path) % len(read[path].rgb)) for k, path in enumerate(chosen)]
    first = views[0][0]
    arrays = (np.stack([getattr(s, name)[i] for s, i in views]) for name in ("rgb", "opacity", "part_index"))
    return StoredScenes(*arrays, first.tree, first.family, first.seed)
