"""Stage 1 of a run: fit the implicit field, or find it on disk; hand out the values that views are rendered from."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

from voxlang.core.digest import digest_json
from voxlang.core.errors import ArtifactError, FieldError
from voxlang.field.fit import fit_field
from voxlang.field.store import FieldMeta, load_field, save_field
from voxlang.pipeline.run import Run


def run_stage1(run: Run) -> float:
    """Fit the field of the run's volume unless it is there; returns its PSNR in dB over the whole grid."""
    volume = run.input.volume
    with run.clock.stage("stage 1") as meter:
        psnr = _psnr_of_stored(run)
        if psnr is not None:
            meter.reuse()
            print(f"stage 1: field is up to date, {psnr:.2f} dB ({run.folder.field_path})")
            return psnr
        key = digest_json([volume.digest, run.config.stage1.model_dump(mode="json"), run.device])
        resume = run.folder.path / f"field.{key[:12]}.resume.safetensors"
        fit = fit_field(volume, run.config.stage1, resume_path=resume, device=run.device)
        save_field(run.folder.field_path, fit.field, FieldMeta.of(volume, run.config.stage1, fit))
        resume.unlink(missing_ok=True)
    for record in fit.history:
        run.tracker.log_metric("stage1/psnr_db", record.psnr_db, record.step)
    facts = {"psnr_db": fit.psnr_db, "n_parameters": fit.n_parameters, "compression": fit.compression}
    run.tracker.log_parameters({"stage1_result": facts})
    print(
        f"stage 1: {fit.psnr_db:.2f} dB with {fit.n_parameters:,} parameters for {volume.grid.n_voxels:,} voxels "
        f"in {fit.seconds:.1f} s -> {run.folder.field_path}"
    )
    return fit.psnr_db


def values_to_render(run: Run) -> Float32[np.ndarray, "z y x"]:
    """The normalised values that views are rendered from: the field's on the volume's grid, or the volume's own.

    Raises:
        ArtifactError: source "inr" without a field of this very volume and these settings.
    """
    volume = run.input.volume
    if run.config.views.source == "grid":
        return volume.values
    if _psnr_of_stored(run) is None:
        raise ArtifactError(
            "a stage 1 field of this volume and these settings",
            got="none" if not run.folder.field_path.is_file() else "one of another volume or other settings",
            where=str(run.folder.field_path),
            do="run main.py --mode=stage1 with the same settings, or pass --views.source grid",
        )
    field, _ = load_field(run.folder.field_path, volume_digest=volume.digest)
    return np.clip(field.to(run.device).sample_grid(volume.grid.size_xyz), 0.0, 1.0)


def _psnr_of_stored(run: Run) -> float | None:
    """PSNR of the stored field when it belongs to the present volume and settings, else None."""
    try:
        _, meta = load_field(run.folder.field_path, volume_digest=run.input.volume.digest)
    except FieldError:
        return None
    return meta.psnr_db if meta.config == run.config.stage1 else None
