"""CamVid road scenes in SegNet's layout: 367 / 101 / 233 images of 480x360 pixels, 11 classes.

Brostow et al., "Segmentation and Recognition Using Structure from Motion Point Clouds", ECCV 2008.
"""

from pathlib import Path

import numpy as np

from deformlab.data.files import FileDataset, SampleFiles, pairs_by_stem


class CamVid(FileDataset):
    """CamVid as `root/<split>/` (PNG or JPEG) and `root/<split>annot/` (PNG of the same stem).

    CamVid has no instance annotations. An object is therefore an 8-connected component of one thing class,
    and objects of one class that touch in the image count as one. Arguments and errors are those of
    `SegmentationDataset`.
    """

    name = "camvid"
    classes = (
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Pavement",
        "Tree",
        "SignSymbol",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    )
    ignored = (11,)  # unlabelled
    things = ("Car", "Pedestrian", "Bicyclist", "SignSymbol", "Pole")
    palette = np.array(
        [
            (128, 128, 128),
            (128, 0, 0),
            (192, 192, 128),
            (128, 64, 128),
            (60, 40, 222),
            (128, 128, 0),
            (192, 128, 128),
            (64, 64, 128),
            (64, 0, 128),
            (64, 64, 0),
            (0, 128, 192),
        ],
        dtype=np.uint8,
    )
    splits = ("train", "val", "test")
    layout = "train/, trainannot/, val/ and valannot/"

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """Pairs images with the label maps of the same stem."""
        return pairs_by_stem(folder / split, folder / f"{split}annot", cls.name, cls.layout)
