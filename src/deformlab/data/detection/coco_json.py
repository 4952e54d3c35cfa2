"""Reads the JSON files of COCO's instance annotations, which other data sets use too."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from deformlab.data.detection.dataset import Annotation, ImageAnnotations
from deformlab.data.files import file_inside
from deformlab.errors import DatasetError

__all__ = ["category_names", "held_out", "read_coco_json"]

_HELD_OUT = 4


def read_coco_json(file: Path, images: Path, classes: Sequence[str]) -> tuple[ImageAnnotations, ...]:
    """Read a file.

    Args:
        file: The JSON file.
        images: The folder of the images.
        classes: The names of the classes.

    Returns:
        The images, sorted by name.

    Raises:
        DatasetError: The file cannot be read or lacks a key, an id occurs twice, or an annotation belongs to
            an unknown image or category.
    """
    content = _read(file, file.stat().st_mtime_ns if file.is_file() else 0)
    try:
        names = {category["id"]: str(category["name"]) for category in content["categories"]}
        entries = _unique(content["images"], "image", file)
        objects: dict[Any, list[Annotation]] = {identifier: [] for identifier in entries}
        for number, entry in _unique(content["annotations"], "annotation", file).items():
            if entry["image_id"] not in objects:
                raise DatasetError(
                    f"{file}: annotation {number} belongs to image {entry['image_id']}, which is not listed; "
                    "remove the annotation or list the image"
                )
            objects[entry["image_id"]].append(_annotation(entry, number, names, classes, file))
        found = [
            ImageAnnotations(
                name=Path(entry["file_name"]).stem,
                image=file_inside(images, entry["file_name"], file),
                source=file,
                size=(int(entry["height"]), int(entry["width"])) if "height" in entry else None,
                objects=tuple(objects[identifier]),
            )
            for identifier, entry in entries.items()
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"{file}: not a file of COCO instance annotations: {error} is missing or has the wrong type"
        ) from None
    if not found:
        raise DatasetError(f"{file}: lists no images")
    return tuple(sorted(found, key=lambda image: image.name))


def held_out(images: Sequence[ImageAnnotations], split: str) -> list[ImageAnnotations]:
    """The images of train or val, where every fourth image, sorted by name, is held out for val."""
    return [image for i, image in enumerate(images) if (i % _HELD_OUT == _HELD_OUT - 1) == (split == "val")]


def category_names(file: Path) -> tuple[str, ...]:
    """The names of the categories, sorted by id.

    Raises:
        DatasetError: The file cannot be read or has no categories.
    """
    content = _read(file, file.stat().st_mtime_ns if file.is_file() else 0)
    try:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = tuple(str(category["name"]) for category in categories)
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{file}: its categories lack {error}") from None
    if not names or len(set(names)) < len(names):
        raise DatasetError(f"{file}: categories must be one or more different names")
    return names


@lru_cache(maxsize=4)
def _read(file: Path, modified: int) -> Mapping[str, Any]:
    """The content of a file; `modified` is part of the key, so that a changed file is read again."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{file}: not readable as JSON ({str(error).splitlines()[0]}); restore it"
        ) from None
    if not isinstance(content, Mapping):
        raise DatasetError(f"{file}: not a file of COCO instance annotations: it has no keys")
    return content


def _unique(entries: Sequence[Mapping[str, Any]], what: str, file: Path) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for entry in entries:
        if entry["id"] in found:
            raise DatasetError(f"{file}: {what} id {entry['id']} occurs twice; give each its own")
        found[entry["id"]] = entry
    return found


def _annotation(
    entry: Mapping[str, Any], number: int, names: Mapping[int, str], classes: Sequence[str], file: Path
) -> Annotation:
    name = names.get(entry["category_id"])
    if name is None or name not in classes:
        known = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        raise DatasetError(
            f"{file}: annotation {number} has the unknown category {entry['category_id']}"
            f"{'' if name is None else f' ({name})'}; known are {known}; correct it"
        )
    left, top, width, height = (float(value) for value in entry["bbox"])
    crowd = bool(entry.get("iscrowd"))
    area = entry.get("area")
    return Annotation(
        id=f"annotation {number} ({name})",
        number=int(number),
        box=(left, top, left + width, top + height),
        label=classes.index(name),
        crowd=crowd,
        area=None if area is None else float(area),
        segmentation=entry.get("segmentation"),
    )
