"""What the two models are worth on labelled views: of phantoms, and of a run's own volume where it has truth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voxlang.cliptrain.dense_scores import PlaceScore, score_places
from voxlang.cliptrain.evaluate import candidates_of, crops_of, object_margins, relevancy_pairs, text_to_part
from voxlang.cliptrain.nouns import HELD_OUT, absent_nouns
from voxlang.cliptrain.places import LabelledViews
from voxlang.core.levels import LEVELS
from voxlang.embed.dense_encoder import DenseEncoder
from voxlang.embed.encoder import load_dense_encoder
from voxlang.embed.settings import CropPolicy
from voxlang.embed.types import ImageTextEncoder
from voxlang.evaluate.calibration import CalibrationCurve, calibration_curve
from voxlang.masks.generate import sam_generator_from_settings
from voxlang.masks.levels import partition_levels
from voxlang.masks.sam_generator import SamGenerator
from voxlang.masks.settings import OBJECT_OPACITY
from voxlang.masks.types import MaskSet
from voxlang.pipeline.run import Run, require_truth
from voxlang.pipeline.views import picture_bytes, plan_views
from voxlang.scenes.buffer import StoredScenes
from voxlang.scenes.labelled import LabelledVolume
from voxlang.segtrain.agreement import LevelAgreement, level_agreement, levels_found
from voxlang.segtrain.evaluate import AutomaticScore, PointScore, ask_regions, point_scores, score_masks
from voxlang.segtrain.shapes import LabelledPicture


@dataclass(frozen=True, eq=False)
class MaskMeasures:
    """What the mask model is worth on some views."""

    points: list[PointScore]
    """Answers to one point in each true region, per level."""
    automatic: AutomaticScore
    """The automatic masks, as many grid points as the generator's settings say."""
    agreement: LevelAgreement
    """Levels of the same part in several views of an object."""
    calibration: dict[str, CalibrationCurve]
    """Predicted against true IoU of the own token, per level."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "points": [asdict(p) for p in self.points],
            "automatic": asdict(self.automatic),
            "agreement": asdict(self.agreement),
            "calibration": {k: c.as_dict() for k, c in self.calibration.items()},
        }


@dataclass(frozen=True, eq=False)
class TextMeasures:
    """What the image-text model is worth on true masks of some views."""

    retrieval: dict[str, dict[str, float]]
    """Top-1 and top-5 of text to part, by kind of text: training names, unseen synonyms, names of unseen families.
    Siblings that a crop cannot tell apart count as one; see `voxlang.cliptrain.evaluate.candidates_of`."""
    retrieval_strict: dict[str, dict[str, float]]
    """The same with every part for itself."""
    found: float
    """Share of (name, object that has the part) whose relevancy on the part is above one half."""
    absent_refused: float
    """Share of (noun of an absent thing, object) whose relevancy is below one half on every part of the object."""
    calibration: CalibrationCurve
    """Relevancy against the share of right names."""
    crops: int
    """Crops behind it."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        row = asdict(self)
        row["calibration"] = self.calibration.as_dict()
        return row


def measure_masks(
    objects: Sequence[StoredScenes], generator: SamGenerator, *, automatic_views: int = 2, seed: int = 0
) -> MaskMeasures:
    """Points on all views; automatic masks and their levels on the first views of each object."""
    pictures = [LabelledPicture(o.rgb[i], o.part_index[i]) for o in objects for i in range(len(o.rgb))]
    answers = ask_regions(generator.model, pictures, rng=np.random.default_rng(seed))
    found: list[MaskSet] = []
    shown: list[LabelledPicture] = []
    seconds, levels = [], []
    for o in objects:
        views = range(min(automatic_views, len(o.rgb)))
        for i in views:
            started = time.monotonic()
            found.append(generator.generate(o.rgb[i]))
            seconds.append(time.monotonic() - started)
            shown.append(LabelledPicture(o.rgb[i], o.part_index[i]))
        hierarchies = [
            partition_levels(masks, o.opacity[i] > 255 * OBJECT_OPACITY, rule=generator.settings.level_rule)
            for i, masks in zip(views, found[len(found) - len(views) :], strict=True)
        ]
        levels.append([levels_found(h, o.part_index[i]) for i, h in zip(views, hierarchies, strict=True)])
    curves = {
        level.label: calibration_curve(answers.predicted[rows, level], answers.iou[rows, level])
        for level in LEVELS
        if len(rows := np.flatnonzero(answers.level == level))
    }
    automatic = score_masks(found, shown, seconds=float(np.median(seconds)))
    return MaskMeasures(point_scores(answers), automatic, level_agreement(levels), curves)


