"""Stage 2 alone: python stage2.py --volume.path scan.nii.gz

Names that users of the pipeline import from here: `build_sam_generator`, `partition_levels`, `read_cache`, ...
"""

from voxlang.masks.generate import build_sam_generator
from voxlang.masks.levels import partition_levels
from voxlang.pipeline.cli import main
from voxlang.supervision.cache import read_cache

__all__ = ["build_sam_generator", "partition_levels", "read_cache"]

if __name__ == "__main__":
    main(mode="stage2", prog="stage2.py")
