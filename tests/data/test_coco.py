import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from deformlab.data import Coco, check_dataset
from deformlab.errors import DatasetError

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "coco128"


def annotations_file(root):
    return root / "annotations" / "instances_train2017.json"


def edit(root, change):
    """Applies `change` to the content of the annotation file."""
    content = json.loads(annotations_file(root).read_text())
    change(content)
    annotations_file(root).write_text(json.dumps(content))


def test_81_classes_in_the_order_of_cocos_ids():
    assert len(Coco.classes) == len(Coco.palette) == 81
    assert [Coco.classes[i] for i in (0, 1, 12, 80)] == ["background", "person", "stop sign", "toothbrush"]


def test_polygons_become_labels_and_instances(coco_root):
    sample = Coco(coco_root, "train")[0]
    label, instance = sample["label"], sample["instance"]
    assert label.shape == instance.shape == (24, 40)
    assert (label[2:22, 2:18] == Coco.classes.index("chair"))[instance[2:22, 2:18] == 2].all()
    assert label[0, 0] == instance[0, 0] == 0
    person = Coco.classes.index("person")
    assert (label[4:12, 30:36] == person).all()
    assert (instance[4:12, 30:36] == 4).all()
    assert (instance[14:16, 30:34] == 4).all()  # its second polygon


def test_the_smaller_of_two_overlapping_masks_is_on_top_in_any_order(coco_root):
    first = Coco(coco_root, "train")[0]
    assert (first["label"][6:10, 6:10] == Coco.classes.index("cup")).all()
    edit(coco_root, lambda content: content["annotations"].reverse())
    assert np.array_equal(Coco(coco_root, "train")[0]["label"], first["label"])


def test_a_crowd_is_ignored_and_below_all_objects(coco_root):
    sample = Coco(coco_root, "train")[0]
    assert (sample["label"][:, 37:] == 255).all()
    assert (sample["instance"][:, 37:] == 0).all()
    assert sample["label"][5, 32] == Coco.classes.index("person")


@pytest.mark.filterwarnings("error")
def test_compressed_run_lengths_are_read(coco_root):
    from pycocotools import mask

    drawn = np.zeros((24, 40), dtype=np.uint8, order="F")
    drawn[3:9, 22:29] = 1
    encoded = mask.encode(drawn)
    encoded["counts"] = encoded["counts"].decode()
    edit(coco_root, lambda content: content["annotations"][0].update(segmentation=encoded))
    instance = Coco(coco_root, "train")[0]["instance"]
    assert np.array_equal(instance == 1, drawn == 1)


def test_a_sample_of_coco_holds_out_every_fourth_image(coco_root):
    assert [int(name) for name in Coco(coco_root, "train").names] == [0, 1, 2, 4, 5, 6]
    assert [int(name) for name in Coco(coco_root, "val").names] == [3, 7]
    assert (Coco(coco_root, "val")[1]["label"] == 0).all()


def test_val2017_is_used_if_it_exists(coco_root):
    (coco_root / "val2017").mkdir()
    content = json.loads(annotations_file(coco_root).read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = []
    (coco_root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    (coco_root / "train2017" / "000000000000.jpg").rename(coco_root / "val2017" / "000000000000.jpg")
    assert len(Coco(coco_root, "val")) == 1
    with pytest.raises(DatasetError, match="the image is missing"):
        Coco(coco_root, "train")


def test_a_missing_part_of_the_val_split_is_named(coco_root):
    (coco_root / "val2017").mkdir()
    with pytest.raises(
        DatasetError, match=r"instances_val2017\.json: no such file; unpack annotations_trainval"
    ):
        Coco(coco_root, "val")


def test_a_folder_of_something_else_is_named(tmp_path):
    with pytest.raises(
        DatasetError, match=r"instances_train2017\.json: no such file; 'coco' needs train2017/"
    ):
        Coco(tmp_path, "train")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4]], "a polygon must be the x and y of three points or more"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon must be the x and y"),
        ([[1, 2, 3, 4, 5, float("nan")]], "a coordinate that is not finite"),
        ([["a"] * 6], "could not convert"),
        ([], "neither polygons nor run lengths"),
        (None, "neither polygons nor run lengths"),
        (
            {"size": [40, 24], "counts": [960]},
            r"are for height and width \[40, 24\], the image has \[24, 40\]",
        ),
        ({"size": [24, 40], "counts": [10, 10]}, "add up to 20, not to the image's 960 pixels"),
        ({"size": [24, 40], "counts": [-1, 961]}, "neither integers >= 0"),
    ],
)
def test_a_broken_segmentation_is_one_line(coco_root, segmentation, message):
    edit(coco_root, lambda content: content["annotations"][1].update(segmentation=segmentation))
    with pytest.raises(DatasetError, match=message) as error:
        Coco(coco_root, "train")[0]
    assert "annotation 900100000001 of image 000000000000" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("categories"), "'categories' is missing"),
        (lambda content: content["images"].clear(), "is missing"),
        (
            lambda content: content["categories"][0].update(name="unicorn"),
            "'unicorn' is not one of COCO's 80",
        ),
        (lambda content: content.update(annotations=[], images=[]), "lists no images"),
    ],
)
def test_a_file_without_coco_annotations_is_one_line(coco_root, change, message):
    edit(coco_root, change)
    with pytest.raises(DatasetError, match=message):
        Coco(coco_root, "train")


