import os
from pathlib import Path

import numpy as np
import pytest

from deformlab.data.coco import decoded_run_lengths
from deformlab.data.detection import Boxes, CocoBoxes, ShapeBoxes, check_detection_dataset
from deformlab.errors import DatasetError

SHARED = Path(os.environ.get("DEFORMLAB_SHARED_DATA", ""))
needs_shared_data = pytest.mark.skipif(
    not (SHARED / "bccd").is_dir(), reason="DEFORMLAB_SHARED_DATA does not name the folder of real images"
)


def test_inclusive_boxes_that_start_at_one_become_continuous_edges(voc):
    voc.add("a", [("cat", (1, 1, 40, 30)), ("dog", (11, 6, 20, 9), 1)])
    sample = Boxes(voc.root, "train").raw(0)
    assert sample["boxes"].tolist() == [[0, 0, 40, 30], [10, 5, 20, 9]]
    assert sample["labels"].tolist() == [0, 1]
    assert sample["difficult"].tolist() == [False, True]
    assert sample["area"].tolist() == [1200.0, 40.0]
    assert sample["image"].shape == (30, 40, 3)


def test_classes_come_from_the_files_or_from_a_list(voc):
    voc.add("a", [("dog", (1, 1, 9, 9)), ("cat", (1, 1, 9, 9))])
    assert Boxes(voc.root, "train").classes == ("cat", "dog")
    (voc.root / "classes.txt").write_text("dog\ncat\n")
    assert Boxes(voc.root, "train").classes == ("dog", "cat")


def test_coco_boxes_have_left_top_width_and_height(coco):
    dataset = Boxes(coco(), "train")
    assert dataset.classes == ("cat", "dog")  # in the order of the ids
    sample = dataset.raw(1)
    assert sample["boxes"].tolist() == [[5, 4, 15, 12]]
    assert sample["labels"].tolist() == [1]
    assert sample["area"].tolist() == [60.0]
    assert sample["ids"].tolist() == [101]


def test_without_a_file_for_val_every_fourth_image_is_held_out(coco):
    root = coco(images=9)
    assert Boxes(root, "val").names == ["003", "007"]
    assert Boxes(root, "train").names == ["000", "001", "002", "004", "005", "006", "008"]


def test_masks_are_decoded_to_the_annotated_area(coco):
    sample = Boxes(coco(), "train", masks=True).raw(0)
    assert decoded_run_lengths(sample["masks"][0]).sum() == 80


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ((20, 5, 12, 9), "has no area"),
        ((50, 5, 60, 9), "is outside the image of 40x30"),
        (("nan", 5, 20, 9), "has a coordinate that is not finite"),
    ],
)
def test_an_illegal_box_names_file_image_and_object_and_may_be_skipped(voc, box, fault):
    file = voc.add("a", [("cat", (1, 1, 9, 9)), ("cat", box)])
    with pytest.raises(DatasetError) as error:
        Boxes(voc.root, "train").raw(0)
    text = str(error.value)
    assert text.startswith(f"{file}: object 2 (cat) of image a: the box")
    assert fault in text
    assert "illegal_boxes: skip" in text
    assert "\n" not in text
    assert len(Boxes(voc.root, "train", illegal_boxes="skip").raw(0)["boxes"]) == 1


def test_boxes_partly_outside_are_clipped(voc):
    voc.add("a", [("cat", (-3, 21, 90, 60))])
    assert Boxes(voc.root, "train").raw(0)["boxes"].tolist() == [[0, 20, 40, 30]]


def test_an_unknown_class_names_the_object(voc):
    voc.add("a", [("cat", (1, 1, 9, 9)), ("cow", (1, 1, 9, 9))])
    (voc.root / "classes.txt").write_text("cat\n")
    with pytest.raises(DatasetError, match=r"a.xml: object 2 has the unknown class 'cow'; known are cat"):
        Boxes(voc.root, "train")


def test_another_size_than_annotated_is_refused(voc):
    voc.add("a", [("cat", (1, 1, 9, 9))], annotated_size=(40, 30))
    with pytest.raises(DatasetError, match=r"a.jpg: is 40x30 but .*a.xml is for 30x40"):
        Boxes(voc.root, "train").raw(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"].append(c["annotations"][0]), "annotation id 100 occurs twice"),
        (lambda c: c["images"].append(c["images"][0]), "image id 10 occurs twice"),
        (lambda c: c["annotations"][0].update(image_id=77), "annotation 100 belongs to image 77"),
        (
            lambda c: c["categories"].append(dict(c["categories"][0], name="cow")),
            "category id 3 occurs twice",
        ),
        (
            lambda c: c["annotations"][0].update(category_id=9),
            "annotation 100 of image 000.png has the unknown category 9",
        ),
        (lambda c: c["annotations"][0].pop("bbox"), "annotation 100 of image 000.png: its bbox is None"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), r"image 000.png: its bbox is \[1, 2, 3\]"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, "3", 4]), r"its bbox is \[1, 2, '3', 4\]; write"),
        (lambda c: c["annotations"][0].update(area=float("nan")), "image 000.png: its area is nan; write"),
        (lambda c: c["annotations"][0].update(area=-1), "image 000.png: its area is -1; write"),
        (lambda c: c["images"][0].update(file_name="../x.png"), "outside"),
    ],
)
def test_faults_of_coco_files_are_named(coco, change, message):
    with pytest.raises(DatasetError, match=message):
        Boxes(coco(change=change), "train")


