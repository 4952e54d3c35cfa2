import shutil

import numpy as np
import pytest
from PIL import Image

from deformlab.data import CamVid, Coco, Folder, Shapes
from deformlab.errors import DatasetError


@pytest.fixture
def fingerprint(folder_root):
    return Folder(folder_root, "train").fingerprint()


def test_a_fingerprint_is_16_hexadecimal_digits_and_reproducible(folder_root, fingerprint):
    assert len(fingerprint) == 16
    assert set(fingerprint) <= set("0123456789abcdef")
    assert Folder(folder_root, "train", cache=True).fingerprint() == fingerprint


def test_a_copy_in_another_folder_and_file_order_has_the_same_fingerprint(folder_root, tmp_path, fingerprint):
    copy = tmp_path / "elsewhere"
    for file in sorted(folder_root.rglob("*.*"), reverse=True):
        target = copy / file.relative_to(folder_root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    assert Folder(copy, "train").fingerprint() == fingerprint


def _add(root):
    for kind in ("images", "labels"):
        shutil.copyfile(root / "train" / kind / "b.png", root / "train" / kind / "d.png")


def _remove(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "b.png").unlink()


def _rename(root):
    for kind in ("images", "labels"):
        (root / "train" / kind / "b.png").rename(root / "train" / kind / "z.png")


def _replace_image(root):
    Image.new("RGB", (32, 24)).save(root / "train" / "images" / "b.png")


def _replace_label(root):
    noise = np.random.default_rng(0).integers(0, 2, (24, 32), dtype=np.uint8)
    Image.fromarray(noise).save(root / "train" / "labels" / "b.png")


def _rename_a_class(root):
    (root / "classes.txt").write_text("soil\nleaf\n")


def _change_the_things(root):
    (root / "things.txt").unlink()


@pytest.mark.parametrize(
    "change", [_add, _remove, _rename, _replace_image, _replace_label, _rename_a_class, _change_the_things]
)
def test_other_data_has_another_fingerprint(folder_root, fingerprint, change):
    change(folder_root)
    assert Folder(folder_root, "train").fingerprint() != fingerprint


def test_another_split_of_the_same_files_has_another_fingerprint(folder_root, fingerprint):
    shutil.rmtree(folder_root / "val")
    shutil.copytree(folder_root / "train", folder_root / "val")
    assert Folder(folder_root, "val").fingerprint() != fingerprint


def test_a_decomposed_accent_does_not_change_the_fingerprint(tmp_path, camvid_root):
    found = []
    for name in ("b\u00e9b\u00e9", "be\u0301be\u0301"):
        copy = tmp_path / str(len(found))
        shutil.copytree(camvid_root, copy)
        for kind in ("val", "valannot"):
            (copy / kind / "val0.png").rename(copy / kind / f"{name}.png")
        found.append(CamVid(copy, "val").fingerprint())
    assert found[0] == found[1]


def test_an_annotation_file_of_another_size_changes_the_fingerprint(coco_root):
    first = Coco(coco_root, "train").fingerprint()
    file = coco_root / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text() + "\n")
    assert Coco(coco_root, "train").fingerprint() != first


def test_a_coco_image_of_another_size_changes_the_fingerprint(coco_root):
    dataset = Coco(coco_root, "train")
    first = dataset.fingerprint()
    Image.new("RGB", (40, 24)).save(dataset.files[0].image)
    assert Coco(coco_root, "train").fingerprint() != first


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"size": 64}, {"radius": (6, 40)}, {"train_images": 5}, {"split": "val"}]
)
def test_the_fingerprint_of_generated_images_depends_on_their_arguments(other):
    assert Shapes(radius=[6, 80], cache=False).fingerprint() == Shapes().fingerprint()
    assert Shapes(**other).fingerprint() != Shapes().fingerprint()


def test_a_removed_file_is_named(folder_root):
    dataset = Folder(folder_root, "train")
    (folder_root / "train" / "labels" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"b\.png: No such file"):
        dataset.fingerprint()


def test_a_fingerprint_decodes_no_file(folder_root):
    for kind in ("images", "labels"):
        (folder_root / "train" / kind / "broken.png").write_text("no image")
    assert Folder(folder_root, "train").fingerprint()
