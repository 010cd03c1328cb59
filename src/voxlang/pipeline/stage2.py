"""Stage 2 of a run: masks, levels, embeddings, cache, lifting, semantic field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from voxlang.core.digest import digest_json
from voxlang.core.errors import ArtifactError, CacheError
from voxlang.core.levels import LEVELS
from voxlang.embed.crops import policy_digest
from voxlang.embed.embed_masks import embed_views
from voxlang.embed.encoder import load_dense_encoder
from voxlang.embed.types import RegionEncoder
from voxlang.masks.fast.grid import PointCounts, count_points
from voxlang.masks.fast.parameters import MaskParameters
from voxlang.masks.generate import sam_generator_from_settings
from voxlang.masks.levels import levels_digest, partition_levels
from voxlang.masks.paint import OVERLAP_RULE, panels, png_made_from, save_png
from voxlang.masks.settings import OBJECT_OPACITY
from voxlang.masks.types import ViewMaskGenerator
from voxlang.pipeline.run import Run
from voxlang.pipeline.views import (
    ViewPlan,
    drop_surplus,
    looks_of,
    picture_bytes,
    picture_of_view,
    plan_views,
    render_views,
    visible_voxels,
)
from voxlang.render.samples import RaySamples, ray_samples
from voxlang.render.types import RenderedView
from voxlang.semantics.field import SemanticField
from voxlang.semantics.fill import fill_unseen
from voxlang.semantics.lifting import LiftedMasks, lift_masks
from voxlang.semantics.store import load_lifted, load_semantics, save_lifted, save_semantics
from voxlang.semantics.train import fit_semantic_field, ray_bank
from voxlang.supervision.cache import cache_path, changed_inputs, read_cache, read_header
from voxlang.supervision.level_figure import level_figure, save_level_figure
from voxlang.supervision.stats import LevelStatistics, cache_stats, format_statistics
from voxlang.supervision.target import make_view_target
from voxlang.supervision.types import ViewTarget
from voxlang.supervision.view_store import ViewStore
from voxlang.volume.write import save_scalar_map


@dataclass(frozen=True, eq=False)
class Stage2Result:
    """What stage 2 leaves in memory for the next stage."""

    plan: ViewPlan
    lifted: LiftedMasks
    field: SemanticField
    statistics: LevelStatistics
    prompts: PointCounts
    history: list[dict[str, float | int]]


@dataclass(frozen=True, eq=False)
class ViewModels:
    """What looks at the views, beside the run's own encoder."""

    generator: ViewMaskGenerator
    dense: RegionEncoder | None


def load_view_models(run: Run) -> ViewModels:
    """Load all models that stage 2 asks, the run's encoder included.

    Raises:
        ConfigError, ModelMissingError, WeightsError, ArtifactError: one of them cannot be used.
    """
    with run.clock.stage("load models"):
        dense = load_dense_encoder(run.config.embed, run.encoder)
        return ViewModels(sam_generator_from_settings(run.config.sam), dense)


def run_stage2(run: Run) -> Stage2Result:
    """Render, segment, embed and cache the views; lift the masks; train the semantic field."""
    models = load_view_models(run)  # first: weights that are not there are said before any view is rendered
    with run.clock.stage("render"):
        plan = plan_views(run)
        views = render_views(run, plan)
    targets = make_targets(run, plan, views, models)
    del models  # the training of the field may need their memory
    prompts = count_prompts(run, views)
    statistics = report_levels(run, targets)
    lifted, field, history = lift_and_train(run, plan, targets)
    return Stage2Result(plan, lifted, field, statistics, prompts, history)


def make_targets(run: Run, plan: ViewPlan, views: list[RenderedView], models: ViewModels) -> list[ViewTarget]:
    """The view targets from the cache if it was made from the present inputs, else computed, view by view."""
    with run.clock.stage("masks and embeddings") as meter:
        inputs = target_inputs(run, plan, models)
        path = cache_path(run.config.cache_dir, len(views))
        if _find_current(path, inputs):
            meter.reuse()
            print(f"stage 2: cache is up to date ({path})")
            targets = read_cache(path, expected=inputs)
            draw_masks(run, views, targets)
            return believed(targets, run.config.embed.trusted)
        store = ViewStore(Path(run.config.cache_dir), inputs)
        key = digest_json(inputs)
        missing = [i for i in range(len(views)) if store.get(i) is None]
        with tqdm(
            total=len(views), initial=len(views) - len(missing), desc="masks and embeddings", disable=None
        ) as bar:
            together = run.config.sam.views_per_pass
            for start in range(0, len(missing), together):
                group = missing[start : start + together]
                for i, target in _targets_of(run, {i: views[i] for i in group}, models, key):
                    store.put(i, target)
                    draw_masks_of_view(run, i, views[i], target)
                    bar.update()
        targets = store.assemble(path, len(views))
        draw_masks(run, views, targets)
    run.tracker.log_artifact("cache", path)
    print(f"stage 2: {len(targets)} views -> {path}")
    return believed(targets, run.config.embed.trusted)


