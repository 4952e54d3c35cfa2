"""The generated shapes with boxes instead of label maps: the embedded detection data set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deformlab.data.dataset import ImageDataset
from deformlab.data.detection.dataset import DetectionSample
from deformlab.data.shapes import Shapes

__all__ = ["ShapeBoxes"]

# A hidden shape with fewer visible pixels, or whose visible part is narrower, is left out.
MIN_PIXELS, MIN_SIDE = 64, 8


class ShapeBoxes(ImageDataset):
    """The images of `Shapes` with the boxes of the visible parts of their shapes; no files.

    Shapes that are nearly hidden are left out: fewer than 64 visible pixels, or a box narrower than 8 pixels.

    Args:
        root: ignored; there are no files.
        split: one of `splits`.
        transform: as in `ImageDataset`.
        cache: keep generated samples in memory.
        masks: whether samples have masks of the visible parts.
        train_images: as for `Shapes`.
        val_images: as for `Shapes`.
        size: as for `Shapes`.
        radius: as for `Shapes`.
        rim: as for `Shapes`.
        shapes: as for `Shapes`.
        tint: as for `Shapes`.
        noise: as for `Shapes`.
        seed: as for `Shapes`.

    Raises:
        ValueError: an argument is outside its range.
    """

    name = "shapes"
    classes = Shapes.classes[1:]
    things = classes
    palette = Shapes.palette[1:]
    splits = Shapes.splits

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
        cache: bool = True,
        masks: bool = False,
        train_images: int = 600,
        val_images: int = 100,
        size: int = 192,
        radius: tuple[float, float] = (12.0, 60.0),
        rim: float = 0.12,
        shapes: tuple[int, int] = (2, 5),
        tint: float = 50.0,
        noise: float = 24.0,
        seed: int = 0,
    ) -> None:
        super().__init__(None, split, transform, cache)
        self.masks = masks
        self._shapes = Shapes(
            None,
            split,
            cache=False,
            train_images=train_images,
            val_images=val_images,
            size=size,
            radius=radius,
            rim=rim,
            shapes=shapes,
            tint=tint,
            noise=noise,
            seed=seed,
        )
        self.names = self._shapes.names

    def contents(self) -> list[list[Any]]:
        """The contents of `Shapes`."""
        return self._shapes.contents()

    def load(self, index: int) -> DetectionSample:
        """Generate sample `index`."""
        sample = self._shapes.load(index)
        instance, label = sample["instance"], sample["label"]
        boxes, labels, ids, areas, masks = [], [], [], [], []
        for number in range(1, int(instance.max(initial=0)) + 1):
            mask = instance == number
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if mask.sum() < MIN_PIXELS:
                continue
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            if min(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
                continue
            boxes.append(box)
            labels.append(int(label[mask][0]) - 1)
            ids.append(number)
            areas.append(float(mask.sum()))
            masks.append(mask)
        count = len(boxes)
        return DetectionSample(
            image=sample["image"],
            boxes=np.asarray(boxes, dtype=np.float32).reshape(-1, 4),
            labels=np.asarray(labels, dtype=np.int64),
            difficult=np.zeros(count, dtype=np.bool_),
            crowd=np.zeros(count, dtype=np.bool_),
            area=np.asarray(areas, dtype=np.float64),
            ids=np.asarray(ids, dtype=np.int64),
            masks=[_encoded(mask) for mask in masks] if self.masks else None,
            name=sample["name"],
            image_id=index,
        )

    @classmethod
    def check(cls, sample: DetectionSample, source: str) -> None:
        """Refuse nothing: generated samples are legal."""

    def object_counts(self) -> list[int] | None:
        """None: the number of objects is only known when an image is generated."""
        return None

    def sizes(self) -> list[tuple[int, int] | None]:
        """All images have the same size."""
        return [(self._shapes.size, self._shapes.size)] * len(self)


def _encoded(mask: Any) -> Any:
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
