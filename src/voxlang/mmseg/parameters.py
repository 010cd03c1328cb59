"""The parameters of `HieraSAM2`, and how they become a trunk: checkpoint first, then the known sizes, then the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from voxlang.checkpoints.hiera import PATCH_STRIDE, HieraConfig, hiera_skeleton, infer_trunk
from voxlang.checkpoints.known import embedded_sam2, known_sam2
from voxlang.checkpoints.published import PUBLISHED_HIERA, trunk_of
from voxlang.core.errors import ConfigError

Shapes = Mapping[str, tuple[int, ...]]

WHERE = "backbone HieraSAM2"
PATCH_KERNEL = 7
VIT_B = {"embed_dims": 768, "num_heads": 12}
"""Numbers of a plain ViT-B that circulate in configurations for Hiera; no SAM 2 has them."""
NAMES = {
    "channels": "in_channels",
    "width": "embed_dims",
    "blocks": "num_layers",
    "heads": "num_heads",
    "mlp_ratio": "mlp_ratio",
    "projecting_blocks": "proj_layers",
    "windows": "window_spec",
    "global_blocks": "global_att_blocks",
}
"""Field of the trunk: parameter that says it."""
UNSEEN = ("heads", "windows", "global_blocks")
"""Fields that leave no trace in the weights."""


class HieraParameters(BaseModel):
    """What a configuration may say about the backbone. None: taken from the checkpoint, or else from a known size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    img_size: int | tuple[int, int] = 1024
    """Height and width of the pictures in pixels. The network takes any multiple of 32, whatever is said here."""
    patch_size: int | None = None
    """Stride of the patch embedding: 4 (its kernel is 7)."""
    in_channels: int | None = Field(None, ge=1)
    """Channels of a picture: 3."""
    embed_dims: int | None = Field(None, ge=1)
    """Channels of the first stage: 96 (tiny, small), 112 (base_plus), 144 (large)."""
    num_layers: int | None = Field(None, ge=1)
    """Blocks in all: 12, 16, 24, 48 from tiny to large."""
    num_heads: int | None = Field(None, ge=1)
    """Heads of the first stage: 1 (tiny, small) or 2."""
    mlp_ratio: int | None = Field(None, ge=1)
    """Width inside the MLPs over the width of their block: 4."""
    out_indices: tuple[int, ...] | None = None
    """Which features to return, ascending. Numbers below the number of stages are stages; if there is any greater
    number, all of them are blocks. None: every stage."""
    drop_rate: float = Field(0.0, ge=0, lt=1)
    """Dropout after the position embedding."""
    drop_path_rate: float = Field(0.1, ge=0, lt=1)
    """Stochastic depth of the last block; it grows linearly from 0 at the first."""
    norm_cfg: dict[str, Any] = {"type": "LN"}
    """LN, with `eps` (1e-6) and `requires_grad` (True) if wanted."""
    patch_norm: bool = False
    """SAM 2 has no normalisation after the patch embedding, so none is added either way."""
    frozen_stages: int = Field(-1, ge=-1)
    """-1: nothing is frozen; 0: patch and position embedding; k: the first k stages as well."""
    proj_layers: tuple[int, ...] | None = None
    """The first block of the second and each later stage, e.g. (2, 5, 21) for base_plus."""
    use_pos_embed: bool = True
    """Add the position embeddings."""
    window_spec: tuple[int, ...] | None = None
    """Side of each stage's attention windows, in tokens; only a trunk of an unknown shape needs it."""
    global_att_blocks: tuple[int, ...] | None = None
    """Blocks that look at all tokens; only a trunk of an unknown shape needs it."""


