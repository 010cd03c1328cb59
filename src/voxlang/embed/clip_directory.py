"""The folder format of a small image-text model of our own, which plain open_clip reads as `local-dir:FOLDER`.

    open_clip_config.json         {"name", "model_cfg", "preprocess_cfg"}; open_clip ignores "name"
    open_clip_model.safetensors   weights, half precision but for the logit scale and bias
    tokenizer.json                a compact vocabulary of the tokenizers library
    tokenizer_config.json         special tokens, read by transformers' AutoTokenizer
    names.json                    names of the things that training taught the model to tell apart; open_clip ignores it

open_clip's own vocabulary has 49408 rows: 12.6 MB at width 128 in half precision. A byte-level BPE of 4096 rows is 1 MB
and covers any text without an unknown token. It needs `text_cfg.hf_tokenizer_name` (any non-empty name: for a local
directory open_clip reads the tokenizer from the directory itself).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxlang.core.artifacts import atomic_path, read_json, write_json, write_text
from voxlang.core.digest import digest_file, digest_json
from voxlang.core.errors import ArtifactError, ModelMissingError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAME = "open_clip_model.safetensors"
TOKENIZER_NAMES = ("tokenizer.json", "tokenizer_config.json")
KNOWN_NAME = "names.json"

PAD, START, END = "<pad>", "<start>", "<end>"
"""Special tokens of a compact vocabulary, at rows 0, 1 and 2."""

_PREFERRED_WEIGHTS = (
    WEIGHTS_NAME,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""open_clip's own order of choice among the weights files of a directory; after these, by name, safe ones first."""


@dataclass(frozen=True)
class ClipDirectory:
    """What a model directory holds."""

    folder: Path
    """The directory."""
    architecture: str
    """Its name and a digest of its model configuration."""
    weights: Path
    """The weights file that open_clip will choose."""
    has_own_tokenizer: bool
    """Whether it carries a vocabulary; otherwise open_clip's own is used."""
    tokenizer: dict[str, Any]
    """Identity of the text preprocessing: JSON-able."""
    known_names: tuple[str, ...]
    """Names of the things that training taught the model to tell apart; none where it does not say."""


