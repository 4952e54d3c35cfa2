"""COCO 2017 and excerpts of it."""

import pytest

from deformlab.data import Coco
from deformlab.data.coco import decoded_run_lengths
from deformlab.data.detection import Boxes, CocoBoxes
from deformlab.errors import DatasetError


@pytest.fixture
def excerpt(coco):
    """Images with COCO's names of files, without a val split; `change` may edit the JSON."""

    def make(images=8, change=lambda content: None):
        root = coco(images, change)
        (root / "train").rename(root / "train2017")
        (root / "annotations" / "train.json").rename(root / "annotations" / "instances_train2017.json")
        return root

    return make


@pytest.fixture
def official(excerpt):
    """An excerpt with a val split, which has the images of train."""
    root = excerpt()
    for source, target in (
        (root / "annotations" / "instances_train2017.json", "instances_val2017.json"),
        *((file, root / "val2017" / file.name) for file in sorted((root / "train2017").iterdir())),
    ):
        copy = source.with_name(target) if isinstance(target, str) else target
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(source.read_bytes())
    return root


def test_both_splits_have_their_own_images(official):
    (official / "train2017" / "000.png").unlink()
    assert len(CocoBoxes(official, "val")) == 8
    with pytest.raises(DatasetError, match=r"000.png: the image is missing"):
        CocoBoxes(official, "train")


def test_of_an_excerpt_every_fourth_image_is_held_out(excerpt):
    root = excerpt(8)
    assert CocoBoxes(root, "val").names == ["003", "007"]
    assert len(CocoBoxes(root, "train")) == 6


def test_the_excerpt_has_the_splits_that_segmentation_has(excerpt):
    root = excerpt(9)
    for split in ("train", "val"):
        assert CocoBoxes(root, split).names == Coco(root, split).names


def test_classes_are_all_80_of_coco_whichever_are_in_the_file(excerpt):
    sample = CocoBoxes(excerpt(), "train").raw(1)
    assert CocoBoxes.classes == Coco.things
    assert len(CocoBoxes.palette) == len(CocoBoxes.classes) == 80
    assert CocoBoxes.classes[sample["labels"][0]] == "dog"


def test_crowds_are_marked_and_may_have_run_lengths(excerpt):
    def change(content):
        # A column of 30 pixels on, then everything off: COCO's runs begin with pixels that are off.
        runs = {"size": [30, 40], "counts": [0, 30, 1170]}
        content["annotations"][0].update(iscrowd=1, segmentation=runs, bbox=[0, 0, 1, 30])

    sample = CocoBoxes(excerpt(change=change), "train", masks=True).raw(0)
    assert sample["crowd"].tolist() == [True]
    decoded = decoded_run_lengths(sample["masks"][0])
    assert decoded[:, 0].all()
    assert decoded.sum() == 30


def test_boxes_without_height_are_left_out_unless_asked_for(excerpt):
    """COCO's official files have two of them."""
    root = excerpt(change=lambda c: c["annotations"][0].update(bbox=[5, 4, 1, 0], area=0))
    assert len(CocoBoxes(root, "train").raw(0)["boxes"]) == 0
    with pytest.raises(DatasetError, match=r"annotation 100 \(cat\) of image 000: the box .* has no area"):
        CocoBoxes(root, "train", illegal_boxes="error").raw(0)
    with pytest.raises(DatasetError, match="has no area"):
        Boxes(root, "train").raw(0)


def test_another_category_is_refused(excerpt):
    root = excerpt(change=lambda c: c["categories"][0].update(name="cow bell"))
    with pytest.raises(
        DatasetError, match=r"annotation 101 of image 001.png has the unknown category 3 \(cow b"
    ):
        CocoBoxes(root, "train")


@pytest.mark.parametrize(
    ("missing", "archive"),
    [("val2017", "val2017.zip"), ("annotations/instances_val2017.json", "annotations_trainval2017.zip")],
)
def test_half_of_a_split_names_the_archive(official, missing, archive):
    path = official / missing
    path.rename(official / "elsewhere")
    with pytest.raises(DatasetError, match=f"{path.name}: no such .*; unpack {archive}"):
        CocoBoxes(official, "val")
