"""Lifting against a plain loop, the field against its own closed forms, training on a scene with a known answer."""

import numpy as np
import pytest
import torch

from voxlang.core.artifacts import read_artifact, write_artifact
from voxlang.core.errors import ArtifactError, EncoderMismatchError, VoxlangError
from voxlang.core.levels import Level
from voxlang.embed.types import EncoderId
from voxlang.geometry.camera import Camera
from voxlang.geometry.grid import VolumeGrid
from voxlang.render.samples import RaySamples
from voxlang.semantics.config import SemanticsConfig
from voxlang.semantics.contrast import shown_range
from voxlang.semantics.field import SemanticField, points_of_voxels
from voxlang.semantics.fill import Look, fill_unseen
from voxlang.semantics.lifting import lift_masks
from voxlang.semantics.store import KIND, load_lifted, load_semantics, save_lifted, save_semantics
from voxlang.semantics.train import fit_semantic_field, ray_bank
from voxlang.supervision.types import ViewTarget, filled_levels

GRID = VolumeGrid((5, 4, 3), (1.0, 2.0, 3.0))
ENCODER = EncoderId("open_clip", "tiny", "w", "p", 4)
CONFIG = SemanticsConfig(steps=60, rays_per_step=64, hidden=16, grid_levels=(4, 8), grid_features=4)


def target(index: np.ndarray, levels: list[int], vectors: np.ndarray, encoder: EncoderId = ENCODER) -> ViewTarget:
    _, height, width = index.shape
    n = len(levels)
    return ViewTarget(
        Camera(np.eye(3), np.eye(4), width, height),
        "t",
        index.astype(np.int16),
        vectors.astype(np.float16),
        np.asarray(levels, np.int16),
        np.full(n, -1, np.int16),
        np.ones(n, np.float32),
        encoder,
        "key",
    )


def random_views(rng: np.random.Generator) -> tuple[list[ViewTarget], list[RaySamples]]:
    """Two views of 3x4 pixels, three masks each, ten random samples a pixel."""
    targets, rays = [], []
    for _ in range(2):
        index = np.full((3, 3, 4), -1)
        index[Level.WHOLE, :, :3] = 0
        index[Level.PART, :2, :2] = 1
        index[Level.SMALL, 0, 0] = 2
        vectors = rng.normal(size=(3, 4))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        targets.append(target(index, [2, 1, 0], vectors))
        pixel = np.repeat(np.arange(12, dtype=np.int32), 10)
        rays.append(RaySamples(pixel, rng.integers(60, size=120), rng.random(120).astype(np.float32)))
    return targets, rays


def test_lifting_equals_a_plain_loop(rng):
    targets, rays = random_views(rng)
    lifted = lift_masks(targets, iter(rays), GRID)
    quantity = rng.random((6, 2)).astype(np.float32)
    for level in Level:
        top, below = np.zeros((60, 2)), np.zeros(60)
        for k, (t, r) in enumerate(zip(targets, rays, strict=True)):
            for pixel, voxel, weight in zip(r.pixel, r.voxel, r.weight, strict=True):
                v, u = divmod(int(pixel), 4)
                mask = next((t.mask_index[m, v, u] for m in range(level, 3) if t.mask_index[m, v, u] >= 0), -1)
                if mask >= 0:
                    top[voxel] += weight * quantity[3 * k + mask]
                    below[voxel] += weight
        got, weight = lifted.quantity(quantity, level)
        np.testing.assert_allclose(weight, below[lifted.voxel], rtol=1e-5)
        seen = below[lifted.voxel] > 0
        np.testing.assert_allclose(got[seen], (top / np.maximum(below, 1e-12)[:, None])[lifted.voxel][seen], rtol=1e-4)


def test_evidence_is_all_weight_with_or_without_a_mask(rng):
    targets, rays = random_views(rng)
    evidence = lift_masks(targets, rays, GRID).evidence()
    wanted = np.zeros(60)
    for r in rays:
        np.add.at(wanted, r.voxel, r.weight)
    np.testing.assert_allclose(evidence.reshape(-1), wanted, rtol=1e-5)
    assert evidence.shape == (3, 4, 5)


def test_what_has_no_parts_is_its_own_part(rng):
    filled = filled_levels(random_views(rng)[0][0].mask_index)
    assert filled[Level.SMALL, 0, 0] == 2, "its own small mask"
    assert filled[Level.SMALL, 1, 1] == 1, "no small mask: the part"
    assert filled[Level.PART, 2, 2] == 0, "no part: the whole"
    assert filled[Level.WHOLE, 0, 3] == -1, "nothing coarser: nothing"


