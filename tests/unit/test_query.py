"""Relevancy by hand, level choice, competition, label map, and refusals."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix, identity

from voxlang.core.errors import EncoderMismatchError, QueryError
from voxlang.core.levels import Level
from voxlang.embed.types import EncoderId
from voxlang.geometry.grid import VolumeGrid
from voxlang.query.answer import (
    answer_query,
    label_map,
    relevancy_from_cosines,
    relevancy_of_field,
    relevancy_of_masks,
)
from voxlang.query.config import QueryConfig
from voxlang.query.text import TextQuery, embed_query
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.field import SemanticField
from voxlang.semantics.lifting import LiftedMasks

GRID = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
ENCODER = EncoderId("open_clip", "tiny", "w", "p", 4)
EYE = np.eye(4, dtype=np.float32)


class TableEncoder:
    """Texts to fixed vectors: "left" -> e0, "right" -> e1, negatives -> e3."""

    id = ENCODER
    image_size = 8
    logit_scale = 20.0
    known_names: tuple[str, ...] = ()

    def encode_images(self, images):
        raise AssertionError("no pictures in a text query")

    def encode_texts(self, texts):
        rows = {"left": 0, "right": 1, "nothing there": 2}
        return np.stack([EYE[next((r for k, r in rows.items() if k in t), 3)] for t in texts])


def field_of_halves() -> SemanticField:
    """A field made by hand: e0 where the value is low, e1 where it is high, at the part level; e3 on the others."""
    config = SemanticsConfig(hidden=4, grid_levels=(2,), grid_features=1, value_frequencies=0)
    field = SemanticField(config, GRID, ENCODER)
    with torch.no_grad():
        for p in field.parameters():
            p.zero_()
        field.layer_in.weight[1, 1] = 1.0  # hidden 1 = value
        field.layer_in.weight[0, 1] = -1.0  # hidden 0 = 1 - value
        field.layer_in.bias[0] = 1.0
        field.layer_in.bias[3] = 1.0  # hidden 3 = 1
        field.heads[Level.PART, 0, 0] = 1.0
        field.heads[Level.PART, 1, 1] = 1.0
        field.heads[Level.SMALL, 3, 3] = 1.0
        field.heads[Level.WHOLE, 3, 3] = 1.0
    return field


def volume() -> np.ndarray:
    values = np.zeros((3, 4, 5), np.float32)
    values[:, :, 3:] = 1.0
    return values


def query(*prompts: str, **settings) -> tuple[TextQuery, QueryConfig]:
    config = QueryConfig(prompts=prompts, **settings)
    return embed_query(TableEncoder(), config), config


def ask(text, config, visible=None):
    visible = np.ones((3, 4, 5), bool) if visible is None else visible
    voxel = np.flatnonzero(visible)
    relevancy = relevancy_of_field(field_of_halves(), text, volume(), voxel)
    return answer_query(relevancy, voxel, GRID, text, config)


def test_relevancy_by_hand():
    positive = np.array([0.5, 0.1], np.float32)
    negatives = np.array([[0.3, 0.1], [0.5, 0.0]], np.float32)
    got = relevancy_from_cosines(positive, negatives, temperature=10.0)
    # voxel 0: equal to its best negative -> 1/2; voxel 1: equal to its best negative 0.1 -> 1/2
    np.testing.assert_allclose(got, [0.5, 0.5])
    by_softmax = min(np.exp(10 * 0.5) / (np.exp(10 * 0.5) + np.exp(10 * n)) for n in (0.3, 0.2))
    got = relevancy_from_cosines(np.array([0.5], np.float32), np.array([[0.3], [0.2]], np.float32), temperature=10.0)
    np.testing.assert_allclose(got, [by_softmax], rtol=1e-6)


def test_each_prompt_takes_its_half_on_its_level():
    text, config = query("left", "right")
    left, right = ask(text, config)
    np.testing.assert_array_equal(left.selected, volume() == 0)
    np.testing.assert_array_equal(right.selected, volume() == 1)
    assert left.level == right.level == Level.PART
    assert left.found and left.score > 0.99
    np.testing.assert_array_equal(label_map([left, right]), np.where(volume() == 0, 1, 2))


def test_only_visible_voxels_are_selected():
    visible = np.zeros((3, 4, 5), bool)
    visible[1] = True
    text, config = query("left")
    (left,) = ask(text, config, visible)
    np.testing.assert_array_equal(left.selected, (volume() == 0) & visible)
    assert left.relevancy_volume()[0].max() == 0.0


def test_what_is_not_there_is_not_found():
    text, config = query("nothing there")
    (result,) = ask(text, config)
    assert not result.found
    assert not result.selected.any()
    assert result.score <= 0.5
    assert "peak_world" not in result.as_dict()


def test_statistics_in_world_units_by_hand():
    text, config = query("right")
    (right,) = ask(text, config)
    row = right.as_dict()
    assert row["voxels"] == 24
    assert row["volume"] == pytest.approx(24 * 6.0)
    assert row["box_index_xyz"] == [[3, 0, 0], [5, 4, 3]]
    np.testing.assert_allclose(row["centroid_world"], [10 + 3.5, 20 + 2 * 1.5, 30 + 3 * 1.0])


def test_a_forced_level_is_obeyed():
    text, config = query("left", level="whole")
    (result,) = ask(text, config)
    assert result.level == Level.WHOLE
    assert not result.found


def test_who_loses_a_level_to_a_rival_is_answered_on_the_next():
    voxel = np.arange(8)
    text, config = query("left", "right")
    relevancy = np.zeros((3, 2, 8), np.float32)
    relevancy[Level.WHOLE] = [[0.95], [0.9]]  # one thing, two names
    relevancy[Level.PART, :, :3] = [[0.6], [0.8]]
    first, second = answer_query(relevancy, voxel, GRID, text, config)
    assert (first.level, int(first.selected.sum())) == (Level.WHOLE, 8)
    assert (second.level, np.flatnonzero(second.selected).tolist()) == (Level.PART, [0, 1, 2])
    text, config = query("left", "right", compete=False)
    assert [r.level for r in answer_query(relevancy, voxel, GRID, text, config)] == [Level.WHOLE, Level.WHOLE]
    relevancy[Level.PART] = 0  # nowhere else to go: lost
    text, config = query("left", "right")
    assert [r.found for r in answer_query(relevancy, voxel, GRID, text, config)] == [True, False]


def test_something_narrower_takes_nothing_from_what_it_is_part_of():
    text, config = query("left", "Left nothing there")
    relevancy = np.zeros((3, 2, 60), np.float32)
    relevancy[Level.PART] = [[0.8], [0.7]]
    relevancy[Level.PART, 1, :20] = 0.9
    wide, narrow = answer_query(relevancy, np.arange(60), GRID, text, config)
    assert int(wide.selected.sum()) == 60
    assert 0 < int(narrow.selected.sum()) < 60  # the other way round they do compete
    labels = label_map([wide, narrow])
    np.testing.assert_array_equal(labels == 2, narrow.selected)
    assert (labels[~narrow.selected] == 1).all()


def test_finer_levels_lie_over_coarser_ones():
    text, config = query("left", "right")
    left, right = ask(text, config)
    whole = type(left)(
        "all", Level.WHOLE, True, 1.0, 0.5, np.ones((3, 4, 5), bool), left.relevancy, left.voxel, left.grid
    )
    np.testing.assert_array_equal(label_map([whole, right]), np.where(volume() == 1, 2, 1))


def test_text_of_another_encoder_is_refused():
    text, config = query("left")
    other = TextQuery(text.prompts, text.vectors, text.negatives, 20.0, EncoderId("clipseg", "x", "w", "p", 4))
    with pytest.raises(EncoderMismatchError, match="clipseg"):
        ask(other, config)


def test_an_empty_picture_cannot_be_asked():
    text, config = query("left")
    with pytest.raises(QueryError, match="opacity"):
        ask(text, config, np.zeros((3, 4, 5), bool))


@pytest.mark.parametrize("prompts", [(), ("",), ("left", "left")])
def test_impossible_prompts_are_refused(prompts):
    with pytest.raises(QueryError, match=r"query\.prompts"):
        query(*prompts)


def test_templates_are_averaged_to_unit_length():
    text, _ = query("left", templates=("{}", "some {}"))
    np.testing.assert_allclose(np.linalg.norm(text.vectors, axis=1), 1.0, atol=1e-6)


def lifted_halves(encoder: EncoderId = ENCODER) -> LiftedMasks:
    """Two masks of one view on the part level: e0 on the low half, e1 on the high half."""
    high = volume().reshape(-1) > 0.5
    weights = csr_matrix(np.stack([~high, high], axis=1).astype(np.float32))
    empty = csr_matrix((60, 2), dtype=np.float32)
    return LiftedMasks(
        np.arange(60),
        (empty, weights, empty),
        identity(60, dtype=np.float32, format="csr"),
        identity(60, dtype=np.float32, format="csr"),
        np.ones(60, np.float32),
        EYE[:2],
        np.ones(2, np.int16),
        np.zeros(2, np.int16),
        GRID,
        encoder,
    )


def test_masks_answer_as_the_field_does():
    text, config = query("left", "right", "nothing there")
    lifted = lifted_halves()
    left, right, nothing = answer_query(relevancy_of_masks(lifted, text), lifted.voxel, GRID, text, config)
    np.testing.assert_array_equal(left.selected, volume() == 0)
    np.testing.assert_array_equal(right.selected, volume() == 1)
    assert not nothing.found


def test_a_part_must_say_more_than_the_whole_does():
    """A whole that resembles both prompts more than the negatives; only the masks that say more of one are meant."""
    text, config = query("left", "right", level="part", compete=False)
    high = volume().reshape(-1) > 0.5
    between = np.array([0.7, 0.6, 0.0, 0.3873], np.float32)
    lifted = dataclasses.replace(
        lifted_halves(),
        weights=(
            csr_matrix((60, 3), dtype=np.float32),
            csr_matrix(np.stack([~high, high, 0.0 * high], axis=1).astype(np.float32)),
            csr_matrix(np.stack([0.0 * high, 0.0 * high, high | True], axis=1).astype(np.float32)),
        ),
        vectors=np.stack([[0.9, 0.4359, 0, 0], [0.4359, 0.9, 0, 0], between]).astype(np.float32),
        level=np.array([1, 1, 2], np.int16),
        view=np.zeros(3, np.int16),
    )
    relevancy = relevancy_of_masks(lifted, text)
    by_hand = 1 / (1 + np.exp(-20 * (0.9 - 0.7)))  # the whole's 0.7 is the best negative, not the 0 of the others
    np.testing.assert_allclose(relevancy[Level.PART, 0, ~high], by_hand, rtol=1e-4)
    assert relevancy[Level.PART, 0, high].max() < 0.01  # 0.44 of "left", less than the whole says
    assert relevancy[Level.WHOLE, 0].min() > 0.99  # the whole level itself is compared with the negatives alone
    left, right = answer_query(relevancy, lifted.voxel, GRID, text, config)
    np.testing.assert_array_equal(left.selected, volume() == 0)
    np.testing.assert_array_equal(right.selected, volume() == 1)


class KnowingEncoder(TableEncoder):
    """Also brings the names it was taught: "left" itself, and another thing near it."""

    known_names = ("left", "nothing there")


def small_halves() -> LiftedMasks:
    """Two masks on the small level that beat the negatives alike: e0 itself on the low half; on the high half one that
    says e0, but more of e2."""
    lifted = lifted_halves()
    vectors = np.stack([EYE[0], [0.6, 0.0, 0.8, 0.0]]).astype(np.float32)
    weights = (lifted.weights[1], lifted.weights[0], lifted.weights[2])
    return dataclasses.replace(lifted, weights=weights, vectors=vectors, level=np.zeros(2, np.int16))


def test_on_the_small_level_a_prompt_shares_masks_with_the_names_that_the_encoder_knows():
    config = QueryConfig(prompts=("left",))
    high = volume().reshape(-1) > 0.5
    plain = relevancy_of_masks(small_halves(), embed_query(TableEncoder(), config))
    assert plain[Level.SMALL, 0].min() > 0.99  # both beat the negatives by far
    text = embed_query(KnowingEncoder(), config)
    assert text.known is not None and len(text.known) == 2 and len(text.negatives) == len(config.negatives)
    shared = relevancy_of_masks(small_halves(), text)
    # "left" is the prompt itself and no rival; of the second mask the prompt has exp(12) / (exp(12) + exp(16) + 4)
    by_hand = np.sqrt(np.exp(12.0) / (np.exp(12.0) + np.exp(16.0) + 4.0))
    np.testing.assert_allclose(shared[Level.SMALL, 0, high], by_hand, rtol=1e-3)
    np.testing.assert_allclose(shared[Level.SMALL, 0, ~high], plain[Level.SMALL, 0, ~high], rtol=1e-3)  # the peak stays
    np.testing.assert_array_equal(shared[Level.PART], plain[Level.PART])
    without = embed_query(KnowingEncoder(), config.model_copy(update={"known_names": False}))
    assert without.known is None
    np.testing.assert_array_equal(relevancy_of_masks(small_halves(), without), plain)


def test_names_of_other_things_do_not_make_an_absent_thing_found():
    config = QueryConfig(prompts=("right",))
    lifted = small_halves()
    relevancy = relevancy_of_masks(lifted, embed_query(KnowingEncoder(), config))
    (right,) = answer_query(relevancy, lifted.voxel, GRID, embed_query(KnowingEncoder(), config), config)
    assert not right.found and relevancy[Level.SMALL].max() <= 0.5 + 1e-6


def test_a_voxel_far_below_the_peak_is_not_meant():
    text, config = query("left")
    relevancy = np.zeros((3, 1, 60), np.float32)
    relevancy[Level.PART, 0, :20] = 0.95
    relevancy[Level.PART, 0, 20:40] = 0.6  # above one half, but 0.63 of the peak
    (result,) = answer_query(relevancy, np.arange(60), GRID, text, config)
    assert np.flatnonzero(result.selected).tolist() == list(range(20))
    by_hand = 0.3 + 0.6 * (0.95 - 0.3)  # six tenths of the way from the mean of the other forty to the peak
    assert result.cut == pytest.approx(by_hand) and result.as_dict()["cut"] == round(by_hand, 4)
    text, config = query("left", peak_share=(0, 0))
    (result,) = answer_query(relevancy, np.arange(60), GRID, text, config)
    assert int(result.selected.sum()) == 40 and result.cut == 0.5


def test_the_cut_stays_within_shares_of_the_peak():
    text, config = query("left")
    relevancy = np.full((3, 1, 60), 0.9, np.float32)  # what is left is near the peak: 0.8 of the peak, not 0.84
    relevancy[Level.PART, 0, :4] = 0.94
    relevancy[Level.PART, 0, 40:] = 0.7
    (result,) = answer_query(relevancy, np.arange(60), GRID, text, config.model_copy(update={"level": "part"}))
    assert result.cut == pytest.approx(0.8 * 0.94, rel=1e-4) and int(result.selected.sum()) == 40
    relevancy = np.zeros((3, 1, 60), np.float32)  # next to nothing is left: 0.6 of the peak
    relevancy[Level.PART, 0, :2], relevancy[Level.PART, 0, 2:4] = 0.9, 0.5
    (result,) = answer_query(relevancy, np.arange(60), GRID, text, config)
    by_hand = 0.6 * 0.9 + 0.4 * (2 * 0.5 / 58)
    assert result.cut == pytest.approx(by_hand, rel=1e-4) and int(result.selected.sum()) == 2
    relevancy *= 0.5  # nothing passes one half: not found, however it stands out
    (result,) = answer_query(relevancy, np.arange(60), GRID, text, config)
    assert not result.found


def test_a_whole_is_selected_down_to_the_lower_share():
    """Nearly everything is the torso, the part that the views show worst as well."""
    text, config = query("left")
    relevancy = np.full((3, 1, 60), 0.7, np.float32)
    relevancy[Level.WHOLE, 0, :40], relevancy[Level.WHOLE, 0, 55:] = 1.0, 0.5
    (result,) = answer_query(relevancy, np.arange(60), GRID, text, config)
    assert result.level == Level.WHOLE and result.cut == pytest.approx(0.6)
    assert np.flatnonzero(result.selected).tolist() == list(range(55))


@pytest.mark.parametrize("shares", [(0.8, 0.6), (-0.1, 0.5), (0.5, 1.0)])
def test_shares_of_the_peak_that_make_no_sense_are_refused(shares):
    with pytest.raises(ValueError, match="smaller one first"):
        QueryConfig(peak_share=shares)


def test_prompts_with_different_cuts_compete_by_their_distance_from_them():
    text, config = query("left", "right")
    relevancy = np.zeros((3, 2, 60), np.float32)
    relevancy[Level.PART, 0, :10], relevancy[Level.PART, 0, 10:20] = 1.0, 0.7  # cut 0.64: 0.7 is just above
    relevancy[Level.PART, 1, 10:20] = 0.6  # cut 0.36: 0.6 is far above
    left, right = answer_query(relevancy, np.arange(60), GRID, text, config)
    assert np.flatnonzero(left.selected).tolist() == list(range(10))
    assert np.flatnonzero(right.selected).tolist() == list(range(10, 20))


def test_masks_of_another_encoder_are_refused():
    text, _ = query("left")
    with pytest.raises(EncoderMismatchError, match="another"):
        relevancy_of_masks(lifted_halves(EncoderId("open_clip", "tiny", "another", "p", 4)), text)
