"""The data set `PhantomLevels`. Importing this module registers it with MMSegmentation."""

from __future__ import annotations

from typing import Any, ClassVar

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from voxlang.mmseg.level_pictures import CLASSES


@DATASETS.register_module()
class PhantomLevels(BaseSegDataset):
    """Pictures of `write_level_pictures`; the class of a pixel is the finest level that names a part there."""

    METAINFO: ClassVar = dict(classes=CLASSES, palette=[[0, 0, 0], [230, 120, 40], [60, 160, 220], [90, 190, 90]])

    def __init__(self, **settings: Any) -> None:
        super().__init__(img_suffix=".png", seg_map_suffix=".png", reduce_zero_label=False, **settings)
