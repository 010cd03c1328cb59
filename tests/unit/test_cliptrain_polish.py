"""Where phrases are moved to, against the sum written out; and what the polish leaves alone."""

import numpy as np
import pytest
import torch

from voxlang.cliptrain.config import ClipTrainConfig, smoke_config
from voxlang.cliptrain.polish import SELF_WEIGHT, SHARPNESS, polish_text, polished_targets
from voxlang.cliptrain.smoke import write_smoke_views
from voxlang.cliptrain.teacher import TeacherSpace
from voxlang.cliptrain.tokenizer import encode_tokens
from voxlang.cliptrain.train import train


def unit(rng, *shape):
    rows = rng.normal(size=shape)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def space_of(vectors):
    return TeacherSpace(tuple("abcdef"[: len(vectors)]), len(vectors), vectors, np.eye(4, dtype=np.float32), vectors[0])


def test_nothing_moves_when_the_names_have_not_moved(rng):
    vectors, names = unit(rng, 6, 4), unit(rng, 3, 4)
    np.testing.assert_allclose(polished_targets(space_of(vectors), names, names), vectors, atol=1e-6)


def test_phrases_follow_their_nearest_names(rng):
    vectors, names, learned = unit(rng, 6, 4), unit(rng, 3, 4), unit(rng, 3, 4)
    vectors[0] = names[1]
    targets = polished_targets(space_of(vectors), names, learned)
    for row, vector in zip(targets, vectors, strict=True):
        pulls = [np.exp(SHARPNESS * (float(vector @ n) - 1.0)) for n in names]
        moved = vector + sum(p * (after - n) for p, n, after in zip(pulls, names, learned, strict=True)) / (
            sum(pulls) + SELF_WEIGHT
        )
        np.testing.assert_allclose(row, moved / np.linalg.norm(moved), atol=1e-5)
    assert targets[0] @ learned[1] > 0.95, "a phrase at a name's own place goes where the name went"


def test_polish_moves_the_text_tower_only_and_towards_its_targets(tmp_path):
    config = smoke_config(ClipTrainConfig(), str(tmp_path / "run"))
    config = config.model_copy(update={"polish_steps": 25, "text_batch": 30})
    write_smoke_views(tmp_path / "run" / "renders")
    result = train(config)
    before = {k: v.clone() for k, v in result.model.state_dict().items()}
    texts = list(result.space.phrases[:40])
    tokens = encode_tokens(result.tokenizer, texts, context_length=config.model.context_length)
    place = torch.from_numpy(result.space.vectors[:40])
    near = lambda: float(
        (torch.nn.functional.normalize(result.model.encode_text(tokens), dim=-1) * place).sum(1).mean()
    )
    first = near()
    polish_text(result.model, result.tokenizer, result.table, result.space, config)
    after = result.model.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert changed and not any(k.startswith("visual") or k == "logit_scale" for k in changed)
    assert near() != pytest.approx(first, abs=1e-4)
    assert not result.model.training and not any(p.requires_grad for p in result.model.parameters())
