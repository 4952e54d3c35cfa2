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
