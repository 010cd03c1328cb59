"""Rankings and decisions on crops whose vectors are written down by hand."""

import numpy as np
import pytest

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.evaluate import (
    OBJECT_VIEWS,
    CropSet,
    candidates_of,
    object_margins,
    sibling_kind,
    text_to_part,
)
from voxlang.core.levels import Level
from voxlang.embed.types import EncoderId
from voxlang.volume.types import Part, PartTree

HAND = PartTree(
    (
        Part(1, "hand", Level.WHOLE, None),
        Part(2, "index finger", Level.PART, 1, ("forefinger",)),
        Part(3, "ring finger", Level.PART, 1),
        Part(4, "skin", Level.PART, 1),
    )
)
WORDS = {"hand": 0, "index finger": 1, "forefinger": 1, "ring finger": 2, "skin": 3, "moon": 1, "sun": 4}


class WordEncoder:
    """A direction of its own for each word; the negatives lie between the first five."""

    id = EncoderId("open_clip", "words", "w", "p", 6)
    image_size, logit_scale, known_names = 8, 10.0, ()

    def encode_images(self, images):
        raise AssertionError("the vectors of crops are given")

    def encode_texts(self, texts):
        rows = np.full((len(texts), 6), 0.0, np.float32)
        for row, text in zip(rows, texts, strict=True):
            known = [axis for word, axis in WORDS.items() if word in text]
            row[known[0] if known else 5] = 1.0
        return rows


def crops() -> CropSet:
    """Two objects: the index finger's crop points to its own word, the ring finger's to that of the index finger; the
    skin is what the whole hand shows."""
    table = ConceptTable([("hand", HAND)])
    row = {c.name: i for i, c in enumerate(table.concepts)}
    finger, ring = row["index finger"], row["ring finger"]
    concepts = np.array([[finger, -1, -1], [ring, -1, -1], [row["hand"], row["skin"], -1]])
    vectors = np.eye(6, dtype=np.float32)[[1, 1, 0]]
    vectors[:2, 2] = 0.1, 0.2
    return CropSet(vectors, concepts, np.array([0, 0, OBJECT_VIEWS]), table)


def test_what_a_crop_cannot_tell_apart_is_of_one_kind():
    assert sibling_kind("index finger") == sibling_kind("ring finger") == "finger"
    assert sibling_kind("left upper lobe") == sibling_kind("middle lobe") == "lobe"
    assert sibling_kind("ring") == "ring" and sibling_kind("thumb") == "thumb", "a name is never empty"


def test_every_part_for_itself_or_siblings_as_one():
    strict, merged = (candidates_of(crops(), siblings=s) for s in (False, True))
    assert len(strict.vectors) == 4 and len(merged.vectors) == 3
    encoder = WordEncoder()
    # strict: both fingers' texts find the ring's or the index's crop by the nearest direction
    assert text_to_part(encoder, strict, ["index finger", "ring finger"])[1] == 1.0
    assert text_to_part(encoder, strict, ["skin"])[1] == pytest.approx(0.0)
    assert text_to_part(encoder, merged, ["forefinger", "ring finger"])[1] == 1.0
    assert np.isnan(text_to_part(encoder, merged, ["moon"])[1]), "names nothing here"


def test_a_candidate_stands_for_what_most_of_its_crops_show():
    merged = candidates_of(crops(), siblings=True)
    names = [c.name for c in merged.table.concepts]
    stands = {frozenset(n for n, s in zip(names, row, strict=True) if s) for row in merged.stands_for}
    assert stands == {frozenset(("index finger", "ring finger")), frozenset(("hand", "skin"))}


def test_margins_of_objects_by_hand():
    margins = object_margins(WordEncoder(), crops(), ["moon", "sun"])
    length = np.hypot(1.0, [0.1, 0.2])
    expected = [10 / length[0], 2 / length[1], 10.0, 0.0]  # index, ring; then hand and skin of the second object
    np.testing.assert_allclose(sorted(margins.present), sorted(expected), rtol=1e-5)
    # the moon points where the fingers are: highest on the index finger; the sun and the second object give nothing
    np.testing.assert_allclose(sorted(margins.absent), [0.0, 0.0, 0.0, 10 / length[0]], rtol=1e-5)
    assert margins.found() == 0.75 and margins.refused() == 0.75 and margins.refused(10.0) == 1.0
