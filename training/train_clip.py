"""Train the micro CLIP: `python training/train_clip.py --config configs/training/clip_micro.yaml`.

The views come from `training/render_views.py`. A stopped training goes on where it was;
what its steps say stands in `log.jsonl` of the recipe's `run_dir` and in the dashboards.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import tyro

from voxlang.core.doors import through_door

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def main(config: Path, smoke: Flag = False, synonyms: Flag = False, evaluate: Flag = False) -> None:
    """Train by a recipe and export the weights, then measure them on the development views.

    Args:
        config: recipe in YAML, see configs/training/.
        smoke: only a few steps of a tiny model on the CPU, in a temporary folder: a check that everything runs.
        synonyms: only let the text tower of the exported model learn synonyms, the last step of a training.
        evaluate: only measure the exported model on the views of `dev_dirs`.
    """
    from voxlang.cliptrain.config import load_config, smoke_config
    from voxlang.cliptrain.evaluate import NAMING, crop_set
    from voxlang.cliptrain.evaluate import evaluate as measure
    from voxlang.cliptrain.found_masks import mask_generator_of
    from voxlang.embed.encoder import load_encoder
    from voxlang.embed.settings import EmbedConfig
    from voxlang.tracking.tracker import tracked_training

    recipe = load_config(config)
    if smoke:
        recipe = smoke_config(recipe, tempfile.mkdtemp(prefix="voxlang-smoke-"))
        from voxlang.cliptrain.smoke import write_smoke_views

        write_smoke_views(Path(recipe.render_dirs[0]))
    settings = recipe.model_dump(mode="json")
    if synonyms:
        from voxlang.cliptrain.export import teach_exported

        with tracked_training(recipe.run_dir, recipe.tracking, recipe=settings, tag="clip") as tell:
            print(f"synonyms: cosine to the targets {teach_exported(recipe, on_means=tell):.3f}")
    elif not evaluate:
        from voxlang.cliptrain.export import export_model
        from voxlang.cliptrain.train import train

        with tracked_training(recipe.run_dir, recipe.tracking, recipe=settings, tag="clip") as tell:
            result = train(recipe, on_means=tell)
        print(f"{result.seconds:.0f} s on {result.n_crops} crops; right among all concepts: {result.image.top1:.3f}")
        export_model(result, recipe)
    encoder = load_encoder(EmbedConfig(model=f"local-dir:{recipe.export_dir}"))
    policy = EmbedConfig().crop_policy
    print(json.dumps(measure(encoder, crop_set(encoder, recipe.dev_dirs, policy=policy)), indent=1))
    if recipe.crops.found_per_view:
        crops = crop_set(encoder, recipe.dev_dirs, policy=policy, generator=mask_generator_of(recipe.crops))
        named = {key: value for key, value in measure(encoder, crops).items() if key in NAMING}
        print(f"{len(crops.vectors)} masks of the micro SAM 2: {json.dumps(named)}")


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
