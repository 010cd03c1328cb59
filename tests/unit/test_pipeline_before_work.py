"""What cannot be done is said before the first minute of work: weights that are not there, prompts too long to read."""

import re
from pathlib import Path

import numpy as np
import pytest

from voxlang.core.errors import ConfigError, ModelMissingError, QueryError
from voxlang.embed.encoder import load_encoder
from voxlang.embed.settings import EmbedConfig
from voxlang.pipeline.config import PipelineConfig
from voxlang.pipeline.stages import run_pipeline
from voxlang.query.config import QueryConfig
from voxlang.query.text import embed_query


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(**changes) -> PipelineConfig:
    base = {
        "name": "r",
        "device": "cpu",
        "volume": {"family": "bonsai", "size_xyz": (14, 12, 10)},
        "views": {"n": 2, "width": 16, "height": 16, "transfers": ["phantom:surface"]},
        "query": {"prompts": ["pot"]},
        "tracking": {"neptune": "off", "trackio": False},
    }
    return PipelineConfig.model_validate(base | changes)


def what_was_made(folder: Path) -> set[str]:
    """Files of the run but for the records of its start and of its stages."""
    return {p.name for p in (folder / "runs" / "r").rglob("*") if p.is_file()} - {
        "config.json",
        "provenance.json",
        "stages.json",
    }


@pytest.mark.parametrize("mode", ["all", "stage2"])
@pytest.mark.parametrize(
    ("changes", "error", "what"),
    [
        ({"embed": {"model": "local-dir:none"}}, ModelMissingError, "none"),
        ({"embed": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}}, ModelMissingError, "ViT-B-32"),
        ({"sam": {"size": "tiny"}}, ModelMissingError, "sam2.1_hiera_tiny"),
        ({"sam": {"checkpoint": "none.pt"}}, ModelMissingError, "none.pt"),
        ({"embed": {"model": "VitB32"}}, ConfigError, "VitB32"),
    ],
)
def test_a_model_that_cannot_be_used_stops_a_run_before_its_first_stage(folder, mode, changes, error, what):
    with pytest.raises(error, match=re.escape(what)):
        run_pipeline(settings(mode=mode, **changes))
    assert what_was_made(folder) == set()


def test_a_prompt_that_the_model_cannot_read_stops_a_run_before_its_first_stage(folder):
    prompt = "the green and yellow leaves of a tree that somebody planted in a round brown pot years ago on a roof"
    with pytest.raises(QueryError, match=f"21 words, the last of which is cut off.*{prompt}"):
        run_pipeline(settings(mode="all", query={"prompts": ["pot", prompt]}))
    assert what_was_made(folder) == set()


def test_the_longest_prompt_that_is_read_whole_is_taken():
    """By the vectors: of ever more words, the first whose vector is that of one word less is refused, no earlier."""
    encoder, words = load_encoder(EmbedConfig(device="cpu")), ["soil"] * 25
    config = lambda n: QueryConfig(prompts=(" ".join(words[:n]),), templates=("{}",))
    vector = lambda n: encoder.encode_texts([" ".join(words[:n])])[0]
    longest = next(n for n in range(4, 25) if np.allclose(vector(n), vector(n + 1), atol=1e-5))
    assert 5 < longest < 20
    assert embed_query(encoder, config(longest)).prompts == config(longest).prompts
    with pytest.raises(QueryError, match=f"{longest + 1} words"):
        embed_query(encoder, config(longest + 1))
