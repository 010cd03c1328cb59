"""Whole models computed at 256 pixels: built, described, run, saved, loaded strictly, and alike. Larger ones and larger
pictures: `python -m benchmarks.encoder_check`."""

import pytest
import torch

from benchmarks import encoder_check
from voxlang.encoders import build as building


@pytest.mark.parametrize("encoder", ["micro", "sam2_vit_dino_micro", "tiny", "small"])
def test_a_model_answers_alike_after_it_was_saved_and_loaded(encoder):
    said = encoder_check.check_encoder(encoder, (256,))
    assert "256x256" in said and "256x288" in said and said.endswith("loaded, answers alike")


def test_weights_that_changed_on_the_way_are_noticed(monkeypatch):
    real = building.build_sam2

    def other(config_file, ckpt_path=None, device="auto", **settings):
        model = real(config_file, ckpt_path, device, **settings)
        if ckpt_path is not None:
            with torch.no_grad():
                model.image_encoder.neck.convs[0].conv.bias.add_(1e-3)
        return model

    monkeypatch.setattr(building, "build_sam2", other)
    with pytest.raises(AssertionError, match="sam2_vit_dino_micro answers otherwise"):
        encoder_check.check_encoder("sam2_vit_dino_micro", (64,))
