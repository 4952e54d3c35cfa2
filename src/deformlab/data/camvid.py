"""CamVid road scenes in the SegNet layout: 367 / 101 / 233 images of 480x360, 11 classes.

Brostow et al., "Segmentation and Recognition Using Structure from Motion Point Clouds", ECCV 2008.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from deformlab.data.dataset import (
    IGNORE_INDEX,
    Sample,
    SegmentationDataset,
    read_image,
    read_label,
    require_folder,
    require_root,
)
from deformlab.errors import DatasetError

_LAYOUT = "train/, trainannot/, val/ and valannot/"
_UNLABELLED = 11
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class CamVid(SegmentationDataset):
    """CamVid as `root/<split>/` (PNG or JPEG) and `root/<split>annot/` (PNG of the same stem).

    There are no instance annotations: an object is an 8-connected component of one thing class, so objects of
    one class that touch in the image count as one.

    Args and errors as in `SegmentationDataset`.
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

    def __init__(
        self,
        root: str | Path | None,
        split: str = "train",
        transform: Callable[[Sample], Any] | None = None,
        cache: bool = False,
    ) -> None:
        super().__init__(root, split, transform, cache)
        folder = require_root(root, self.name, _LAYOUT)
        hint = f"split {split!r} of CamVid needs {split}/ and {split}annot/ in data.root"
        images = {
            file.stem: file
            for file in sorted(require_folder(folder / split, hint).iterdir())
            if file.suffix.lower() in _IMAGE_SUFFIXES
        }
        annotations = require_folder(folder / f"{split}annot", hint)
        labels = {file.stem: file for file in annotations.glob("*.png")}
        if not images:
            raise DatasetError(f"{folder / split}: holds no .png or .jpg images; {hint}")
        for stem, file in images.items():
            if stem not in labels:
                raise DatasetError(
                    f"{file}: its label map {annotations / stem}.png is missing; add it or remove the image"
                )
        self.names = list(images)
        self._images = list(images.values())
        self._labels = [labels[stem] for stem in images]

    def label_file(self, index: int) -> Path:
        """The label map's file."""
        return self._labels[index]

    def load(self, index: int) -> Sample:
        """Read sample `index`; the unlabelled value 11 becomes 255."""
        label = read_label(self._labels[index])
        label[label == _UNLABELLED] = IGNORE_INDEX
        return Sample(
            image=read_image(self._images[index]),
            label=label,
            instance=connected_objects(label, [self.classes.index(thing) for thing in self.things]),
            name=self.names[index],
        )


def connected_objects(label: npt.NDArray[np.uint8], things: list[int]) -> npt.NDArray[np.int32]:
    """Number the 8-connected components of each thing class.

    Args:
        label: shape (H, W).
        things: label values of the classes to take apart.

    Returns:
        Ids from 1, 0 outside the thing classes, shape (H, W).
    """
    instance = np.zeros(label.shape, dtype=np.int32)
    count = 0
    for value in things:
        mask = label == value
        if mask.any():
            components, found = ndimage.label(mask, structure=np.ones((3, 3)))
            instance[mask] = components[mask] + count
            count += found
    return instance
