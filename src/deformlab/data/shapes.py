"""Generated images of shapes whose class shows only at their rim: the embedded data set.

A network can tell a pixel's class only if it sees the edge of the pixel's object: the larger the object, the
further it has to look. Section 3 and table 2 of Deformable Convolutional Networks study this on real images.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from deformlab.data.dataset import Sample, SegmentationDataset

_ANGLES = 512
_GRAIN = 8


class Shapes(SegmentationDataset):
    """Warped, rotated discs, squares and triangles on a textured background; no files.

    Interior and background have the same texture and noise; a rim along the outline is tinted by class.
    Shapes are painted from large to small, so that smaller shapes hide parts of larger ones. An image depends
    only on its index, `split` and the arguments from `size` to `seed`.

    Args:
        root: ignored; there are no files.
        split: one of `splits`.
        transform: as in `SegmentationDataset`.
        cache: keep generated samples in memory.
        train_images: number of images of split train.
        val_images: number of images of splits val and test.
        size: side of the square images in pixels, at least 16.
        radius: smallest and largest radius in pixels, drawn log-uniformly.
        rim: width of the tinted rim as a share of the radius, in (0, 1]; at least 2 pixels are tinted.
        shapes: smallest and largest number of shapes in an image, drawn uniformly.
        tint: distance of the rim's colour from the texture's in grey levels.
        noise: amplitude of the pixel noise in grey levels.
        seed: seed of the generator.

    Raises:
        ValueError: an argument is outside its range.
    """

    name = "shapes"
    classes = ("background", "disc", "square", "triangle")
    things = ("disc", "square", "triangle")
    palette = np.array([(90, 90, 90), (228, 87, 86), (84, 162, 75), (76, 120, 168)], dtype=np.uint8)
    splits = ("train", "val", "test")

    # Directions in colour space that keep the mean brightness, so that only the hue shows the class.
    _tints: ClassVar[npt.NDArray[np.float32]] = np.array(
        [(0, 0, 0), (1, -0.5, -0.5), (-0.5, 1, -0.5), (-0.5, -0.5, 1)], dtype=np.float32
    )

    def __init__(
        self,
        root: str | Path | None = None,
        split: str = "train",
        transform: Callable[[Sample], Any] | None = None,
        cache: bool = True,
        train_images: int = 600,
        val_images: int = 100,
        size: int = 192,
        radius: tuple[float, float] = (6.0, 80.0),
        rim: float = 0.12,
        shapes: tuple[int, int] = (3, 8),
        tint: float = 50.0,
        noise: float = 24.0,
        seed: int = 0,
    ) -> None:
        super().__init__(None, split, transform, cache)
        images = train_images if split == "train" else val_images
        if images < 1:
            raise ValueError(
                f"{'train_images' if split == 'train' else 'val_images'}={images}: must be at least 1"
            )
        if size < 16:
            raise ValueError(f"size={size}: must be at least 16 pixels")
        if not 1 <= radius[0] <= radius[1]:
            raise ValueError(
                f"radius={tuple(radius)}: must be (smallest, largest) with 1 <= smallest <= largest"
            )
        if not 0 < rim <= 1:
            raise ValueError(f"rim={rim}: must be a share of the radius in (0, 1]")
        if not 1 <= shapes[0] <= shapes[1]:
            raise ValueError(f"shapes={tuple(shapes)}: must be (fewest, most) with 1 <= fewest <= most")
        self.names = [f"{split}_{index:05d}" for index in range(images)]
        self.size = size
        self.radius = radius
        self.rim = rim
        self.shapes = shapes
        self.tint = tint
        self.noise = noise
        self.seed = seed

    def contents(self) -> list[list[Any]]:
        """Return the number of images and the arguments that they depend on."""
        numbers = (self.size, *self.radius, self.rim, *self.shapes, self.tint, self.noise, self.seed)
        return [["images", len(self)], ["arguments", *map(float, numbers)]]

    def load(self, index: int) -> Sample:
        """Generate sample `index`."""
        rng = np.random.default_rng((self.seed, self.splits.index(self.split), index))
        label = np.zeros((self.size, self.size), dtype=np.uint8)
        instance = np.zeros((self.size, self.size), dtype=np.int32)
        # Class of the tint, 0 for none. A shape overwrites the rims of the shapes that it hides.
        tinted = np.zeros((self.size, self.size), dtype=np.uint8)

        count = int(rng.integers(self.shapes[0], self.shapes[1], endpoint=True))
        radii = np.sort(np.exp(rng.uniform(np.log(self.radius[0]), np.log(self.radius[1]), size=count)))[::-1]
        for number, radius in enumerate(radii, start=1):
            kind = int(rng.integers(1, len(self.classes)))
            rows, columns, inside, edge = self._shape(rng, kind, float(radius))
            label[rows, columns][inside] = kind
            instance[rows, columns][inside] = number
            tinted[rows, columns][inside] = 0
            tinted[rows, columns][edge] = kind

        image = self._texture(rng) + self.tint * self._tints[tinted]
        return Sample(
            image=np.clip(image, 0, 255).astype(np.uint8),
            label=label,
            instance=instance,
            name=self.names[index],
        )

    def _shape(
        self, rng: np.random.Generator, kind: int, radius: float
    ) -> tuple[slice, slice, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Draw a shape: its rows and columns in the image, and masks of its pixels and of its rim there."""
        row, column = rng.uniform(0, self.size, size=2)
        outline = radius * _outline(rng, kind)
        reach = float(outline.max())
        rows = slice(max(0, int(row - reach)), min(self.size, int(row + reach) + 2))
        columns = slice(max(0, int(column - reach)), min(self.size, int(column + reach) + 2))
        dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(row)
        dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(column)
        angle = (np.arctan2(dy, dx) * (_ANGLES / (2 * np.pi))).astype(np.int16) % _ANGLES
        depth = outline[angle] - np.hypot(dy, dx)
        inside = depth > 0
        edge = inside & (depth < max(2.0, self.rim * radius))
        return rows, columns, inside, edge

    def _texture(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return smooth, nearly grey patches plus pixel noise, shape (size, size, 3)."""
        cells = self.size // _GRAIN + 2
        grey = rng.uniform(78, 178, size=(1, cells, cells))
        coarse = (grey + rng.uniform(-12, 12, size=(3, cells, cells))).astype(np.float32)
        position = np.arange(self.size, dtype=np.float32) / _GRAIN
        weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(cells, dtype=np.float32)))
        smooth = (weights @ coarse @ weights.T).transpose(1, 2, 0)
        grain = rng.integers(0, 256, size=smooth.shape, dtype=np.uint8)
        return smooth + (grain - np.float32(127.5)) * np.float32(self.noise / 127.5)


def _outline(rng: np.random.Generator, kind: int) -> npt.NDArray[np.float32]:
    """Return a randomly turned and warped outline: its radius at `_ANGLES` angles, about 1."""
    angle = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    turned = angle + rng.uniform(0, 2 * np.pi)
    if kind == 1:
        outline = np.ones(_ANGLES)
    else:
        sector = 2 * np.pi / {2: 4, 3: 3}[kind]
        outline = np.cos(sector / 2) / np.cos(turned % sector - sector / 2)
    for wave in (2, 3, 5):
        outline = outline * (1 + rng.uniform(0, 0.08) * np.cos(wave * angle + rng.uniform(0, 2 * np.pi)))
    return outline.astype(np.float32)