@dataclass(frozen=True)
class Settled:
    """A trunk that can be built."""

    trunk: HieraConfig
    """Its shape."""
    out_blocks: tuple[int, ...]
    """Blocks whose output is returned."""
    notes: tuple[str, ...]
    """What was said and is not so, and what nobody said, with the values that are used."""

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each returned feature."""
        return tuple(self.trunk.widths[stage_of(self.trunk, block)] for block in self.out_blocks)


def settle(parameters: HieraParameters, shapes: Shapes | None = None) -> Settled:
    """Find the trunk that the parameters mean.

    Args:
        parameters: of the configuration.
        shapes: of the tensors of the checkpoint's trunk, where there is one; they decide.

    Raises:
        ConfigError: a value contradicts the checkpoint or every known size; the message has the real values.
        WeightsError: the shapes are not those of a trunk.
    """
    has_weights = shapes is not None
    if shapes is None:
        shapes = hiera_skeleton(_size_said(parameters) or _own_said(parameters), "")
    trunk, facts = infer_trunk(shapes)
    notes: list[str] = []
    if known_sam2(trunk.width, trunk.stages) is None:
        trunk, facts = infer_trunk(shapes, _said(parameters, *UNSEEN))
        notes += [f"{NAMES[n]}={f.value}: assumed, {f.because}" for n, f in facts.items() if f.source == "assumption"]
    label = _label(trunk) + (" (as the checkpoint says)" if has_weights else "")
    for name, said in _said(parameters, *NAMES).items():
        if said != getattr(trunk, name):
            notes.append(_explain(name, said, trunk, label))
    if parameters.patch_size not in (None, PATCH_STRIDE):
        notes.append(_explain_patch_size(parameters.patch_size, trunk, label))
    if parameters.patch_norm:
        notes.append("patch_norm=True: SAM 2 has no normalisation after its patch embedding; none is added")
    _check(parameters, trunk)
    out_blocks, out_notes = _out_blocks(parameters.out_indices, trunk, label)
    return Settled(trunk, out_blocks, (*notes, *out_notes))


def _said(parameters: HieraParameters, *fields: str) -> dict[str, Any]:
    """What the configuration says about fields of the trunk."""
    values = {field: getattr(parameters, NAMES[field]) for field in fields}
    return {field: value for field, value in values.items() if value is not None}


def _label(trunk: HieraConfig) -> str:
    known = known_sam2(trunk.width, trunk.stages)
    return f"SAM 2 {known.size}" if known else "this trunk"


def _trunks() -> dict[str, HieraConfig]:
    """By size, in the order in which they are tried; the first is the default. SAM 2 and 2.1 have the same trunks."""
    micro = embedded_sam2()
    published = {size: PUBLISHED_HIERA[size] for size in ("base_plus", "tiny", "small", "large")}
    return published | ({micro.size: trunk_of(micro)} if micro else {})


def _size_said(parameters: HieraParameters) -> HieraConfig | None:
    """The known trunk with the depth, the projections and the width that are said; base_plus when none is."""
    said = _said(parameters, "blocks", "projecting_blocks", "width")
    if len(said) > 1 and said.get("width") == VIT_B["embed_dims"]:
        del said["width"]
    fitting = [t for t in _trunks().values() if all(getattr(t, field) == value for field, value in said.items())]
    if not fitting:
        return None
    rest = {"channels": parameters.in_channels, "mlp_ratio": parameters.mlp_ratio}
    return replace(fitting[0], **{field: value for field, value in rest.items() if value is not None})


def _own_said(parameters: HieraParameters) -> HieraConfig:
    """A trunk of another shape, as far as shapes go, when all that they follow from is said."""
    p = parameters
    stages = ()
    if p.num_layers and p.proj_layers:
        stages = tuple(b - a for a, b in pairwise((0, *p.proj_layers, p.num_layers)))
    if p.embed_dims is None or not stages or min(stages) < 1:
        rows = (
            f"{size}: embed_dims={t.width}, num_heads={t.heads}, num_layers={t.blocks}, "
            f"proj_layers={list(t.projecting_blocks)}"
            for size, t in _trunks().items()
        )
        said = {NAMES[field]: value for field, value in _said(p, "blocks", "projecting_blocks", "width").items()}
        raise ConfigError(
            "numbers of a SAM 2 trunk; " + "; ".join(rows),
            got=", ".join(f"{name}={value}" for name, value in said.items()),
            where=WHERE,
            do=(
                "leave them out and name a checkpoint, use one row, or describe a trunk of your own with embed_dims, "
                "num_layers, and proj_layers that ascend from 1 on and stay below num_layers"
            ),
        )
    window = p.window_spec[0] if p.window_spec else 8
    return HieraConfig(
        channels=p.in_channels or 3,
        patch=PATCH_KERNEL,
        width=p.embed_dims,
        stages=stages,
        mlp_ratio=p.mlp_ratio or 4,
        background=(7, 7),
        heads=1,
        windows=(window,),
        global_blocks=(),
    )


def _explain(field: str, said: Any, trunk: HieraConfig, label: str) -> str:
    """Why a wrong number is accepted; a number that can mean nothing is an error."""
    name, real = NAMES[field], getattr(trunk, field)
    if said == VIT_B.get(name):
        meaning = "that is a plain ViT-B's"
    elif field == "width" and said in trunk.widths:
        meaning = f"that is the width of stage {trunk.widths.index(said) + 1}"
    else:
        raise ConfigError(
            f"{name}={real} of {label}",
            got=f"{name}={said}",
            where=WHERE,
            do=f"leave {name} out, or name a checkpoint of that shape",
        )
    return f"{name}={said}: {meaning}; {label} has {name}={real}, which is used"


def _explain_patch_size(said: int, trunk: HieraConfig, label: str) -> str:
    strides = [PATCH_STRIDE * 2**k for k in range(len(trunk.stages))]
    if said in strides:
        meaning = f"that is the stride of the features of stage {strides.index(said) + 1}"
    elif said == PATCH_KERNEL:
        meaning = "that is the kernel of the patch embedding"
    else:
        raise ConfigError(
            f"patch_size={PATCH_STRIDE}, the stride of the patch embedding of every SAM 2",
            got=f"patch_size={said}",
            where=WHERE,
            do="leave patch_size out",
        )
    return f"patch_size={said}: {meaning}; {label} has patch_size={PATCH_STRIDE}, which is used"


def _check(parameters: HieraParameters, trunk: HieraConfig) -> None:
    """Refuse what cannot be built, whatever the size.

    Raises:
        ConfigError: names the setting.
    """
    sides = parameters.img_size
    sides = (sides, sides) if isinstance(sides, int) else sides
    multiple = side_multiple(trunk)
    norm = parameters.norm_cfg
    stages = len(trunk.stages)
    faults = (
        (any(side < 1 or side % multiple for side in sides), f"img_size of multiples of {multiple}", f"{sides}"),
        (norm.get("type") != "LN", "norm_cfg of type LN (that of a decode head is another one)", f"{norm}"),
        (
            bool(set(norm) - {"type", "eps", "requires_grad"}),
            "no more than eps and requires_grad in norm_cfg",
            f"{norm}",
        ),
        (parameters.frozen_stages > stages, f"frozen_stages from -1 to {stages}", f"{parameters.frozen_stages}"),
        (len(trunk.windows) != stages, f"window_spec with {stages} windows", f"{trunk.windows}"),
        (trunk.width % trunk.heads != 0, f"num_heads that divides embed_dims={trunk.width}", f"{trunk.heads}"),
        (
            any(not 0 <= block < trunk.blocks for block in trunk.global_blocks),
            f"global_att_blocks from 0 to {trunk.blocks - 1}",
            f"{trunk.global_blocks}",
        ),
    )
    for is_fault, expected, got in faults:
        if is_fault:
            raise ConfigError(expected, got=got, where=WHERE, do="correct it, or leave it out")


def _out_blocks(
    said: tuple[int, ...] | None, trunk: HieraConfig, label: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Blocks whose output is returned, and a note where they are not the ends of stages."""
    ends = (*(block - 1 for block in trunk.projecting_blocks), trunk.blocks - 1)
    indices = tuple(range(len(ends))) if said is None else said
    if not indices or list(indices) != sorted(set(indices)) or indices[0] < 0 or indices[-1] >= trunk.blocks:
        raise ConfigError(
            f"ascending stages (0 to {len(ends) - 1}) or blocks (0 to {trunk.blocks - 1})",
            got=f"out_indices={said}",
            where=WHERE,
            do="leave out_indices out for every stage",
        )
    if indices[-1] < len(ends):
        return tuple(ends[i] for i in indices), ()
    inner = [i for i in indices if i not in ends]
    if not inner:
        return indices, ()
    strides = [PATCH_STRIDE * 2 ** stage_of(trunk, i) for i in indices]
    widths = [trunk.widths[stage_of(trunk, i)] for i in indices]
    note = (
        f"out_indices={list(indices)}: taken as blocks, of which {inner} do not end a stage; the features have strides "
        f"{strides} and channels {widths}. The stages of {label} end at blocks {list(ends)}: leave out_indices out for "
        "strides 4, 8, 16, 32"
    )
    return indices, (note,)


def stage_of(trunk: HieraConfig, block: int) -> int:
    """The stage, counted from 0, that a block belongs to."""
    return sum(block >= first for first in trunk.projecting_blocks)


def side_multiple(trunk: HieraConfig) -> int:
    """Sides of pictures are multiples of this: the first stage's windows have to fill its map."""
    return PATCH_STRIDE * trunk.windows[0]


def backbone_text(shapes: Shapes, checkpoint: Path) -> str:
    """The backbone of a checkpoint as a configuration spells it out, every number the real one."""
    trunk = settle(HieraParameters(), shapes).trunk
    lines = [f"{name}={_plain(getattr(trunk, field))}," for field, name in NAMES.items()]
    lines += [f"patch_size={PATCH_STRIDE},", f'init_cfg=dict(type="Pretrained", checkpoint="{checkpoint}"),']
    channels = f"# in_channels of a decode head on all stages: {list(trunk.widths)}"
    return "\n    ".join(["backbone=dict(", 'type="HieraSAM2",', *lines]) + "\n)\n" + channels


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
