from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deformlab.cli import main
from deformlab.data import check_dataset
from deformlab.data.check import object_areas
from deformlab.errors import ConfigError
from deformlab.records import SizeRule

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
        ("train1.png", "the label map is missing"),
        ("train2.png", "label values 99 are illegal"),
        ("val0.png", "its label map is 30x24 but its image is 32x24"),
        ("val1.png", "the image is missing"),
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


def test_an_incomplete_test_split_is_a_problem(camvid_root):
    (camvid_root / "test").mkdir()
    assert "testannot" in check_dataset("camvid", camvid_root).problems[0]


def test_pixel_shares_count_ignored_pixels_last(cityscapes_root):
    shares = check_dataset("cityscapes", cityscapes_root).pixel_shares("val")
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == pytest.approx(2 / 16)
    assert shares[13] == pytest.approx(4 * 18 / (16 * 32))


def test_object_sizes_are_bounding_box_areas(cityscapes_root):
    report = check_dataset("cityscapes", cityscapes_root, rule=SizeRule((10, 15)))
    assert report.object_areas()["car"].tolist() == [16, 16, 16, 16]
    assert "large above 15" in report.format()


def test_a_box_spans_all_visible_parts_and_has_the_majority_label():
    instance = np.zeros((10, 10), dtype=np.int32)
    instance[1, 1] = instance[5, 7] = instance[5, 6] = 26001
    label = np.full((10, 10), 3, dtype=np.uint8)
    label[1, 1] = 4
    sample = {"image": None, "label": label, "instance": instance, "name": "x"}
    assert object_areas(sample) == [(3, 5 * 7)]


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


def test_equal_problems_are_one_line_with_their_number_and_the_first_files(folder_root):
    for number in range(170):
        Image.new("RGB", (4, 4)).save(folder_root / "train" / "images" / f"{number:03}.png")
        label = np.full((4, 4), 11, dtype=np.uint8)
        Image.fromarray(label).save(folder_root / "train" / "labels" / f"{number:03}.png")
    (line,) = check_dataset("folder", folder_root).problems
    assert "label values 11 are illegal" in line
    assert "255 (ignored)" in line
    assert str(folder_root / "ignore.txt") in line
    assert line.endswith(
        "(170 places: train/labels/000.png, train/labels/001.png, train/labels/002.png and 167 more)"
    )


def test_missing_files_are_reported_in_one_line(folder_root):
    for name in ("a", "b"):
        (folder_root / "train" / "labels" / f"{name}.png").unlink()
    (line,) = check_dataset("folder", folder_root).problems
    assert line.startswith("the label map is missing")
    assert line.endswith("(2 places: train/labels/a.png, train/labels/b.png)")


def test_a_class_that_never_occurs_is_a_note(folder_root):
    (folder_root / "classes.txt").write_text("background\nleaf\nroot\nstem\n")
    report = check_dataset("folder", folder_root)
    assert report.problems == []
    assert report.notes == [
        f"{folder_root / split}: no pixel of {split} has class root, stem" for split in ("train", "val")
    ]
    assert report.notes[0] in report.format()


def _write_labels(root, split, values):
    for file in (root / split / "labels").iterdir():
        Image.fromarray(values).save(file)


def test_a_split_whose_labels_are_all_ignored_is_a_problem(folder_root):
    _write_labels(folder_root, "val", np.full((24, 32), 255, dtype=np.uint8))
    (line,) = check_dataset("folder", folder_root).problems
    assert "val: every pixel of every label map is ignored" in line


def test_binary_masks_of_0_and_255_are_a_problem(folder_root):
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[:9] = 255
    _write_labels(folder_root, "train", mask)
    (line,) = check_dataset("folder", folder_root).problems
    assert "train: the label maps contain only 0 and 255, which is ignored" in line


def test_a_validation_image_in_the_training_split_is_a_problem(folder_root):
    copy = folder_root / "val" / "images" / "c.png"
    copy.write_bytes((folder_root / "train" / "images" / "b.png").read_bytes())
    (line,) = check_dataset("folder", folder_root).problems
    assert "val/images/c.png: is also in train" in line


def test_an_orientation_that_sizes_do_not_show_is_a_note(folder_root):
    file = folder_root / "val" / "images" / "c.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(file).save(file, exif=exif)
    (line,) = check_dataset("folder", folder_root).notes
    assert "c.png: EXIF data turns or mirrors the image" in line


def test_palettes_that_differ_for_a_value_are_a_note(folder_root):
    for name, colour in (("a", (200, 0, 0)), ("b", (0, 200, 0))):
        label = Image.new("P", (32, 24), 1)
        label.putpalette([0, 0, 0, *colour])
        label.save(folder_root / "train" / "labels" / f"{name}.png")
    notes = check_dataset("folder", folder_root).notes
    assert any("b.png: its palette colour for label value 1 differs from a.png" in note for note in notes)


def test_thirds_are_those_of_the_validated_objects(folder_root):
    report = check_dataset("folder", folder_root, rule=SizeRule("thirds"))
    assert report.thresholds == (44, 52)


def test_areas_of_masks_are_pixels(folder_root):
    label = np.zeros((24, 32), dtype=np.uint8)
    label[2:8, 2] = label[7, 2:8] = 1
    _write_labels(folder_root, "train", label)
    _write_labels(folder_root, "val", label)
    assert set(check_dataset("folder", folder_root).object_areas()["leaf"]) == {36}
    by_mask = check_dataset("folder", folder_root, rule=SizeRule(area="mask"))
    assert set(by_mask.object_areas()["leaf"]) == {11}


def _check(*arguments):
    return main(["data", "check", *map(str, arguments)])


def test_the_command_counts_objects_as_a_configuration_does(folder_root, tmp_path, capsys):
    config = tmp_path / "plants.yaml"
    config.write_text("model:\n  evaluation:\n    object_sizes: [40, 50]\n    object_area: mask\n")
    assert _check("folder", folder_root, "--config", config) == 0
    text = capsys.readouterr().out
    assert "area of the mask in pixels of the label map, small below 40, large above 50" in text
    assert f"model.evaluation.object_sizes of {config}" in text


def test_the_command_takes_two_areas(folder_root, capsys):
    assert _check("folder", folder_root, "--object-sizes", 40, 50) == 0
    assert "small below 40, large above 50" in capsys.readouterr().out


def test_the_report_says_that_the_sizes_are_the_default(folder_root, capsys):
    assert _check("folder", folder_root) == 0
    text = capsys.readouterr().out
    assert "small below 9216, large above 50176" in text
    assert "the default of model.evaluation.object_sizes" in text


def test_generated_data_is_checked_as_configured(tmp_path, capsys):
    config = tmp_path / "shapes.yaml"
    config.write_text("data: {dataset: shapes, options: {size: 32, train_images: 4, val_images: 3}}\n")
    assert _check("shapes", "--config", config) == 0
    assert "32x32 (4)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {evaluation: {object_sizes: [50, 40]}}", "object_sizes (thresholds) must be two areas"),
        ("model: {evaluation: {object_sizes: 50}}", "model.evaluation"),
        ("model: {evaluation: [50]}", "evaluation must be a mapping of options"),
        ("trials: []", "is not a configuration of a training"),
        ("model: [", "not valid YAML"),
    ],
)
def test_a_wrong_configuration_is_one_line(folder_root, tmp_path, capsys, text, message):
    config = tmp_path / "wrong.yaml"
    config.write_text(text)
    assert _check("folder", folder_root, "--config", config) == 2
    error = capsys.readouterr().err
    assert str(config) in error
    assert message in error
    assert error.count("\n") == 1