def draw_masks(run: Run, views: list[RenderedView], targets: list[ViewTarget]) -> None:
    """Leave the mask pictures of these targets in the run's folder, and no others."""
    for i, (view, target) in enumerate(zip(views, targets, strict=True)):
        draw_masks_of_view(run, i, view, target)
    drop_surplus(run.folder.folder("masks"), len(targets))


def draw_masks_of_view(run: Run, i: int, view: RenderedView, target: ViewTarget) -> None:
    """Draw the masks of a view by level, unless the picture there was made from the same target."""
    path = picture_of_view(run.folder.folder("masks"), i)
    if png_made_from(path) == target.key:
        return
    n = len(target.vectors)
    areas = np.bincount(target.mask_index[target.mask_index >= 0], minlength=n)
    facts = [f"{area} px shown, score {score:.2f}" for area, score in zip(areas, target.mask_score, strict=True)]
    picture = panels(
        picture_bytes(view.rgb), target.mask_index, target.mask_level, target.mask_parent, areas=areas, facts=facts
    )
    save_png(path, picture, made_from=target.key)
    run.tracker.log_image("mask_panels", picture, i)


def believed(targets: list[ViewTarget], trusted: float) -> list[ViewTarget]:
    """The views as they are where the dense tower knows what they show, else without what it says of them."""
    asked = [(t.pieces.agreement, len(t.vectors)) for t in targets if t.pieces is not None and len(t.vectors)]
    if not asked:
        return targets
    values, masks = zip(*asked, strict=True)
    agreed = float(np.average(values, weights=masks))
    known = agreed >= trusted
    what = "is believed" if known else "does not know such things: the masks stand alone"
    print(f"stage 2: the dense tower agrees with the masks by {agreed:.2f} of {trusted:.2f} asked, and {what}")
    return targets if known else [replace(target, pieces=None) for target in targets]


def count_prompts(run: Run, views: list[RenderedView]) -> PointCounts:
    """Grid points of all views, and how many of them lie on empty pixels and are not asked."""
    parameters = MaskParameters(**run.config.sam.official_parameters())
    per_view = [count_points(parameters, view.opacity.shape, _worth_asking(run, view)) for view in views]
    prompts = sum(per_view, PointCounts(0, 0))
    print(f"stage 2: {prompts.skipped} of {prompts.grid} grid points lie on empty pixels and are not asked")
    return prompts


def target_inputs(run: Run, plan: ViewPlan, models: ViewModels) -> dict[str, str]:
    """Digest by name of everything that a view target depends on; the cache is refused when one of them changes."""
    tower = {"dense tower": models.dense.digest} if models.dense else {}
    return {
        **plan.inputs,
        "SAM weights and thresholds": models.generator.id,
        "level rule": digest_json([levels_digest(run.config.sam.resolved().level_rule), OVERLAP_RULE]),
        "image-text encoder": run.encoder.id.digest,
        "crop policy": policy_digest(run.config.embed.crop_policy, background=run.config.embed.background),
        **tower,
    }


def report_levels(run: Run, targets: list[ViewTarget]) -> LevelStatistics:
    """Print, plot and log the distribution over levels."""
    statistics = cache_stats(targets)
    print(format_statistics(statistics))
    name = run.config.run_name
    save_level_figure(run.folder.folder("masks") / "levels.png", {name: statistics})
    run.tracker.log_figure("levels", level_figure({name: statistics}))
    counts = np.array([[int((t.mask_level == level).sum()) for level in LEVELS] for t in targets])
    run.tracker.log_level_statistics(dict(zip(LEVELS, counts.sum(axis=0).tolist(), strict=True)))
    return statistics


