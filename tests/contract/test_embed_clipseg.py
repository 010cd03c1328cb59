"""Our adapter against transformers' CLIPSeg with a tiny random model saved in a folder."""

import json

import numpy as np
import pytest

from voxlang.core.errors import ArtifactError, ModelMissingError
from voxlang.embed.encoder import load_encoder
from voxlang.embed.settings import EmbedConfig
from voxlang.embed.types import ImageTextEncoder

TEXTS = ["pot", "green leaves", "pot"]


def save_tiny(folder):
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPTokenizer

    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}
    letters = sorted(ByteLevel.alphabet())
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    vocabulary = {w: i for i, w in enumerate(words)}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    config = CLIPSegConfig(
        text_config=tower | {"vocab_size": len(vocabulary), "max_position_embeddings": 16, "eos_token_id": 1},
        vision_config=tower | {"image_size": 24, "patch_size": 8},
        projection_dim=12,
        extract_layers=[0, 1],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        CLIPSegForImageSegmentation(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "resample": 2, "size": {"height": 48}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def encoder(tiny):
    return load_encoder(EmbedConfig(family="clipseg", model=str(tiny), device="cpu", batch_size=2))


def test_vectors_equal_those_of_transformers(tiny, encoder, rng):
    import torch
    from transformers import AutoTokenizer, CLIPSegForImageSegmentation

    whole = CLIPSegForImageSegmentation.from_pretrained(tiny, local_files_only=True).eval()
    tokens = AutoTokenizer.from_pretrained(tiny)(TEXTS, return_tensors="pt", padding=True)
    images = rng.random((3, 24, 24, 3), dtype=np.float32)
    pixels = (images - np.float32([0.4, 0.5, 0.6])) / np.float32([0.2, 0.3, 0.4])
    with torch.no_grad():
        words = whole.get_conditional_embeddings(
            batch_size=3, input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
        )
        pictures = whole.clip.visual_projection(
            whole.clip.vision_model(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).pooler_output
        )
    unit = lambda t: (t / t.norm(dim=-1, keepdim=True)).numpy()
    assert isinstance(encoder, ImageTextEncoder)
    np.testing.assert_allclose(encoder.encode_texts(TEXTS), unit(words), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(images), unit(pictures), atol=1e-5)
    assert encoder.logit_scale == pytest.approx(float(whole.clip.logit_scale.detach().exp()), rel=1e-5)
    assert encoder.image_size == 24


def test_identity_and_empty_inputs(tiny, encoder):
    again = load_encoder(EmbedConfig(family="clipseg", model=f"local-dir:{tiny}", device="cpu"))
    assert again.id == encoder.id and encoder.id.family == "clipseg" and encoder.id.dim == 12
    assert encoder.encode_texts([]).shape == (0, 12)
    assert encoder.encode_images(np.zeros((0, 24, 24, 3), np.float32)).shape == (0, 12)


def test_default_folder_is_in_checkpoints(tmp_path):
    save_tiny(tmp_path / "clipseg-rd64-refined")
    encoder = load_encoder(EmbedConfig(family="clipseg", checkpoints=tmp_path, device="cpu"))
    assert encoder.id.family == "clipseg"


def test_missing_folder_says_where_to_get_it(tmp_path):
    with pytest.raises(ModelMissingError, match=r"CIDAS/clipseg-rd64-refined.*put them at"):
        load_encoder(EmbedConfig(family="clipseg", model=str(tmp_path / "none"), device="cpu"))


def test_other_kinds_and_partial_weights_are_refused(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = save_tiny(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    dropped = next(k for k in tensors if "visual_projection" in k)
    save_file({k: v for k, v in tensors.items() if k != dropped}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match="visual_projection"):
        load_encoder(EmbedConfig(family="clipseg", model=str(folder), device="cpu"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "clip"}))
    with pytest.raises(ArtifactError, match="'clip'"):
        load_encoder(EmbedConfig(family="clipseg", model=str(folder), device="cpu"))