def test_broken_json_is_one_line(coco_root):
    annotations_file(coco_root).write_text('{"images": [')
    with pytest.raises(DatasetError, match=r"instances_train2017\.json: not readable as JSON"):
        Coco(coco_root, "train")


def test_an_image_of_another_size_is_named(coco_root):
    edit(coco_root, lambda content: content["images"][7].update(height=30))
    with pytest.raises(DatasetError, match=r"000000000007\.jpg: is 40x24 but its annotations are for 40x30"):
        Coco(coco_root, "val")[1]


def test_it_can_be_sent_to_a_loading_process(coco_root):
    dataset = pickle.loads(pickle.dumps(Coco(coco_root, "train")))
    assert dataset[0]["label"].any()


def test_check_counts_objects_and_says_what_is_wrong(coco_root):
    report = check_dataset("coco", coco_root)
    assert report.problems == []
    assert {name: len(areas) for name, areas in report.object_areas().items()} == {
        "person": 7,
        "cup": 7,
        "chair": 7,
    }
    assert report.object_areas()["cup"].tolist() == [16] * 7
    (coco_root / "train2017" / "000000000001.jpg").unlink()
    assert ["the image is missing" in line for line in check_dataset("coco", coco_root).problems] == [True]


@pytest.mark.skipif(not REAL.is_dir(), reason="the sample of COCO is not here")
def test_the_genuine_sample_is_complete_and_has_the_known_sizes():
    report = check_dataset("coco", REAL)
    assert report.problems == []
    assert [(split.split, split.images) for split in report.splits] == [("train", 96), ("val", 32)]
    areas = np.concatenate(list(report.object_areas().values()))
    # 887 annotations; painting smaller masks over larger ones moves a few boxes to a smaller bin.
    assert len(areas) == 887
    shares = [(areas < 96**2).mean(), ((areas >= 96**2) & (areas <= 224**2)).mean(), (areas > 224**2).mean()]
    assert shares == pytest.approx([0.66, 0.21, 0.13], abs=0.015)


@pytest.mark.skipif(not REAL.is_dir(), reason="the sample of COCO is not here")
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_genuine_masks_have_the_areas_that_coco_states():
    from pycocotools import mask

    from deformlab.data.coco import decode_mask

    content = json.loads(annotations_file(REAL).read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for entry in content["annotations"]:
        size = sizes[entry["image_id"]]
        found = decode_mask(entry["segmentation"], size)
        if entry["iscrowd"]:
            encoded = mask.frPyObjects(entry["segmentation"], *size)
            assert np.array_equal(found, mask.decode(encoded) == 1), entry["id"]
        else:
            assert found.sum() == pytest.approx(entry["area"], rel=0.05, abs=40), entry["id"]


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/secret.jpg", "a/../../secret.jpg", ""])
def test_a_file_name_outside_the_folder_is_refused(coco_root, name):
    edit(coco_root, lambda content: content["images"][0].update(file_name=name))
    with pytest.raises(DatasetError, match=r"instances_train2017\.json: '.*' is outside .*train2017"):
        Coco(coco_root, "train")


def test_two_images_with_the_same_name_are_refused(coco_root):
    edit(coco_root, lambda content: content["images"][0].update(file_name="000000000001.png"))
    with pytest.raises(DatasetError, match="2 samples of train are called '000000000001'"):
        Coco(coco_root, "train")


def test_a_size_that_no_image_has_takes_no_memory(coco_root):
    edit(coco_root, lambda content: content["images"][7].update(height=10**6, width=10**6))
    with pytest.raises(DatasetError, match="its annotations are for 1000000x1000000"):
        Coco(coco_root, "val")[1]