def lift_and_train(
    run: Run, plan: ViewPlan, targets: list[ViewTarget]
) -> tuple[LiftedMasks, SemanticField, list[dict[str, float | int]]]:
    """Lift the masks in closed form and train the three-head field, or find both on disk."""
    config = run.config.semantics
    dense = ["dense tower"] if any(t.pieces is not None for t in targets) else []
    key = digest_json([[t.key for t in targets], config.model_dump(mode="json"), *dense])
    with run.clock.stage("semantic field") as meter:
        stored = _stored(run, key)
        if stored is not None:
            meter.reuse()
            print(f"stage 2: semantic field is up to date ({run.folder.semantics_path})")
            return stored
        samples = sample_views(run, plan, min_weight=config.min_weight)
        values, transfers = plan.volume.values, run.input.transfers
        seen = lift_masks(targets, samples, plan.volume.grid, shown=visible_voxels(values, transfers, min_alpha=0.0))
        save_scalar_map(run.folder.path / "evidence.nrrd", seen.evidence(), plan.volume.grid)
        lifted = fill_unseen(seen, values, visible_voxels(values, transfers), looks_of(plan), config)
        save_lifted(lifted_path(run), lifted, key=key, inputs=plan.inputs)
        resume = run.folder.path / f"semantics.{key[:12]}.resume.pt"

        def log(step: int, row: dict[str, float | int]) -> None:
            if step % 10 == 0:
                for name, value in row.items():
                    if name != "step":
                        run.tracker.log_metric(f"train/{name}", value, step)

        fit = fit_semantic_field(
            ray_bank(targets, samples),
            lifted,
            plan.volume.values,
            config,
            resume_path=resume,
            device=run.device,
            on_step=log,
        )
        save_semantics(run.folder.semantics_path, fit.field, key=key, history=fit.history)
        resume.unlink(missing_ok=True)
    print(f"stage 2: semantic field, loss {fit.history[-1]['loss']:.3f} -> {run.folder.semantics_path}")
    return lifted, fit.field, fit.history


def lifted_path(run: Run) -> Path:
    """Where the lifted masks of a run lie."""
    return run.folder.path / "lifted.safetensors"


def sample_views(run: Run, plan: ViewPlan, *, min_weight: float) -> list[RaySamples]:
    """The weighted samples behind every pixel of every view."""
    return [
        ray_samples(plan.volume, plan.volume.grid, transfer, camera, run.config.render, min_weight=min_weight)
        for camera, transfer in tqdm(plan.shots, desc="ray samples", disable=None)
    ]


def _worth_asking(run: Run, view: RenderedView) -> np.ndarray | None:
    return view.opacity > OBJECT_OPACITY if run.config.sam.skip_empty else None


def _targets_of(
    run: Run,
    views: dict[int, RenderedView],
    models: ViewModels,
    key: str,
) -> Iterator[tuple[int, ViewTarget]]:
    """Segment, sort and embed some views together; their crops share the encoder's batches."""
    pictures = [picture_bytes(view.rgb) for view in views.values()]
    shown = [_worth_asking(run, view) for view in views.values()]
    mask_sets = models.generator.generate_many(pictures, foregrounds=shown)
    hierarchies = [
        partition_levels(masks, view.opacity > OBJECT_OPACITY, rule=run.config.sam.resolved().level_rule)
        for masks, view in zip(mask_sets, views.values(), strict=True)
    ]
    embeddings = embed_views(
        [view.rgb for view in views.values()],
        [hierarchy.masks for hierarchy in hierarchies],
        run.encoder,
        policy=run.config.embed.crop_policy,
        batch_size=run.config.embed.batch_size,
        background=run.config.embed.background,
    )
    for (i, view), hierarchy, vectors in zip(views.items(), hierarchies, embeddings, strict=True):
        regions = models.dense.regions(view.rgb, view.opacity > OBJECT_OPACITY) if models.dense else None
        yield i, make_view_target(view, hierarchy, vectors, key=key, regions=regions)


def _find_current(path: Path, inputs: dict[str, str]) -> bool:
    """Whether `path` now holds a cache of these inputs.

    A stale one is reported with what changed and set aside under a name of its own inputs, never used and never lost:
    going back to the former settings finds it again.
    """
    if path.is_file():
        try:
            before = read_header(path).inputs
        except CacheError as error:
            aside, reason = path.with_name(f"{path.stem}.unreadable{path.suffix}"), str(error)
        else:
            changed = changed_inputs(before, inputs)
            if not changed:
                return True
            aside, reason = _named_by_inputs(path, before), "changed: " + ", ".join(changed)
        path.replace(aside)
        print(f"stage 2: the cache {path} is not used ({reason}); it was set aside as {aside}")
    former = _named_by_inputs(path, inputs)
    if former.is_file():
        former.replace(path)
        print(f"stage 2: the cache of these settings was found at {former}")
        return True
    return False


def _named_by_inputs(path: Path, inputs: dict[str, str]) -> Path:
    return path.with_name(f"{path.stem}.{digest_json(inputs)[:8]}{path.suffix}")


def _stored(run: Run, key: str) -> tuple[LiftedMasks, SemanticField, list[dict[str, float | int]]] | None:
    if not run.folder.semantics_path.is_file():
        return None
    try:
        lifted, _ = load_lifted(lifted_path(run), key=key)
        return lifted, *load_semantics(run.folder.semantics_path, key=key, device=run.device)
    except ArtifactError:
        return None