def test_views_of_two_encoders_are_refused(rng):
    targets, rays = random_views(rng)
    other = EncoderId("open_clip", "tiny", "another", "p", 4)
    mixed = [targets[0], target(targets[1].mask_index, [2, 1, 0], targets[1].vectors, other)]
    with pytest.raises(EncoderMismatchError, match="another"):
        lift_masks(mixed, rays, GRID)


def test_no_views_are_refused():
    with pytest.raises(VoxlangError, match="at least one view"):
        lift_masks([], [], GRID)


def test_points_of_voxels_by_hand():
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5) / 60
    flat = np.array([(2 * 4 + 1) * 5 + 4])  # index (x=4, y=1, z=2)
    xyz, value = points_of_voxels(GRID, flat, values)
    np.testing.assert_allclose(xyz, [[1.0, -1.0 + 2 / 3, 1.0]], atol=1e-6)
    np.testing.assert_allclose(value, [values[2, 1, 4]])


def test_field_reads_x_y_z_in_that_order():
    field = SemanticField(CONFIG, GRID, ENCODER)
    grid = field.grids[0]
    with torch.no_grad():
        for g in field.grids:
            g.zero_()
        grid[..., -1] = 1.0  # features rise towards +x only
    value = torch.zeros(3)
    base, along_x, along_z = field.hidden(
        torch.tensor([[-1.0, -1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]]), value
    )
    assert not torch.allclose(base, along_x)
    assert torch.allclose(base, along_z)


