"""Train a segmentor on phantom renders with MMSegmentation's Runner, and score it before, after, and read back."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from voxlang.checkpoints.facts import shapes_of
from voxlang.mmseg.parameters import HieraParameters, settle
from voxlang.mmseg.weights import read_trunk


@dataclass(frozen=True)
class Scores:
    """Mean IoU over the classes in percent, as IoUMetric gives it."""

    before: float
    """With the weights that training starts from."""
    after: float
    """With the weights at its end."""
    reloaded: float
    """With the saved checkpoint in a new segmentor."""
    seconds: float
    """Of the training, evaluation at its end included."""
    checkpoint: Path
    """The saved weights."""

    def as_row(self) -> dict[str, float | str]:
        """Rounded, for a table."""
        numbers = {name: round(getattr(self, name), 2) for name in ("before", "after", "reloaded", "seconds")}
        return {**numbers, "checkpoint": str(self.checkpoint)}


def with_checkpoint(config: Config, checkpoint: Path) -> None:
    """Let the backbone start from a file, and the heads take its channels.

    Raises:
        ConfigError, WeightsError: the file does not hold a trunk that fits the configuration.
    """
    backbone = config.model.backbone
    backbone.init_cfg = dict(type="Pretrained", checkpoint=str(checkpoint))
    parameters = {name: value for name, value in backbone.items() if name not in ("type", "init_cfg")}
    channels = settle(HieraParameters(**parameters), shapes_of(read_trunk(checkpoint))).out_channels
    for head in filter(None, (config.model.decode_head, config.model.get("auxiliary_head"))):
        index = head.in_index
        head.in_channels = channels[index] if isinstance(index, int) else [channels[i] for i in index]


def with_iterations(config: Config, iterations: int) -> None:
    """Train for another number of iterations: the schedule, the checkpoint and the score at the end follow."""
    config.train_cfg.update(max_iters=iterations, val_interval=iterations)
    config.default_hooks.checkpoint.interval = iterations
    warm_up, decay = config.param_scheduler
    warm_up.end = decay.begin = min(warm_up.end, max(1, iterations // 10))
    decay.end = iterations


def train_and_score(config: Config) -> Scores:
    """Score, train, score, save, and score what was saved.

    Args:
        config: a whole configuration with `work_dir`; `randomness.seed` makes the start of the first score and of
            the training the same.
    """
    before = _runner(config, "before")
    before.model.init_weights()
    first = _score(before)
    runner = _runner(config, "train")
    started = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - started
    checkpoint = Path(config.work_dir) / "segmentor.pth"
    runner.save_checkpoint(str(checkpoint.parent), checkpoint.name, save_param_scheduler=False, by_epoch=False)
    after = _score(runner)
    reading = copy.deepcopy(config)
    reading.load_from = str(checkpoint)
    return Scores(first, after, _score(_runner(reading, "reloaded")), seconds, checkpoint)


def _score(runner: Runner) -> float:
    return float(runner.val()["mIoU"])


def _runner(config: Config, name: str) -> Runner:
    """A runner with a name of its own: mmengine keeps runners by their names."""
    config = copy.deepcopy(config)
    config.experiment_name = f"{Path(config.work_dir).name}-{name}-{time.time_ns()}"
    return Runner.from_cfg(config)
