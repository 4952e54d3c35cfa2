from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deformlab.data import CamVid
from deformlab.data.dataset import connected_objects
from deformlab.errors import DatasetError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "camvid"


def test_jpeg_and_png_images_are_found_with_their_label_maps(camvid_root):
    data = CamVid(camvid_root, "train")
    assert data.names == ["train0", "train1", "train2"]
    assert data[0]["image"].shape == data[1]["image"].shape == (24, 32, 3)
    assert data[0]["name"] == "train0"


def test_unlabelled_becomes_255(camvid_root):
    label = CamVid(camvid_root, "train")[0]["label"]
    assert (label[20:] == 255).all()
    assert 11 not in label


def test_objects_are_connected_components_of_one_thing_class(camvid_root):
    instance = CamVid(camvid_root, "train")[0]["instance"]
    assert instance.dtype == np.int32
    # A corner is enough to connect; another class is not.
    assert instance[3, 3] == instance[7, 9] > 0
    assert len({instance[3, 3], instance[3, 21], instance[7, 21]}) == 3
    assert instance.max() == 3
    assert (instance[12:] == 0).all()


def test_stuff_has_no_objects():
    label = np.full((4, 4), CamVid.classes.index("Road"), dtype=np.uint8)
    things = [CamVid.classes.index(name) for name in CamVid.things]
    assert (connected_objects(label, things) == 0).all()


def test_a_missing_root_says_what_it_must_contain(tmp_path):
    with pytest.raises(
        DatasetError, match=r"nowhere: no such folder.*train/, trainannot/, val/ and valannot/"
    ):
        CamVid(tmp_path / "nowhere", "train")


def test_a_root_that_is_not_set_is_reported():
    with pytest.raises(DatasetError, match=r"data\.root is not set.*camvid"):
        CamVid(None, "train")


def test_a_missing_label_folder_is_named(camvid_root):
    (camvid_root / "valannot").rename(camvid_root / "elsewhere")
    with pytest.raises(DatasetError, match="valannot: no such folder, but val/ exists"):
        CamVid(camvid_root, "val")


def test_a_missing_split_is_named(camvid_root):
    with pytest.raises(DatasetError, match="test: no such folder"):
        CamVid(camvid_root, "test")


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "trainannot").mkdir()
    with pytest.raises(DatasetError, match="train: contains no"):
        CamVid(tmp_path, "train")


def test_a_missing_label_map_is_named_before_training_starts(camvid_root):
    (camvid_root / "trainannot" / "train1.png").unlink()
    with pytest.raises(DatasetError, match=r"train1\.png: the label map is missing; add it"):
        CamVid(camvid_root, "train")


def test_a_missing_image_is_named_before_training_starts(camvid_root):
    (camvid_root / "train" / "train1.png").unlink()
    with pytest.raises(DatasetError, match=r"train1\.png: the image is missing"):
        CamVid(camvid_root, "train")


def test_an_illegal_label_value_is_named_with_its_file(camvid_root):
    file = camvid_root / "trainannot" / "train1.png"
    Image.fromarray(np.full((24, 32), 77, dtype=np.uint8)).save(file)
    with pytest.raises(DatasetError) as caught:
        CamVid(camvid_root, "train")[1]
    assert str(caught.value) == (
        f"{file}: label values 77 are illegal; data set 'camvid' has 0 to 10 and 11, 255 (ignored)"
    )


def test_image_and_label_of_different_size_are_named(camvid_root):
    file = camvid_root / "trainannot" / "train1.png"
    Image.fromarray(np.zeros((24, 30), dtype=np.uint8)).save(file)
    with pytest.raises(DatasetError, match=r"train1\.png: its label map is 30x24 but its image is 32x24"):
        CamVid(camvid_root, "train")[1]


@pytest.mark.skipif(not REAL.is_dir(), reason="real CamVid is not here")
def test_the_real_set_has_367_and_101_images():
    assert len(CamVid(REAL, "train")) == 367
    data = CamVid(REAL, "val")
    assert len(data) == 101
    sample = data[0]
    assert sample["image"].shape == (360, 480, 3)
    assert sample["instance"].max() > 3
