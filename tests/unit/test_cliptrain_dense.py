"""Training of the dense tower: what is drawn, the loss by hand, going on after a stop, the recipe, the figures."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from voxlang.cliptrain.dense import export_dense, places_loss, train_dense
from voxlang.cliptrain.dense_config import load_dense_config, smoke_dense_config
from voxlang.cliptrain.dense_scores import score_places
from voxlang.cliptrain.places import read_views
from voxlang.cliptrain.smoke import write_smoke_views
from voxlang.core.errors import ArtifactError, ConfigError, ModelMissingError
from voxlang.core.levels import LEVELS, Level
from voxlang.core.training_log import LOG_NAME
from voxlang.embed.dense_encoder import load_dense_tower
from voxlang.embed.encoder import load_encoder
from voxlang.embed.settings import EmbedConfig
from voxlang.query.answer import relevancy_from_cosines
from voxlang.scenes.buffer import read_scenes


@pytest.fixture(scope="module")
def texts():
    return load_encoder(EmbedConfig(device="cpu"))


class MovedTexts:
    """The same texts, each moved a little, under another identity."""

    def __init__(self, texts):
        self.id = dataclasses.replace(texts.id, weights_digest="moved")
        self.logit_scale, self.known_names, self._texts = texts.logit_scale, texts.known_names, texts
        self.image_size, self.encode_images = texts.image_size, texts.encode_images

    def encode_texts(self, texts):
        rows = self._texts.encode_texts(texts) + np.float32(0.01)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, pytestconfig):
    folder = tmp_path_factory.mktemp("dense")
    config = smoke_dense_config(
        load_dense_config(pytestconfig.rootpath / "configs/training/dense_micro.yaml"), str(folder)
    )
    write_smoke_views(folder / "renders")
    return config


@pytest.fixture(scope="module")
def views(recipe):
    return read_views(recipe.render_dirs)


def test_places_show_what_the_truth_says(recipe, views, rng):
    scenes = [read_scenes(f"{recipe.render_dirs[0]}/scenes_{family}_0001000.npz") for family in ("bonsai", "tooth")]
    pictures = [(s, k) for s in scenes for k in range(len(s.rgb))]
    batch = views.draw(rng, pictures=6, side=48, places=40, window=0.0)
    assert batch.pictures.shape == (6, 48, 48, 3) and set(batch.level.tolist()) == {0, 1, 2}
    for b, place, level, concept in zip(batch.picture, batch.place, batch.level, batch.concept, strict=True):
        scene, k = next((s, k) for s, k in pictures if (s.rgb[k] == batch.pictures[b]).all())
        v, u = (4 * int(c) + 3 for c in divmod(int(place), 12))  # the kept pixel at the centre of the place
        part = next(i for i in scene.part_index[k, level:, v, u] if i >= 0)  # what has no parts is its own part
        assert views.table.index(scene.family, scene.tree[int(part)]) == concept


def test_windows_and_small_pictures_keep_picture_and_truth_together(views):
    batch = views.draw(np.random.default_rng(5), pictures=8, side=32, places=30, window=1.0)
    assert batch.pictures.shape == (8, 32, 32, 3) and batch.place.max() < 64
    assert (np.bincount(batch.level, minlength=3) <= 30).all()


def test_rare_things_are_drawn_more_often_than_they_cover(views):
    draws = lambda places: np.concatenate(
        [
            (b := views.draw(np.random.default_rng(k), pictures=4, side=48, places=places, window=0.0)).concept[
                b.level == Level.SMALL
            ]
            for k in range(30)
        ]
    )
    few, every = draws(20), draws(10**6)
    counts = np.bincount(every)
    rare, common = int(np.argmin(np.where(counts > 0, counts, 10**9))), int(counts.argmax())
    ratio = lambda drawn: (drawn == rare).sum() / (drawn == common).sum()
    assert ratio(few) > 1.3 * ratio(every)


def test_no_views_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="render_views"):
        read_views([tmp_path])


def test_loss_by_hand(rng):
    unit = lambda *shape: torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=shape)).float(), dim=1)
    vectors, names, negatives = unit(5, 8), unit(4, 8), unit(3, 8)
    right = torch.zeros(5, 4, dtype=torch.bool)
    right[[0, 1, 2, 3, 4, 4], [0, 1, 2, 3, 0, 2]] = True
    loss, hit = places_loss(vectors, names, right, negatives, 7.0)
    cosines = (vectors @ names.T).numpy()
    softmax = np.exp(7 * cosines) / np.exp(7 * cosines).sum(1, keepdims=True)
    choice = np.mean([-np.log(softmax[k][right[k].numpy()].sum()) for k in range(5)])
    relevancy = relevancy_from_cosines(cosines.T, (negatives @ vectors.T).numpy(), temperature=7.0).T
    found = np.mean(-np.log(relevancy[right.numpy()]))
    wrong = -np.log(1 - relevancy)
    worst = np.mean([max(wrong[k][~right[k].numpy()]) for k in range(5)])
    refused = 0.5 * (np.mean(wrong[~right.numpy()]) + worst)
    assert loss.item() == pytest.approx(choice + found + refused, rel=1e-4)
    assert hit.tolist() == [bool(right[k, cosines[k].argmax()]) for k in range(5)]


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(recipe, texts, tmp_path):
    whole, fit = train_dense(recipe.model_copy(update={"run_dir": str(tmp_path / "a")}), texts)
    stopped = recipe.model_copy(update={"run_dir": str(tmp_path / "b")})
    train_dense(stopped, texts, stop_step=3)
    told: list[tuple[int, dict[str, float]]] = []
    again, fit_again = train_dense(stopped, texts, on_means=lambda step, means: told.append((step, means)))
    rows = [json.loads(line) for line in (tmp_path / "b" / LOG_NAME).read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 4, 6, 8], "every second step, and where it stopped"
    assert [step for step, _ in told] == [4, 6, 8] and told[-1][1]["loss"] == pytest.approx(rows[-1]["loss"], abs=1e-5)
    total = sum(stretch.steps for stretch in recipe.stretches)
    assert fit.steps == fit_again.steps == total
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    with pytest.raises(ConfigError, match="hidden"):
        train_dense(stopped.model_copy(update={"hidden": 32, "render_dirs": ("nowhere",)}), texts)  # before any reading
    longer = stopped.model_copy(update={"stretches": (*stopped.stretches, stopped.stretches[0])})
    assert train_dense(longer, texts)[1].steps == total + stopped.stretches[0].steps, "a finished one learns on"


def test_a_finished_tower_is_where_another_training_begins(recipe, texts, tmp_path):
    tower, fit = train_dense(recipe.model_copy(update={"run_dir": str(tmp_path / "a")}), texts)
    path = export_dense(tower, fit, recipe, texts)
    still = recipe.stretches[0].model_copy(update={"steps": 1, "rate": 1e-9})
    more = recipe.model_copy(update={"run_dir": str(tmp_path / "b"), "tower_start": str(path), "stretches": (still,)})
    going_on = train_dense(more, texts)[0].state_dict()
    for name, tensor in tower.state_dict().items():
        torch.testing.assert_close(going_on[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    with pytest.raises(ModelMissingError, match="train_dense"):
        train_dense(more.model_copy(update={"tower_start": "nowhere", "run_dir": str(tmp_path / "c")}), texts)


def test_a_tower_goes_on_when_its_texts_have_moved(recipe, texts, tmp_path):
    """As when the text tower learns synonyms: the new tower speaks to the new texts, and to them alone."""
    tower, fit = train_dense(recipe.model_copy(update={"run_dir": str(tmp_path / "a")}), texts)
    path = export_dense(tower, fit, recipe.model_copy(update={"export_path": str(tmp_path / "old.safetensors")}), texts)
    moved = MovedTexts(texts)
    update = {
        "run_dir": str(tmp_path / "b"),
        "tower_start": str(path),
        "export_path": str(tmp_path / "new.safetensors"),
    }
    more = recipe.model_copy(update=update)
    export_dense(*train_dense(more, moved), more, moved)
    load_dense_tower(more.export_path, encoder=moved.id, device="cpu")
    for file, encoder in ((more.export_path, texts), (path, moved)):
        with pytest.raises(ArtifactError, match="for the texts of"):
            load_dense_tower(file, encoder=encoder.id, device="cpu")
    folder = tmp_path / "not_a_tower.safetensors"
    save_file({"a": torch.zeros(1)}, folder)
    with pytest.raises(ArtifactError, match="a dense tower; got a file of None"):
        train_dense(more.model_copy(update={"tower_start": str(folder), "run_dir": str(tmp_path / "c")}), moved)


def test_it_learns_two_phantoms_and_the_figures_say_so(recipe, texts, views, tmp_path):
    stretch = recipe.stretches[0].model_copy(update={"steps": 60, "rate": 2e-3, "pictures": 4, "places": 200})
    config = recipe.model_copy(
        update={"stretches": (stretch,), "run_dir": str(tmp_path), "export_path": str(tmp_path / "d.safetensors")}
    )
    tower, fit = train_dense(config, texts)
    dense = load_dense_tower(export_dense(tower, fit, config, texts), encoder=texts.id, device="cpu")
    scores = {s.level: s for s in score_places(dense, views, texts)}
    assert scores["whole"].right > 0.8 and scores["part"].right > 0.5
    one = score_places(dense, views, texts, families=("tooth",))
    assert [s.places for s in one] == [
        sum(
            views.concepts(i, 64)[level].size - (views.concepts(i, 64)[level] < 0).sum()
            for i, f in enumerate(views.family)
            if f == "tooth"
        )
        for level in LEVELS
    ]
    untrained, nothing = train_dense(config.model_copy(update={"run_dir": str(tmp_path / "x")}), texts, stop_step=1)
    path = export_dense(untrained, nothing, config, texts)
    before = score_places(load_dense_tower(path, encoder=texts.id, device="cpu"), views, texts)
    assert before[Level.WHOLE].right < 0.5
