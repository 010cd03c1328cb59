"""What the benchmark of the demo asks for, by other names and to see it refused."""

import pytest

from benchmarks.demo import FAMILIES, STRANGE, absent_prompts, first_synonyms
from voxlang.evaluate.metrics import parts_named
from voxlang.volume.phantoms import make_phantom


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_that_a_phantom_has_counts_as_absent(family):
    tree = make_phantom(family, 8, size_xyz=(8, 8, 8)).labels.tree
    asked = absent_prompts(family, 8, tree)
    assert len(asked) >= 8 and asked[-4:] == STRANGE
    words = {word for part in tree for name in (part.name, *part.synonyms) for word in name.split()}
    assert not words & {word for prompt in asked for word in prompt.split()}
    if family == "head":
        assert "lungs" in asked and "bones" not in asked, "a skull is bone"


@pytest.mark.parametrize("family", FAMILIES)
def test_synonyms_name_what_the_prompts_name_by_other_words(family):
    phantom = make_phantom(family, 8, size_xyz=(8, 8, 8))
    asked = first_synonyms(phantom.demo_prompts, phantom.labels)
    assert len(asked) >= 5 and not set(asked) & set(phantom.demo_prompts)
    named = {part.id for prompt in phantom.demo_prompts for part in parts_named(prompt, phantom.labels)}
    assert all({part.id for part in parts_named(word, phantom.labels)} & named for word in asked)
    if family == "bonsai":
        assert asked[:3] == ("bonsai", "planter", "earth")