def train_tokenizer(texts: Iterable[str], *, vocab_size: int = 4096) -> Tokenizer:
    """Learn a compact byte-level BPE vocabulary, lower-case, with start and end tokens around every text.

    Args:
        texts: captions, names, synonyms; more kinds of words give better pieces.
        vocab_size: rows of the embedding table, at least 259 (three special tokens and 256 bytes). The learned
            vocabulary may be smaller when the texts are few: ask `get_vocab_size()` for the model's configuration.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 1), (END, 2)]
    )
    return tokenizer


def text_settings(tokenizer: Tokenizer, *, context_length: int, width: int, heads: int, layers: int) -> dict[str, Any]:
    """The `text_cfg` of a model with this vocabulary: pooled at the end token, so that padding changes nothing."""
    return {
        "context_length": context_length,
        "vocab_size": tokenizer.get_vocab_size(),
        "width": width,
        "heads": heads,
        "layers": layers,
        "hf_tokenizer_name": "tokenizer.json",
        "pool_type": "eos",
        "eos_id": tokenizer.token_to_id(END),
        "pad_id": tokenizer.token_to_id(PAD),
    }


def write_clip_directory(
    folder: Path | str,
    *,
    name: str,
    model_cfg: dict[str, Any],
    preprocess_cfg: dict[str, Any],
    weights: Mapping[str, torch.Tensor],
    tokenizer: Tokenizer | None = None,
    known_names: Sequence[str] = (),
) -> Path:
    """Write a model as plain open_clip reads it, with weights in half precision.

    Args:
        folder: made when it is not there.
        name: short name of the architecture; part of the encoder's identity.
        model_cfg: open_clip's {embed_dim, vision_cfg, text_cfg, ...}.
        preprocess_cfg: {mean, std, interpolation "bilinear"|"bicubic", resize_mode "squash"}.
        weights: the model's `state_dict()`.
        tokenizer: vocabulary of `train_tokenizer`; None for open_clip's own 49408 rows.
        known_names: of the things that training taught the model to tell apart.
    """
    import torch
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kept = ("logit_scale", "logit_bias")
    halved = {
        key: value.detach().cpu().to(torch.half if value.is_floating_point() and key not in kept else value.dtype)
        for key, value in weights.items()
    }
    with atomic_path(folder / WEIGHTS_NAME) as temporary:
        save_file({k: v.contiguous().clone() for k, v in halved.items()}, temporary)
    if tokenizer is not None:
        write_text(folder / TOKENIZER_NAMES[0], tokenizer.to_str(pretty=False))
        write_json(
            folder / TOKENIZER_NAMES[1],
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": PAD,
                "bos_token": START,
                "eos_token": END,
                "model_max_length": model_cfg["text_cfg"]["context_length"],
            },
        )
    if known_names:
        write_json(folder / KNOWN_NAME, list(known_names))
    write_json(folder / CONFIG_NAME, {"name": name, "model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg})
    return folder


def open_clip_directory(folder: Path, *, advice: str = "") -> ClipDirectory:
    """Check that a model directory is whole, without importing open_clip.

    Args:
        folder: the directory.
        advice: appended to what the error tells the user to do.

    Raises:
        ModelMissingError: the directory, its configuration, weights or tokenizer is not there.
        ArtifactError: the configuration is not one of open_clip.
    """
    config_path = folder / CONFIG_NAME
    if not config_path.is_file():
        raise _missing(folder, CONFIG_NAME, advice)
    config = read_json(config_path)
    model_cfg = config.get("model_cfg") if isinstance(config, dict) else None
    if not isinstance(model_cfg, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model_cfg.keys():
        raise ArtifactError(
            "a configuration with model_cfg: {embed_dim, vision_cfg, text_cfg}",
            got=json.dumps(config)[:120],
            where=str(config_path),
            do="save the model with write_clip_directory, or take the file from its hub repository",
        )
    others = [p.name for suffix in ("safetensors", "bin", "pth") for p in sorted(folder.glob(f"*.{suffix}"))]
    weights = next((folder / n for n in (*_PREFERRED_WEIGHTS, *others) if (folder / n).is_file()), None)
    if weights is None:
        raise _missing(folder, WEIGHTS_NAME, advice)
    text_cfg = model_cfg["text_cfg"]
    own = bool(text_cfg.get("hf_tokenizer_name"))
    identity: dict[str, Any] = {"name": "open_clip", "context_length": text_cfg.get("context_length", 77)}
    if own:
        if not (folder / TOKENIZER_NAMES[1]).is_file():
            raise _missing(folder, TOKENIZER_NAMES[1], advice)
        files = sorted(p for p in folder.glob("*token*") if p.is_file()) + sorted(folder.glob("*vocab*"))
        identity |= {"name": "directory", "files": {p.name: digest_file(p) for p in files}}
    name = str(config.get("name", "open_clip"))
    known = _known_names(folder / KNOWN_NAME)
    return ClipDirectory(folder, f"{name}-{digest_json(model_cfg)[:8]}", weights, own, identity, known)


def _known_names(path: Path) -> tuple[str, ...]:
    names = read_json(path) if path.is_file() else []
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        raise ArtifactError(
            "a list of names",
            got=json.dumps(names)[:120],
            where=str(path),
            do="restore the file, or delete it to query without the names of other things",
        )
    return tuple(names)


def _missing(folder: Path, name: str, advice: str) -> ModelMissingError:
    return ModelMissingError(
        f"an open_clip model directory with {CONFIG_NAME}, {WEIGHTS_NAME} and its tokenizer",
        got=f"no {name}" + ("" if folder.is_dir() else ", and no such directory"),
        where=str(folder),
        do="train the embedded model with the scripts in training/, or pass --embed.model local-dir:FOLDER with the "
        f"folder of a model saved for open_clip{advice}",
    )
