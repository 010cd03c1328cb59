"""Our adapter against open_clip itself, with tiny random models, and no network at all."""

import json
import socket

import numpy as np
import pytest

from voxlang.core.errors import ArtifactError, ConfigError, ModelMissingError
from voxlang.embed.clip_directory import text_settings, train_tokenizer, write_clip_directory
from voxlang.embed.encoder import load_encoder
from voxlang.embed.open_clip_encoder import new_clip_model
from voxlang.embed.settings import EmbedConfig
from voxlang.embed.types import ImageTextEncoder

CAPTIONS = ["the skull of a head", "green leaves of a bonsai", "a clay pot with soil", "two lungs beside the heart"]
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a request left the machine")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def save_tiny(folder, *, seed=0, own_vocabulary=True, name="tiny"):
    import torch

    tokenizer = train_tokenizer(CAPTIONS, vocab_size=300)
    text_cfg = text_settings(tokenizer, context_length=20, width=32, heads=2, layers=2)
    if not own_vocabulary:
        text_cfg = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model_cfg = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16},
        "text_cfg": text_cfg,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = new_clip_model(model_cfg).state_dict()
    return write_clip_directory(
        folder,
        name=name,
        model_cfg=model_cfg,
        preprocess_cfg=PREPROCESS,
        weights=weights,
        tokenizer=tokenizer if own_vocabulary else None,
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def encoder(tiny):
    return load_encoder(EmbedConfig(model=f"local-dir:{tiny}", device="cpu", batch_size=3))


def test_features_equal_open_clips_own(tiny, encoder, rng):
    import open_clip
    import torch
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny}")
    model.eval()
    images = rng.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    with torch.no_grad():
        theirs = model.encode_image(torch.stack([transform(Image.fromarray(i)) for i in images]), normalize=True)
        texts = model.encode_text(tokenizer(CAPTIONS), normalize=True)
    assert isinstance(encoder, ImageTextEncoder)
    np.testing.assert_allclose(encoder.encode_images(images), theirs.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(images.astype(np.float32) / 255), theirs.numpy(), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(CAPTIONS), texts.numpy(), atol=1e-5)
    assert encoder.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))
    assert encoder.image_size == 32 and encoder.id.dim == 24


def test_resizing_agrees_with_open_clips_transform(tiny, encoder):
    import open_clip
    from PIL import Image

    v, u = np.mgrid[0:90, 0:90] / 90.0
    image = np.stack([u, v, 0.5 + 0.5 * np.sin(9 * u * v)], -1).astype(np.float32)
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny}")
    theirs = transform(Image.fromarray(np.uint8(np.round(image * 255)))).numpy()
    ours = encoder._preprocess.batch(image[None], "cpu")[0].numpy()
    assert np.abs(ours - theirs).max() < 2.0 / 255 / min(PREPROCESS["std"])


