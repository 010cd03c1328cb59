"""The fit of a dense field: solve the grids, train the network on what is left, store the detail."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float

from voxlang.field.bricks import brick_energies, cut_into_bricks, voxels_of_bricks
from voxlang.field.checkpoint import TrainState
from voxlang.field.closed_form import LinearFit
from voxlang.field.config import FieldConfig
from voxlang.field.dense import DenseField
from voxlang.field.lattice import unit_coordinates
from voxlang.field.plan import BRICK_EDGE, plan_dense
from voxlang.field.scalar_field import psnr_db
from voxlang.field.train import TrainSettings, train

_SLAB = 16


@torch.no_grad()
def start_dense(
    values: Float[torch.Tensor, "z y x"],
    settings: FieldConfig,
    n_parameters: int,
    generator: torch.Generator,
    *,
    go_on: Callable[[], bool],
) -> tuple[DenseField, Bool[torch.Tensor, "bz by bx"]]:
    """Solve the base and middle grid; returns the field and the fine bricks to keep (not yet filled)."""
    plan = plan_dense(values, n_parameters, settings.width)
    field = DenseField(
        tuple(reversed(values.shape)),
        base_size_xyz=plan.base_size_xyz,
        middle_size_xyz=plan.middle_size_xyz,
        feature_size_xyz=plan.feature_size_xyz,
        width=settings.width,
        generator=generator,
    ).to(values.device)
    linear = LinearFit(values, plan)
    kept = linear.refine(settings.rounds, go_on=go_on)
    field.base.data = linear.grids[0].vertices.contiguous()
    if linear.middle_kept is not None:
        field.middle.fill(linear.grids[1].vertices, linear.middle_kept)
    squared_error = sum(
        float(brick_energies(residual, BRICK_EDGE)[~_layers(kept, slab)].sum()) for slab, residual in linear.residuals()
    )
    # Fine bricks are exact, so the typical residual of the others is the scale of what the network has to say.
    n_free = int((~voxels_of_bricks(kept, field.size_xyz, BRICK_EDGE)).sum())
    field.scale.fill_((squared_error / max(n_free, 1)) ** 0.5)
    return field, kept


def improve_dense(
    field: DenseField,
    values: Float[torch.Tensor, "z y x"],
    kept: Bool[torch.Tensor, "bz by bx"],
    settings: FieldConfig,
    train_settings: TrainSettings,
    generator: torch.Generator,
    state: TrainState,
) -> None:
    """Train the network on the residual of the grids outside the kept bricks, by random planes."""
    free = ~voxels_of_bricks(kept, field.size_xyz, BRICK_EDGE)
    if train_settings.steps == 0 or not bool(free.any()) or float(field.scale) == 0.0:
        return
    z, y, x = _axes(field)
    residual = torch.empty_like(values)
    with torch.no_grad():
        for slab in _slabs(field):
            residual[slab] = (values[slab] - field.linear_block(z[slab], y, x)) * free[slab]
    n_planes = max(1, min(len(z), settings.batch // (len(x) * len(y))))
    n_rows = max(1, min(len(y), settings.batch // len(x)))

    def loss_of_batch(source: torch.Generator) -> torch.Tensor:
        planes = torch.randperm(len(z), generator=source)[:n_planes].sort().values.to(values.device)
        first = int(torch.randint(len(y) - n_rows + 1, (1,), generator=source))
        rows = slice(first, first + n_rows)
        seen = field.network_block(z[planes], y[rows], x) * free[planes, rows]
        return (seen - residual[planes, rows]).square().mean() / field.scale**2

    n_checked = max(1, min(len(z), settings.eval_voxels // (len(x) * len(y))))
    checked = torch.linspace(0, len(z) - 1, n_checked).round().long().to(values.device)

    @torch.no_grad()
    def estimate() -> float:
        missed = residual[checked] - field.network_block(z[checked], y, x) * free[checked]
        return psnr_db(float(missed.double().square().sum()), missed.numel())

    train(
        field,
        field.network_parameters(),
        loss_of_batch,
        estimate,
        spec=field.spec(),
        settings=train_settings,
        generator=generator,
        state=state,
    )


@torch.no_grad()
def finish_dense(field: DenseField, values: Float[torch.Tensor, "z y x"], kept: Bool[torch.Tensor, "bz by bx"]) -> None:
    """Drop a network that does not help over the whole volume, and store the fine bricks."""
    z, y, x = _axes(field)
    without, with_network, bricks = 0.0, 0.0, []
    for slab in _slabs(field):
        residual = values[slab] - field.linear_block(z[slab], y, x)
        corrected = residual - field.network_block(z[slab], y, x)
        here = _layers(kept, slab)
        without += float(brick_energies(residual, BRICK_EDGE)[~here].sum())
        with_network += float(brick_energies(corrected, BRICK_EDGE)[~here].sum())
        bricks.append(cut_into_bricks(corrected, BRICK_EDGE)[here])
    if with_network > without:
        field.out_weight.zero_()
        bricks = [
            cut_into_bricks(values[slab] - field.linear_block(z[slab], y, x), BRICK_EDGE)[_layers(kept, slab)]
            for slab in _slabs(field)
        ]
    field.fine.keep(kept, torch.cat(bricks))


def _axes(field: DenseField) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y, z = (unit_coordinates(n, device=field.device) for n in field.size_xyz)
    return z, y, x


def _slabs(field: DenseField) -> list[slice]:
    nz = field.size_xyz[2]
    return [slice(z, min(z + _SLAB, nz)) for z in range(0, nz, _SLAB)]


def _layers(kept: Bool[torch.Tensor, "bz by bx"], slab: slice) -> Bool[torch.Tensor, "sz by bx"]:
    """The layers of bricks within a slab of planes."""
    return kept[slab.start // BRICK_EDGE : -(-slab.stop // BRICK_EDGE)]
