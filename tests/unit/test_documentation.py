"""What README, docs and model cards tell a reader to type exists and can be typed."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import tyro
from pydantic import BaseModel

from voxlang.apps.describe_encoder import DescribeEncoderConfig
from voxlang.apps.mask_demo import MaskDemoConfig
from voxlang.pipeline.cli import parse
from voxlang.pipeline.config import PipelineConfig
from voxlang.render.presets import PRESETS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "checkpoints").rglob("*.md"))]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in PAGES}
COMMAND = re.compile(r"python3? ((?:-m )?[\w./]+)((?: (?!#)[^`\n#]+)?)")


def flags_of(model: type[BaseModel], prefix: str = "--") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        flag = prefix + name.replace("_", "-")
        nested = field.annotation if isinstance(field.annotation, type) else None
        inner = flags_of(nested, f"{flag}.") if nested and issubclass(nested, BaseModel) else set()
        found |= inner or {flag}
    return found


@pytest.mark.parametrize("page", TEXT)
def test_every_script_named_is_there(page):
    for script, _ in COMMAND.findall(TEXT[page]):
        name = script.removeprefix("-m ")
        if script.startswith("-m benchmarks") or name.endswith(".py"):
            file = name if name.endswith(".py") else name.replace(".", "/") + ".py"
            assert (ROOT / file).is_file(), script


OF_OTHERS = {"--porcelain", "--untracked-files", "--no-build-isolation", "--local-dir"}
"""Flags of git, pip and the hub client."""


def test_every_flag_that_a_message_names_exists():
    known = set().union(*map(flags_of, (PipelineConfig, DescribeEncoderConfig, MaskDemoConfig)), OF_OTHERS)
    known |= {"--help"} | {flag.rsplit(".", 1)[0] for flag in known if "." in flag}
    doors = [
        *ROOT.glob("training/*.py"),
        ROOT / "src/voxlang/segtrain/command.py",
        ROOT / "src/voxlang/checkpoints/cli.py",
    ]
    for node in (n for door in doors for n in ast.walk(ast.parse(door.read_text("utf-8")))):
        if isinstance(node, ast.arg):
            known.add(f"--{node.arg.strip('_').replace('_', '-')}")
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            known.add(f"--{node.target.id.replace('_', '-')}")
    strange = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = re.findall(r"(?<![\w-])--[a-z][\w.-]*\w(?!\w*\()", node.value)
                strange |= {f: path.name for f in named if f.replace("_", "-") not in known}
    assert not strange, strange


@pytest.mark.parametrize("page", TEXT)
def test_every_flag_of_the_pipeline_exists(page):
    known = flags_of(PipelineConfig)
    sections = {flag.split(".")[0] for flag in known if "." in flag} - {"--config"}
    named = {f.replace("_", "-").rstrip(".-") for f in re.findall(r"--[a-z][\w-]*\.[\w.-]+", TEXT[page])}
    strange = {f for f in named if f.split(".")[0] in sections and f not in known}
    assert not strange, f"{page} names flags that do not exist"


def test_every_command_line_of_main_parses(monkeypatch):
    monkeypatch.chdir(ROOT)
    lines = {rest for text in TEXT.values() for script, rest in COMMAND.findall(text) if script == "main.py"}
    assert len(lines) > 8
    for line in lines:
        arguments = shlex.split(line)
        if "--help" in arguments or any(a.startswith("--mode=cache-stats") for a in arguments):
            continue
        if "--mode=describe-encoder" in arguments:
            rest = [a for a in arguments if not a.startswith("--mode")]
            tyro.cli(DescribeEncoderConfig, args=rest)
        else:
            parse(arguments)


def test_every_look_named_exists():
    rows = [row for text in TEXT.values() for row in re.findall(r"--views\.transfers((?: [\w.:-]+)+)", text)]
    assert rows
    for look in " ".join(rows).split():
        assert look in PRESETS or look.startswith(("auto", "phantom")) or look.endswith(".json"), look
