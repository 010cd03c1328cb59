"""A picture of what the data engine makes: `python training/contact_sheet.py --renders runs/renders/train --out a.png`.

Each family has a block with one column per view: the picture, then its Whole, Part and Small maps.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

from voxlang.core.doors import through_door


def main(renders: Path, out: Path, columns: int = 8, families: tuple[str, ...] = (), shrink: int = 2) -> None:
    """Write the sheet as PNG.

    Args:
        renders: folder with the scenes_*.npz files of `training/render_views.py`.
        out: the picture.
        columns: views of each family, of as many phantoms as there are.
        families: which; by default all that the folder holds, one block below the other.
        shrink: keep every so many pixels.
    """
    from voxlang.core.errors import ConfigError
    from voxlang.scenes.buffer import contact_sheet, files_by_family, mixed_views

    files = files_by_family(renders)
    chosen = families or tuple(files)
    if missing := sorted(set(chosen) - set(files)):
        raise ConfigError(
            f"families out of {sorted(files)}", got=f"{missing}", where=str(renders), do="name these, or render more"
        )
    contact_sheet(out, *(mixed_views(files[f], columns) for f in chosen), columns=columns, shrink=shrink)
    print(f"{', '.join(chosen)}: {out}")


if __name__ == "__main__":
    sys.exit(through_door(lambda: tyro.cli(main)))