def test_scores_equal_the_cosines_of_the_vectors(rng):
    field = SemanticField(CONFIG, GRID, ENCODER)
    xyz = rng.uniform(-1, 1, size=(50, 3)).astype(np.float32)
    value = rng.random(50).astype(np.float32)
    text = rng.normal(size=(2, 4)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    with torch.no_grad():
        vectors = field(torch.from_numpy(xyz), torch.from_numpy(value)).numpy()
    wanted = np.einsum("lnd,td->ltn", vectors, text)
    np.testing.assert_allclose(field.scores(xyz, value, text, chunk=16), wanted, atol=1e-5)


def scene() -> tuple[list[ViewTarget], list[RaySamples], np.ndarray]:
    """Two materials, left and right half of x; a ray per voxel of the lower half in y. The upper half is never seen."""
    values = np.zeros((3, 4, 5), np.float32)
    values[:, :, 2:] = 0.8
    voxel = np.flatnonzero((np.indices((3, 4, 5))[1] < 2).reshape(-1))
    index = np.full((3, 1, len(voxel)), -1)
    right = values.reshape(-1)[voxel] > 0.5
    index[Level.PART, 0] = right
    rays = RaySamples(np.arange(len(voxel), dtype=np.int32), voxel, np.full(len(voxel), 0.9, np.float32))
    return [target(index, [1, 1], np.eye(4)[:2])], [rays], values


def test_training_recovers_a_known_scene_and_fills_what_no_view_saw():
    targets, rays, values = scene()
    lifted = lift_masks(targets, rays, GRID)
    fit = fit_semantic_field(ray_bank(targets, rays), lifted, values, CONFIG)
    xyz, value = points_of_voxels(GRID, np.arange(60), values)
    cosines = fit.field.scores(xyz, value, np.eye(4, dtype=np.float32)[:2])[Level.PART]
    np.testing.assert_array_equal(cosines.argmax(axis=0), (values.reshape(-1) > 0.5).astype(int))
    assert fit.history[-1]["loss_part"] < 0.05 < fit.history[0]["loss_part"]


def test_an_interrupted_training_ends_the_same(tmp_path):
    targets, rays, values = scene()
    lifted, bank = lift_masks(targets, rays, GRID), ray_bank(targets, rays)
    config = CONFIG.model_copy(update={"steps": 12, "checkpoint_every": 5})
    whole = fit_semantic_field(bank, lifted, values, config)

    class Killed(Exception):
        pass

    def kill(step, _):
        if step == 7:
            raise Killed

    path = tmp_path / "semantics.pt"
    with pytest.raises(Killed):
        fit_semantic_field(bank, lifted, values, config, resume_path=path, on_step=kill)
    resumed = fit_semantic_field(bank, lifted, values, config, resume_path=path)
    assert [r["step"] for r in resumed.history] == list(range(12))
    for a, b in zip(whole.field.parameters(), resumed.field.parameters(), strict=True):
        assert torch.equal(a, b)


def test_what_no_view_saw_takes_from_what_is_near_and_alike():
    """Two materials side by side, seen at y = 0 only: the rest is filled by value, not by nearness alone."""
    targets, rays, values = scene()
    lifted = lift_masks(targets, rays, GRID)
    config = CONFIG.model_copy(update={"fill_neighbours": 1})
    everything = np.ones((3, 4, 5), bool)
    filled = fill_unseen(lifted, values, everything, [Look(everything, (0,))], config)
    assert filled.voxel.tolist() == list(range(60))
    own, weight = filled.quantity(np.array([[0.0], [1.0]], np.float32), Level.PART)
    assert (weight > 0).all()
    inside = np.ones((3, 4, 5), bool)
    inside[:, :, 1:3] = False  # beside the border the smoothed values of the two materials mix
    wanted = (values.reshape(-1) > 0.5).astype(np.float32)
    np.testing.assert_array_equal(own[:, 0][inside.reshape(-1)], wanted[inside.reshape(-1)])


def test_well_seen_voxels_keep_their_own_masks():
    targets, rays, values = scene()
    lifted = lift_masks(targets, rays, GRID)
    everything = np.ones((3, 4, 5), bool)
    filled = fill_unseen(lifted, values, everything, [Look(everything, (0,))], CONFIG)
    rows = np.searchsorted(filled.voxel, lifted.voxel)
    for level in (Level.SMALL, Level.PART):
        before = lifted.rows(np.arange(len(lifted.voxel)), level)
        np.testing.assert_allclose(filled.rows(rows, level).toarray(), before.toarray())


def bone_in_flesh() -> tuple[list[ViewTarget], list[RaySamples], np.ndarray, list[Look]]:
    """Slices of skin, flesh, bone, flesh along x, of which one look shows all and sees the skin, another bone alone.

    Each look calls what it sees by one mask on each level. Flesh is nearer to the bone in place, and as near in value.
    """
    values = np.zeros((2, 3, 8), np.float32)
    values[:] = [0.42, 0.5, 0.5, 0.5, 0.58, 0.58, 0.5, 0.5]
    index = np.zeros((3, 1, 1))
    targets = [target(index, [2], EYE[:1]), target(index, [2], EYE[1:2])]
    pixel, weight = np.zeros(1, np.int32), np.array([0.9], np.float32)
    rays = [RaySamples(pixel, np.array([0]), weight), RaySamples(pixel, np.array([4]), weight)]
    return targets, rays, values, [Look(values > 0.0, (0,)), Look(values > 0.55, (1,))]


ROW = VolumeGrid((8, 3, 2), (1.0, 2.0, 3.0))
EYE = np.eye(4)


def test_a_voxel_hears_only_from_looks_that_show_it():
    targets, rays, values, looks = bone_in_flesh()
    config = CONFIG.model_copy(update={"fill_neighbours": 2, "fill_distance": 0.25})
    filled = fill_unseen(lift_masks(targets, rays, ROW), values, values > 0, looks, config)
    is_bone, weight = filled.quantity(np.array([[0.0], [1.0]], np.float32), Level.PART)
    assert (weight > 0).all()
    is_bone = is_bone.reshape(values.shape)
    assert not is_bone[..., [0, 1, 2, 3, 6, 7]].any()  # flesh, though the nearest seen voxel is one of bone
    assert is_bone[..., 4:6].min() > 0.5  # bone: its own look is nearer than the skin


def test_on_the_whole_level_each_look_that_shows_a_voxel_has_one_vote():
    targets, rays, values, looks = bone_in_flesh()
    filled = fill_unseen(lift_masks(targets, rays, ROW), values, values > 0, looks, CONFIG)
    is_bone, votes = filled.quantity(np.array([[0.0], [1.0]], np.float32), Level.WHOLE)
    wanted = np.broadcast_to([0, 0, 0, 0, 0.5, 0.5, 0, 0], values.shape)
    np.testing.assert_allclose(is_bone.reshape(values.shape), wanted, atol=1e-6)
    np.testing.assert_allclose(votes.reshape(values.shape), 1 + 2 * wanted, rtol=1e-5)


def test_only_voxels_that_are_shown_take_part_in_the_lifting(rng):
    targets, rays = random_views(rng)
    shown = rng.random((3, 4, 5)) < 0.5
    everything, lifted = lift_masks(targets, rays, GRID), lift_masks(targets, rays, GRID, shown=shown)
    assert lifted.voxel.tolist() == [v for v in everything.voxel.tolist() if shown.reshape(-1)[v]]
    np.testing.assert_allclose(lifted.evidence(), np.where(shown, everything.evidence(), 0), rtol=1e-6)
    rows = np.searchsorted(everything.voxel, lifted.voxel)
    for level in Level:
        alone = lifted.rows(np.arange(len(lifted.voxel)), level).toarray()
        np.testing.assert_allclose(alone, everything.rows(rows, level).toarray(), rtol=1e-6)


def test_one_neighbour_leaves_well_seen_voxels_to_themselves():
    """A voxel that its own look saw and another look shows hears the other on the whole level alone."""
    targets, rays, values, looks = bone_in_flesh()
    seen = lift_masks(targets, rays, ROW)
    one = fill_unseen(seen, values, values > 0, looks, CONFIG.model_copy(update={"fill_neighbours": 1}))
    place = np.searchsorted(one.voxel, seen.voxel)
    np.testing.assert_allclose(one.rows(place, Level.PART).toarray(), seen.rows(np.arange(2), Level.PART).toarray())


def test_views_without_any_mask_leave_nothing_to_fill_from():
    targets, rays, values = scene()
    bare = target(np.full((3, *targets[0].mask_index.shape[1:]), -1), [], np.zeros((0, 4)))
    lifted = lift_masks([bare], rays, GRID)
    everything = np.ones((3, 4, 5), bool)
    filled = fill_unseen(lifted, values, everything, [Look(everything, (0,))], CONFIG)
    _, weight = filled.quantity(np.zeros((0, 1), np.float32), Level.PART)
    assert len(filled.voxel) and not weight.any()


def test_where_no_view_saw_anything_there_is_nothing_to_fill():
    targets, _, values = scene()
    nothing = RaySamples(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.float32))
    lifted = lift_masks(targets, [nothing], GRID)
    everything = np.ones((3, 4, 5), bool)
    assert fill_unseen(lifted, values, everything, [Look(everything, (0,))], CONFIG) is lifted


