"""Annotated pictures from a folder as training pictures: COCO JSON, or PNG maps of instance numbers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int16, Shaped, UInt8
from scipy.sparse import csr_matrix

from voxlang.core.artifacts import read_json
from voxlang.core.errors import ConfigError
from voxlang.core.pictures import opened_picture, read_rgb
from voxlang.segtrain.shapes import SIDE, LabelledPicture

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_CONTAINED = 0.85
_DEEPEST = 2

ReadMasks = Callable[[], Bool[np.ndarray, "n s s"]]
"""Masks at the size of the training pictures: at their own size thousands of instances would not fit into memory."""


class FolderSource:
    """Pictures with the masks of their instances, brought to the size of the training pictures.

    An instance inside another one is its part, and one inside that a small thing; the others are wholes.

    Args:
        images: folder of pictures.
        annotations: COCO JSON, or folder of PNG label maps with the pictures' names, whose values are instance numbers
            (0 background; colours count as R + 256 G + 65536 B). None looks for annotations.json in the folder, and for
            a folder labels in it or beside it.
        kept: pictures that stay in memory once they are read.

    Raises:
        ConfigError: no such folder or annotations, nothing annotated, or a file that is not what it should be.
    """

    def __init__(self, images: str | Path | None, annotations: str | Path | None = None, *, kept: int = 1500) -> None:
        if images is None or not Path(images).is_dir():
            raise ConfigError(
                "images, the folder of annotated pictures",
                got="none" if images is None else f"no such folder: {images}",
                where="the training recipe",
                do="set images in the recipe, or pass --images FOLDER",
            )
        place = Path(annotations) if annotations is not None else _beside(Path(images))
        read = _read_coco if place.is_file() else _read_label_maps
        self._entries = read(Path(images), place)
        if not self._entries:
            raise ConfigError(
                "at least one picture with an instance",
                got=f"none: {place} annotates no picture of {images}",
                where="FolderSource",
                do="give pictures and annotations the same names",
            )
        self._kept_at_most = kept
        self._kept: OrderedDict[int, LabelledPicture] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def picture(self, i: int) -> LabelledPicture:
        """Picture `i`, stretched to the square that SAM 2 sees."""
        if i not in self._kept:
            path, masks = self._entries[i]
            self._kept[i] = LabelledPicture(_squared(read_rgb(path, upright=False)), regions_of(masks()))
            while len(self._kept) > self._kept_at_most:
                self._kept.popitem(last=False)
        return self._kept[i]

    def draw(self, rng: np.random.Generator, step: int) -> LabelledPicture:
        """Any picture; the step does not matter."""
        return self.picture(int(rng.integers(len(self))))


def regions_of(masks: Bool[np.ndarray, "n h w"]) -> Int16[np.ndarray, "3 h w"]:
    """Region numbers on three levels (small, part, whole) of instances that may lie inside each other.

    An instance belongs to the smallest larger one that holds at least 85 % of it, and is cut to it. Where instances
    overlap otherwise, the smaller one lies on top, with what it belongs to.
    """
    area = masks.sum((1, 2))
    order = np.argsort(-area, kind="stable")
    place = np.argsort(order)
    pixels = csr_matrix(masks.reshape(len(masks), -1), dtype=np.int32)
    shared = (pixels @ pixels.T).tocsr()
    lineage: dict[int, list[int]] = {}
    regions = np.full((3, *masks.shape[1:]), -1, np.int16)
    for i in (int(i) for i in order if area[i]):
        inside = masks[i]
        others, counts = (part[shared.indptr[i] : shared.indptr[i + 1]] for part in (shared.indices, shared.data))
        holders = others[(counts >= _CONTAINED * area[i]) & (place[others] < place[i])]
        parent = int(holders[place[holders].argmax()]) if len(holders) else None
        lineage[i] = [i] if parent is None else [*lineage[parent][:_DEEPEST], i]
        if parent is not None:
            inside = inside & masks[parent]
        regions[:, inside] = -1
        for level, instance in zip((2, 1, 0), lineage[i], strict=False):
            regions[level][inside] = instance
    return regions


def decode_rle(counts: Sequence[int] | str, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """COCO's run lengths, plain or compressed: runs of 0 and 1 in turn, down the columns.

    The compressed form writes each length in groups of 5 bits, low ones first, as characters from "0"; bit 32 says that
    more follow, bit 16 of the last is the sign; from the third length on it is the difference to the last but one.
    """
    if isinstance(counts, str):
        lengths: list[int] = []
        value, shift = 0, 0
        for character in counts:
            group = ord(character) - 48
            value |= (group & 31) << shift
            shift += 5
            if not group & 32:
                value -= (1 << shift) if group & 16 else 0
                lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
                value, shift = 0, 0
    else:
        lengths = [int(n) for n in counts]
    values = np.arange(len(lengths)) % 2 == 1
    flat = np.repeat(values, lengths)
    if flat.size != height * width:
        raise ConfigError(
            f"run lengths that sum to {height} x {width}",
            got=str(flat.size),
            where="segmentation of a COCO annotation",
            do="check its size entry [height, width]",
        )
    return flat.reshape(width, height).T


def _read_coco(images: Path, file: Path) -> list[tuple[Path, ReadMasks]]:
    content = read_json(file)
    if not isinstance(content, dict) or not {"images", "annotations"} <= set(content):
        raise ConfigError(
            'COCO\'s "images" and "annotations"',
            got=f"keys {list(content)[:5]}" if isinstance(content, dict) else type(content).__name__,
            where=str(file),
            do="pass the JSON of an instance data set",
        )
    of_picture: dict[Any, list[Any]] = {}
    entries: list[tuple[Path, ReadMasks]] = []
    try:
        for annotation in content["annotations"]:
            if not annotation.get("iscrowd") and annotation.get("segmentation"):
                shape = _checked_shape(annotation["segmentation"], file)
                of_picture.setdefault(annotation["image_id"], []).append(shape)
        for picture in content["images"]:
            if shapes := of_picture.get(picture["id"]):
                size = (int(picture["height"]), int(picture["width"]))
                path = images / picture["file_name"]
                entries.append((path, lambda shapes=shapes, size=size: _coco_masks(shapes, *size)))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(
            "images with id, file_name, width and height, and annotations with image_id and segmentation",
            got=f"{type(error).__name__}: {error}",
            where=str(file),
            do="pass the JSON of an instance data set",
        ) from error
    for path, _ in entries:
        if not path.is_file():
            raise ConfigError(
                "every picture of the COCO file",
                got=f"no {path.name}",
                where=str(images),
                do="pass its --images folder",
            )
    return entries


def _checked_shape(segmentation: Any, file: Path) -> Any:
    """A segmentation as it is, if it has the form of polygons or of run lengths."""
    lengths = isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list | str)
    outlines = isinstance(segmentation, list) and all(
        isinstance(outline, list) and len(outline) >= 6 and len(outline) % 2 == 0 for outline in segmentation
    )
    if not lengths and not outlines:
        raise ConfigError(
            "a segmentation of polygons [x, y, x, y, x, y, ...] or of run lengths {counts, size}",
            got=repr(segmentation)[:80],
            where=str(file),
            do="correct or remove this annotation",
        )
    return segmentation


def _coco_masks(shapes: Sequence[Any], height: int, width: int) -> Bool[np.ndarray, "n s s"]:
    return np.stack([_to_side(_coco_mask(shape, height, width)) for shape in shapes])


def _coco_mask(segmentation: Any, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """A polygon list or run lengths as a mask; polygons hold the pixels whose centres lie inside."""
    from skimage.draw import polygon

    if isinstance(segmentation, dict):
        return decode_rle(segmentation["counts"], *segmentation.get("size", (height, width)))
    mask = np.zeros((height, width), bool)
    for outline in segmentation:
        x, y = np.asarray(outline, float).reshape(-1, 2).T
        mask[polygon(y - 0.5, x - 0.5, mask.shape)] = True
    return mask


def _read_label_maps(images: Path, folder: Path) -> list[tuple[Path, ReadMasks]]:
    paths = sorted(p for p in images.iterdir() if p.suffix.lower() in PICTURES)
    pairs = ((p, folder / f"{p.stem}.png") for p in paths)
    return [(p, lambda label=label: _label_masks(label)) for p, label in pairs if label.is_file()]


def _label_masks(path: Path) -> Bool[np.ndarray, "n s s"]:
    with opened_picture(path, expected="a PNG map of instance numbers") as file:
        numbers = _to_side(np.asarray(file)).astype(np.int64)
    if numbers.ndim == 3:
        numbers = numbers[..., :3] @ np.array([1, 256, 65536])
    values = np.unique(numbers)
    return np.stack([numbers == v for v in values if v != 0] or [np.zeros(numbers.shape, bool)])


def _beside(images: Path) -> Path:
    for place in (images / "annotations.json", images / "labels", images.parent / "labels"):
        if place.exists():
            return place
    raise ConfigError(
        "annotations.json or a folder labels",
        got="neither",
        where=f"{images} and beside it",
        do="pass --annotations, a COCO JSON or a folder of PNG label maps",
    )


def _squared(rgb: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    from PIL import Image

    return np.asarray(Image.fromarray(rgb).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _to_side(values: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "s s *c"]:
    """Masks or labels at the middles of SIDE x SIDE equal cells of the picture."""
    rows, columns = (((np.arange(SIDE) + 0.5) * n / SIDE).astype(int) for n in values.shape[:2])
    return values[rows[:, None], columns]
