"""What the benchmark of the demo asks for, to see it refused."""

import pytest

from benchmarks.demo import FAMILIES, STRANGE, absent_prompts
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
