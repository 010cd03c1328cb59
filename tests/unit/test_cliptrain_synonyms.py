"""Synonyms come to names: where phrases shall lie, by hand, and a tower that learns it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from voxlang.cliptrain.alignment import text_vectors_of
from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import ModelConfig, SynonymsConfig, load_config, smoke_config
from voxlang.cliptrain.export import export_model, teach_exported
from voxlang.cliptrain.model import build_model
from voxlang.cliptrain.nouns import GENERIC, held_out
from voxlang.cliptrain.smoke import write_smoke_views
from voxlang.cliptrain.synonyms import learn_synonyms, names_of, same_things, synonym_targets
from voxlang.cliptrain.teacher import HashTeacher, teacher_phrases
from voxlang.cliptrain.train import train
from voxlang.core.errors import ArtifactError
from voxlang.core.levels import Level
from voxlang.embed.clip_directory import KNOWN_NAME, train_tokenizer
from voxlang.embed.encoder import load_encoder
from voxlang.embed.settings import EmbedConfig
from voxlang.volume.types import Part, PartTree

TREE = PartTree(
    (
        Part(1, "crab", Level.WHOLE, None),
        Part(2, "claws", Level.PART, 1, ("pincers", "nippers")),  # pincers are kept out of training
        Part(3, "left eye", Level.SMALL, 1, ("left globe",)),
        Part(4, "right eye", Level.SMALL, 1),
    )
)
TABLE = ConceptTable([("crab", TREE)])
CONFIG = SynonymsConfig(teacher_steps=1, steps=150, rate=3e-3, batch=32, near=(0.3, 0.7))


class PairTeacher(HashTeacher):
    """Of its own accord it finds a talon like nippers by 0.5."""

    def encode(self, texts):
        rows = super().encode(texts)
        for row, text in zip(rows, texts, strict=True):
            if text == "talon":
                other, away = super().encode(["nippers", "something of its own"])
                away -= (away @ other) * other
                row[:] = 0.5 * other + np.sqrt(0.75) * away / np.linalg.norm(away)
        return rows


@pytest.fixture
def model():
    phrases, _ = teacher_phrases(TABLE, [])
    tokenizer = train_tokenizer(phrases, vocab_size=700)
    size = ModelConfig(image_size=32, embed_dim=16, vision_width=2, text_width=16, text_heads=2, text_layers=1)
    return build_model(size.model_copy(update={"vision_layers": (1, 1, 1, 1)}), tokenizer, seed=0).eval(), tokenizer


def test_nouns_that_mean_the_same_are_one_group():
    groups = {frozenset(g) for g in same_things(TABLE)}
    assert groups == {
        frozenset(("crab",)),
        frozenset(("claws", "nippers")),
        frozenset(("left eye", "left globe", "right eye")),
    }
    assert "pincers" in held_out() and names_of(TABLE) == ("claws", "crab", "left eye", "right eye")


def test_where_phrases_shall_lie_by_hand(model):
    model, tokenizer = model
    teacher = PairTeacher()
    targets = synonym_targets(model, tokenizer, TABLE, teacher, CONFIG, seed=0)
    at = dict(zip(targets.phrases, targets.vectors, strict=True))
    own = lambda *texts: text_vectors_of(model, tokenizer, list(texts))
    for name in (*names_of(TABLE), *GENERIC):
        np.testing.assert_allclose(at[name], own(name)[0], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(at["nippers"], own("claws")[0], atol=1e-5)
    np.testing.assert_allclose(at["left globe"], own("left eye")[0], atol=1e-5)
    known = TABLE.training_nouns
    cosines = teacher.encode(["talon"]) @ teacher.encode(known).T
    assert cosines.max() == pytest.approx(0.5, abs=1e-6) and known[int(cosines.argmax())] == "nippers"
    share = np.exp(CONFIG.sharpness * (cosines[0] - 0.5))
    home = share @ np.stack([at[n] for n in known])
    home /= np.linalg.norm(home)
    by_hand = 0.5 * own("talon")[0] + 0.5 * home  # 0.5 lies halfway between 0.3 and 0.7
    np.testing.assert_allclose(at["talon"], by_hand / np.linalg.norm(by_hand), atol=1e-4)
    far = [p for p in targets.phrases if (teacher.encode([p]) @ teacher.encode(known).T).max() < 0.3]
    assert len(far) > 10
    np.testing.assert_allclose(np.stack([at[p] for p in far]), own(*far), atol=1e-5)


def test_texts_come_in_an_order_that_says_what_stays(model):
    targets = synonym_targets(*model, TABLE, HashTeacher(), CONFIG, seed=0)
    assert set(targets.phrases[: targets.n_stay]) == {*names_of(TABLE), *GENERIC}
    assert set(targets.phrases[targets.n_stay : targets.n_known]) == {"nippers", "left globe"}
    core = set(targets.phrases[targets.n_known : targets.n_core])
    assert "talon" in core and len(set(targets.phrases)) == len(targets.phrases) == targets.n_core
    assert targets.vectors.shape == (targets.n_core, 16)


def test_a_text_tower_brings_synonyms_to_names_that_stay(model):
    model, tokenizer = model
    texts = ["claws", "nippers", "crab", "object"]
    before = text_vectors_of(model, tokenizer, texts)
    image = {k: v.clone() for k, v in model.visual.state_dict().items()}
    fit = learn_synonyms(model, tokenizer, TABLE, HashTeacher(), CONFIG, seed=0)
    after = text_vectors_of(model, tokenizer, texts)
    assert fit > 0.9
    assert after[0] @ after[1] > max(0.9, before[0] @ before[1] + 0.05)
    assert (after * before).sum(1)[[0, 2, 3]].min() > 0.95
    assert all(torch.equal(v, image[k]) for k, v in model.visual.state_dict().items())
    idle = learn_synonyms(
        model,
        tokenizer,
        TABLE,
        HashTeacher(),
        CONFIG.model_copy(update={"steps": 0}),
        seed=0,
    )
    assert np.isnan(idle)
    np.testing.assert_array_equal(text_vectors_of(model, tokenizer, texts), after)


def test_an_exported_model_learns_synonyms_and_keeps_its_pictures(tmp_path, pytestconfig):
    recipe = smoke_config(
        load_config(pytestconfig.rootpath / "configs/training/clip_micro.yaml"), str(tmp_path / "run")
    )
    write_smoke_views(Path(recipe.render_dirs[0]))
    export_model(train(recipe), recipe)
    folder = Path(recipe.export_dir)
    old = load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))
    record = json.loads((folder / "training.json").read_text())
    assert "bonsai tree" in old.known_names and old.known_names == tuple(json.loads((folder / KNOWN_NAME).read_text()))
    taught = recipe.model_copy(update={"synonyms": recipe.synonyms.model_copy(update={"steps": 5})})
    teach_exported(taught)
    new = load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))
    after = json.loads((folder / "training.json").read_text())
    assert after["weights_digest"] == new.id.weights_digest != record["weights_digest"] == after["texts_start_digest"]
    assert after["steps"] == record["steps"] and after["synonyms"]["steps"] == 5
    pictures = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(new.encode_images(pictures), old.encode_images(pictures))
    assert not np.allclose(new.encode_texts(["pot rim"]), old.encode_texts(["pot rim"]), atol=1e-3)
    (folder / KNOWN_NAME).write_text('{"names": 3}')
    with pytest.raises(ArtifactError, match="list of names"):
        load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))
    (folder / KNOWN_NAME).unlink()
    assert load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu")).known_names == ()
