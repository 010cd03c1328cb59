"""The command line: preset, overrides, mode; errors as one readable line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from voxlang.core.doors import through_door
from voxlang.core.errors import ConfigError
from voxlang.pipeline.config import PipelineConfig, load_preset

EPILOG = """\
A preset is given with --config FILE.yaml; everything else on the command line lies over it.
--mode=cache-stats compares caches: main.py --mode=cache-stats A.pkl B.pkl
--mode=describe-encoder explains an image encoder and has flags of its own: main.py --mode=describe-encoder --help
"""


def parse(arguments: Sequence[str], *, prog: str = "main.py") -> tuple[PipelineConfig, list[Path]]:
    """Settings of a command line, and the files named without a flag (for cache-stats).

    Raises:
        ConfigError: a preset that cannot be used, or files without cache-stats.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    preset, rest = first.parse_known_args(arguments)
    files = [a for a in rest if a.endswith(".pkl") and not a.startswith("-")]
    rest = [a for a in rest if a not in files]
    default = load_preset(preset.config) if preset.config else PipelineConfig()
    config = tyro.cli(PipelineConfig, args=rest, default=default, prog=prog, description=EPILOG)
    if files and config.mode != "cache-stats":
        raise ConfigError(
            "cache files only with --mode=cache-stats",
            got=f"{files} with --mode={config.mode}",
            where="command line",
            do="drop the files or change the mode",
        )
    return config, [Path(f) for f in files]


def main(arguments: Sequence[str] | None = None, *, mode: str | None = None, prog: str = "main.py") -> None:
    """Entry of the doors; exits with a status other than 0 where it cannot do it, see `through_door`.

    Args:
        arguments: command line without the program's name; by default this process's.
        mode: a mode that the door stands for.
        prog: name in the help text.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    status = through_door(lambda: _answer([*arguments, f"--mode={mode}"] if mode else arguments, prog=prog))
    if status:
        sys.exit(status)


def _answer(arguments: list[str], *, prog: str) -> str | None:
    named, rest = _mode_and_rest(arguments)
    if named == "describe-encoder":
        return _describe_encoder(rest, prog=prog)
    _run(*parse(arguments, prog=prog))
    return None


def _mode_and_rest(arguments: list[str]) -> tuple[str | None, list[str]]:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--mode")
    found, rest = first.parse_known_args(arguments)
    return found.mode, rest


def _describe_encoder(arguments: list[str], *, prog: str) -> str:
    from voxlang.apps.describe_encoder import DescribeEncoderConfig, run_describe_encoder

    return run_describe_encoder(tyro.cli(DescribeEncoderConfig, args=arguments, prog=f"{prog} --mode=describe-encoder"))


def _run(config: PipelineConfig, files: list[Path]) -> None:
    if config.mode == "dashboard":
        from voxlang.tracking.dashboard import open_dashboard

        open_dashboard(config.runs_dir, port=config.tracking.port, project=config.tracking.project)
    elif config.mode == "cache-stats":
        from voxlang.supervision.cache import cache_path
        from voxlang.supervision.level_figure import save_level_figure
        from voxlang.supervision.stats import compare_caches

        comparison = compare_caches(files or [cache_path(config.cache_dir, config.views.n)])
        print(comparison.text)
        print(save_level_figure(Path(config.runs_dir) / "cache_stats.png", comparison.statistics))
    else:
        from voxlang.pipeline.stages import run_pipeline

        run_pipeline(config)
