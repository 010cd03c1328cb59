"""The training command: a recipe, the flags that lie over it, the training, and what it leaves behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, ValidationError

from voxlang.core.errors import ConfigError
from voxlang.segtrain.config import SegTrainConfig, load_config, smoke_config
from voxlang.tracking.config import NO_TRACKING, TrackerConfig

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


class TrainCommand(BaseModel):
    """Train or fine-tune a SAM 2 model by a recipe. A stopped training goes on where it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Path
    """Recipe in YAML, see configs/training/ and configs/sam2_training/."""
    smoke: Flag = False
    """Only a few steps on drawn shapes on the CPU, to a temporary folder: a check that everything runs."""
    encoder_type: Literal["hiera", "dino", "ijepa"] | None = None
    """Type of image encoder; without it the recipe's."""
    encoder_ckpt: str | None = None
    """Hub id in the local store, folder with config.json and weights, or a config.json for random weights."""
    encoder_out_dims: str | None = None
    """Channels of the levels C32,C16,C8,C4, as 1024,1024,1024,1024; by default the ViT's hidden size."""
    encoder_upsample_mode: Literal["bilinear", "deconv"] | None = None
    """How the levels of stride 8 and 4 are made."""
    no_refine_highres: Flag = False
    """No refinement convolutions on strides 8 and 4."""
    freeze_vit: Flag = False
    """Leave the ViT's weights as they are."""
    force_dtype: Literal["bf16", "fp16", "fp32"] | None = None
    """Precision of the ViT and of the levels."""
    gradient_checkpointing: Flag = False
    """Compute the ViT's activations again on the way back: less memory, more time."""
    vit_verbose: Flag = False
    """Print the shapes of the levels."""
    images: str | None = None
    """Folder of annotated pictures to train on, instead of the recipe's."""
    annotations: str | None = None
    """COCO JSON of the pictures, or a folder of PNG label maps with their names."""
    run_dir: str | None = None
    """Folder for checkpoints, log and weights, instead of the recipe's."""

    def recipe(self) -> SegTrainConfig:
        """The recipe with the flags over it.

        Raises:
            ConfigError: a recipe or flags that cannot be used.
        """
        recipe = load_config(self.config)
        changes = self._encoder_changes()
        if changes:
            present = recipe.encoder.model_dump() if recipe.encoder else {}
            recipe = _with(recipe, encoder=present | changes, export_dtype="float32")
        if self.images is not None:
            phases = [phase.model_dump() | {"sources": {"images": 1.0}} for phase in recipe.phases]
            recipe = _with(recipe, images=self.images, annotations=self.annotations, phases=phases)
        elif self.annotations is not None:
            recipe = _with(recipe, annotations=self.annotations)
        if self.run_dir is not None:
            weights = str(Path(self.run_dir) / "weights.safetensors")
            recipe = _with(recipe, run_dir=self.run_dir, export_path=weights)
        if self.smoke:
            recipe = smoke_config(recipe, self.run_dir or tempfile.mkdtemp(prefix="voxlang-smoke-"))
        return recipe

    def _encoder_changes(self) -> dict[str, object]:
        given = {
            "type": self.encoder_type,
            "ckpt": self.encoder_ckpt,
            "out_dims": None if self.encoder_out_dims is None else _numbers(self.encoder_out_dims),
            "upsample_mode": self.encoder_upsample_mode,
            "refine_highres": False if self.no_refine_highres else None,
            "freeze_vit": self.freeze_vit or None,
            "force_dtype": self.force_dtype,
            "gradient_checkpointing": self.gradient_checkpointing or None,
            "verbose": self.vit_verbose or None,
        }
        return {name: value for name, value in given.items() if value is not None}


def run_training(command: TrainCommand) -> str:
    """Train, write the weights, the model's YAML and the whole recipe, and say where they lie.

    Raises:
        ConfigError, ModelMissingError, WeightsError: settings, encoders or weights that cannot be used.
    """
    import yaml

    from voxlang.core.artifacts import write_text
    from voxlang.encoders.options import write_model_config
    from voxlang.segtrain.export import export_weights
    from voxlang.segtrain.model import model_config
    from voxlang.segtrain.train import train
    from voxlang.tracking.tracker import tracked_training

    recipe = command.recipe()
    if recipe.renders_per_family and any(p.sources.get("renders") for p in recipe.phases):
        render_missing(recipe)
    recipe_path, settings = Path(recipe.run_dir) / "recipe.yaml", recipe.model_dump(mode="json")
    write_text(recipe_path, yaml.safe_dump(settings, sort_keys=False))
    with tracked_training(recipe.run_dir, tracking_of_process(recipe), recipe=settings, tag="sam2") as tell:
        result = train(recipe, on_metrics=tell)
    weights = export_weights(result.student, recipe, steps=result.steps, seconds=result.seconds)
    said = (
        f"{result.steps} steps in {result.seconds:.0f} s, loss {result.last.get('loss', float('nan')):.3f}: {weights}"
    )
    model_path = weights.with_suffix(".yaml")
    write_model_config(model_path, model_config(recipe.model_yaml, recipe.encoder), result.student.sam)
    return (
        f"{said}\nuse it:    --sam.config {model_path} --sam.checkpoint {weights}\ntrain again: --config {recipe_path}"
    )


def tracking_of_process(recipe: SegTrainConfig) -> TrackerConfig:
    """The recipe's tracking on the first process of torchrun; nothing on the others, which see the same means."""
    if int(os.environ.get("RANK", "0")) == 0:
        return recipe.tracking
    return NO_TRACKING


def render_missing(recipe: SegTrainConfig) -> None:
    """Render phantoms into the recipe's folder when there are none."""
    from voxlang.scenes.buffer import generate_scenes
    from voxlang.scenes.plan import SceneConfig

    if recipe.render_dir is not None and not list((Path(recipe.render_dir) / "train").glob("scenes_*.npz")):
        generate_scenes(recipe.render_dir, SceneConfig(per_family=recipe.renders_per_family))


def _with(recipe: SegTrainConfig, **changes: object) -> SegTrainConfig:
    """The recipe with changes, checked again."""
    try:
        return SegTrainConfig(**(recipe.model_dump() | changes))
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            "flags that fit the recipe", got=problems, where="command line", do="correct the flags named"
        ) from error


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise ConfigError(
            "four numbers C32,C16,C8,C4 with commas between",
            got=repr(text),
            where="--encoder-out-dims",
            do="write for example 1024,1024,1024,1024",
        )
    return numbers
