"""PASCAL VOC 2012 with SBD's masks: 10,582 / 1,449 images, 20 classes and background.

Everingham et al., IJCV 2010; Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011.
"""

from pathlib import Path

import numpy as np

from deformlab.data.dataset import Sample, color_map
from deformlab.data.files import FileDataset, MissingSplitError, SampleFiles
from deformlab.data.reading import read_image, read_integers, read_label
from deformlab.errors import DatasetError
from deformlab.labels import IGNORED


def read_names(listing: Path) -> list[str]:
    """The image names in one of VOC's lists.

    Raises:
        DatasetError: The file is not readable, or an entry is a path instead of a name.
    """
    try:
        names = listing.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{listing}: cannot be read ({error}); unpack it again") from None
    for name in names:
        if Path(name).name != name or name == "..":
            raise DatasetError(f"{listing}: {name!r} is not an image name; write names without folders")
    return names


class PascalVOC(FileDataset):
    """PASCAL VOC 2012 in the layout of the official archive, `root/VOCdevkit/VOC2012/`.

    Split `train_aug` (10,582 images) needs `SegmentationClassAug/` and a list of its images;
    `scripts/prepare_voc_aug.py` creates both. Instances come from `SegmentationObject/` or, for images that
    are not in it, from `SegmentationObjectAug/`; an image in neither has no instances. `root` may also be
    `VOCdevkit` or `VOC2012` itself. Arguments and errors are those of `SegmentationDataset`.
    """

    name = "voc"
    classes = (
        "background",
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    )
    things = classes[1:]
    palette = color_map(len(classes))
    splits = ("train_aug", "train", "val")
    train_split = "train_aug"
    layout = "VOCdevkit/VOC2012/"

    @classmethod
    def folder(cls, root: str | Path | None) -> Path:
        """The folder `VOC2012`."""
        given = super().folder(root)
        for folder in (given / "VOCdevkit" / "VOC2012", given / "VOC2012", given):
            if (folder / "JPEGImages").is_dir():
                return folder
        raise DatasetError(
            f"{given}: contains no VOCdevkit/VOC2012/JPEGImages; unpack VOCtrainval_11-May-2012.tar there"
        )

    @classmethod
    def find(cls, folder: Path, split: str) -> list[SampleFiles]:
        """The images of the split's list."""
        listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        augmented = split == "train_aug"
        labels = folder / ("SegmentationClassAug" if augmented else "SegmentationClass")
        way_out = (
            "create it with scripts/prepare_voc_aug.py"
            if augmented
            else "unpack VOCtrainval_11-May-2012.tar again"
        )
        if not listing.is_file():
            raise MissingSplitError(f"{listing}: no such file; {way_out}")
        if not labels.is_dir():
            raise DatasetError(f"{labels}: no such folder; {way_out}")
        names = read_names(listing)
        if not names:
            raise DatasetError(f"{listing}: the list is empty; {way_out}")
        instances = {
            file.stem: file
            for source in ("SegmentationObjectAug", "SegmentationObject")
            for file in (folder / source).glob("*.png")
        }
        return [
            SampleFiles(
                name, folder / "JPEGImages" / f"{name}.jpg", labels / f"{name}.png", instances.get(name)
            )
            for name in names
        ]

    @classmethod
    def read(cls, files: SampleFiles) -> Sample:
        """One sample; the void pixels along outlines, 255, are ignored and on no instance."""
        label = read_label(files.label)
        if files.instance is None:
            instance = np.zeros(label.shape, dtype=np.int32)
        else:
            instance = read_integers(files.instance)
            instance[instance == IGNORED] = 0
        return Sample(image=read_image(files.image), label=label, instance=instance, name=files.name)
