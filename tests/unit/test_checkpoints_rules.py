import pytest
import torch

from voxlang.checkpoints.rules import Drop, Rename, RuleTable, Stack, Twin
from voxlang.core.errors import WeightsError

TABLE = RuleTable(
    (
        Rename("norm.#i.weight", "stage.norm#i.weight", hub_shape=(-1,), other_shape=(1, -1, 1, 1)),
        Rename("positions", "positions_bchw", other_axes=(0, 3, 1, 2)),
        Stack("point.#.weight", "points"),
        Rename("frequencies", "shared.frequencies"),
        Twin("shared.frequencies", "prompt.frequencies"),
        Rename("layers.#i.**", "blocks.#i.**"),
        Drop("only for training", hub="teacher.**", other="note"),
    )
)


def hub_state():
    g = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=g)
    return {
        "norm.0.weight": draw(5),
        "positions": draw(1, 2, 3, 4),
        "point.0.weight": draw(1, 6),
        "point.1.weight": draw(1, 6),
        "frequencies": draw(2, 3),
        "layers.4.attn.qkv.weight": draw(2, 2),
    }


def test_every_rule_in_both_directions():
    hub = hub_state()
    other, report = TABLE.to_other(hub)
    assert set(other) == {
        "stage.norm0.weight",
        "positions_bchw",
        "points",
        "shared.frequencies",
        "prompt.frequencies",
        "blocks.4.attn.qkv.weight",
    }
    assert other["stage.norm0.weight"].shape == (1, 5, 1, 1)
    assert other["positions_bchw"][0, 3, 1, 2] == hub["positions"][0, 1, 2, 3]
    assert torch.equal(other["points"][1], hub["point.1.weight"][0])
    assert report.is_whole
    back, report = TABLE.to_hub(other)
    assert report.is_whole
    assert back.keys() == hub.keys()
    assert all(torch.equal(back[k], hub[k]) for k in hub)
    assert report.dropped == (("prompt.frequencies", "copy of shared.frequencies"),)


def test_unknown_and_dropped_keys_are_told_apart():
    other, report = TABLE.to_other({"teacher.weight": torch.zeros(1), "stranger": torch.zeros(1)})
    assert not other
    assert report.dropped == (("teacher.weight", "only for training"),)
    assert report.unexpected == ("stranger",)
    assert "1 unexpected: stranger" in report.text()
    _, report = TABLE.to_hub({"note": torch.zeros(1), "stranger": torch.zeros(())})
    assert report.dropped == (("note", "only for training"),)
    assert report.unexpected == ("stranger",)


def test_twin_alone_is_enough_but_must_not_differ():
    frequencies = torch.ones(2, 3)
    hub, _ = TABLE.to_hub({"prompt.frequencies": frequencies})
    assert torch.equal(hub["frequencies"], frequencies)
    with pytest.raises(WeightsError, match="copy of"):
        TABLE.to_hub({"prompt.frequencies": frequencies, "shared.frequencies": 2 * frequencies})


def test_tensors_share_memory():
    hub = hub_state()
    other, _ = TABLE.to_other(hub)
    for new, old in (("stage.norm0.weight", "norm.0.weight"), ("positions_bchw", "positions")):
        assert other[new].data_ptr() == hub[old].data_ptr()
