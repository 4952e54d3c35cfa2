"""Reads the XML files of PASCAL VOC: one file per image, with inclusive boxes that start at pixel 1."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from deformlab.data.detection.dataset import Annotation, ImageAnnotations
from deformlab.data.pascal_voc import read_names
from deformlab.data.reading import IMAGE_SUFFIXES
from deformlab.errors import DatasetError

__all__ = ["class_names", "read_voc_list", "read_voc_xml"]


def read_voc_list(folder: Path, split: str, classes: Sequence[str]) -> list[ImageAnnotations]:
    """Read the images of one of VOC's lists, sorted by name.

    Args:
        folder: Contains `JPEGImages/`, `Annotations/` and `ImageSets/Main/<split>.txt`.
        split: The list's name.
        classes: The names of the classes.

    Raises:
        DatasetError: The list is missing or empty; also the errors of `read_voc_xml`.
    """
    listing = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not listing.is_file():
        raise DatasetError(f"{listing}: no such file; list the names of the images of {split} in it")
    names = sorted(read_names(listing))
    if not names:
        raise DatasetError(f"{listing}: lists no images")
    annotations, images = folder / "Annotations", folder / "JPEGImages"
    return [read_voc_xml(annotations / f"{name}.xml", images, classes) for name in names]


def read_voc_xml(file: Path, images: Path, classes: Sequence[str]) -> ImageAnnotations:
    """Read one file.

    Args:
        file: The XML file.
        images: The folder of the images; the image has the stem of the file.
        classes: The names of the classes.

    Raises:
        DatasetError: The file cannot be read or lacks a value, or an object has an unknown class.
    """
    root = _parse(file)
    objects = []
    for number, entry in enumerate(root.iter("object"), start=1):
        name = (entry.findtext("name") or "").strip()
        if name not in classes:
            raise DatasetError(
                f"{file}: object {number} has the unknown class {name!r}; known are {', '.join(classes)}; "
                "correct it, or add it to classes.txt"
            )
        edges = [_number(entry, f"bndbox/{key}", file, number) for key in ("xmin", "ymin", "xmax", "ymax")]
        left, top, right, bottom = edges
        objects.append(
            Annotation(
                id=f"object {number} ({name})",
                number=number,
                # VOC counts pixels from 1, and the last one is part of the box.
                box=(left - 1, top - 1, right, bottom),
                label=classes.index(name),
                difficult=(entry.findtext("difficult") or "0").strip() == "1",
            )
        )
    width, height = (root.findtext(f"size/{key}") for key in ("width", "height"))
    size = None
    if (
        width
        and height
        and width.strip().isdigit()
        and height.strip().isdigit()
        and int(width)
        and int(height)
    ):
        size = (int(height), int(width))
    return ImageAnnotations(file.stem, image_of_stem(images, file.stem), file, size, tuple(objects))


def class_names(files: Sequence[Path]) -> tuple[str, ...]:
    """The names of all classes in some files, sorted.

    Raises:
        DatasetError: A file cannot be read.
    """
    names = set()
    for file in files:
        names |= {(entry.findtext("name") or "").strip() for entry in _parse(file).iter("object")}
    return tuple(sorted(names))


def image_of_stem(folder: Path, stem: str) -> Path:
    """The image of that stem; a path with the suffix of JPEG files if there is none."""
    for suffix in IMAGE_SUFFIXES:
        for spelling in (suffix, suffix.upper()):
            if (folder / f"{stem}{spelling}").is_file():
                return folder / f"{stem}{spelling}"
    return folder / f"{stem}.jpg"


def _parse(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except FileNotFoundError:
        raise DatasetError(
            f"{file}: no such file, but its image is listed; add it or remove the image from the list"
        ) from None
    except (OSError, ElementTree.ParseError) as error:
        raise DatasetError(f"{file}: not readable as XML ({error}); restore the file") from None


def _number(entry: ElementTree.Element, key: str, file: Path, number: int) -> float:
    text = entry.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        raise DatasetError(
            f"{file}: object {number}: {key} is {text!r}, which is not a number; correct it"
        ) from None
