"""Which phantoms are rendered: splits apart, families in proportion, some never trained on."""

import pytest

from voxlang.core.errors import ConfigError
from voxlang.scenes.plan import HELD_OUT_FAMILIES, SEEDS, SceneConfig, planned_scenes
from voxlang.volume.phantoms import FAMILIES


def test_splits_share_no_phantom():
    assert not set(SEEDS["train"]) & set(SEEDS["dev"])
    assert not set(SEEDS["train"]) & set(SEEDS["test"])
    assert not set(SEEDS["dev"]) & set(SEEDS["test"])


def test_any_beginning_of_the_plan_is_balanced():
    config = SceneConfig(phantoms={"bonsai": 40, "tooth": 10}, per_family=0)
    plan = planned_scenes(config)
    assert len(set(plan)) == len(plan) == 50
    assert {seed for _, seed in plan} <= set(SEEDS["train"])
    for n in (10, 25, 45):
        share = sum(family == "bonsai" for family, _ in plan[:n]) / n
        assert share == pytest.approx(0.8, abs=0.1)
    later = planned_scenes(config.model_copy(update={"skip": 40}))
    assert len(later) == 50 and not set(later) & set(plan), "another folder shares no phantom with the first"
    with pytest.raises(ConfigError, match="at most 100"):
        planned_scenes(SceneConfig(split="test", phantoms={"bonsai": 101}))


def test_training_never_sees_the_held_out_families():
    trained = {family for family, _ in planned_scenes(SceneConfig(per_family=2))}
    assert trained == set(FAMILIES) - set(HELD_OUT_FAMILIES)
    assert {family for family, _ in planned_scenes(SceneConfig(split="test", per_family=1))} == set(FAMILIES)
    with pytest.raises(ConfigError, match="never trained"):
        planned_scenes(SceneConfig(phantoms={HELD_OUT_FAMILIES[0]: 1}))
