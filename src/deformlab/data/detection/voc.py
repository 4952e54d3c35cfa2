"""PASCAL VOC 2007 and 2012 with boxes: 16,551 / 4,952 images, 20 classes.

Everingham et al., IJCV 2010. DCNv1 trains on both years' trainval and tests on 2007's test (section 4).
"""

from collections.abc import Sequence
from pathlib import Path

from deformlab.data.detection.dataset import DetectionDataset, ImageAnnotations
from deformlab.data.detection.voc_xml import read_voc_list
from deformlab.data.pascal_voc import PascalVOC
from deformlab.errors import DatasetError

__all__ = ["VocBoxes"]

YEARS = ("VOC2007", "VOC2012")


class VocBoxes(DetectionDataset):
    """PASCAL VOC in the layout of the official archives, `root/VOCdevkit/VOC2007/` and `VOC2012/`.

    Split train is trainval of both years (5,011 + 11,540 images), and val is test of 2007 (4,952 images).
    With one year only, train is trainval of that year.

    If 2007's test is missing, there is no further labelled image to validate on: train and val are then VOC's
    own halves of trainval, `train.txt` and `val.txt` of the years that exist.

    `root` may also be `VOCdevkit`, or one year's folder. Difficult objects are marked. Arguments are those of
    `DetectionDataset`; VOC has masks of few images, which are not read, so leave `masks` False.

    Raises:
        DatasetError: As in `DetectionDataset`; also if `root` contains neither year, or a list is missing.
    """

    name = "voc"
    classes = PascalVOC.things
    things = classes
    palette = PascalVOC.palette[1:]
    layout = "VOCdevkit/VOC2007/ and VOCdevkit/VOC2012/"

    @classmethod
    def find(cls, folder: Path, split: str) -> Sequence[ImageAnnotations]:
        """The images of a split, sorted by year and name."""
        years = _years(folder)
        tested = [year for year in years if _listing(year, "test").is_file() and year.name == "VOC2007"]
        if not tested:
            return [image for year in years for image in read_voc_list(year, split, cls.classes)]
        if split == "val":
            return read_voc_list(tested[0], "test", cls.classes)
        # The archive of 2007's test may be there without that of its trainval.
        trained = [year for year in years if _listing(year, "trainval").is_file()]
        if not trained:
            raise DatasetError(
                f"{_listing(years[-1], 'trainval')}: no such file; unpack VOCtrainval_06-Nov-2007.tar or "
                "VOCtrainval_11-May-2012.tar"
            )
        return [image for year in trained for image in read_voc_list(year, "trainval", cls.classes)]


def _listing(year: Path, split: str) -> Path:
    return year / "ImageSets" / "Main" / f"{split}.txt"


def _years(folder: Path) -> list[Path]:
    for parent in (folder / "VOCdevkit", folder):
        found = [parent / year for year in YEARS if (parent / year / "Annotations").is_dir()]
        if found:
            return found
    if folder.resolve().name in YEARS and (folder / "Annotations").is_dir():
        return [folder.resolve()]
    raise DatasetError(
        f"{folder}: contains neither VOCdevkit/VOC2007/Annotations nor VOCdevkit/VOC2012/Annotations; unpack "
        "VOCtrainval_06-Nov-2007.tar, VOCtest_06-Nov-2007.tar and VOCtrainval_11-May-2012.tar there"
    )
