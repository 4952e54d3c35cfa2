import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from deformlab.data import PascalVOC
from deformlab.errors import DatasetError

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare_voc_aug.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("prepare_voc_aug", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sbd_root(tmp_path):
    """SBD masks of b (also in VOC's training list), c (in VOC's validation list), d and e."""
    root = tmp_path / "benchmark_RELEASE"
    for folder in ("cls", "inst"):
        (root / "dataset" / folder).mkdir(parents=True)
    for name in "bcde":
        classes = np.full((20, 30), 7, dtype=np.uint8)
        savemat(
            root / "dataset" / "cls" / f"{name}.mat",
            {"GTcls": {"Segmentation": classes, "Boundaries": [], "CategoriesPresent": [7]}},
        )
        savemat(
            root / "dataset" / "inst" / f"{name}.mat",
            {"GTinst": {"Segmentation": classes * 0 + 2, "Boundaries": [], "Categories": [7, 7]}},
        )
    return root


def test_the_set_is_sbd_and_voc_train_without_voc_val(script, voc_root, sbd_root):
    assert script.prepare(voc_root, sbd_root, incomplete=True) == 4
    assert PascalVOC(voc_root, "train_aug").names == ["a", "b", "d", "e"]


def test_voc_masks_take_precedence_over_sbd_masks(script, voc_root, sbd_root):
    script.prepare(voc_root, sbd_root, incomplete=True)
    data = PascalVOC(voc_root, "train_aug")
    assert np.unique(data[1]["label"]).tolist() == [0, 12, 15, 255]
    assert np.unique(data[2]["label"]).tolist() == [7]


def test_instances_come_from_both_sources(script, voc_root, sbd_root):
    script.prepare(voc_root, sbd_root, incomplete=True)
    data = PascalVOC(voc_root, "train_aug")
    assert np.unique(data[1]["instance"]).tolist() == [0, 1, 2]
    assert np.unique(data[2]["instance"]).tolist() == [2]


def test_an_incomplete_archive_is_refused(script, voc_root, sbd_root):
    with pytest.raises(DatasetError, match=r"has 4 images, but the official archives.*--incomplete"):
        script.prepare(voc_root, sbd_root)
    assert not (voc_root / "VOCdevkit" / "VOC2012" / "SegmentationClassAug").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("benchmark_RELEASE/dataset/inst", r"contains no dataset/cls and dataset/inst; unpack"),
        (
            "voc/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt",
            r"val\.txt: no such file; unpack VOCtrainval",
        ),
        ("voc/VOCdevkit/VOC2012/JPEGImages/d.jpg", r"d\.jpg: no such image"),
        ("benchmark_RELEASE/dataset/inst/d.mat", r"d\.mat: no such file; unpack benchmark\.tgz"),
        ("voc/VOCdevkit/VOC2012/SegmentationObject/a.png", r"a\.png: file is missing"),
    ],
)
def test_a_missing_file_or_folder_is_named(script, voc_root, sbd_root, tmp_path, missing, message):
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(DatasetError, match=message):
        script.prepare(voc_root, sbd_root, incomplete=True)
    with pytest.raises(DatasetError):
        PascalVOC(voc_root, "train_aug")


def test_a_broken_mat_file_is_named(script, voc_root, sbd_root):
    (sbd_root / "dataset" / "cls" / "e.mat").write_text("no matlab")
    with pytest.raises(DatasetError, match=r"e\.mat: contains no readable GTcls\.Segmentation"):
        script.prepare(voc_root, sbd_root, incomplete=True)


def test_a_listed_path_is_refused_before_anything_is_written(script, voc_root, sbd_root):
    voc = voc_root / "VOCdevkit" / "VOC2012"
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("../JPEGImages/a\n")
    with pytest.raises(DatasetError, match=r"train\.txt: '../JPEGImages/a' is not an image name"):
        script.prepare(voc_root, sbd_root, incomplete=True)
    assert not (voc / "SegmentationClassAug").exists()


def test_the_command_line_ends_with_one_line_when_a_folder_is_missing(tmp_path):
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path / "voc", tmp_path / "sbd"], capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1
