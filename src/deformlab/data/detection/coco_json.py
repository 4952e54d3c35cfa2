"""Reads the JSON files of COCO's instance annotations, which other data sets use too."""

import json
import math
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
            an unknown image or category, or its box or area is illegal. Faults of an annotation name it and
            its image; boxes are compared with the image only when it is read.
    """
    return _listed(file, images, tuple(classes), _modified(file))


def held_out(images: Sequence[ImageAnnotations], split: str) -> list[ImageAnnotations]:
    """The images of train or val, where every fourth image, sorted by name, is held out for val."""
    return [image for i, image in enumerate(images) if (i % _HELD_OUT == _HELD_OUT - 1) == (split == "val")]


def category_names(file: Path) -> tuple[str, ...]:
    """The names of the categories, sorted by id.

    Raises:
        DatasetError: The file cannot be read or has no categories.
    """
    return _category_names(file, _modified(file))


def _modified(file: Path) -> int:
    """Part of the caches' keys, so that a changed file is read again."""
    return file.stat().st_mtime_ns if file.is_file() else 0


# The results are cached, not the content of the file: that of COCO takes gigabytes.
@lru_cache(maxsize=4)
def _category_names(file: Path, modified: int) -> tuple[str, ...]:
    content = _read(file)
    try:
        categories = sorted(content["categories"], key=lambda category: category["id"])
        names = tuple(str(category["name"]) for category in categories)
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{file}: its categories lack {error}") from None
    if not names or len(set(names)) < len(names):
        raise DatasetError(f"{file}: categories must be one or more different names")
    return names


@lru_cache(maxsize=2)
def _listed(
    file: Path, images: Path, classes: tuple[str, ...], modified: int
) -> tuple[ImageAnnotations, ...]:
    content = _read(file)
    try:
        categories = _unique(content["categories"], "category", file)
        names = {number: str(category["name"]) for number, category in categories.items()}
        entries = _unique(content["images"], "image", file)
        objects: dict[Any, list[Annotation]] = {identifier: [] for identifier in entries}
        for number, entry in _unique(content["annotations"], "annotation", file).items():
            if entry["image_id"] not in objects:
                raise DatasetError(
                    f"{file}: annotation {number} belongs to image {entry['image_id']}, which is not listed; "
                    "remove the annotation or list the image"
                )
            where = f"{file}: annotation {number} of image {entries[entry['image_id']]['file_name']}"
            objects[entry["image_id"]].append(_annotation(entry, number, names, classes, where))
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


def _read(file: Path) -> Mapping[str, Any]:
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
    entry: Mapping[str, Any], number: int, names: Mapping[int, str], classes: Sequence[str], where: str
) -> Annotation:
    name = names.get(entry["category_id"])
    if name is None or name not in classes:
        known = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
        raise DatasetError(
            f"{where} has the unknown category {entry['category_id']}"
            f"{'' if name is None else f' ({name})'}; known are {known}; correct it"
        )
    box = _numbers(entry.get("bbox"), 4)
    if box is None:
        raise DatasetError(
            f"{where}: its bbox is {entry.get('bbox')!r}; write left, top, width and height in pixels"
        )
    left, top, width, height = box
    given = entry.get("area")
    area = None if given is None else _numbers([given], 1)
    if given is not None and (area is None or not 0 <= area[0] < math.inf):
        raise DatasetError(f"{where}: its area is {given!r}; write the number of pixels, or leave it out")
    segmentation = entry.get("segmentation")
    return Annotation(
        id=f"annotation {number} ({name})",
        number=int(number),
        box=(left, top, left + width, top + height),
        label=classes.index(name),
        crowd=bool(entry.get("iscrowd")),
        area=None if area is None else area[0],
        segmentation=json.dumps(segmentation, separators=(",", ":")) if segmentation else None,
    )


def _numbers(values: Any, count: int) -> list[float] | None:
    """Floats, which need not be finite; None if `values` are not `count` numbers."""
    if not isinstance(values, Sequence) or len(values) != count:
        return None
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    return [float(value) for value in values]
