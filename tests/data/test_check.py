from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deformlab.data import check_dataset
from deformlab.data.check import object_boxes
from deformlab.errors import ConfigError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "camvid"


def test_a_complete_set_has_no_problems(camvid_root):
    report = check_dataset("camvid", camvid_root)
    assert report.problems == []
    assert [(split.split, split.images) for split in report.splits] == [("train", 3), ("val", 2)]
    assert report.absent == ["test"]
    assert "no problems" in report.format()


def test_every_problem_is_reported_in_one_line_with_its_file(camvid_root):
    (camvid_root / "train" / "train0.jpg").write_text("no image")
    (camvid_root / "trainannot" / "train1.png").unlink()
    Image.fromarray(np.full((24, 32), 99, dtype=np.uint8)).save(camvid_root / "trainannot" / "train2.png")
    Image.fromarray(np.zeros((24, 30), dtype=np.uint8)).save(camvid_root / "valannot" / "val0.png")
    (camvid_root / "val" / "val1.png").unlink()
    report = check_dataset("camvid", camvid_root)
    expected = [
        ("train0.jpg", "cannot be read"),
        ("train1.png", "label map of train1 is missing"),
        ("train2.png", "label values 99 are illegal"),
        ("val0.png", "its label map is 30x24 but its image is 32x24"),
        ("val1.png", "image of val1 is missing"),
    ]
    assert len(report.problems) == len(expected)
    for line, (file, what) in zip(report.problems, expected, strict=True):
        assert file in line
        assert what in line
        assert "\n" not in line
    assert "5 problems:" in report.format()


def test_a_missing_root_is_one_problem(tmp_path):
    report = check_dataset("camvid", tmp_path / "nowhere")
    assert len(report.problems) == 1
    assert "nowhere: no such folder" in report.format()


def test_a_missing_validation_split_is_a_problem(camvid_root):
    for folder in ("val", "valannot"):
        (camvid_root / folder).rename(camvid_root / f"old_{folder}")
    assert len(check_dataset("camvid", camvid_root).problems) == 1


def test_half_a_test_split_is_a_problem(camvid_root):
    (camvid_root / "test").mkdir()
    assert "testannot" in check_dataset("camvid", camvid_root).problems[0]


def test_pixel_shares_count_ignored_pixels_last(cityscapes_root):
    shares = check_dataset("cityscapes", cityscapes_root).pixel_shares("val")
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == pytest.approx(2 / 16)
    assert shares[13] == pytest.approx(4 * 18 / (16 * 32))


def test_object_sizes_are_bounding_box_areas(cityscapes_root):
    report = check_dataset("cityscapes", cityscapes_root, thresholds=(10, 15))
    assert report.object_areas()["car"].tolist() == [16, 16, 16, 16]
    assert "large above 15" in report.format()


def test_a_box_spans_what_occlusion_left_and_takes_the_majority_label():
    instance = np.zeros((10, 10), dtype=np.int32)
    instance[1, 1] = instance[5, 7] = instance[5, 6] = 26001
    label = np.full((10, 10), 3, dtype=np.uint8)
    label[1, 1] = 4
    sample = {"image": None, "label": label, "instance": instance, "name": "x"}
    assert object_boxes(sample) == [(3, 5 * 7)]


def test_generated_data_needs_no_root():
    report = check_dataset("shapes")
    assert [split.split for split in report.splits] == ["train", "val", "test"]
    assert report.problems == []


def test_voc_counts_no_object_twice(voc_root):
    voc = voc_root / "VOCdevkit" / "VOC2012"
    (voc / "SegmentationClassAug").mkdir()
    for name in "ab":
        (voc / "SegmentationClassAug" / f"{name}.png").write_bytes(
            (voc / "SegmentationClass" / f"{name}.png").read_bytes()
        )
    (voc / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("a\nb\n")
    report = check_dataset("voc", voc_root)
    assert report.problems == []
    assert len(report.object_areas()["dog"]) == 3


def test_an_unknown_name_lists_the_legal_ones():
    with pytest.raises(ConfigError, match="choose one of shapes, camvid, cityscapes, voc"):
        check_dataset("kitti")


@pytest.mark.skipif(not REAL.is_dir(), reason="real CamVid is not here")
def test_the_real_set_is_complete_and_has_the_known_pixel_shares():
    report = check_dataset("camvid", REAL)
    assert report.problems == []
    known = [16.8, 23.3, 1.0, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.64, 0.29, 3.9]
    assert np.abs(100 * report.pixel_shares("train") - known).max() < 0.06
