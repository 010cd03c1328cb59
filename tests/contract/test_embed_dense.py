"""Dense features of open_clip towers and the mask vectors pooled from them."""

import numpy as np
import pytest
import torch

from voxlang.core.errors import ConfigError, MaskError
from voxlang.embed.dense import dense_features, pooled_vectors
from voxlang.embed.embed_masks import embed_views
from voxlang.embed.open_clip_encoder import OpenClipEncoder, new_clip_model
from voxlang.embed.preprocess import Preprocess
from voxlang.embed.types import EncoderId
from voxlang.masks.types import mask_set_from_dense

TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
RESIDUAL = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16}
TRANSFORMER = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}


def clip(vision):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return new_clip_model({"embed_dim": 24, "vision_cfg": vision, "text_cfg": TEXT}).eval()


def encoder_of(model):
    identity = EncoderId("open_clip", "tiny", "w", "p", 24)
    preprocess = Preprocess(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    return OpenClipEncoder(model, lambda texts: None, identity=identity, preprocess=preprocess)


def mask_set(dense):
    n = len(dense)
    return mask_set_from_dense(dense, predicted_iou=np.ones(n), stability=np.ones(n), points_uv=np.zeros((n, 2)))


def halves():
    dense = np.zeros((3, 64, 64), bool)
    dense[0, :, :32], dense[1, :, 32:], dense[2] = True, True, True
    return dense


def test_a_residual_tower_with_one_place_pools_to_that_places_dense_feature():
    """32 pixels leave one place. Mean and place are then the same token, so the attention has nothing to choose."""
    visual = clip(RESIDUAL).visual
    with torch.inference_mode():
        visual.attnpool.positional_embedding.zero_()
        pixels = torch.randn(2, 3, 32, 32)
        dense = dense_features(visual, pixels)
        assert dense.shape == (2, 24, 1, 1)
        assert torch.allclose(dense[:, :, 0, 0], visual(pixels), atol=1e-5)


def test_a_transformers_dense_features_are_its_projected_patch_tokens():
    visual = clip(TRANSFORMER).visual
    pixels = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        plain = visual(pixels)
        dense = dense_features(visual, pixels)
        assert torch.equal(visual(pixels), plain), "the tower is left as it was"
    assert dense.shape == (2, 24, 4, 4)


@pytest.mark.parametrize("vision", [RESIDUAL, TRANSFORMER], ids=["residual", "transformer"])
def test_pooled_vectors_are_means_over_the_mask(vision, rng):
    encoder = encoder_of(clip(vision))
    rgb = rng.random((64, 64, 3)).astype(np.float32)
    left, right, whole = embed_views([rgb], [mask_set(halves())], encoder, policy="pooled")[0].vectors
    grid = encoder.encode_dense(rgb[None])[0]
    side = grid.shape[1]
    unit = lambda v: v / np.linalg.norm(v)
    assert np.allclose(left, unit(grid[:, : side // 2].mean((0, 1))), atol=1e-5)
    assert np.allclose(whole, unit(grid.mean((0, 1))), atol=1e-5)
    assert not np.allclose(left, right, atol=1e-5)


def test_views_without_masks_and_several_views(rng):
    encoder = encoder_of(clip(TRANSFORMER))
    pictures = [rng.random((64, 64, 3)).astype(np.float32) for _ in range(3)]
    sets = [mask_set(halves()), mask_set(np.zeros((0, 64, 64), bool)), mask_set(halves()[:1])]
    found = embed_views(pictures, sets, encoder, policy="pooled")
    assert [len(f.vectors) for f in found] == [3, 0, 1]


def test_what_cannot_be_pooled_is_refused():
    encoder = encoder_of(clip(TRANSFORMER))
    rgb = np.zeros((64, 64, 3), np.float32)
    with pytest.raises(MaskError, match="smallest area 0"):
        pooled_vectors([rgb], [mask_set(np.zeros((1, 64, 64), bool))], encoder)
    with pytest.raises(ConfigError, match="policy masked"):
        dense_features(torch.nn.Linear(2, 2), torch.zeros(1, 3, 32, 32))
    encoder = type("Blind", (), {"id": encoder.id})()
    with pytest.raises(ConfigError, match="open_clip"):
        pooled_vectors([rgb], [mask_set(halves())], encoder)
