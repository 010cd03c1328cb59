import pickle

import pytest
import torch
from checkpoint_models import random_state

from voxlang.checkpoints.inspect import inspect_file
from voxlang.checkpoints.reading import read_weights_file
from voxlang.checkpoints.writing import write_weights_file
from voxlang.core.errors import ConfigError, WeightsError


class Shell:
    """Unpickling it would call print."""

    def __reduce__(self):
        return print, ("code was run",)


def test_pickle_with_code_is_refused_and_not_run(tmp_path, capsys):
    for name, save in (
        ("zip.pt", lambda path: torch.save({"model": Shell()}, path)),
        ("legacy.pt", lambda path: torch.save({"a": Shell()}, path, _use_new_zipfile_serialization=False)),
        ("bare.pkl", lambda path: path.write_bytes(pickle.dumps(Shell()))),
    ):
        save(tmp_path / name)
        with pytest.raises(WeightsError):
            read_weights_file(tmp_path / name)
    assert "code was run" not in capsys.readouterr().out


def test_code_is_named(tmp_path):
    torch.save({"model": Shell()}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"calls code: .*print"):
        read_weights_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"GIF89a" + bytes(50), "beginning with b'GIF89a"),
        (b"PK\x03\x04" + bytes(50), "whole torch file"),
        ((10**6).to_bytes(8, "little") + b"{}", "torch or safetensors"),
        ((2).to_bytes(8, "little") + b"{}", "state dict"),
        (b"\x80" + bytes(50), "whole torch file"),
    ],
)
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_foreign_and_empty_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_weights_file(tmp_path / name)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path, name, share):
    write_weights_file(tmp_path / name, random_state("mmseg-hiera"))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError):
        read_weights_file(tmp_path / name)


def test_no_file(tmp_path):
    with pytest.raises(WeightsError, match="no such file"):
        read_weights_file(tmp_path)


@pytest.mark.parametrize(
    ("wrap", "wrapper"),
    [
        (lambda s: s, ""),
        (lambda s: {"model": s, "epoch": 3}, "model"),
        (lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}, "state_dict.module"),
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_wrappers_and_containers(tmp_path, wrap, wrapper, is_zip):
    state = random_state("mmseg-hiera")
    torch.save(wrap(state), tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    file = read_weights_file(tmp_path / "a.pth")
    assert file.wrapper == wrapper
    assert file.container == ("torch zip" if is_zip else "torch legacy")
    assert file.state.keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in file.state.items())


def test_written_tensors_are_independent_files(tmp_path):
    """Views of one storage do not drag the whole storage into a torch file."""
    storage = torch.arange(100_000.0)
    write_weights_file(tmp_path / "a.pt", {"part": storage[:10], "turned": storage[:6].reshape(2, 3).T})
    assert (tmp_path / "a.pt").stat().st_size < 5_000
    file = read_weights_file(tmp_path / "a.pt")
    assert torch.equal(file.state["turned"], storage[:6].reshape(2, 3).T)


def test_mixed_types_lie_aligned(tmp_path):
    state = {"a": torch.ones(3, dtype=torch.uint8), "b": torch.ones(2), "c": torch.tensor(True)}
    write_weights_file(tmp_path / "a.safetensors", state)
    read = read_weights_file(tmp_path / "a.safetensors").state
    assert all(torch.equal(read[k], state[k]) for k in state)


def test_suffix_chooses_the_kind(tmp_path):
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        write_weights_file(tmp_path / "a.bin", {"a": torch.ones(1)})


def test_summary_names_what_it_is(tmp_path):
    write_weights_file(tmp_path / "a.safetensors", random_state("sam2"))
    found = inspect_file(tmp_path / "a.safetensors")
    assert "layout sam2: sam2, 100%" in found.summary()
    assert "every key as expected" in found.summary()
    assert "7 blocks, projections in 1, 3, 6; position embeddings: 7 x 7 stretched" in found.blocks()
    assert "block 1   stage 1     32 channels  window 8  projection" in found.blocks()
    row = next(line for line in found.facts().splitlines() if line.startswith("image_size"))
    assert "1024" in row
    assert "assumption" in row
    assert "no_mem_embed  (1, 1, 32)  float32" in found.key_list()
