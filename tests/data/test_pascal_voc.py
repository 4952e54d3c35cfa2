import numpy as np
import pytest
from PIL import Image

from deformlab.data import PascalVOC
from deformlab.data.dataset import color_map
from deformlab.errors import DatasetError


def test_the_colours_are_those_of_the_development_kit():
    assert color_map(21)[[0, 1, 2, 9, 15, 20]].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [192, 0, 0],
        [192, 128, 128],
        [0, 64, 128],
    ]


def test_splits_are_read_from_their_lists(voc_root):
    assert PascalVOC(voc_root, "train").names == ["a", "b"]
    assert PascalVOC(voc_root, "val").names == ["c"]


def test_void_pixels_are_ignored_and_on_no_object(voc_root):
    sample = PascalVOC(voc_root, "val")[0]
    assert (sample["label"][3, 4:10] == 255).all()
    assert (sample["instance"][3, 4:10] == 0).all()


def test_labels_are_palette_indices_and_instances_those_of_segmentation_object(voc_root):
    sample = PascalVOC(voc_root, "val")[0]
    assert (sample["label"][5, 5], sample["label"][5, 16]) == (12, 15)
    assert (sample["instance"][5, 5], sample["instance"][5, 16]) == (1, 2)


def test_an_image_without_instance_annotation_has_no_objects(voc_root):
    (voc_root / "VOCdevkit" / "VOC2012" / "SegmentationObject" / "c.png").unlink()
    assert (PascalVOC(voc_root, "val")[0]["instance"] == 0).all()


@pytest.mark.parametrize("inside", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_the_root_can_be_any_of_the_three_folders(voc_root, inside):
    assert len(PascalVOC(voc_root / inside, "train")) == 2


def test_an_augmented_set_that_is_not_prepared_names_the_script(voc_root):
    with pytest.raises(DatasetError, match=r"train_aug\.txt: no such file; .*scripts/prepare_voc_aug\.py"):
        PascalVOC(voc_root, "train_aug")


def test_the_augmented_masks_are_used_for_train_aug(voc_root):
    voc = voc_root / "VOCdevkit" / "VOC2012"
    (voc / "SegmentationClassAug").mkdir()
    Image.fromarray(np.full((20, 30), 3, dtype=np.uint8)).save(voc / "SegmentationClassAug" / "d.png")
    (voc / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("d\n")
    assert (PascalVOC(voc_root, "train_aug")[0]["label"] == 3).all()


def test_a_folder_that_is_not_voc_names_the_archive(tmp_path):
    with pytest.raises(DatasetError, match=r"VOCtrainval_11-May-2012\.tar"):
        PascalVOC(tmp_path, "train")


def test_an_image_of_the_list_that_is_missing_is_named(voc_root):
    (voc_root / "VOCdevkit" / "VOC2012" / "JPEGImages" / "b.jpg").unlink()
    with pytest.raises(DatasetError, match=r"b\.jpg: the image is missing"):
        PascalVOC(voc_root, "train")


@pytest.mark.parametrize("name", ["../../a", "/a", "sub/a", ".."])
def test_a_name_that_is_a_path_is_refused(voc_root, name):
    listing = voc_root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    listing.write_text(f"a\n{name}\n")
    with pytest.raises(DatasetError, match=r"train\.txt: '.*' is not an image name"):
        PascalVOC(voc_root, "train")


def test_a_name_that_is_listed_twice_is_refused(voc_root):
    listing = voc_root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train.txt"
    listing.write_text("a\nb\na\n")
    with pytest.raises(DatasetError, match="2 samples of train are called 'a'"):
        PascalVOC(voc_root, "train")