def test_a_box_of_a_coco_file_that_is_not_finite_names_its_annotation(coco):
    root = coco(change=lambda c: c["annotations"][0].update(bbox=[float("nan"), 4, 10, 8]))
    with pytest.raises(
        DatasetError, match=r"train.json: annotation 100 \(cat\) of image 000: the box .* finite"
    ):
        Boxes(root, "train").raw(0)


def test_an_object_without_a_mask_is_named_if_masks_are_loaded(coco):
    root = coco(change=lambda c: c["annotations"][0].update(segmentation=[]))
    assert len(Boxes(root, "train").raw(0)["boxes"]) == 1
    with pytest.raises(DatasetError, match=r"annotation 100 \(cat\) of image 000: it has no segmentation"):
        Boxes(root, "train", masks=True).raw(0)


def test_a_listed_image_that_is_missing_is_named(coco):
    root = coco()
    (root / "train" / "001.png").unlink()
    with pytest.raises(DatasetError, match=r"001.png: the image is missing, but .*train.json lists it"):
        Boxes(root, "train")


@pytest.mark.parametrize(("name", "text"), [("train.json", "{"), ("train.json", "[]")])
def test_a_broken_file_is_one_line(coco, name, text):
    root = coco()
    (root / "annotations" / name).write_text(text)
    with pytest.raises(DatasetError) as error:
        Boxes(root, "train")
    assert "\n" not in str(error.value)


def test_broken_xml_is_one_line(voc):
    voc.add("a", [("cat", (1, 1, 9, 9))]).write_text("<annotation>")
    (voc.root / "classes.txt").write_text("cat\n")
    with pytest.raises(DatasetError, match=r"a.xml: not readable as XML"):
        Boxes(voc.root, "train")


def test_the_fingerprint_changes_with_a_box(voc):
    voc.add("a", [("cat", (1, 1, 9, 9))])
    before = Boxes(voc.root, "train").fingerprint()
    voc.add("a", [("cat", (1, 1, 9, 8))])
    assert Boxes(voc.root, "train").fingerprint() != before


def test_boxes_of_shapes_enclose_their_visible_pixels():
    dataset = ShapeBoxes(None, "train", train_images=3, size=96, masks=True)
    labels = dataset._shapes.load(1)
    sample = dataset.raw(1)
    assert len(sample["boxes"]) > 0
    for box, number, label in zip(sample["boxes"], sample["ids"], sample["labels"], strict=True):
        rows, columns = np.nonzero(labels["instance"] == number)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert (labels["label"][rows, columns] == label + 1).all()


@needs_shared_data
def test_real_blood_cells():
    counts = {}
    for split, images in (("train", 205), ("val", 87), ("test", 72)):
        dataset = Boxes(SHARED / "bccd", split)
        assert len(dataset) == images
        counts[split] = sum(dataset.object_counts())
    assert dataset.classes == ("Platelets", "RBC", "WBC")
    assert counts == {"train": 2805, "val": 1138, "test": 945}


@needs_shared_data
def test_real_blood_cells_have_two_boxes_of_a_single_pixel():
    """Left and right edge are the same number, which in VOC's inclusive pixels is a width of 1."""
    report = check_detection_dataset("boxes", SHARED / "bccd")
    assert report.problems == []
    assert [line.split(": ")[1] for line in report.single_pixels] == [
        "object 4 (RBC) of image BloodImage_00343",
        "object 13 (RBC) of image BloodImage_00338",
    ]


@needs_shared_data
def test_real_photographs_with_masks_and_crowds():
    splits = {split: CocoBoxes(SHARED / "coco128", split, masks=True) for split in ("train", "val")}
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 96, "val": 32}
    samples = [dataset.raw(index) for dataset in splits.values() for index in range(len(dataset))]
    assert sum(len(sample["boxes"]) for sample in samples) == 900
    assert sum(sample["crowd"].sum() for sample in samples) == 13
    for sample in samples:
        assert len(sample["masks"]) == len(sample["boxes"])
        for mask, area, crowd in zip(sample["masks"], sample["area"], sample["crowd"], strict=True):
            assert mask["size"] == list(sample["image"].shape[:2])
            # Rasterised polygons differ from the annotated area along their outlines only. The file's area
            # of one crowd, 900100003124, is 28,905 pixels, and its run lengths have 20,729.
            assert crowd or abs(decoded_run_lengths(mask).sum() - area) <= 10 + 0.25 * area


@needs_shared_data
def test_real_photographs_are_the_same_as_boxes_and_as_coco():
    for split in ("train", "val"):
        boxes, coco = Boxes(SHARED / "coco128", split), CocoBoxes(SHARED / "coco128", split)
        assert boxes.classes == coco.classes
        assert boxes.contents() == coco.contents()
