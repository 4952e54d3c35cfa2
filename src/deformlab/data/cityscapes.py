"""Cityscapes in its official layout: 2,975 / 500 images of 2048x1024 pixels, 19 classes.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016.
"""

from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import labels as LABELS

from deformlab.data.dataset import UNKNOWN_OBJECT, Sample
from deformlab.data.files import FileDataset, MissingSplitError, SampleFiles
from deformlab.data.reading import read_image, read_integers, read_label
from deformlab.errors import DatasetError
from deformlab.labels import IGNORED

_CLASSES = sorted(
    (label for label in LABELS if label.trainId not in (-1, IGNORED)), key=lambda label: label.trainId
)
# The train id of each label id; -1 for illegal label ids.
_TRAIN_IDS = np.full(256, -1, dtype=np.int16)
for _label in LABELS:
    if _label.id >= 0:
        _TRAIN_IDS[_label.id] = _label.trainId
# Instance ids below 1000 are label ids, without separate objects; others are 1000 x label id + number.
_FIRST_INSTANCE = 1000
_THING_IDS = [label.id for label in _CLASSES if label.hasInstances]


class Cityscapes(FileDataset):
    """Cityscapes as `root/leftImg8bit/<split>/<city>/` and `root/gtFine/<split>/<city>/`.

    Labels come from the `labelIds` files and are mapped to the 19 classes by the table of cityscapesscripts,
    so the data set needs no preparation. Instances come from the `instanceIds` files; groups whose members
    are not annotated separately are `UNKNOWN_OBJECT`. Arguments and errors are those of
    `SegmentationDataset`.
    """

    name = "cityscapes"
    classes = tuple(label.name for label in _CLASSES)
    things = tuple(label.name for label in _CLASSES if label.hasInstances)
    palette = np.array([label.color for label in _CLASSES], dtype=np.uint8)
    layout = "leftImg8bit/ and gtFine/"

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """Frames sorted by city, with their label and instance maps."""
        image_folder, label_folder = folder / "leftImg8bit" / split, folder / "gtFine" / split
        existing = [part for part in (image_folder, label_folder) if part.is_dir()]
        if not existing:
            raise MissingSplitError(
                f"{image_folder}: no such folder; {cls.name!r} needs {cls.layout} in data.root"
            )
        if len(existing) == 1:
            absent, archive = (
                (label_folder, "gtFine_trainvaltest.zip")
                if existing == [image_folder]
                else (image_folder, "leftImg8bit_trainvaltest.zip")
            )
            raise DatasetError(f"{absent}: no such folder, but {existing[0]} exists; unpack {archive}")
        frames = {
            (file.parent.name, file.name.removesuffix(suffix))
            for part, suffix in ((image_folder, "_leftImg8bit.png"), (label_folder, "_gtFine_labelIds.png"))
            for file in part.glob(f"*/*{suffix}")
        }
        if not frames:
            raise DatasetError(
                f"{image_folder}: contains no <city>/*_leftImg8bit.png; unpack leftImg8bit_trainvaltest.zip"
            )
        return [
            SampleFiles(
                name,
                image_folder / city / f"{name}_leftImg8bit.png",
                label_folder / city / f"{name}_gtFine_labelIds.png",
                label_folder / city / f"{name}_gtFine_instanceIds.png",
            )
            for city, name in sorted(frames)
        ]

    @classmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample; classes outside the 19 become 255, instance ids keep their official numbers."""
        assert files.instance is not None
        ids = read_label(files.label)
        train_ids = _TRAIN_IDS[ids]
        if (train_ids < 0).any():
            legal = np.flatnonzero(_TRAIN_IDS >= 0)
            found = ", ".join(map(str, np.setdiff1d(ids, legal)[:8]))
            raise DatasetError(
                f"{files.label}: label ids {found} are illegal; Cityscapes has {legal.min()} to {legal.max()}"
            )
        instance = read_integers(files.instance)
        group = np.isin(instance, _THING_IDS)
        instance[instance < _FIRST_INSTANCE] = 0
        instance[group] = UNKNOWN_OBJECT
        return Sample(
            image=read_image(files.image),
            label=train_ids.astype(np.uint8),
            instance=instance,
            name=files.name,
        )
