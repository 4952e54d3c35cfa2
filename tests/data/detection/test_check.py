"""What `deformlab data check` says of data sets with boxes."""

import pytest

from deformlab.cli import main
from deformlab.data.detection import check_detection_dataset


def test_boxes_are_counted_by_split_class_and_size(voc):
    voc.add("a", [("cat", (1, 1, 20, 20)), ("dog", (1, 1, 40, 30))])
    voc.add("b", [])
    voc.add("c", [("cat", (1, 1, 10, 10))], "val")
    report = check_detection_dataset("boxes", voc.root)
    assert report.problems == []
    assert report.images == {"train": 2, "val": 1}
    assert report.empty == {"train": 1, "val": 0}
    assert report.areas == {"train": {"cat": [400.0], "dog": [1200.0]}, "val": {"cat": [100.0]}}
    assert report.absent == ["test"]
    assert report.format().splitlines()[-1] == "no problems found"


def test_every_illegal_box_is_one_line_and_legal_ones_are_counted(voc):
    voc.add("a", [("cat", (9, 1, 2, 9)), ("cat", (1, 1, 9, 9)), ("cat", (90, 1, 99, 9))])
    voc.add("b", [("cat", (1, 1, 9, 9))], "val")
    report = check_detection_dataset("boxes", voc.root)
    assert len(report.problems) == 2
    assert "object 1 (cat) of image a" in report.problems[0]
    assert "object 3 (cat) of image a" in report.problems[1]
    assert report.areas["train"] == {"cat": [81.0]}


def test_an_unreadable_image_is_named_and_the_others_are_read(voc):
    for name in ("a", "b"):
        voc.add(name, [("cat", (1, 1, 9, 9))])
    voc.add("c", [("cat", (1, 1, 9, 9))], "val")
    (voc.root / "JPEGImages" / "a.jpg").write_bytes(b"nothing")
    report = check_detection_dataset("boxes", voc.root)
    assert [problem.count("a.jpg") for problem in report.problems] == [1]
    assert report.areas["train"] == {"cat": [81.0]}


def test_a_wrong_image_is_one_problem_however_many_boxes_it_has(voc):
    voc.add("a", [("cat", (1, 1, 9, 9)), ("cat", (1, 1, 5, 5))], annotated_size=(20, 20))
    voc.add("b", [("cat", (1, 1, 9, 9))], "val")
    assert len(check_detection_dataset("boxes", voc.root).problems) == 1


def test_every_missing_image_is_one_line_and_the_others_are_read(coco):
    root = coco(images=8)
    for name in ("000", "002"):
        (root / "train" / f"{name}.png").unlink()
    report = check_detection_dataset("boxes", root)
    assert [problem.split(",")[0] for problem in report.problems] == [
        f"{root / 'train' / name}.png: the image is missing" for name in ("000", "002")
    ]
    assert report.areas["train"] == {"cat": [80.0, 80.0], "dog": [80.0, 80.0]}


def test_boxes_that_the_data_set_leaves_out_are_counted(coco):
    def illegal(content):
        content["annotations"][0].update(bbox=[5, 4, 0, 8])

    assert len(check_detection_dataset("boxes", coco(change=illegal)).problems) == 1
    report = check_detection_dataset("boxes", coco(change=illegal), {"illegal_boxes": "skip"})
    assert (report.problems, report.skipped) == ([], 1)
    assert "(illegal_boxes: skip): 1" in report.format()


def test_boxes_of_a_single_pixel_are_named_but_legal(voc):
    file = voc.add("a", [("cat", (1, 1, 20, 20)), ("cat", (7, 5, 7, 5)), ("cat", (7, 5, 8, 6))])
    voc.add("b", [("cat", (1, 1, 10, 10))], "val")
    report = check_detection_dataset("boxes", voc.root)
    assert report.problems == []
    assert report.single_pixels == [f"{file}: object 2 (cat) of image a"]
    assert "boxes one pixel wide or high: 1" in report.format()


def test_generated_shapes_are_counted_without_a_folder():
    options = {"train_images": 3, "val_images": 2, "size": 64}
    report = check_detection_dataset("shapes", options=options)
    assert report.images == {"train": 3, "val": 2, "test": 2}
    assert sum(map(len, report.areas["train"].values())) >= 3


def test_names_that_segmentation_has_too_need_the_task(coco, capsys):
    root = coco()
    (root / "train").rename(root / "train2017")
    (root / "annotations" / "train.json").rename(root / "annotations" / "instances_train2017.json")
    assert main(["data", "check", "coco", str(root), "--task", "detection"]) == 0
    assert "without boxes" in capsys.readouterr().out


@pytest.mark.parametrize(("legal", "code"), [(True, 0), (False, 1)])
def test_problems_give_exit_code_1(voc, legal, code, capsys):
    voc.add("a", [("cat", (1, 1, 9, 9) if legal else (9, 9, 1, 1))])
    voc.add("b", [("cat", (1, 1, 9, 9))], "val")
    assert main(["data", "check", "boxes", str(voc.root)]) == code
    assert ("no problems found" in capsys.readouterr().out) == legal


def test_a_folder_of_another_kind_is_a_problem(tmp_path, capsys):
    assert main(["data", "check", "boxes", str(tmp_path)]) == 1
    assert "needs JPEGImages/" in capsys.readouterr().out


def test_options_of_segmentation_are_refused(voc, capsys):
    assert main(["data", "check", "boxes", str(voc.root), "--object-sizes", "4", "9"]) == 2
    assert "are for segmentation" in capsys.readouterr().err
