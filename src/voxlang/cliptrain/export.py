"""Write the trained model as the folder that the embed room loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxlang.cliptrain.config import ClipTrainConfig
from voxlang.cliptrain.model import PREPROCESS, model_cfg
from voxlang.cliptrain.train import ClipTrainResult
from voxlang.core.artifacts import write_json
from voxlang.core.digest import digest_file, digest_json
from voxlang.embed.clip_directory import WEIGHTS_NAME, write_clip_directory

RECORD_NAME = "training.json"
"""What the weights came from; open_clip does not read it."""


def export_model(result: ClipTrainResult, config: ClipTrainConfig) -> Path:
    """Write configuration, half-precision weights, vocabulary and a record of the training; returns the folder."""
    result.tokenizer.no_padding()
    result.tokenizer.no_truncation()
    folder = write_clip_directory(
        config.export_dir,
        name="voxlang-clip-micro",
        model_cfg=model_cfg(config.model, result.tokenizer),
        preprocess_cfg=PREPROCESS,
        weights=result.model.state_dict(),
        tokenizer=result.tokenizer,
    )
    places = {"render_dirs", "dev_dirs", "crops_dir", "run_dir", "export_dir", "image_start"}
    recipe = config.model_dump(mode="json", exclude=places)
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
