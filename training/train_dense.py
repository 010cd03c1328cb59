"""Train the dense tower: `python training/train_dense.py --config configs/training/dense_micro.yaml`.

The views come from `training/render_views.py`. A stopped training goes on where it was;
what its steps say stands in `log.jsonl` of the recipe's `run_dir` and in the dashboards.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from voxlang.core.doors import through_door

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


def main(config: Path, smoke: Flag = False, evaluate: Flag = False) -> None:
    """Train by a recipe and export the weights, then ask them what the places of the development views are called.

    Args:
        config: recipe in YAML, see configs/training/.
        smoke: only a few steps on the CPU, in a temporary folder: a check that everything runs.
        evaluate: only measure the exported tower on the views of `dev_dirs`.
    """
    from voxlang.cliptrain.dense import export_dense, train_dense
    from voxlang.cliptrain.dense_config import load_dense_config, smoke_dense_config
    from voxlang.cliptrain.dense_scores import score_places
    from voxlang.cliptrain.places import read_views
    from voxlang.embed.dense_encoder import load_dense_tower
    from voxlang.embed.encoder import load_encoder
    from voxlang.embed.settings import EmbedConfig
    from voxlang.scenes.plan import HELD_OUT_FAMILIES
    from voxlang.tracking.tracker import tracked_training

    recipe = load_dense_config(config)
    if smoke:
        recipe = smoke_dense_config(recipe, tempfile.mkdtemp(prefix="voxlang-smoke-"))
        from voxlang.cliptrain.smoke import write_smoke_views

        write_smoke_views(Path(recipe.render_dirs[0]))
    texts = load_encoder(EmbedConfig(model=f"local-dir:{recipe.texts}"))
    if not evaluate:
        with tracked_training(
            recipe.run_dir, recipe.tracking, recipe=recipe.model_dump(mode="json"), tag="dense"
        ) as tell:
            tower, fit = train_dense(recipe, texts, on_means=tell)
        path = export_dense(tower, fit, recipe, texts)
        print(f"{fit.seconds:.0f} s, {fit.steps} steps, right at small, part, whole: {fit.right} -> {path}")
    encoder = load_dense_tower(recipe.export_path, encoder=texts.id, device="cpu")
    views = read_views(recipe.dev_dirs)
    trained = tuple(sorted(set(views.family) - set(HELD_OUT_FAMILIES)))
    for name, families in (("trained families", trained), ("unseen families", HELD_OUT_FAMILIES)):
        if set(families) & set(views.family):
            print(name, json.dumps([asdict(s) for s in score_places(encoder, views, texts, families=families)]))


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
