import pytest

from voxlang.checkpoints.patterns import KeyPattern, key_form

KEYS = [
    "block.0.attn.2.weight",
    "block.3.attn.0.weight",
    "block.12.attn.1.weight",
    "block.12.mlp.weight",
    "head.weight",
]


def test_numbers_of_seed_pattern():
    pattern = KeyPattern("block.#.attn.#.weight")
    assert pattern.numbers(KEYS, "0") == [0, 3, 12]
    assert pattern.numbers(KEYS, "1") == [0, 1, 2]
    assert pattern.count(KEYS) == 13
    assert pattern.match("block.12.mlp.weight") is None


def test_match_is_undone_by_fill():
    pattern = KeyPattern("blocks.#block.norm#n.*")
    captures = pattern.match("blocks.7.norm2.weight")
    assert captures == {"block": 7, "n": 2, "*0": "weight"}
    assert pattern.fill(captures) == "blocks.7.norm2.weight"
    assert KeyPattern("layers.#block.layer_norm#n.*").fill(captures) == "layers.7.layer_norm2.weight"


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("a.*", "a.b.c"),  # one piece only
        ("a.**", "a."),  # nothing remains
        ("a.#.b", "a.x.b"),
        ("a.#.b", "a.07.b"),  # would not be rebuilt
        ("a.b", "a.b.c"),
        ("a.b", "aXb"),  # a dot is a dot
    ],
)
def test_keys_of_another_form_do_not_match(pattern, key):
    assert KeyPattern(pattern).match(key) is None


def test_braces_are_ordinary_letters():
    pattern = KeyPattern("a{0}.#i")
    assert pattern.fill(pattern.match("a{0}.5")) == "a{0}.5"


def test_name_used_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        KeyPattern("#i.#i")


def test_form_hides_numbers():
    assert key_form("blocks.10.norm2.weight") == "blocks.#.norm#.weight"