def test_one_text_does_not_depend_on_its_neighbours_or_on_case(encoder):
    alone = encoder.encode_texts(["the skull of a head"])
    together = encoder.encode_texts([*CAPTIONS, "The SKULL of a head ", "x " * 200])
    np.testing.assert_allclose(together[0], alone[0], atol=1e-5)
    np.testing.assert_allclose(together[4], alone[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_nothing_in_gives_nothing_out(encoder):
    assert encoder.encode_images(np.zeros((0, 32, 32, 3), np.float32)).shape == (0, 24)
    assert encoder.encode_texts([]).shape == (0, 24)


def test_compact_vocabulary_has_no_unknown_words_and_ends_every_text(tiny):
    import open_clip

    tokenizer = open_clip.get_tokenizer(f"local-dir:{tiny}")
    tokens = tokenizer(["Æther-Knöchel 骨 ☠", "leaves " * 50])
    assert tokens.shape == (2, 20)
    assert ((tokens == 2).sum(dim=1) == 1).all(), "one end token each, also after truncation"
    assert (tokens[:, 0] == 1).all() and tokens.max() < 300
    assert tokenizer.tokenizer.decode(tokens[0], skip_special_tokens=True).strip().startswith("æther-kn")


def test_weights_on_disk_are_half_precision_and_the_scale_is_not(tiny):
    from safetensors import safe_open

    with safe_open(tiny / "open_clip_model.safetensors", framework="np") as f:
        dtypes = {k: f.get_tensor(k).dtype for k in f.keys()}  # noqa: SIM118
    assert dtypes.pop("logit_scale") == np.float32
    assert set(dtypes.values()) == {np.dtype(np.float16)}


def test_identity_follows_content_not_place(tiny, encoder, tmp_path):
    moved = save_tiny(tmp_path / "elsewhere")
    assert load_encoder(EmbedConfig(model=f"local-dir:{moved}", device="cpu")).id == encoder.id
    other = save_tiny(tmp_path / "other", seed=1)
    identity = load_encoder(EmbedConfig(model=f"local-dir:{other}", device="cpu")).id
    assert identity.weights_digest != encoder.id.weights_digest
    assert identity.preprocess_digest == encoder.id.preprocess_digest
    config = json.loads((moved / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["mean"] = [0.5, 0.5, 0.5]
    (moved / "open_clip_config.json").write_text(json.dumps(config))
    changed = load_encoder(EmbedConfig(model=f"local-dir:{moved}", device="cpu")).id
    assert changed.preprocess_digest != encoder.id.preprocess_digest
    assert changed.weights_digest == encoder.id.weights_digest


def test_micro_is_found_in_the_checkpoints_folder(tmp_path):
    save_tiny(tmp_path / "voxlang_clip_micro", name="micro", own_vocabulary=False)
    encoder = load_encoder(EmbedConfig(checkpoints=tmp_path, device="cpu"))
    assert encoder.id.family == "open_clip" and encoder.id.architecture.startswith("micro-")
    assert encoder.encode_texts(["pot", "trunk"]).shape == (2, 24)


def test_unknown_names_list_near_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean: .*ViT-B-16"):
        load_encoder(EmbedConfig(model="VitB16", checkpoints=tmp_path, device="cpu"))
    with pytest.raises(ConfigError, match="laion2b_s34b_b88k"):
        load_encoder(EmbedConfig(model="ViT-B-16", pretrained="laion2b", checkpoints=tmp_path, device="cpu"))
    with pytest.raises(ConfigError, match="pretrained tag of ViT-B-16"):
        load_encoder(EmbedConfig(model="ViT-B-16", checkpoints=tmp_path, device="cpu"))


def test_missing_weights_say_where_from_where_to_and_that_micro_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = EmbedConfig(model="ViT-B-16", pretrained="laion2b_s34b_b88k", checkpoints=tmp_path / "c", device="cpu")
    with pytest.raises(ModelMissingError) as caught:
        load_encoder(config)
    assert "huggingface.co/laion/CLIP-ViT-B-16-laion2B-s34B-b88K" in caught.value.do
    assert str(tmp_path / "c" / "ViT-B-16-laion2b_s34b_b88k.safetensors") in caught.value.do
    save_tiny(tmp_path / "c" / "voxlang_clip_micro", own_vocabulary=False)
    with pytest.raises(ModelMissingError, match=r"pass --embed\.model micro"):
        load_encoder(config)
    with pytest.raises(ModelMissingError, match="hub client's cache"):
        load_encoder(EmbedConfig(model="hf-hub:nobody/nothing", checkpoints=tmp_path, device="cpu"))


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors", "tokenizer_config.json"])
def test_incomplete_directories_name_the_missing_file(tmp_path, name):
    folder = save_tiny(tmp_path / "m")
    (folder / name).unlink()
    with pytest.raises(ModelMissingError, match=name):
        load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))


def test_directories_that_contradict_themselves_are_refused(tmp_path):
    folder = save_tiny(tmp_path / "m")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    whole = (folder / "open_clip_model.safetensors").read_bytes()
    (folder / "open_clip_model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="fit each other"):
        load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))
    (folder / "open_clip_model.safetensors").write_bytes(whole)
    wider = json.loads(path.read_text())
    wider["model_cfg"]["embed_dim"] = 48
    path.write_text(json.dumps(wider))
    with pytest.raises(ArtifactError, match="fit each other"):
        load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))
    path.write_text(json.dumps({"model_cfg": {"vision_cfg": {}}}))
    with pytest.raises(ArtifactError, match="embed_dim"):
        load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))
    path.write_text(json.dumps(config))
    larger = train_tokenizer(
        [f"{c} {i}" for i, c in enumerate(CAPTIONS * 9)] + ["mandible vertebra femur"], vocab_size=400
    )
    (folder / "tokenizer.json").write_text(larger.to_str())
    with pytest.raises(ArtifactError, match="at most 300 tokens"):
        load_encoder(EmbedConfig(model=f"local-dir:{folder}", device="cpu"))


