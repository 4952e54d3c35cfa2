"""Tiny data sets in the official layouts, written afresh for every test."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def _image(seed, height=24, width=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _save(image: Image.Image, file: Path):
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


@pytest.fixture
def camvid_root(tmp_path):
    """Three training and two validation images; the first training image is a JPEG."""
    root = tmp_path / "camvid"
    label = np.zeros((24, 32), dtype=np.uint8)
    label[2:6, 2:8] = 8
    label[6:8, 8:10] = 8  # touches the first car at a corner
    label[2:6, 20:24] = 8
    label[6:10, 20:24] = 9  # a pedestrian right below a car
    label[20:] = 11
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            suffix = "jpg" if split == "train" and number == 0 else "png"
            _save(_image(number + len(split)), root / split / f"{split}{number}.{suffix}")
            _save(Image.fromarray(label), root / f"{split}annot" / f"{split}{number}.png")
    return root


@pytest.fixture
def cityscapes_root(tmp_path):
    """One frame per split: road (7), two cars (26), a car group (26) and an unlabelled border (0)."""
    root = tmp_path / "cityscapes"
    label = np.full((16, 32), 7, dtype=np.uint8)
    label[:2] = 0
    label[4:8, 2:6] = label[4:8, 10:14] = label[4:8, 20:30] = 26
    instance = label.astype(np.uint16)
    instance[4:8, 2:6] = 26000
    instance[4:8, 10:14] = 26001
    for split, city in (("train", "aachen"), ("val", "frankfurt")):
        name = f"{city}_000000_000019"
        _save(_image(len(split), 16, 32), root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        truth = root / "gtFine" / split / city
        _save(Image.fromarray(label), truth / f"{name}_gtFine_labelIds.png")
        _save(Image.fromarray(instance), truth / f"{name}_gtFine_instanceIds.png")
    return root


@pytest.fixture
def voc_root(tmp_path):
    """Train: a, b. Val: c. Images of d and e exist too, which only SBD annotates. No augmented set."""
    root = tmp_path / "voc"
    voc = root / "VOCdevkit" / "VOC2012"
    label = np.zeros((20, 30), dtype=np.uint8)
    label[4:10, 4:10] = 12
    label[4:10, 15:21] = 15
    label[3, 4:10] = 255
    instance = np.zeros_like(label)
    instance[4:10, 4:10] = 1
    instance[4:10, 15:21] = 2
    instance[3, 4:10] = 255
    for number, name in enumerate("abcde"):
        _save(_image(number, 20, 30), voc / "JPEGImages" / f"{name}.jpg")
    for name in "abc":
        for folder, values in (("SegmentationClass", label), ("SegmentationObject", instance)):
            palette = Image.fromarray(values, mode="L").convert("P")
            palette.putdata(values.ravel().tolist())
            _save(palette, voc / folder / f"{name}.png")
    lists = voc / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    return root


@pytest.fixture
def folder_root(tmp_path):
    """Own data: two training images, one of them a JPEG, and one to validate on; leaves on a background."""
    root = tmp_path / "plants"
    label = np.zeros((24, 32), dtype=np.uint8)
    label[2:8, 2:8] = label[2:8, 20:30] = 1
    label[20:] = 255
    for split, names in (("train", ("a.jpg", "b.png")), ("val", ("c.png",))):
        for number, name in enumerate(names):
            _save(_image(number), root / split / "images" / name)
            _save(Image.fromarray(label), root / split / "labels" / f"{name[0]}.png")
    (root / "classes.txt").write_text("background\nleaf\n")
    (root / "things.txt").write_text("leaf\n")
    return root


@pytest.fixture
def coco_root(tmp_path):
    """Eight training images, of which every fourth is held out; all annotated alike, the last not at all.

    A chair (20x20 polygon) with a cup (4x4) on it, annotated first, a crowd of persons over the right half
    (run lengths down the columns), and a person in it.
    """
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    images, annotations = [], []
    for number in range(8):
        name = f"{number:012}.jpg"
        _save(_image(number, 24, 40), root / "train2017" / name)
        images.append({"id": number, "file_name": name, "height": 24, "width": 40})
        if number == 7:
            continue
        for category, iscrowd, segmentation in (
            (47, 0, [[6, 6, 10, 6, 10, 10, 6, 10]]),
            (62, 0, [[2, 2, 18, 2, 18, 22, 2, 22]]),
            (1, 1, {"size": [24, 40], "counts": [24 * 20, 24 * 20]}),
            (1, 0, [[30, 4, 36, 4, 36, 12, 30, 12], [30, 14, 34, 14, 34, 16, 30, 16]]),
        ):
            annotations.append(
                {"id": 900100000000 + len(annotations), "image_id": number, "category_id": category}
                | {"iscrowd": iscrowd, "segmentation": segmentation}
            )
    categories = [{"id": 1, "name": "person"}, {"id": 47, "name": "cup"}, {"id": 62, "name": "chair"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(content))
    return root
