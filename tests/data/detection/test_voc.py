"""VOC 2007 and 2012 in the layout of the official archives."""

import pytest

from deformlab.data import PascalVOC
from deformlab.data.detection import VocBoxes
from deformlab.errors import DatasetError

YEARS = ("VOC2007", "VOC2012")


@pytest.fixture
def devkit(tmp_path, voc_folder):
    """Both years with the lists of the official archives; 2007 also has test."""
    for year, names in (("VOC2007", ("000002", "000001")), ("VOC2012", ("2008_000001", "2008_000003"))):
        folder = voc_folder(tmp_path / "VOCdevkit" / year)
        for name, split in zip(names, ("train", "val"), strict=True):
            folder.add(name, [("dog", (1, 1, 9, 9)), ("person", (3, 3, 20, 20), 1)], split)
            folder.add(name, [("dog", (1, 1, 9, 9)), ("person", (3, 3, 20, 20), 1)], "trainval")
        if year == "VOC2007":
            folder.add("000004", [("car", (2, 2, 9, 9))], "test")
    return tmp_path


def test_both_years_are_trained_on_and_test_of_2007_validates(devkit):
    assert VocBoxes(devkit, "train").names == ["000001", "000002", "2008_000001", "2008_000003"]
    assert VocBoxes(devkit, "val").names == ["000004"]


@pytest.mark.parametrize("inner", ["", "VOCdevkit"])
def test_the_root_may_be_the_devkit(devkit, inner):
    assert len(VocBoxes(devkit / inner, "train")) == 4


def test_the_years_may_be_directly_in_the_root(devkit):
    for year in YEARS:
        (devkit / "VOCdevkit" / year).rename(devkit / year)
    assert len(VocBoxes(devkit, "train")) == 4


@pytest.mark.parametrize(
    ("year", "train", "val"),
    [
        ("VOC2007", ["000001", "000002"], ["000004"]),
        ("VOC2012", ["2008_000001"], ["2008_000003"]),
    ],
)
def test_a_single_year_is_enough(devkit, year, train, val):
    assert VocBoxes(devkit / "VOCdevkit" / year, "train").names == train
    assert VocBoxes(devkit / "VOCdevkit" / year, "val").names == val


def test_without_test_of_2007_no_image_is_in_both_splits(devkit):
    (devkit / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt").unlink()
    assert VocBoxes(devkit, "train").names == ["000002", "2008_000001"]
    assert VocBoxes(devkit, "val").names == ["000001", "2008_000003"]


def test_test_of_2007_may_be_there_without_its_trainval(devkit):
    (devkit / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "trainval.txt").unlink()
    assert VocBoxes(devkit, "train").names == ["2008_000001", "2008_000003"]
    assert VocBoxes(devkit, "val").names == ["000004"]


def test_without_any_trainval_the_archives_are_named(devkit):
    for year in YEARS:
        (devkit / "VOCdevkit" / year / "ImageSets" / "Main" / "trainval.txt").unlink()
    with pytest.raises(DatasetError, match=r"trainval.txt: no such file; unpack VOCtrainval_06-Nov-2007.tar"):
        VocBoxes(devkit, "train")


def test_labels_are_those_of_segmentation_without_the_background(devkit):
    sample = VocBoxes(devkit, "train").raw(0)
    assert VocBoxes.classes == PascalVOC.classes[1:]
    assert [VocBoxes.classes[label] for label in sample["labels"]] == ["dog", "person"]
    assert sample["difficult"].tolist() == [False, True]
    assert sample["boxes"].tolist() == [[0, 0, 9, 9], [2, 2, 20, 20]]
    assert (VocBoxes.palette == PascalVOC.palette[1:]).all()


def test_parts_of_a_person_are_no_objects(devkit):
    file = devkit / "VOCdevkit" / "VOC2012" / "Annotations" / "2008_000001.xml"
    box = "<bndbox><xmin>4</xmin><ymin>4</ymin><xmax>8</xmax><ymax>8</ymax></bndbox>"
    part = f"<part><name>head</name>{box}</part>"
    text = file.read_text()
    file.write_text(text[: text.rindex("</object>")] + part + text[text.rindex("</object>") :])
    sample = VocBoxes(devkit, "train").raw(2)
    assert sample["boxes"].tolist() == [[0, 0, 9, 9], [2, 2, 20, 20]]


def test_a_folder_without_either_year_names_the_archives(tmp_path):
    with pytest.raises(DatasetError, match=r"contains neither VOCdevkit/VOC2007/Annotations .* unpack VOC"):
        VocBoxes(tmp_path, "train")
