"""2,000 mutated files: each gives a clear error or a correct report, never a crash or a silently wrong model."""

import numpy as np
import pytest
import torch
from checkpoint_models import TINY, random_state
from safetensors.torch import save_file

from voxlang.checkpoints.layouts import LAYOUTS, expected_shapes
from voxlang.checkpoints.reading import read_weights_file
from voxlang.checkpoints.understand import understand
from voxlang.core.errors import WeightsError

FILES = 2000
KINDS = ("drop", "rename", "reshape", "swap", "half", "add", "order", "cut", "flip", "flip values")


@pytest.fixture(scope="module")
def states():
    whole = torch.contiguous_format
    return {name: {k: v.clone(memory_format=whole) for k, v in random_state(name).items()} for name in LAYOUTS}


def mutate(kind, state, rng):
    """A changed copy of a state dict."""
    state, keys = dict(state), list(state)
    picked = [keys[i] for i in rng.choice(len(keys), size=int(rng.integers(1, 4)), replace=False)]
    if kind == "drop":
        for key in picked:
            del state[key]
    elif kind == "rename":
        for key in picked:
            at = int(rng.integers(len(key)))
            state[key[:at] + "x0.9"[int(rng.integers(4))] + key[at + 1 :]] = state.pop(key)
    elif kind == "reshape":
        for key in picked:
            shape = [int(n) for n in state[key].shape]
            choices = [(*shape, 1), tuple(n + 1 for n in shape), (2,), (0, *shape[1:]), ()]
            state[key] = torch.zeros(choices[int(rng.integers(len(choices)))])
    elif kind == "swap":
        a, b = picked[0], keys[int(rng.integers(len(keys)))]
        state[a], state[b] = state[b], state[a]
    elif kind == "half":
        state = {k: state[k] for k in keys[: int(rng.integers(1, len(keys)))]}
    elif kind == "add":
        state["stranger." + picked[0]] = torch.zeros(2)
    elif kind == "order":
        state = {keys[i]: state[keys[i]] for i in rng.permutation(len(keys))}
    return state


def mutate_bytes(kind, data, rng):
    """A file cut short, with bits turned where safetensors keeps names and shapes, or with bits turned anywhere."""
    if kind == "cut":
        return data[: int(rng.integers(len(data)))]
    data = bytearray(data)
    for at in rng.integers(0, min(len(data), 4000) if kind == "flip" else len(data), size=3):
        data[at] ^= 1 << int(rng.integers(8))
    return bytes(data)


def departs(state, name):
    """Whether names or shapes are not those of the unharmed file; second copies and notes may be missing."""
    expected = expected_shapes(LAYOUTS[name], TINY[name])
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items() if key not in expected.optional}
    return shapes != {key: tuple(s) for key, s in expected.shapes.items() if key not in expected.optional}


def test_mutated_files(states, tmp_path):
    rng = np.random.default_rng(20)
    names = list(LAYOUTS)
    outcome = dict.fromkeys(("unreadable", "nearest layout named", "whole"), 0)
    for i in range(FILES):
        name, kind = names[i % len(names)], KINDS[int(rng.integers(len(KINDS)))]
        path = tmp_path / ("a.pt" if i % 40 == 0 else "a.safetensors")
        state = mutate(kind, states[name], rng)
        torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)
        if kind in ("cut", "flip", "flip values"):
            path.write_bytes(mutate_bytes(kind, path.read_bytes(), rng))
        try:
            read = read_weights_file(path).state
            known = understand(read)
            known.require_whole(str(path))
        except WeightsError as error:
            assert all((error.expected, error.got, error.where, error.do)), error
            outcome["nearest layout named" if "nearest known layout" in str(error) else "unreadable"] += 1
            continue
        outcome["whole"] += 1
        same = known.match.layout.name == name and known.config == TINY[name]
        assert same != departs(read, name), (name, kind, known.match.layout.name, known.config)
    assert sum(outcome.values()) == FILES
    assert min(outcome.values()) > FILES // 10, outcome
