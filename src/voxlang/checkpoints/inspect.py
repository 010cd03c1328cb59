"""Look at a file of weights and say what it is, without reading its values."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from voxlang.checkpoints.hiera import HieraConfig
from voxlang.checkpoints.layouts import Layout
from voxlang.checkpoints.reading import WeightsFile, read_weights_file
from voxlang.checkpoints.rules import first
from voxlang.checkpoints.sam1 import Sam1Config
from voxlang.checkpoints.sam2 import Sam2Config
from voxlang.checkpoints.understand import Understanding, understand


@dataclass(frozen=True, eq=False)
class Inspection:
    """A file and what is known about it."""

    file: WeightsFile
    understanding: Understanding

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.numel() for tensor in self.file.state.values())

    def summary(self) -> str:
        """What it is, how large, and what is unknown."""
        u, file = self.understanding, self.file
        layout = u.match.layout
        kinds = Counter(str(t.dtype).removeprefix("torch.") for t in file.state.values())
        inside = f", state dict under {file.wrapper}" if file.wrapper else ""
        lines = [
            f"{file.path}: {file.path.stat().st_size:,} bytes, {file.container}{inside}",
            f"{len(file.state)} tensors, {self.parameters:,} numbers: "
            + ", ".join(f"{n} {name}" for name, n in kinds.most_common()),
        ]
        lines += [f"{name}: {text}" for name, text in _notes(file).items()]
        agreement = f"{u.match.agreement:.0%} of the key forms agree"
        if not u.match.is_sure:
            return "\n".join([*lines, f"unknown; nearest known layout {layout.name} ({layout.title}), {agreement}"])
        family = layout.family.title if isinstance(layout, Layout) else layout.title
        lines.append(f"layout {layout.name}: {layout.title}, {agreement}")
        version = f" {u.version.value} ({u.version.source}: {u.version.because})" if u.version else ""
        lines.append(f"model {family}{version}, size {u.size}")
        if u.problem:
            lines.append(f"configuration unknown: {u.problem}")
        if file.others:
            lines.append(f"{len(file.others)} other entries: {first(file.others)}")
        d = u.difference
        kinds_ = (("missing", d.missing), ("unexpected", d.unexpected), ("of another shape", d.misshapen))
        departures = [f"{len(keys)} {name}: {first(keys)}" for name, keys in kinds_ if keys]
        if isinstance(layout, Layout):
            lines.append(f"compared with {u.compared_with}: " + ("; ".join(departures) or "every key as expected"))
        elif d.unexpected:
            lines.append(f"unknown keys, {departures[0]}")
        return "\n".join(lines)

    def facts(self) -> str:
        """Every inferred value with its source."""
        rows = [(name, str(fact.value), fact.source, fact.because) for name, fact in self.understanding.facts.items()]
        if not rows:
            return "nothing inferred"
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(
            f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source:<{widths[2]}}  {because}"
            for name, value, source, because in rows
        )

    def blocks(self) -> str:
        """One line for each block of the image encoder: channels, projection, window."""
        config = self.understanding.config
        if isinstance(config, Sam2Config):
            config = config.trunk
        if isinstance(config, HieraConfig):
            return "\n".join(_hiera_blocks(config))
        if isinstance(config, Sam1Config):
            return "\n".join(
                f"block {i:<3} {config.width} channels  "
                + ("global" if i in config.global_blocks else f"window {config.window}")
                for i in range(config.blocks)
            )
        return "no blocks known"

    def key_list(self) -> str:
        """Every key with its shape and type."""
        return "\n".join(
            f"{key}  {tuple(tensor.shape)}  {str(tensor.dtype).removeprefix('torch.')}"
            for key, tensor in self.file.state.items()
        )


def inspect_file(path: str | Path) -> Inspection:
    """Open a file and understand it.

    Raises:
        WeightsError: no file of weights.
    """
    file = read_weights_file(path)
    return Inspection(file, understand(file.state))


def _notes(file: WeightsFile) -> dict[str, str]:
    """Notes in the header that say whose file this is."""
    notes = dict(file.metadata)
    if "voxlang" in notes:
        try:
            header = json.loads(notes["voxlang"])
        except json.JSONDecodeError:
            return {}
        return {"ours": str(header.get("kind"))} if isinstance(header, dict) else {}
    return {"ours": notes["kind"]} if notes.get("kind", "").startswith("sam2") else {}


def _hiera_blocks(c: HieraConfig) -> list[str]:
    """Windows lag by a block: the first block of a stage still has the window of the stage before."""
    at = ", ".join(map(str, c.projecting_blocks)) or "none"
    stretched, repeated = " x ".join(map(str, c.background)), " x ".join([str(c.windows[0])] * 2)
    lines = [
        f"{c.blocks} blocks, projections in {at}; "
        f"position embeddings: {stretched} stretched over the picture, {repeated} repeated in every window"
    ]
    index = 0
    for stage, (blocks, width) in enumerate(zip(c.stages, c.widths, strict=True)):
        for place in range(blocks):
            projects = place == 0 and stage > 0
            window = c.windows[max(0, stage - 1)] if projects else c.windows[stage]
            kind = "global" if index in c.global_blocks else f"window {window}"
            lines.append(f"block {index:<3} stage {stage}  {width:>5} channels  {kind:<10}{'projection' * projects}")
            index += 1
    return [line.rstrip() for line in lines]
