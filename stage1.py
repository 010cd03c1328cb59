"""Stage 1 alone: python stage1.py --volume.path scan.nii.gz"""

from voxlang.field.fit import fit_field
from voxlang.field.store import load_field, save_field
from voxlang.pipeline.cli import main

__all__ = ["fit_field", "load_field", "save_field"]

if __name__ == "__main__":
    main(mode="stage1", prog="stage1.py")
