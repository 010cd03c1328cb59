"""Masks and embeddings of the demo's views with the embedded models: ours beside the plain way, by turns.

The plain way: sam2's own generator on every view with all grid points, and one call of the image-text encoder a mask.
Ours: the fast generator, no points on empty pixels, crops of all views in common batches.

python -m benchmarks.mask_views [--json] [--views 20] [--size-px 256] [--runs 1]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

import numpy as np

from benchmarks.masks import print_table, times_of
from voxlang.core.runs import machine
from voxlang.masks.settings import OBJECT_OPACITY
from voxlang.render.types import RenderedView


def render_views(n: int, size_px: int) -> list[RenderedView]:
    """Views of the demo's bonsai from all around."""
    from voxlang.geometry.orbits import orbit_cameras
    from voxlang.render.presets import transfer_from_appearance
    from voxlang.render.render import prepare
    from voxlang.render.settings import RenderSettings
    from voxlang.volume.phantoms.make import make_phantom

    phantom = make_phantom("bonsai", 7)
    grid = phantom.volume.grid
    volume, settings = prepare(phantom.volume.values, grid), RenderSettings()
    transfer = transfer_from_appearance(phantom.appearances[0], grid)
    cameras = orbit_cameras(grid, n, width=size_px, height=size_px, rng=np.random.default_rng(0))
    return [volume.render(transfer, camera, settings) for camera in cameras]


def main(arguments: list[str] | None = None) -> int:
    """Print a table, or one JSON line last with --json."""
    import torch

    from voxlang.embed.crops import mask_crops
    from voxlang.embed.embed_masks import embed_views
    from voxlang.embed.encoder import load_encoder
    from voxlang.embed.settings import EmbedConfig
    from voxlang.masks.generate import sam_generator_from_settings
    from voxlang.masks.official import official_masks
    from voxlang.masks.settings import SamSettings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    views = render_views(options.views, options.size_px)
    pictures = [np.round(255 * view.rgb.clip(0, 1)).astype(np.uint8) for view in views]
    shown = [view.opacity > OBJECT_OPACITY for view in views]
    settings = EmbedConfig()
    generator, encoder = sam_generator_from_settings(SamSettings()), load_encoder(settings)

    def plain() -> int:
        count = 0
        for rgb in pictures:
            masks = official_masks(generator.official, rgb)
            crops = mask_crops(rgb, masks, policy="masked", size=encoder.image_size)
            count += len([encoder.encode_images(crop[None]) for crop in crops])
        return count

    def ours(policy: str) -> int:
        found = generator.generate_many(pictures, foregrounds=shown)
        return sum(len(e.vectors) for e in embed_views(pictures, found, encoder, policy=policy))

    rows = {
        "sam2's generator, one encoder call a mask": plain,
        "ours": lambda: ours(settings.crop_policy),
        "ours, one crop a mask": lambda: ours("masked"),
        "ours, pooled dense features": lambda: ours("pooled"),
    }
    times = times_of(rows, options.runs)
    share = 100 * np.mean([s.mean() for s in shown])
    print_table(f"{options.views} views at {options.size_px} px, object on {share:.0f} % of the pixels", times)
    if options.json:
        wall = {name: statistics.median(t[0] for t in column) for name, column in times.items()}
        peer = next(iter(wall))
        ratio = wall[peer] / wall["ours"]
        line = {"name": "mask views", "ours": wall["ours"], "peer": wall[peer], "unit": "s", "ratio": ratio}
        print(json.dumps(line | {"runs": options.runs, "machine": machine(), "rows": wall}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
