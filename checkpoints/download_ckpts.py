"""Download official SAM 2 checkpoints into this folder.

python checkpoints/download_ckpts.py --size large
python checkpoints/download_ckpts.py --size tiny small --version 2.0
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from voxlang.core.doors import through_door
from voxlang.masks.download import download
from voxlang.masks.models import releases_of

_HERE = Path(__file__).resolve().parent


def main(
    size: Annotated[tuple[Literal["tiny", "small", "base_plus", "large"], ...], tyro.conf.arg(help="Sizes.")] = (
        "large",
    ),
    version: Annotated[Literal["2.1", "2.0"], tyro.conf.arg(help="SAM 2.1 or the first SAM 2.")] = "2.1",
    folder: Annotated[Path, tyro.conf.arg(help="Where the files go.")] = _HERE,
) -> None:
    """Download official SAM 2 checkpoints; an interrupted download continues where it stopped."""
    for release in (r for name in size for r in releases_of(name) if r.version == version):
        digest = download(release.url, folder / release.file_name)
        print(f"{folder / release.file_name}\n  sha256 {digest}")


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
