"""The backbone `HieraSAM2`: sam2's own Hiera with the manners of an MMSegmentation backbone.

Importing this module registers it: `custom_imports = dict(imports="voxlang.mmseg.hiera_sam2")` in a configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxtyping import Float
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from mmseg.registry import MODELS
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.utils import PatchEmbed
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn

from voxlang.checkpoints.facts import shapes_of
from voxlang.checkpoints.hiera import hiera_skeleton, infer_trunk
from voxlang.core.errors import ConfigError, WeightsError
from voxlang.core.weights import load_weights
from voxlang.mmseg.parameters import WHERE, HieraParameters, settle, side_multiple
from voxlang.mmseg.weights import read_trunk


@MODELS.register_module()
class HieraSAM2(Hiera, BaseModule):
    """The image encoder's trunk of SAM 2 and 2.1, of any size, as a backbone with one feature map per stage.

    The keys of its state dict are those of sam2's `Hiera`.

    Args:
        init_cfg: `dict(type="Pretrained", checkpoint=PATH)` with a SAM 2 checkpoint or a converted one, or None for
            random weights. What the parameters leave out comes from that checkpoint.
        parameters: see `HieraParameters`.

    Raises:
        ConfigError: parameters that no SAM 2 trunk can have, or that contradict the checkpoint.
        WeightsError: a checkpoint that is not there, broken or foreign.
    """

    def __init__(self, init_cfg: Mapping[str, Any] | None = None, **parameters: Any) -> None:
        p = HieraParameters(**parameters)
        path = _checkpoint(init_cfg)
        settled = settle(p, shapes_of(read_trunk(path)) if path else None)
        for note in settled.notes:
            print_log(f"{WHERE}: {note}", logger="current", level=logging.WARNING)
        trunk = settled.trunk
        super().__init__(
            embed_dim=trunk.width,
            num_heads=trunk.heads,
            drop_path_rate=p.drop_path_rate,
            q_pool=len(trunk.stages) - 1,
            stages=trunk.stages,
            global_att_blocks=trunk.global_blocks,
            window_pos_embed_bkg_spatial_size=trunk.background,
            window_spec=trunk.windows,
        )
        if trunk.channels != 3:
            self.patch_embed = PatchEmbed(in_chans=trunk.channels, embed_dim=trunk.width)
        if trunk.mlp_ratio != 4:
            for block in self.blocks:
                width = block.dim_out
                block.mlp = MLP(width, width * trunk.mlp_ratio, width, num_layers=2, activation=nn.GELU)
        self.init_cfg = dict(init_cfg) if init_cfg else None
        self.trunk, self.settings = trunk, p
        self.out_blocks = settled.out_blocks
        self.out_channels = list(settled.out_channels)
        """Channels of the features, as a decode head's `in_channels` wants them."""
        self.drop_after_pos = nn.Dropout(p.drop_rate)
        for norm in (m for m in self.modules() if isinstance(m, nn.LayerNorm)):
            norm.eps = p.norm_cfg.get("eps", norm.eps)
            norm.requires_grad_(p.norm_cfg.get("requires_grad", True))
        for embedding in (self.pos_embed, self.pos_embed_window):
            embedding.requires_grad_(p.use_pos_embed)
        self._freeze()

    def forward(self, x: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """The features of `out_blocks`, each [b c h w]; with the defaults at strides 4, 8, 16 and 32.

        Raises:
            ConfigError: sides that are not multiples of 32.
        """
        multiple = side_multiple(self.trunk)
        if x.shape[-2] % multiple or x.shape[-1] % multiple:
            raise ConfigError(
                f"pictures with sides that are multiples of {multiple}",
                got=f"{tuple(x.shape[-2:])}",
                where=WHERE,
                do=f"let data_preprocessor pad: size_divisor={multiple} and test_cfg=dict(size_divisor={multiple})",
            )
        x = self.patch_embed(x)
        if self.settings.use_pos_embed:
            x = x + self._get_pos_embed(x.shape[1:3])
        x = self.drop_after_pos(x)
        features = []
        for i, block in enumerate(self.blocks[: self.out_blocks[-1] + 1]):
            x = block(x)
            if i in self.out_blocks:
                features.append(x.permute(0, 3, 1, 2))
        return tuple(features)

    def init_weights(self) -> None:
        """Load the checkpoint of `init_cfg`, every tensor of it, or draw random weights where there is none.

        Raises:
            WeightsError: the checkpoint is not there, broken, or has other tensors.
        """
        path = _checkpoint(self.init_cfg)
        if path is not None:
            load_weights(self, read_trunk(path), where=str(path))
        else:
            for embedding in (self.pos_embed, self.pos_embed_window):
                trunc_normal_(embedding, std=0.02)
            for linear in (m for m in self.modules() if isinstance(m, nn.Linear)):
                trunc_normal_(linear.weight, std=0.02)
                nn.init.zeros_(linear.bias)
        self.is_init = True

    def train(self, mode: bool = True) -> HieraSAM2:
        """Training mode for all but the frozen stages, which stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        frozen = self.settings.frozen_stages
        if frozen < 0:
            return
        blocks = self.blocks[: sum(self.trunk.stages[:frozen])]
        for module in (self.patch_embed, self.drop_after_pos, *blocks):
            module.eval().requires_grad_(False)
        for embedding in (self.pos_embed, self.pos_embed_window):
            embedding.requires_grad_(False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        """Refuse the weights of another trunk: mmengine would only log that, and go on with random ones."""
        shapes = {k.removeprefix(prefix): tuple(v.shape) for k, v in state_dict.items() if k.startswith(prefix)}
        if "patch_embed.proj.weight" in shapes:
            other = infer_trunk(shapes)[0]
            if hiera_skeleton(other, "") != hiera_skeleton(self.trunk, ""):
                raise WeightsError(
                    f"weights with embed_dims={self.trunk.width} and stages of {self.trunk.stages} blocks",
                    got=f"embed_dims={other.width} and stages of {other.stages} blocks",
                    where=WHERE,
                    do=f"say embed_dims={other.width}, num_layers={other.blocks} in the configuration of the backbone",
                )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _checkpoint(init_cfg: Mapping[str, Any] | None) -> Path | None:
    """Path of the checkpoint of an `init_cfg`.

    Raises:
        ConfigError: another kind of `init_cfg`.
    """
    if not init_cfg:
        return None
    if init_cfg.get("type") != "Pretrained" or not init_cfg.get("checkpoint"):
        raise ConfigError(
            'init_cfg=dict(type="Pretrained", checkpoint=PATH), or None',
            got=f"{dict(init_cfg)}",
            where=WHERE,
            do="name a checkpoint, or leave init_cfg out for random weights",
        )
    return Path(init_cfg["checkpoint"])
