"""Convert the image encoder's trunk of a SAM 2 or 2.1 checkpoint for the backbone `HieraSAM2` of MMSegmentation.

python tools/model_converters/sam2hiera2mmseg.py sam2.1_hiera_base_plus.pt hiera_base_plus.pth
"""

import sys

from voxlang.mmseg.converter import main

if __name__ == "__main__":
    sys.exit(main())
