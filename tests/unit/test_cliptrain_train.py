"""The whole training on tiny views: it runs, learns, resumes exactly, exports what the adapter loads."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import load_config, smoke_config
from voxlang.cliptrain.crops_data import CropPool, load_crops
from voxlang.cliptrain.evaluate import confusion, confusion_text, crop_set, evaluate, text_vectors
from voxlang.cliptrain.export import export_model
from voxlang.cliptrain.image_tower import fit_image_tower, image_features
from voxlang.cliptrain.model import build_image_tower, image_pixels, start_from_model
from voxlang.cliptrain.naming import Choices, Names
from voxlang.cliptrain.smoke import write_smoke_views
from voxlang.cliptrain.teacher import HashTeacher, teacher_space
from voxlang.cliptrain.text_tower import encode_states, rate_factor, stored_text
from voxlang.cliptrain.tokenizer import encode_tokens
from voxlang.cliptrain.train import train
from voxlang.core.errors import ConfigError
from voxlang.core.training_log import LOG_NAME
from voxlang.embed.encoder import load_encoder
from voxlang.embed.settings import EmbedConfig
from voxlang.volume.phantoms import make_phantom


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, pytestconfig):
    folder = tmp_path_factory.mktemp("clip")
    whole = load_config(pytestconfig.rootpath / "configs" / "training" / "clip_micro.yaml")
    config = smoke_config(whole, str(folder / "run"))
    write_smoke_views(folder / "run" / "renders")
    return config


@pytest.fixture(scope="module")
def trained(recipe):
    result = train(recipe)
    export_model(result, recipe)
    return result, load_encoder(EmbedConfig(model=f"local-dir:{recipe.export_dir}", device="cpu"))


@pytest.mark.parametrize("name", ["clip_micro", "clip_micro_quick"])
def test_the_recipes_in_the_repository_are_valid(pytestconfig, name):
    config = load_config(pytestconfig.rootpath / "configs" / "training" / f"{name}.yaml")
    assert config.model.image_size <= config.crops.size_px and config.teacher == "minilm"
    assert bool(config.image_start) is (name == "clip_micro"), "the quick one begins from nothing"
    with pytest.raises(ConfigError, match="no such file"):
        load_config("nowhere.yaml")


def test_unknown_settings_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("stepz: 3\n")
    with pytest.raises(ConfigError, match="stepz"):
        load_config(tmp_path / "a.yaml")


def test_rates_rise_and_fall():
    rates = [rate_factor(s, 200, 10) for s in range(200)]
    assert rates[0] == pytest.approx(1 / 11, rel=1e-3) and int(np.argmax(rates)) in range(8, 13)
    assert rates[100] == pytest.approx(0.01 + 0.99 * 0.5, abs=1e-6) and rates[199] < 0.02


def test_exported_model_gives_the_vectors_it_was_trained_to(recipe, trained):
    result, encoder = trained
    texts = ["pot", "the trunk of a volume", "enamel"]
    tokens = encode_tokens(result.tokenizer, texts, context_length=recipe.model.context_length)
    with torch.no_grad():
        whole = torch.nn.functional.normalize(result.model.encode_text(tokens), dim=-1).numpy()
        states = encode_states(result.model, tokens)
        short = torch.nn.functional.normalize(states @ result.model.text_projection, dim=-1).numpy()
    np.testing.assert_allclose(short, whole, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), whole, atol=5e-3)  # half precision on disk
    assert encoder.image_size == recipe.model.image_size and encoder.id.dim == recipe.model.embed_dim
    record = json.loads((load_folder(recipe) / "training.json").read_text())
    assert record["steps"] == recipe.image_steps and record["weights_digest"] == encoder.id.weights_digest


def load_folder(recipe):
    from pathlib import Path

    return Path(recipe.export_dir)


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(recipe, trained, tmp_path):
    other = recipe.model_copy(update={"run_dir": str(tmp_path / "run")})
    told: list[tuple[int, dict[str, float]]] = []
    hear = lambda step, means: told.append((step, means))
    assert train(other, stop_step=1, on_means=hear).image.steps == 1
    result = train(other, on_means=hear)
    assert result.image.steps == recipe.image_steps
    rows = [json.loads(line) for line in (tmp_path / "run" / LOG_NAME).read_text().splitlines()]
    steps = [(row["phase"], row["step"]) for row in rows]
    ends = [("synonyms", 2), ("image tower", 2), ("image tower", 3), ("synonyms", 2)]
    assert steps == [("text tower", 2), ("text tower", 3), ("image tower", 1), *ends], "every second step, and the last"
    assert [step for step, _ in told] == [step for _, step in steps]
    assert {name for _, means in told for name in means} == {
        "text_cosine",
        "image_right",
        "image_kinds",
        "image_naming",
        "synonym_cosine",
    }
    for (name, a), b in zip(trained[0].model.state_dict().items(), result.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    with pytest.raises(ConfigError, match="run_dir"):
        train(other.model_copy(update={"seed": 5}))


def test_a_tower_may_begin_with_an_earlier_model(recipe, trained, tmp_path):
    stored = trained[0].model.visual.state_dict()
    visual, _ = build_image_tower(recipe.model, 3, seed=9)
    assert start_from_model(visual, recipe.export_dir) == []
    for name, weight in visual.state_dict().items():
        if weight.is_floating_point():
            torch.testing.assert_close(weight, stored[name].half().float(), msg=name)
    wider, _ = build_image_tower(recipe.model.model_copy(update={"embed_dim": 24}), 3, seed=9)
    assert start_from_model(wider, recipe.export_dir) == ["attnpool.c_proj.bias", "attnpool.c_proj.weight"]
    with pytest.raises(ConfigError, match="image_start"):
        start_from_model(wider, tmp_path)


def test_a_text_tower_keeps_its_space_when_phrases_change(recipe, trained, tmp_path):
    result = trained[0]
    stored = stored_text(Path(recipe.run_dir))
    np.testing.assert_array_equal(stored.axes, result.space.axes)
    axes = stored.axes, stored.mean
    smaller = ConceptTable((("bonsai", make_phantom("bonsai", 0, size_xyz=(8, 8, 8)).labels.tree),))
    space = teacher_space(smaller, HashTeacher(), dim=16, cache=tmp_path, axes=axes)
    row, same = space.phrases.index("pot"), result.space.phrases.index("pot")
    np.testing.assert_allclose(space.vectors[row], result.space.vectors[same], atol=1e-5)
    assert stored_text(tmp_path) is None


def unit_rows(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_image_tower_learns_two_phantoms(recipe, tmp_path):
    update = {"run_dir": str(tmp_path / "r"), "image_steps": 60, "bfloat16": False, "learning_rate": 4e-3}
    config = recipe.model_copy(update=update)
    crops = load_crops(config)
    table = ConceptTable((c.family, c.tree) for c in crops)
    pool = CropPool(crops, table, bonsai_share=0.5)
    visual, head = build_image_tower(config.model, len(table), seed=0)
    chance = pool.weights @ (pool.concepts[:, 0] >= 0) / len(table)
    names = Names.of(table, lambda nouns: unit_rows(np.random.default_rng(0).normal(size=(len(nouns), 16))))
    fit = fit_image_tower(visual, head, pool, names, config, torch.device("cpu"))
    assert fit.steps == 60 and fit.top1 > 2 * chance
    vectors = unit_rows(image_features(visual, pool, config, torch.device("cpu")))
    texts, right = Choices(names, pool.concepts).draw(pool.concepts, np.random.default_rng(1))
    cosines, shown = vectors @ texts.numpy().T, pool.concepts[:, 0] >= 0
    mean = lambda part: float(cosines[shown][part[shown]].mean())
    assert mean(right.numpy()) > mean(~right.numpy()) + 0.1, "vectors that mean nothing are names too"
    with torch.no_grad():
        alone = visual.eval()(image_pixels(torch.from_numpy(pool.images[:2])))
    np.testing.assert_allclose(image_features(visual, pool, config, torch.device("cpu"))[:2], alone, atol=1e-4)


@pytest.mark.usefixtures("trained")
def test_masks_are_measured_by_the_policy_that_a_query_embeds_them_with(recipe):
    # one crop at a time: a batch of others around it moves the last bits, which this small tower makes large
    encoder = load_encoder(EmbedConfig(model=f"local-dir:{recipe.export_dir}", device="cpu", batch_size=1))
    by = {p: crop_set(encoder, recipe.dev_dirs, policy=p, min_area_px=20) for p in ("masked", "context", "box")}
    triple = crop_set(encoder, recipe.dev_dirs, policy="triple", min_area_px=20)
    expected = 2 * by["masked"].vectors + by["context"].vectors + by["box"].vectors
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(triple.vectors, expected, atol=1e-6)
    for name in ("concepts", "view"):
        np.testing.assert_array_equal(getattr(triple, name), getattr(by["masked"], name))
    assert (by["box"].vectors != by["masked"].vectors).any()


def test_evaluation_figures_against_loops(recipe, trained):
    _, encoder = trained
    crops = crop_set(encoder, recipe.dev_dirs, min_area_px=20)
    numbers = evaluate(encoder, crops)
    assert all(0.0 <= v <= 1.0 for v in numbers.values())
    table, shows = crops.table, crops.shows()
    assert shows.sum() == (crops.concepts >= 0).sum()
    names = [c.name for c in table.concepts]
    texts, negatives = text_vectors(encoder, names), text_vectors(encoder, ["object", "things", "stuff", "texture"])
    hits, found = [], []
    for i, vector in enumerate(crops.vectors):
        right = {n for c in crops.concepts[i] if c >= 0 for n in table.concepts[c].nouns}
        hits.append(names[int((texts @ vector).argmax())] in right)
        found += [texts[c] @ vector > (negatives @ vector).max() for c in crops.concepts[i] if c >= 0]
    assert numbers["all_top1"] == pytest.approx(np.mean(hits), abs=1e-4)
    assert numbers["found"] == pytest.approx(np.mean(found), abs=1e-4)
    rows, margins = confusion(encoder, crops, "bonsai", ["pot", "trunk"])
    k = next(i for i, c in enumerate(table.concepts) if (c.family, c.name) == ("bonsai", rows[0]))
    own = crops.vectors[crops.concepts[:, 0] == k]
    pot = text_vectors(encoder, ["pot"])
    by_hand = np.mean([encoder.logit_scale * ((pot @ v)[0] - (negatives @ v).max()) for v in own])
    assert margins[0, 0] == pytest.approx(by_hand, abs=1e-3)
    assert confusion_text(rows, ["pot", "trunk"], margins).count("\n") == len(rows)
    with pytest.raises(ConfigError, match="scenes"):
        crop_set(encoder, [recipe.run_dir + "/nothing"])
