"""The dense tower: shapes, regions against a loop over pixels, files, and texts of another model."""

import copy

import numpy as np
import pytest
import torch

from voxlang.core.errors import ArtifactError, ModelMissingError
from voxlang.core.levels import LEVELS, Level
from voxlang.embed.dense_encoder import REGIONS, DenseEncoder, load_dense_tower, save_dense_tower
from voxlang.embed.dense_tower import STRIDE, build_dense_tower
from voxlang.embed.settings import EmbedConfig
from voxlang.embed.types import EncoderId

CONFIG = "sam2.1_hiera_micro.yaml"
ENCODER = EncoderId("open_clip", "tiny", "digest of texts", "p", 12)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(3)
    return build_dense_tower(CONFIG, dim=12, hidden=16).eval()


@pytest.fixture(scope="module")
def dense(tower):
    return DenseEncoder(tower, side=64, weights_digest="w")


def picture(rng, height, width):
    return rng.random((height, width, 3)).astype(np.float32)


def test_every_place_has_a_unit_vector_on_each_level(tower):
    with torch.inference_mode():
        hidden = tower(torch.zeros(2, 3, 64, 96))
        vectors = tower.vectors(hidden.flatten(2).transpose(1, 2))
    assert hidden.shape == (2, 16, 64 // STRIDE, 96 // STRIDE)
    assert vectors.shape == (2, 16 * 24, 3, 12)
    np.testing.assert_allclose(vectors.norm(dim=-1).numpy(), 1.0, atol=1e-5)


def test_regions_cover_the_object_and_point_where_their_pixels_do(dense, tower, rng):
    rgb, inside = picture(rng, 64, 64), np.zeros((64, 64), bool)
    inside[10:50, 5:40] = True
    found = dense.regions(rgb, inside)
    for level in LEVELS:
        assert ((found.index[level] >= 0) == inside).all()
        assert len(np.unique(found.index[level][inside])) <= REGIONS[level]
    assert len(np.unique(found.index[Level.SMALL])) > len(np.unique(found.index[Level.WHOLE]))
    with torch.inference_mode():
        hidden = torch.nn.functional.interpolate(dense.hidden(rgb), (64, 64), mode="bilinear", align_corners=False)
    for level in LEVELS:
        row = int(found.index[level, 30, 20])
        total = np.zeros(12)
        for v, u in np.argwhere(found.index[level] == row):
            with torch.inference_mode():
                total += tower.vectors(hidden[0, :, v, u])[level].numpy()
        np.testing.assert_allclose(found.vectors[row], total / np.linalg.norm(total), atol=1e-4)


def test_pictures_of_other_sizes_and_empty_ones(dense, rng):
    inside = np.zeros((40, 90), bool)
    assert dense.regions(picture(rng, 40, 90), inside).vectors.shape == (0, 12)
    inside[3:30, 20:80] = True
    found = dense.regions(np.uint8(255 * picture(rng, 40, 90)), inside)
    assert found.index.shape == (3, 40, 90)
    assert ((found.index >= 0) == inside).all()


def test_a_single_pixel_is_a_region(dense, rng):
    inside = np.zeros((64, 64), bool)
    inside[7, 9] = True
    found = dense.regions(picture(rng, 64, 64), inside)
    assert len(found.vectors) == 0 or (found.index[:, 7, 9] >= 0).all()


def test_a_tower_comes_back_from_its_file(tower, dense, tmp_path, rng):
    texts = ENCODER.weights_digest
    path = save_dense_tower(tmp_path / "d.safetensors", tower, config=CONFIG, side=64, texts=texts, record={})
    again = load_dense_tower(path, encoder=ENCODER, device="cpu")
    rounded = copy.deepcopy(tower).half().float()
    rgb = picture(rng, 64, 64)
    hidden = DenseEncoder(rounded, side=64, weights_digest="w").hidden(rgb)
    np.testing.assert_array_equal(again.hidden(rgb).numpy(), hidden.numpy())
    assert again.side == 64 and again.digest != dense.digest


def test_texts_of_another_model_are_refused(tower, tmp_path):
    path = save_dense_tower(tmp_path / "d.safetensors", tower, config=CONFIG, side=64, texts="others", record={})
    with pytest.raises(ArtifactError, match=r"digest of texts.*got one for texts others.*regions none"):
        load_dense_tower(path, encoder=ENCODER, device="cpu")
    path.write_bytes(b"no weights")
    with pytest.raises(ArtifactError, match="whole safetensors file"):
        load_dense_tower(path, encoder=ENCODER, device="cpu")
    with pytest.raises(ModelMissingError, match="train_dense"):
        load_dense_tower(tmp_path / "none.safetensors", encoder=ENCODER, device="cpu")


def test_only_the_embedded_model_has_a_tower_of_its_own():
    assert EmbedConfig().dense and not EmbedConfig(regions="none").dense
    assert not EmbedConfig(model="ViT-B-16", pretrained="laion2b_s34b_b88k").dense
    assert EmbedConfig(model="local-dir:x", regions="dense").dense
