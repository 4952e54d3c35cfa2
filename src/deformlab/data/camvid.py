"""CamVid road scenes in the SegNet layout: 367 / 101 / 233 images of 480x360, 11 classes.

Brostow et al., "Segmentation and Recognition Using Structure from Motion Point Clouds", ECCV 2008.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from deformlab.data.dataset import IGNORE_INDEX, Sample
from deformlab.data.files import FileDataset, MissingSplitError, SampleFiles
from deformlab.data.reading import read_image, read_label
from deformlab.errors import DatasetError

_UNLABELLED = 11
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


class CamVid(FileDataset):
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
    layout = "train/, trainannot/, val/ and valannot/"

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """Images and label maps of one stem."""
        image_folder, label_folder = folder / split, folder / f"{split}annot"
        there = [part for part in (image_folder, label_folder) if part.is_dir()]
        if not there:
            raise MissingSplitError(
                f"{image_folder}: no such folder; {cls.name!r} needs {cls.layout} in data.root"
            )
        if len(there) == 1:
            absent = label_folder if there == [image_folder] else image_folder
            raise DatasetError(
                f"{absent}: no such folder, though there is {there[0].name}/; add the missing half"
            )
        images = {
            file.stem: file for file in image_folder.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES
        }
        stems = sorted(images | {file.stem: file for file in label_folder.glob("*.png")})
        if not stems:
            raise DatasetError(
                f"{image_folder}: holds no {' or '.join(_IMAGE_SUFFIXES)} images; unpack {cls.name!r} there"
            )
        return [
            SampleFiles(stem, images.get(stem, image_folder / f"{stem}.png"), label_folder / f"{stem}.png")
            for stem in stems
        ]

    @classmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample; the unlabelled value 11 becomes 255."""
        label = read_label(files.label)
        label[label == _UNLABELLED] = IGNORE_INDEX
        return Sample(
            image=read_image(files.image),
            label=label,
            instance=connected_objects(label, [cls.classes.index(thing) for thing in cls.things]),
            name=files.name,
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
