"""Batched embedding against one mask at a time, with an encoder whose answer is known in closed form."""

import numpy as np
import pytest

from voxlang.core.errors import ConfigError, MaskError
from voxlang.embed.crops import mask_crops
from voxlang.embed.embed_masks import embed_masks, embed_views
from voxlang.embed.preprocess import Preprocess, unit_vectors_in_batches
from voxlang.embed.settings import EmbedConfig
from voxlang.embed.types import EncoderId
from voxlang.masks.types import mask_set_from_dense


class MeanColour:
    """The vector of a picture is its mean colour and one constant, normalised."""

    id = EncoderId("fake", "mean", "0", "0", 4)
    image_size = 12
    logit_scale = 1.0
    known_names = ()

    def __init__(self):
        self.calls = []

    def encode_images(self, images):
        self.calls.append(len(images))
        raw = np.concatenate([images.mean(axis=(1, 2)), np.full((len(images), 1), 0.5, np.float32)], 1)
        return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)

    def encode_texts(self, texts):
        return np.tile(np.float32([[0, 0, 0, 1]]), (len(texts), 1))


def random_masks(rng, n, height=40, width=56):
    masks = np.zeros((n, height, width), bool)
    for i in range(n):
        y, x = rng.integers(0, height - 6), rng.integers(0, width - 6)
        masks[i, y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)] = True
    return mask_set_from_dense(
        masks, predicted_iou=np.full(n, 0.9), stability=np.full(n, 0.95), points_uv=np.zeros((n, 2))
    )


@pytest.fixture
def picture(rng):
    return rng.random((40, 56, 3), dtype=np.float32)


@pytest.mark.parametrize("policy", ["masked", "context", "box", "dual", "triple"])
def test_batches_equal_one_at_a_time(picture, rng, policy):
    masks, encoder = random_masks(rng, 11), MeanColour()
    together = embed_masks(picture, masks, encoder, policy=policy, batch_size=4)
    alone = [embed_masks(picture, masks.select(np.array([i])), encoder, policy=policy).vectors[0] for i in range(11)]
    np.testing.assert_allclose(together.vectors, np.stack(alone), atol=1e-5)
    assert together.encoder == encoder.id


@pytest.mark.parametrize(
    ("policy", "weights"),
    [("dual", {"masked": 1.0, "context": 1.0}), ("triple", {"masked": 2.0, "context": 1.0, "box": 1.0})],
)
def test_some_policies_are_the_mean_direction_of_others(picture, rng, policy, weights):
    masks, encoder = random_masks(rng, 5), MeanColour()
    expected = sum(w * embed_masks(picture, masks, encoder, policy=p).vectors for p, w in weights.items())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embed_masks(picture, masks, encoder, policy=policy).vectors, expected, atol=1e-6)


def test_vector_is_that_of_the_crop(picture, rng):
    masks, encoder = random_masks(rng, 3), MeanColour()
    crops = mask_crops(picture, masks, policy="masked", size=12, background=(1.0, 0.0, 0.0))
    ours = embed_masks(picture, masks, encoder, policy="masked", background=(1.0, 0.0, 0.0)).vectors
    np.testing.assert_allclose(ours, encoder.encode_images(crops), atol=1e-6)


def test_batches_run_across_views(picture, rng):
    sets, encoder = [random_masks(rng, n) for n in (3, 0, 6)], MeanColour()
    pictures = [picture, picture, picture[::-1].copy()]
    views = embed_views(pictures, sets, encoder, policy="masked", batch_size=4)
    assert encoder.calls == [4, 4, 1]
    assert [len(v.vectors) for v in views] == [3, 0, 6]
    for view, masks, rgb in zip(views, sets, pictures, strict=True):
        np.testing.assert_allclose(view.vectors, embed_masks(rgb, masks, encoder, policy="masked").vectors, atol=1e-5)


def test_zero_masks_give_an_empty_table(picture, rng):
    encoder = MeanColour()
    assert embed_masks(picture, random_masks(rng, 0), encoder, policy="dual").vectors.shape == (0, 4)
    assert encoder.calls == []


def test_counts_must_agree(picture, rng):
    with pytest.raises(MaskError, match="1 pictures, 2 mask sets"):
        embed_views([picture], [random_masks(rng, 1)] * 2, MeanColour())


def test_real_encoder_batches_equal_one_at_a_time(picture, rng):
    """Float noise of a real network's batched products stays below 1e-5."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 4, 4), torch.nn.GELU(), torch.nn.Flatten(), torch.nn.Linear(144, 8)
        )
    preprocess = Preprocess(12, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")

    class Network(MeanColour):
        id = EncoderId("fake", "net", "0", "0", 8)

        def encode_images(self, images):
            encode = lambda part: net(preprocess.batch(images[part], "cpu"))
            return unit_vectors_in_batches(len(images), 8, batch_size=5, encode=encode, what="crops")

    masks = random_masks(rng, 13)
    together = embed_masks(picture, masks, Network(), policy="masked", batch_size=13).vectors
    alone = [
        embed_masks(picture, masks.select(np.array([i])), Network(), policy="masked").vectors[0] for i in range(13)
    ]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_preprocess_by_hand():
    preprocess = Preprocess(2, (0.5, 0.4, 0.3), (0.5, 0.25, 0.1), "bilinear")
    images = np.zeros((1, 2, 2, 3), np.float32)
    images[0, 1, 0] = (1.0, 0.9, 0.4)
    batch = preprocess.batch(images, "cpu").numpy()
    assert batch.shape == (1, 3, 2, 2)
    np.testing.assert_allclose(batch[0, :, 1, 0], [1.0, 2.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(batch[0, :, 0, 1], [-1.0, -1.6, -3.0], atol=1e-5)
    assert preprocess.digest({"name": "a"}) != preprocess.digest({"name": "b"})


def test_out_of_memory_names_a_batch_size():
    import torch

    def encode(part):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB\nmore")

    with pytest.raises(ConfigError, match="--embed.batch-size 16") as caught:  # noqa: RUF043
        unit_vectors_in_batches(40, 3, batch_size=32, encode=encode, what="crops")
    assert "32 crops at once" in caught.value.expected


def test_the_embedded_model_sees_three_crops_of_a_mask_and_others_one():
    assert EmbedConfig().crop_policy == "triple"
    assert EmbedConfig(model="ViT-B-16").crop_policy == EmbedConfig(family="clipseg").crop_policy == "masked"
    assert EmbedConfig(policy="box").crop_policy == "box"
