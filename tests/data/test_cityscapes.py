from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deformlab.data import UNKNOWN_OBJECT, Cityscapes
from deformlab.errors import DatasetError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cityscapes_sample"


def test_the_19_classes_come_in_the_order_of_their_train_ids():
    assert len(Cityscapes.classes) == len(Cityscapes.palette) == 19
    assert Cityscapes.classes[0] == "road"
    assert Cityscapes.classes[13] == "car"
    assert Cityscapes.classes[18] == "bicycle"
    assert Cityscapes.things == (
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    )


def test_label_ids_become_train_ids_without_prepared_files(cityscapes_root):
    label = Cityscapes(cityscapes_root, "train")[0]["label"]
    assert (label[:2] == 255).all()
    assert label[10, 0] == 0
    assert label[5, 3] == 13


@pytest.mark.parametrize("cache", [False, True])
def test_a_group_is_an_unknown_object(cityscapes_root, cache):
    dataset = Cityscapes(cityscapes_root, "train", cache=cache)
    dataset[0]
    instance = dataset[0]["instance"]
    assert instance.dtype == np.int32
    assert np.unique(instance).tolist() == [UNKNOWN_OBJECT, 0, 26000, 26001]
    assert (instance[4:8, 20:30] == UNKNOWN_OBJECT).all()


def test_a_sample_is_named_by_city_and_frame(cityscapes_root):
    assert Cityscapes(cityscapes_root, "val").names == ["frankfurt_000000_000019"]


def test_an_id_outside_the_table_is_named_with_its_file(cityscapes_root):
    file = next((cityscapes_root / "gtFine" / "train").glob("*/*labelIds.png"))
    Image.fromarray(np.full((16, 32), 40, dtype=np.uint8)).save(file)
    with pytest.raises(
        DatasetError, match=r"labelIds\.png: label ids 40 are illegal; Cityscapes has 0 to 33"
    ):
        Cityscapes(cityscapes_root, "train")[0]


def test_a_missing_archive_is_named(cityscapes_root):
    (cityscapes_root / "gtFine").rename(cityscapes_root / "elsewhere")
    with pytest.raises(DatasetError, match=r"train: no such folder.*gtFine_trainvaltest\.zip"):
        Cityscapes(cityscapes_root, "train")


def test_a_missing_instance_map_is_named(cityscapes_root):
    next((cityscapes_root / "gtFine" / "train").glob("*/*instanceIds.png")).unlink()
    with pytest.raises(DatasetError, match=r"instanceIds\.png: the instance map is missing"):
        Cityscapes(cityscapes_root, "train")


@pytest.mark.skipif(not REAL.is_dir(), reason="real Cityscapes frames are not here")
def test_train_ids_of_a_real_frame_agree_with_the_official_ones():
    data = Cityscapes(REAL, "val")
    official = np.asarray(Image.open(str(data.files[0].label).replace("labelIds", "labelTrainIds")))
    # Both maps were made smaller by someone else, each on its own: outlines differ in 77 of 32,768 pixels.
    assert (data[0]["label"] == official).mean() > 0.997


@pytest.mark.skipif(not REAL.is_dir(), reason="real Cityscapes frames are not here")
def test_instances_of_a_real_frame_are_things():
    data = Cityscapes(REAL, "train")
    things = [data.classes.index(name) for name in data.things]
    sample = data[0]
    assert sample["image"].shape == (1024, 2048, 3)
    assert set(np.unique(sample["label"][sample["instance"] > 0])) <= set(things)
    assert sample["instance"].max() == 33001
