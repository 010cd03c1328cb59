"""A converted SAM 1 file of each size loads strictly into MuggledSAM's own v1 model and gives equal outputs.

That project pads windows before the layer norm, segment-anything after it: outputs are equal where that norm's bias is
zero, as it is in fresh weights. With any weights its own conversion of the original file is equal to ours.

Runs only where that project lies: VOXLANG_MUGGLED_SAM=/path/to/muggled_sam. With VOXLANG_MUGGLED_SAM_SIZES=vit_b,vit_l,
vit_h it runs the published sizes instead of a tiny one.
"""

import os
import sys
from dataclasses import replace

import pytest
import torch

from voxlang.checkpoints.convert import convert_file
from voxlang.checkpoints.published import PUBLISHED_SAM1
from voxlang.masks.sam1 import build_sam1

PLACE = os.environ.get("VOXLANG_MUGGLED_SAM", "")
SIZES = [name for name in os.environ.get("VOXLANG_MUGGLED_SAM_SIZES", "tiny").split(",") if name]

TINY = replace(
    PUBLISHED_SAM1["vit_b"],
    width=32,
    heads=4,
    global_blocks=(1, 3),
    blocks=4,
    window=3,
    grid=8,
    patch=4,
    mlp_width=128,
)
"""What that project fixes (MLPs four times as wide, its decoder) is as published."""

pytestmark = pytest.mark.skipif(not PLACE, reason="VOXLANG_MUGGLED_SAM is not set")


@pytest.mark.parametrize("size", SIZES)
def test_same_outputs(size, tmp_path):
    sys.path.insert(0, PLACE)
    from muggled_sam.v1_sam.make_sam_v1 import make_samv1_from_state_dict

    config = PUBLISHED_SAM1.get(size, TINY)
    torch.manual_seed(0)
    ours = build_sam1(config).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in ours.state_dict().items():
            if "rel_pos" in name or "pos_embed" in name:
                tensor.copy_(0.1 * torch.randn(tensor.shape, generator=g))
    torch.save(ours.state_dict(), tmp_path / "a.pth")
    assert convert_file(tmp_path / "a.pth", tmp_path / "b.pt", to="sam1-stages").is_whole
    theirs = make_samv1_from_state_dict(str(tmp_path / "b.pt"), strict_load=True).eval()
    converted_there = make_samv1_from_state_dict(str(tmp_path / "a.pth"), strict_load=True).state_dict()
    assert converted_there.keys() == theirs.state_dict().keys()
    assert all(torch.equal(converted_there[k], v) for k, v in theirs.state_dict().items())
    side = config.image_size
    picture = torch.randn(1, 3, side, side, generator=g)
    with torch.no_grad():
        tokens = ours.image_encoder(picture)
        theirs_tokens = theirs.image_encoder(picture)
        assert (tokens - theirs_tokens).abs().max() <= 1e-5 * max(1.0, tokens.abs().max().item())
        sparse, dense = ours.prompt_encoder(
            points=(torch.tensor([[[0.3 * side, 0.6 * side]]]), torch.ones(1, 1)), boxes=None, masks=None
        )
        masks, iou = ours.mask_decoder(tokens, ours.prompt_encoder.get_dense_pe(), sparse, dense, True)
        interactive = theirs.get_interactive_context()
        prompts = interactive.encode_prompts(None, [(0.3 + 0.5 / side, 0.6 + 0.5 / side)], None)
        their_masks, their_iou = interactive.generate_masks([theirs_tokens], prompts)
    assert (masks - their_masks[:, -3:]).abs().max() <= 1e-5 * max(1.0, masks.abs().max().item())
    assert (iou - their_iou[:, -3:]).abs().max() <= 1e-5
