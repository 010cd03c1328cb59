"""Look at checkpoints of the SAM family and convert them.

python tools/checkpoint.py inspect sam_vit_h_4b8939.pth --analyze
python tools/checkpoint.py convert --to hf-sam2-video sam2.1_hiera_tiny.pt model.safetensors
"""

import sys

from voxlang.checkpoints.cli import main

if __name__ == "__main__":
    sys.exit(main())
