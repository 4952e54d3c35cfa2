"""Data sets, transforms and loaders.

`SegmentationDataModule` is imported on first use, because it needs Lightning, whose import takes seconds.
Reading and checking data sets do not need it.
"""

from typing import TYPE_CHECKING, Any

import deformlab._needs_toolkit  # noqa: F401
from deformlab.data.camvid import CamVid
from deformlab.data.check import CheckSettings, DatasetReport, SplitReport, check_dataset
from deformlab.data.cityscapes import Cityscapes
from deformlab.data.coco import Coco
from deformlab.data.dataset import UNKNOWN_OBJECT, Sample, SegmentationDataset, connected_objects
from deformlab.data.files import FileDataset
from deformlab.data.folder import Folder
from deformlab.data.pascal_voc import PascalVOC
from deformlab.data.reading import read_image, read_label
from deformlab.data.registry import DATASETS
from deformlab.data.shapes import Shapes
from deformlab.data.transforms import IMAGENET_MEAN, IMAGENET_STD, EvalTransform, TrainTransform

if TYPE_CHECKING:
    from deformlab.data.datamodule import SegmentationDataModule

__all__ = [
    "DATASETS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "UNKNOWN_OBJECT",
    "CamVid",
    "CheckSettings",
    "Cityscapes",
    "Coco",
    "DatasetReport",
    "EvalTransform",
    "FileDataset",
    "Folder",
    "PascalVOC",
    "Sample",
    "SegmentationDataModule",
    "SegmentationDataset",
    "Shapes",
    "SplitReport",
    "TrainTransform",
    "check_dataset",
    "connected_objects",
    "read_image",
    "read_label",
]


def __getattr__(name: str) -> Any:
    if name == "SegmentationDataModule":
        from deformlab.data.datamodule import SegmentationDataModule

        return SegmentationDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