def measure_text(
    objects: Sequence[StoredScenes],
    encoder: ImageTextEncoder,
    policy: CropPolicy,
    *,
    unseen_families: Sequence[str] = (),
) -> TextMeasures:
    """Text to part among all parts of all objects, by kind of text, and what is not there."""
    crops = crops_of(encoder, objects, policy=policy)
    concepts = crops.table.concepts
    names = lambda unseen: sorted({c.name for c in concepts if (c.family in unseen_families) is unseen})
    kinds = {
        "training names": names(False),
        "unseen synonyms": [s for f, words in HELD_OUT.items() for s in words if f not in unseen_families],
        "names of unseen families": names(True),
    }
    scores = []
    for siblings in (True, False):
        candidates = candidates_of(crops, siblings=siblings)
        found = {kind: text_to_part(encoder, candidates, texts) for kind, texts in kinds.items()}
        scores.append({kind: {f"top{k}": v for k, v in score.items()} for kind, score in found.items()})
    absent = [n for n in absent_nouns("test") if not crops.table.column(n)[0].any()]
    margins = object_margins(encoder, crops, absent)
    relevancy, right = relevancy_pairs(encoder, crops)
    return TextMeasures(
        *scores,
        margins.found(),
        margins.refused(),
        calibration_curve(relevancy, right.astype(np.float64)),
        len(crops.vectors),
    )


def measure_places(
    objects: Sequence[StoredScenes],
    encoder: ImageTextEncoder,
    dense: DenseEncoder | None,
    *,
    families: Sequence[str] = (),
) -> list[PlaceScore]:
    """How often the dense tower gives the places of views their own name, per level; nothing where there is no tower.

    Args:
        objects: views with truth; the names of all of them are the choices.
        encoder: whose texts are compared.
        dense: the tower of the settings.
        families: those that count; all by default.
    """
    if dense is None:
        return []
    return score_places(dense, LabelledViews(objects), encoder, families=tuple(families))


def truth_views(run: Run, *, most: int = 8) -> StoredScenes:
    """Views of a run's volume with the truth at every pixel, from its own cameras and transfer functions.

    Raises:
        QueryError: the volume has no truth.
    """
    truth = require_truth(run)
    labelled = LabelledVolume(run.input.volume, truth)
    shots = plan_views(run).shots
    chosen = [shots[i] for i in np.linspace(0, len(shots) - 1, min(most, len(shots))).round().astype(int)]
    views = [labelled.view(transfer, camera, run.config.render) for camera, transfer in chosen]
    return StoredScenes(
        np.stack([picture_bytes(v.view.rgb) for v in views]),
        np.stack([np.round(255.0 * v.view.opacity).astype(np.uint8) for v in views]),
        np.stack([v.part_index for v in views]),
        truth.tree,
        run.config.run_name,
        run.config.volume.seed,
    )


def measure_run(run: Run) -> dict[str, Any]:
    """Both models on the run's own views, printed and as JSON-able rows; needs truth."""
    with run.clock.stage("measure models"):
        views = truth_views(run)
        masks = measure_masks([views], sam_generator_from_settings(run.config.sam), automatic_views=len(views.rgb))
        policy = run.config.embed.crop_policy
        policy = "masked" if policy == "pooled" else policy  # pooled vectors come of no crop
        text = measure_text([views], run.encoder, policy)
        places = measure_places([views], run.encoder, load_dense_encoder(run.config.embed, run.encoder))
    for score in masks.points:
        print(
            f"evaluate: point to {score.level}: IoU {score.best_iou:.3f} best of three, {score.own_iou:.3f} own token"
        )
    automatic = masks.automatic
    print(f"evaluate: automatic masks: recall {automatic.recall_50:.3f} at IoU 0.5, {automatic.recall_75:.3f} at 0.75")
    print(f"evaluate: same level in two views: {masks.agreement.same:.3f} of {masks.agreement.pairs}")
    for kind, row in text.retrieval.items():
        if not np.isnan(row["top1"]):
            print(f"evaluate: {kind}, text to part: top-1 {row['top1']:.3f}, top-5 {row['top5']:.3f}")
    for place in places:
        print(f"evaluate: places that get their own name of all, {place.level}: {place.right:.3f} of {place.places}")
    return {"masks": masks.as_dict(), "text": text.as_dict(), "places": [asdict(p) for p in places]}
