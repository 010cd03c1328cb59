"""The fit of a field that answers at points only: random voxels, mean squared error."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64

from voxlang.field.checkpoint import TrainState
from voxlang.field.config import FieldConfig
from voxlang.field.lattice import unit_coordinates
from voxlang.field.scalar_field import ScalarField, psnr_db
from voxlang.field.train import TrainSettings, train


def improve_from_points(
    field: ScalarField,
    values: Float[torch.Tensor, "z y x"],
    settings: FieldConfig,
    train_settings: TrainSettings,
    generator: torch.Generator,
    state: TrainState,
) -> None:
    """Train all parameters on random voxels."""
    flat = values.reshape(-1)
    axes = [unit_coordinates(n, device=values.device) for n in field.size_xyz]
    nx, ny = len(axes[0]), len(axes[1])

    def at(index: Int64[torch.Tensor, "n"]) -> Float[torch.Tensor, "n"]:
        points = torch.stack([axes[0][index % nx], axes[1][index // nx % ny], axes[2][index // (nx * ny)]], dim=1)
        return field.points(points) - flat[index]

    def loss_of_batch(source: torch.Generator) -> torch.Tensor:
        return at(torch.randint(flat.numel(), (settings.batch,), generator=source).to(values.device)).square().mean()

    checked = torch.linspace(0, flat.numel() - 1, min(settings.eval_voxels, flat.numel()), dtype=torch.float64)
    checked = checked.round().long().to(values.device)

    @torch.no_grad()
    def estimate() -> float:
        missed = at(checked)
        return psnr_db(float(missed.double().square().sum()), missed.numel())

    train(
        field,
        list(field.parameters()),
        loss_of_batch,
        estimate,
        spec=field.spec(),
        settings=train_settings,
        generator=generator,
        state=state,
    )