def test_tag_with_a_weights_file_uses_the_tags_preprocessing(tmp_path, monkeypatch):
    """A small model stands in for a published one: open_clip's registries are given its name and a tag."""
    import open_clip
    import torch
    from open_clip import factory, pretrained

    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-8", model_cfg)
    tag = {"hf_hub": "someone/tiny/", "url": "", "mean": (0.1, 0.2, 0.3), "std": (0.9, 0.8, 0.7), "quick_gelu": True}
    monkeypatch.setitem(pretrained._PRETRAINED, "Tiny-8", {"shapes": tag})
    model = new_clip_model(model_cfg | {"quick_gelu": True}).eval()
    path = tmp_path / "Tiny-8-shapes.pt"
    torch.save(model.state_dict(), path)
    encoder = load_encoder(EmbedConfig(model="Tiny-8", pretrained="shapes", checkpoints=tmp_path, device="cpu"))
    assert encoder.id.architecture == "Tiny-8-quickgelu"
    image = np.full((1, 16, 16, 3), 0.6, np.float32)
    mean, std = (np.asarray(tag[k], np.float32) for k in ("mean", "std"))
    with torch.no_grad():
        pixels = torch.from_numpy(((image - mean) / std).transpose(0, 3, 1, 2).copy())
        theirs = model.encode_image(pixels, normalize=True).numpy()
        words = model.encode_text(open_clip.tokenize(["liver"], context_length=8), normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_images(image), theirs, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["liver"]), words, atol=1e-5)
    by_file = load_encoder(EmbedConfig(model="Tiny-8", pretrained=str(path), device="cpu"))
    assert by_file.id.weights_digest == encoder.id.weights_digest and by_file.id != encoder.id


def test_tag_behind_an_address_is_found_where_open_clip_keeps_its_downloads(tmp_path, monkeypatch):
    from open_clip import factory, pretrained

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-9", {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {}})
    monkeypatch.setitem(pretrained._PRETRAINED, "Tiny-9", {"old": {"url": "https://example.org/abc/tiny.pt"}})
    config = EmbedConfig(model="Tiny-9", pretrained="old", checkpoints=tmp_path, device="cpu")
    with pytest.raises(ModelMissingError, match=r"https://example\.org/abc/tiny\.pt .*Tiny-9-old\.pt"):
        load_encoder(config)
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / "tiny.pt").write_bytes(b"not weights")
    with pytest.raises(ArtifactError, match=r"tiny\.pt"):
        load_encoder(config)


def test_hub_cache_of_an_earlier_download_is_used(tmp_path, monkeypatch):
    """The cache is laid out as the hub client does it: a reference to a commit, and that commit's files."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--someone--tiny"
    save_tiny(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder = load_encoder(EmbedConfig(model="hf-hub:someone/tiny", checkpoints=tmp_path, device="cpu"))
    assert encoder.encode_texts(["pot"]).shape == (1, 24)
    assert not constants.HF_HUB_OFFLINE, "the offline scope ends"


@pytest.mark.parametrize("part", ["hf_tokenizer_name", "hf_model_name"])
def test_tags_whose_text_side_lives_on_the_hub_are_not_fetched(tmp_path, monkeypatch, part):
    import torch
    from open_clip import factory

    text_cfg = {"context_length": 8, "vocab_size": 50, "width": 8, "heads": 1, "layers": 1}
    vision_cfg = {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "head_width": 8}
    model_cfg = {"embed_dim": 16, "vision_cfg": vision_cfg, "text_cfg": text_cfg}
    torch.save(new_clip_model(model_cfg).state_dict(), tmp_path / "w.pt")
    named = {**model_cfg, "text_cfg": {**text_cfg, part: "nobody/none-of-these"}}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-10", named)
    with pytest.raises(ModelMissingError, match="on this machine"):
        load_encoder(EmbedConfig(model="Tiny-10", pretrained=str(tmp_path / "w.pt"), device="cpu"))