def test_lifted_masks_on_disk(tmp_path, rng):
    lifted = lift_masks(*random_views(rng), GRID)
    save_lifted(tmp_path / "l.safetensors", lifted, key="k", inputs={"volume": "v"})
    again, inputs = load_lifted(tmp_path / "l.safetensors", key="k")
    assert inputs == {"volume": "v"}
    np.testing.assert_array_equal(again.voxel, lifted.voxel)
    for a, b in zip((*again.weights, again.mix, again.votes), (*lifted.weights, lifted.mix, lifted.votes), strict=True):
        np.testing.assert_allclose(a.toarray(), b.toarray(), rtol=1e-3)
    assert (again.grid, again.encoder) == (lifted.grid, lifted.encoder)
    with pytest.raises(ArtifactError, match="--mode=stage2"):
        load_lifted(tmp_path / "l.safetensors", key="another")


def test_the_field_on_disk_answers_the_same(tmp_path, rng):
    field = SemanticField(CONFIG, GRID, ENCODER)
    save_semantics(tmp_path / "f.safetensors", field, key="k", history=[{"step": 0, "loss": 0.5}])
    again, history = load_semantics(tmp_path / "f.safetensors", key="k")
    points = torch.from_numpy(rng.uniform(-1, 1, (7, 3)).astype(np.float32))
    value = torch.from_numpy(rng.random(7).astype(np.float32))
    assert torch.equal(field(points, value), again(points, value))
    assert history == [{"step": 0, "loss": 0.5}]
    with pytest.raises(ArtifactError, match="--mode=stage2"):
        load_semantics(tmp_path / "f.safetensors", key="another")
    tensors, meta = read_artifact(tmp_path / "f.safetensors", KIND)
    meta["config"]["setting_of_yore"] = 3
    write_artifact(tmp_path / "f.safetensors", KIND, tensors=tensors, meta=meta)
    with pytest.raises(ArtifactError, match="another version, with other setting_of_yore"):
        load_semantics(tmp_path / "f.safetensors")


def test_the_range_of_what_is_shown_knows_no_unit_and_no_implant(rng):
    values = rng.random((6, 7, 8), dtype=np.float32)
    voxel = np.flatnonzero(values.reshape(-1) > 0.5)
    plain = shown_range(values, voxel)
    assert plain == pytest.approx(0.49, abs=0.02)
    assert shown_range(values * 3000 - 1000, voxel) == pytest.approx(3000 * plain, rel=1e-4)
    metal = values.copy()
    metal.reshape(-1)[voxel[0]] = 9.0
    assert shown_range(metal, voxel) == pytest.approx(plain, abs=0.02)
    assert shown_range(np.ones((2, 2, 2), np.float32), np.arange(8)) > 0
    assert shown_range(values, np.zeros(0, np.int64)) == 1.0
