"""Detections and objects of images, made by hand."""

from typing import Any, NamedTuple

import pytest
import torch


class Found(NamedTuple):
    """The detections of one image, sorted by decreasing score."""

    boxes: torch.Tensor
    scores: torch.Tensor
    labels: torch.Tensor
    masks: Any = None


def _make_image(
    name, detections=(), objects=(), *, difficult=(), crowd=(), size=(200, 300), image_id=0, masks=None
):
    """The detections and the target of one image.

    `detections` are triples (box, score, label), `objects` pairs (box, label); `difficult` and `crowd` list
    indices of objects; `masks` are the run lengths of the detections and of the objects.
    """
    boxes = torch.tensor([box for box, _ in objects], dtype=torch.float32).reshape(-1, 4)
    indices = torch.arange(len(objects))
    of_detections, of_objects = masks or (None, None)
    found = Found(
        torch.tensor([box for box, _, _ in detections], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in detections], dtype=torch.float32),
        torch.tensor([label for _, _, label in detections], dtype=torch.int64),
        of_detections,
    )
    return found, {
        "boxes": boxes,
        "labels": torch.tensor([label for _, label in objects], dtype=torch.int64),
        "difficult": torch.isin(indices, torch.tensor(difficult)),
        "crowd": torch.isin(indices, torch.tensor(crowd)),
        "area": (boxes[:, 2:] - boxes[:, :2]).double().prod(1),
        "name": name,
        "image_id": image_id,
        "original_size": size,
        "masks": of_objects,
    }


def _make_batch(images):
    """The arguments of `update` for several images."""
    targets: dict[str, Any] = {key: [target[key] for _, target in images] for key in images[0][1]}
    return [found for found, _ in images], targets


def _random_images(seed, count=12, classes=3):
    """Images with detections near their objects, with equal scores, difficult objects and none at all."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low, high):
        return low + (high - low) * float(torch.rand((), generator=generator))

    images = []
    for i in range(count):
        objects, detections = [], []
        for _ in range(int(uniform(0, 6))):
            left, top, side = uniform(0, 200), uniform(0, 100), uniform(5, 100)
            label = int(uniform(0, classes))
            objects.append(((left, top, left + side, top + side), label))
            for _ in range(int(uniform(0, 4))):
                shift = uniform(-0.3, 0.3) * side
                box = (left + shift, top, left + shift + side, top + side)
                other = label if uniform(0, 1) < 0.8 else int(uniform(0, classes))
                detections.append((box, round(uniform(0.1, 1), 1), other))
        detections += [((0, 0, 20, 20), 0.5, 0)]
        detections.sort(key=lambda detection: -detection[1])
        difficult = [k for k in range(len(objects)) if uniform(0, 1) < 0.2]
        images.append(_make_image(f"image {i}", detections, objects, difficult=difficult, image_id=100 - i))
    return images


@pytest.fixture
def make_found():
    return Found


@pytest.fixture
def make_image():
    return _make_image


@pytest.fixture
def make_batch():
    return _make_batch


@pytest.fixture
def random_images():
    return _random_images
