"""Names of parts and which of them are right, against part trees worked by hand."""

import numpy as np
import pytest

from voxlang.cliptrain.concepts import TEMPLATES, ConceptTable, base_name, other_side
from voxlang.cliptrain.nouns import GENERIC, HELD_OUT, absent_nouns, broad_nouns, held_out_from_teacher
from voxlang.cliptrain.teacher import HashTeacher, teacher_phrases, teacher_space
from voxlang.core.levels import Level
from voxlang.query.config import CANONICAL_NEGATIVES, QUERY_TEMPLATES, QueryConfig
from voxlang.volume.phantoms import FAMILIES, make_phantom
from voxlang.volume.types import Part, PartTree

BONSAI = PartTree(
    (
        Part(1, "bonsai tree", Level.WHOLE, None, ("bonsai",)),
        Part(2, "pot", Level.PART, 1, ("flowerpot", "planter"), ("blue",)),
        Part(3, "pot rim", Level.SMALL, 2, ("rim",)),
        Part(4, "roots", Level.PART, 1),
        Part(5, "leaf cluster 1", Level.SMALL, 6),
        Part(6, "foliage", Level.PART, 1, ("leaves",), ("green",)),
        Part(7, "leaf cluster 2", Level.SMALL, 6),
    )
)
HEAD = PartTree(
    (
        Part(1, "head", Level.WHOLE, None),
        Part(2, "eyes", Level.PART, 1),
        Part(3, "left eye", Level.SMALL, 2),
        Part(4, "right eye", Level.SMALL, 2),
        Part(5, "roots", Level.PART, 1, ("hair roots",)),
    )
)


@pytest.fixture
def table():
    return ConceptTable([("bonsai", BONSAI), ("head", HEAD)])


def row(table, family, name):
    return next(i for i, c in enumerate(table.concepts) if (c.family, c.name) == (family, name))


def test_numbered_parts_are_one_concept(table):
    assert len(table) == 6 + 5
    assert table.index("bonsai", BONSAI[5]) == table.index("bonsai", BONSAI[7]) == row(table, "bonsai", "leaf cluster")
    assert base_name("tail segment 12") == "tail segment" and base_name("pot") == "pot"


def test_relations_follow_the_tree(table):
    right = lambda crop, noun: bool(table.column(noun)[0][row(table, *crop)])
    wrong = lambda crop, noun: bool(table.column(noun)[1][row(table, *crop)])
    assert right(("bonsai", "pot"), "flowerpot") and not wrong(("bonsai", "pot"), "flowerpot")
    assert wrong(("bonsai", "pot"), "leaves"), "siblings are wrong"
    for crop, noun in ((("bonsai", "pot rim"), "pot"), (("bonsai", "pot"), "rim"), (("bonsai", "pot"), "bonsai"),
                       (("bonsai", "bonsai tree"), "pot"), (("head", "left eye"), "right eye"),
                       (("head", "left eye"), "eyes")):  # fmt: skip
        assert not right(crop, noun) and not wrong(crop, noun), "kin is neither"
    assert wrong(("head", "eyes"), "pot")
    assert wrong(("head", "eyes"), "violin"), "a noun of no tree is wrong for all"


def test_a_name_of_two_families_is_right_for_both(table):
    right, wrong = table.column("roots")
    assert {table.concepts[i].family for i in np.flatnonzero(right)} == {"bonsai", "head"}
    assert not (right & wrong).any()


def test_training_knows_what_queries_use():
    assert GENERIC[:4] == CANONICAL_NEGATIVES
    assert QueryConfig().templates == QUERY_TEMPLATES and set(QUERY_TEMPLATES) <= set(TEMPLATES)
    assert other_side("left eye") == "right eye" and other_side("eye") is None


def test_held_out_words_exist_in_the_phantoms_and_leave_every_part_a_name():
    trees = [(f, make_phantom(f, seed, size_xyz=(8, 8, 8)).labels.tree) for f in FAMILIES for seed in range(5)]
    table = ConceptTable(trees)
    known = {(c.family, n) for c in table.concepts for n in c.nouns}
    for family, words in HELD_OUT.items():
        missing = [w for w in words if (family, w) not in known]
        assert len(missing) <= 1, missing  # fillings and blossoms do not occur in every seed
    assert all(c.training_nouns and c.name in c.training_nouns for c in table.concepts)
    assert len(set(broad_nouns())) == len(broad_nouns())


def test_absent_nouns_of_tests_are_never_trained_on():
    trained, tested = absent_nouns("train"), absent_nouns("test")
    assert not set(trained) & set(tested) and len(trained) > 60 and len(tested) > 30


def test_teacher_phrases_leave_out_the_strictly_held_out(table, tmp_path):
    phrases, n_core = teacher_phrases(table, ["pot", "dirt", "zebra"], pairs=0)
    assert not set(phrases) & held_out_from_teacher()
    assert "planter" in phrases or "planter" in held_out_from_teacher()
    assert phrases[n_core:] == tuple(w for w in ("zebra",) if w not in phrases[:n_core])
    wide = teacher_phrases(table, ["zebra", "quagga"], pairs=50)[0][n_core:]
    assert set(wide) == {"zebra", "quagga", "zebra zebra", "zebra quagga", "quagga zebra", "quagga quagga"}
    assert {"flowerpot of a bonsai tree", "object", "violin"} <= set(phrases[:n_core])


def test_teacher_space_is_the_principal_plane(table, tmp_path):
    space = teacher_space(table, HashTeacher(), dim=8, cache=tmp_path)
    np.testing.assert_allclose(space.axes @ space.axes.T, np.eye(8), atol=1e-5)
    raw = HashTeacher().encode(list(space.phrases[:3]))
    by_hand = (raw - space.mean) @ space.axes.T
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(space.vectors[:3], by_hand, atol=1e-5)
    again = teacher_space(table, HashTeacher(), dim=8, cache=tmp_path)
    np.testing.assert_array_equal(space.vectors, again.vectors)
