import pickle

import numpy as np
import pytest
from PIL import Image

from deformlab.data import Folder, SegmentationDataModule, check_dataset
from deformlab.errors import ConfigError, DatasetError


def test_images_and_label_maps_of_one_stem_belong_together(folder_root):
    data = Folder(folder_root, "train")
    assert data.names == ["a", "b"]
    sample = data[0]
    assert sample["image"].shape == (24, 32, 3)
    assert np.unique(sample["label"]).tolist() == [0, 1, 255]


def test_classes_come_from_the_folder(folder_root):
    data = Folder(folder_root, "val")
    assert (data.classes, data.things) == (("background", "leaf"), ("leaf",))
    assert data.palette.shape == (2, 3)


def test_two_folders_keep_their_own_classes(folder_root, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "classes.txt").write_text("sky\n\nroad\ncar\n")
    assert Folder.for_root(tmp_path / "other").classes == ("sky", "road", "car")
    assert Folder.for_root(folder_root).classes == ("background", "leaf")


def test_objects_are_connected_components_of_things(folder_root):
    instance = Folder(folder_root, "train")[0]["instance"]
    assert 0 < instance[3, 3] != instance[3, 25] > 0
    assert (instance == 0).sum() == 24 * 32 - 6 * 6 - 6 * 10


def test_without_things_there_are_no_objects(folder_root):
    (folder_root / "things.txt").unlink()
    data = Folder(folder_root, "train")
    assert data.things == ()
    assert not data[0]["instance"].any()


def test_the_data_module_knows_the_classes_before_it_reads_an_image(folder_root):
    module = SegmentationDataModule("folder", root=str(folder_root), batch_size=1)
    assert module.num_classes == len(module.palette) == 2
    assert module.things == ("leaf",)


def test_the_data_module_loads_batches(folder_root):
    module = SegmentationDataModule(
        "folder", root=str(folder_root), batch_size=2, options={"cache": True}, num_workers=1
    )
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch["image"].shape == (2, 3, 24, 32)
    assert int(batch["instance"].max()) == 2


def test_an_unknown_option_lists_the_legal_ones(folder_root):
    with pytest.raises(ConfigError, match=r"'folder' has no option 'size'; it has cache$"):
        SegmentationDataModule("folder", root=str(folder_root), options={"size": 3})


def test_it_can_be_sent_to_a_worker_process(folder_root):
    data = pickle.loads(pickle.dumps(Folder(folder_root, "val", cache=True)))
    assert (data.classes, data.split, data.names) == (("background", "leaf"), "val", ["c"])
    assert data[0]["label"].shape == (24, 32)


def test_a_complete_folder_passes_the_check(folder_root):
    report = check_dataset("folder", folder_root, thresholds=(40, 50))
    assert report.problems == []
    assert report.classes == ("background", "leaf")
    assert report.object_areas()["leaf"].tolist() == [36, 36, 36, 60, 60, 60]


def test_the_check_reports_a_missing_list_of_classes(folder_root):
    (folder_root / "classes.txt").unlink()
    problems = check_dataset("folder", folder_root).problems
    assert problems == [
        f"{folder_root / 'classes.txt'}: no such file; write one class name per line, in label order"
    ]


def test_a_label_value_without_a_class_is_named(folder_root):
    file = folder_root / "train" / "labels" / "b.png"
    Image.fromarray(np.full((24, 32), 2, dtype=np.uint8)).save(file)
    with pytest.raises(DatasetError, match=r"b\.png: label values 2 are illegal.*has 0 to 1"):
        Folder(folder_root, "train")[1]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.txt", "\n\n", "classes.txt: holds no class"),
        ("classes.txt", "leaf\nleaf\n", "classes.txt: 'leaf' stands there 2 times"),
        ("classes.txt", "\n".join(map(str, range(256))), "classes.txt: has 256 classes; at most 255"),
        ("things.txt", "tree\n", "things.txt: 'tree' is not in classes.txt; choose from background, leaf"),
    ],
)
def test_a_wrong_list_is_one_line(folder_root, file, text, message):
    (folder_root / file).write_text(text)
    with pytest.raises(DatasetError, match=message):
        Folder(folder_root, "train")


def test_a_root_that_is_not_there_says_what_it_must_hold(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no such folder.*classes\.txt, train/images/"):
        SegmentationDataModule("folder", root=str(tmp_path / "nowhere"))
    with pytest.raises(DatasetError, match=r"data\.root is not set: data set 'folder'"):
        SegmentationDataModule("folder")
