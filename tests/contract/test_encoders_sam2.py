"""Neck, position encoding and scalp of sam2 behave as the walk-through says: against loops and hand-worked numbers."""

import math

import numpy as np
import pytest
import torch

from voxlang.core.errors import ConfigError
from voxlang.encoders.build import build_image_encoder, import_sam2
from voxlang.encoders.position import sine_position_encoding

import_sam2()
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder  # noqa: E402
from sam2.modeling.position_encoding import PositionEmbeddingSine  # noqa: E402

CHANNELS = [12, 9, 6, 3]


def test_position_encoding_by_hand():
    """Four channels on a map of 2 rows and 4 columns: one sine and one cosine an axis, y first, places from 1."""
    encoded = sine_position_encoding(2, 4, 4)
    y, x = 2 * math.pi * 1 / (2 + 1e-6), 2 * math.pi * 3 / (4 + 1e-6)
    np.testing.assert_allclose(encoded[:, 0, 2], [math.sin(y), math.cos(y), math.sin(x), math.cos(x)], atol=1e-12)
    np.testing.assert_allclose(encoded[:, 0, 2], [0, -1, -1, 0], atol=1e-5)
    eight = sine_position_encoding(3, 5, 8, normalize=False)
    angles = [2, 0.02, 5, 0.05]
    by_hand = [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
    np.testing.assert_allclose(eight[:, 1, 4], by_hand)
    assert eight[4, 1, 0] != eight[4, 1, 4], "the x half changes along x: the printed formula would not"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalize": False},
        {"temperature": 20.0},
        {"scale": 1.5, "normalize": True},
    ],
)
def test_position_encoding_is_that_of_sam2(settings):
    theirs = PositionEmbeddingSine(16, **settings)(torch.zeros(2, 16, 5, 7))
    ours = sine_position_encoding(5, 7, 16, **settings)
    for picture in theirs:
        np.testing.assert_allclose(picture.numpy(), ours, atol=3e-6)


def test_position_encodings_that_cannot_be():
    with pytest.raises(ConfigError, match="multiples of 4"):
        sine_position_encoding(2, 2, 6)
    with pytest.raises(ConfigError, match="normalize"):
        sine_position_encoding(2, 2, 8, normalize=False, scale=3.0)


def enlarge(x: np.ndarray, mode: str) -> np.ndarray:
    """Twice the size, by loops: the nearest pixel, or the mean of the four around the middle of the fine pixel."""
    height, width = x.shape[-2:]
    out = np.zeros((*x.shape[:-2], 2 * height, 2 * width))
    for row in range(2 * height):
        for column in range(2 * width):
            if mode == "nearest":
                out[..., row, column] = x[..., row // 2, column // 2]
                continue
            v, u = max((row + 0.5) / 2 - 0.5, 0), max((column + 0.5) / 2 - 0.5, 0)
            r, c = int(v), int(u)
            r1, c1 = min(r + 1, height - 1), min(c + 1, width - 1)
            a, b = v - r, u - c
            top = (1 - b) * x[..., r, c] + b * x[..., r, c1]
            out[..., row, column] = (1 - a) * top + a * ((1 - b) * x[..., r1, c] + b * x[..., r1, c1])
    return out


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("fuse", ["sum", "avg"])
@pytest.mark.parametrize("levels", [None, [2, 3], [0, 1, 2], []])
def test_the_neck_by_loops(mode, fuse, levels):
    torch.manual_seed(1)
    neck = FpnNeck(
        PositionEmbeddingSine(8), 8, CHANNELS, fpn_interp_model=mode, fuse_type=fuse, fpn_top_down_levels=levels
    )
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
    features = [torch.randn(2, c, *size) for c, size in zip(CHANNELS[::-1], sizes, strict=True)]
    with torch.no_grad():
        out, positions = neck(features)
    above = None
    for level in (3, 2, 1, 0):
        conv = neck.convs[3 - level].conv
        x = np.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0].detach().numpy(), features[level].numpy())
        x = x + conv.bias.detach().numpy()[None, :, None, None]
        if above is not None and (levels is None or level in levels):
            x = x + enlarge(above, mode)
            x = x / 2 if fuse == "avg" else x
        np.testing.assert_allclose(out[level].numpy(), x, atol=2e-5)
        np.testing.assert_allclose(positions[level][0].numpy(), sine_position_encoding(*sizes[level], 8), atol=3e-6)
        above = x


@pytest.mark.parametrize("scalp", [0, 1, 2])
def test_scalp_drops_the_coarsest_levels(scalp):
    class Trunk(torch.nn.Module):
        channel_list = CHANNELS

        def forward(self, x):
            return [x.new_ones(1, c, 32 // s, 32 // s) for c, s in zip(CHANNELS[::-1], (4, 8, 16, 32), strict=True)]

    neck = FpnNeck(PositionEmbeddingSine(8), 8, CHANNELS, fpn_top_down_levels=[2, 3])
    out = ImageEncoder(Trunk(), neck, scalp=scalp)(torch.zeros(1, 3, 32, 32))
    assert [x.shape[-1] for x in out["backbone_fpn"]] == [8, 4, 2, 1][: 4 - scalp]
    assert len(out["vision_pos_enc"]) == 4 - scalp
    assert out["vision_features"] is out["backbone_fpn"][-1]
    with_all, _ = neck(Trunk()(torch.zeros(1, 3, 32, 32)))
    assert torch.equal(out["vision_features"], with_all[3 - scalp]), (
        "a dropped level has still been heard by the others"
    )


@pytest.mark.parametrize("letter", ["t", "s", "b+", "l"])
@pytest.mark.parametrize("version", ["sam2", "sam2.1"])
def test_every_official_encoder_has_the_names_of_sam2(letter, version):
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    name = f"configs/{version}/{version}_hiera_{letter}.yaml"
    from voxlang.encoders.files import sam2_folder

    official = instantiate(OmegaConf.load(sam2_folder() / name).model.image_encoder)
    ours = build_image_encoder(name)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in official.state_dict().items()}
    if version == "sam2.1":
        from voxlang.encoders.describe import describe_encoder

        for side in (256, 512, 1024):
            levels = describe_encoder(ours, side, side + 64, name=letter).levels
            assert [level.neck_shape for level in levels] == [
                (256, side // s, (side + 64) // s) for s in (4, 8, 16, 32)
            ]
