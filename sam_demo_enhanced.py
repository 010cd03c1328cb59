"""Masks of one picture, coloured by level.

python sam_demo_enhanced.py                                   # a rendered phantom, embedded model
python sam_demo_enhanced.py --image photo.png --sam.size large --sam.points-per-side 64
"""

import sys

from voxlang.apps.mask_demo import main

if __name__ == "__main__":
    sys.exit(main())
