"""The trained model as the folder that the embed room loads: written, and taught synonyms once more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from voxlang.cliptrain.concepts import ConceptTable
from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.model import PREPROCESS, model_cfg
from voxlang.cliptrain.synonyms import learn_synonyms, names_of
from voxlang.cliptrain.teacher import load_teacher
from voxlang.cliptrain.train import ClipTrainResult
from voxlang.core.artifacts import read_json, write_json
from voxlang.core.device import device_of
from voxlang.core.digest import digest_file, digest_json
from voxlang.core.training_log import MetricCallback, TrainingLog
from voxlang.embed.clip_directory import (
    CONFIG_NAME,
    TOKENIZER_NAMES,
    WEIGHTS_NAME,
    open_clip_directory,
    write_clip_directory,
)
from voxlang.embed.open_clip_encoder import new_clip_model
from voxlang.scenes.buffer import read_scenes, some_scene_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RECORD_NAME = "training.json"
"""What the weights came from; open_clip does not read it."""


def export_model(result: ClipTrainResult, config: ClipTrainConfig) -> Path:
    """Write configuration, half-precision weights, vocabulary and a record of the training; returns the folder."""
    folder = _write(config, result.model, result.tokenizer, result.table)
    places = {"render_dirs", "dev_dirs", "crops_dir", "run_dir", "export_dir", "image_start"}
    recipe = config.model_dump(mode="json", exclude=places | {"log_every", "tracking"})
    record: dict[str, Any] = {
        "weights_digest": digest_file(folder / WEIGHTS_NAME),
        "recipe_digest": digest_json(recipe),
        "recipe": recipe,
        "steps": result.image.steps,
        "seconds": round(result.seconds),
        "crops": result.n_crops,
        "concepts": len(result.table),
        "licence": "MIT",
    }
    if config.image_start:
        record["image_start_digest"] = digest_file(Path(config.image_start) / WEIGHTS_NAME)
    write_json(folder / RECORD_NAME, record)
    return folder


def teach_exported(config: ClipTrainConfig, *, on_means: MetricCallback | None = None) -> float:
    """Let the text tower of the model in `export_dir` learn synonyms, and write the model again; its record keeps the
    rest of its training.

    Args:
        config: the recipe.
        on_means: told what the log in `run_dir` is told.

    Returns:
        As `learn_synonyms`.

    Raises:
        ModelMissingError, ArtifactError: no whole model there.
        ConfigError: no views in the render folders, whose part trees say what means the same.
    """
    model, tokenizer = read_exported(config)
    record = read_json(Path(config.export_dir) / RECORD_NAME)
    table = ConceptTable((s.family, s.tree) for s in map(read_scenes, some_scene_files(config.render_dirs)))
    fit = learn_synonyms(
        model.to(device_of(config.device)),
        tokenizer,
        table,
        load_teacher(config.teacher),
        config.synonyms,
        seed=config.seed,
        log=TrainingLog(config.run_dir, every=config.log_every, on_means=on_means),
    )
    folder = _write(config, model.to("cpu"), tokenizer, table)
    record |= {
        "weights_digest": digest_file(folder / WEIGHTS_NAME),
        "texts_start_digest": record["weights_digest"],
        "synonyms": config.synonyms.model_dump(mode="json"),
    }
    write_json(folder / RECORD_NAME, record)
    return fit


def read_exported(config: ClipTrainConfig) -> tuple[nn.Module, Tokenizer]:
    """The model in `export_dir` and its vocabulary, on the CPU, in evaluation mode.

    Raises:
        ModelMissingError, ArtifactError: no whole model there.
    """
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    folder = open_clip_directory(Path(config.export_dir)).folder
    model = new_clip_model(read_json(folder / CONFIG_NAME)["model_cfg"])
    model.load_state_dict(load_file(folder / WEIGHTS_NAME))
    return model.float().eval().requires_grad_(False), Tokenizer.from_file(str(folder / TOKENIZER_NAMES[0]))


def _write(config: ClipTrainConfig, model: nn.Module, tokenizer: Tokenizer, table: ConceptTable) -> Path:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return write_clip_directory(
        config.export_dir,
        name="voxlang-clip-micro",
        model_cfg=model_cfg(config.model, tokenizer),
        preprocess_cfg=PREPROCESS,
        weights=model.state_dict(),
        tokenizer=tokenizer,
        known_names=names_of(table),
    )
