"""Tiny data sets with boxes in the layouts of VOC and COCO."""

import json

import numpy as np
import pytest
from PIL import Image

XML = """<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>{difficult}</difficult>
<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"""


def save_image(path, size, seed=0):
    height, width = size
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


class VocFolder:
    """A folder in VOC's layout under construction."""

    def __init__(self, root):
        self.root = root
        self.lists = {}

    def add(self, name, objects, split="train", size=(30, 40), annotated_size=None):
        """Adds an image; each object is (class, box) or (class, box, difficult)."""
        save_image(self.root / "JPEGImages" / f"{name}.jpg", size, len(name))
        height, width = annotated_size or size
        text = "".join(
            OBJECT.format(name=entry[0], box=entry[1], difficult=entry[2] if len(entry) > 2 else 0)
            for entry in objects
        )
        file = self.root / "Annotations" / f"{name}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(XML.format(width=width, height=height, objects=text))
        self.lists.setdefault(split, {})[name] = None
        listing = self.root / "ImageSets" / "Main" / f"{split}.txt"
        listing.parent.mkdir(parents=True, exist_ok=True)
        listing.write_text("\n".join(self.lists[split]) + "\n")
        return file


@pytest.fixture
def voc_folder():
    """Starts a folder in VOC's layout."""
    return VocFolder


@pytest.fixture
def voc(tmp_path):
    return VocFolder(tmp_path / "voc")


@pytest.fixture
def coco(tmp_path):
    """Writes a folder in COCO's layout; returns it. `change` may edit the JSON before it is written."""

    def make(images=4, change=lambda content: None, split="train"):
        root = tmp_path / "coco"
        content = {
            "images": [
                {"id": 10 + i, "file_name": f"{i:03}.png", "height": 30, "width": 40} for i in range(images)
            ],
            "categories": [{"id": 3, "name": "dog"}, {"id": 1, "name": "cat"}],
            "annotations": [
                {
                    "id": 100 + i,
                    "image_id": 10 + i,
                    "category_id": 3 if i % 2 else 1,
                    "bbox": [5, 4, 10, 8],
                    "area": 60.0,
                    "iscrowd": 0,
                    "segmentation": [[5, 4, 15, 4, 15, 12, 5, 12]],
                }
                for i in range(images)
            ],
        }
        for i in range(images):
            save_image(root / split / f"{i:03}.png", (30, 40), i)
        change(content)
        file = root / "annotations" / f"{split}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        return root

    return make
