"""python main.py --mode=all --volume.path scan.nii.gz --query.prompts "left kidney" liver"""

from voxlang.pipeline.cli import main

if __name__ == "__main__":
    main()
