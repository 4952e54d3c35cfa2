"""Transforms from a detection sample to tensors: resize, flip, colour, normalise.

A box scales by the exact ratio of the resized image's sides, so its edges stay where they are on the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from deformlab.data.detection.dataset import DetectionSample
from deformlab.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    check_normalization,
    colour_jitter,
    to_tensor,
)
from deformlab.errors import ConfigError

__all__ = ["DetectionEvalTransform", "DetectionTrainTransform", "resized_size"]


@dataclass(frozen=True)
class DetectionTrainTransform:
    """Resizes, flips and colours one training sample, and leaves out difficult objects and crowds.

    Args:
        short_side: Length in pixels to which the shorter side is scaled; several lengths are drawn from at
            random. None keeps the image's size. DCNv1: 600.
        max_side: Length that the longer side does not exceed, >= 1 (DCNv1's code: 1000).
        flip: Probability of a horizontal flip, 0 to 1.
        color: Strength of the change of brightness, contrast and saturation, 0 (off) to 1.
        min_box: Boxes narrower or lower than this after resizing are left out, in pixels, >= 0.
        mean: Mean per channel, in [0, 1].
        std: Standard deviation per channel, in [0, 1].

    Raises:
        ConfigError: An argument is outside its range.
    """

    short_side: int | Sequence[int] | None = 600
    max_side: int = 1000
    flip: float = 0.5
    color: float = 0.0
    min_box: float = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        sides = _sides(self.short_side)
        if sides == () or any(side < 1 for side in sides or ()):
            raise ConfigError(
                f"short_side={self.short_side}: must be one or more lengths of at least 1, or null"
            )
        if self.max_side < 1:
            raise ConfigError(f"max_side={self.max_side}: must be at least 1 pixel")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip={self.flip}: must be a probability from 0 to 1")
        if not 0 <= self.color <= 1:
            raise ConfigError(f"color={self.color}: must be from 0 (off) to 1")
        if self.min_box < 0:
            raise ConfigError(f"min_box={self.min_box}: must be at least 0 pixels")
        check_normalization(None, self.mean, self.std)

    def __call__(self, sample: DetectionSample, seed: int | None = None) -> dict[str, Any]:
        """Transforms one sample.

        Args:
            sample: One sample of a data set.
            seed: Seed of all random choices; None draws it from PyTorch's generator, which `seed_everything`
                and the DataLoader's workers seed.

        Returns:
            A dictionary of `image` (3, H, W) float32, `size` (H, W), `boxes` (K, 4) float32 in pixels of
            `image`, `labels` (K,) int64, `masks` (K, H, W) uint8 or None, and `name`.
        """
        if seed is None:
            seed = int(torch.randint(2**31, ()))
        random = np.random.default_rng(seed)
        sides = _sides(self.short_side)
        side = None if sides is None else int(random.choice(sides))
        image, boxes = _resize(sample["image"], sample["boxes"], side, self.max_side)
        height, width = image.shape[:2]
        flipped = random.random() < self.flip
        if flipped:
            image = image[:, ::-1]
            boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
        if self.color > 0:
            image = colour_jitter(np.ascontiguousarray(image), self.color, int(random.integers(2**31)))
        sizes = boxes[:, 2:] - boxes[:, :2]
        kept = ~(sample["difficult"] | sample["crowd"]) & (sizes >= self.min_box).all(axis=1)
        masks = None
        if sample["masks"] is not None:
            masks = _masks(
                [m for m, keep in zip(sample["masks"], kept, strict=True) if keep], (height, width), flipped
            )
        return {
            "image": to_tensor(image, self.mean, self.std),
            "size": (height, width),
            "boxes": torch.from_numpy(boxes[kept].astype(np.float32)),
            "labels": torch.from_numpy(sample["labels"][kept]),
            "masks": masks,
            "name": sample["name"],
        }


@dataclass(frozen=True)
class DetectionEvalTransform:
    """Resizes and normalises the image; the objects stay in pixels of the original image.

    Args:
        short_side: Length in pixels, at least 1, to which the shorter side is scaled; None keeps the image's
            size.
        max_side: Length that the longer side does not exceed, >= 1.
        mean: Mean per channel, in [0, 1].
        std: Standard deviation per channel, in [0, 1].

    Raises:
        ConfigError: An argument is outside its range.
    """

    short_side: int | None = 600
    max_side: int = 1000
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.max_side < 1:
            raise ConfigError(f"max_side={self.max_side}: must be at least 1 pixel")
        check_normalization(self.short_side, self.mean, self.std)

    def image(self, image: npt.NDArray[np.uint8]) -> torch.Tensor:
        """The network's input (3, H', W') for an RGB image (H, W, 3)."""
        resized, _ = _resize(image, np.zeros((0, 4), np.float32), self.short_side, self.max_side)
        return to_tensor(resized, self.mean, self.std)

    def __call__(self, sample: DetectionSample) -> dict[str, Any]:
        """Transforms one sample.

        Returns:
            A dictionary of `image` (3, H', W') float32, `size` (H', W'), `original_size` (H, W), and the
            entries of the sample as tensors, in pixels of the original image.
        """
        image = self.image(sample["image"])
        return {
            "image": image,
            "size": (image.shape[-2], image.shape[-1]),
            "original_size": sample["image"].shape[:2],
            **{
                key: torch.from_numpy(sample[key])
                for key in ("boxes", "labels", "difficult", "crowd", "area", "ids")
            },
            "masks": sample["masks"],
            "name": sample["name"],
            "image_id": sample["image_id"],
        }


def resized_size(size: tuple[int, int], short_side: int | None, max_side: int) -> tuple[int, int]:
    """Height and width after the shorter side is scaled, unless the longer one would become too long.

    Args:
        size: Height and width.
        short_side: As for the transforms.
        max_side: As for the transforms.
    """
    factor = 1.0 if short_side is None else short_side / min(size)
    factor = min(factor, max_side / max(size))
    height, width = (max(1, round(length * factor)) for length in size)
    return height, width


def _sides(short_side: int | Sequence[int] | None) -> tuple[int, ...] | None:
    if short_side is None:
        return None
    return (short_side,) if isinstance(short_side, int) else tuple(short_side)


def _resize(
    image: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float32], short_side: int | None, max_side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    import cv2

    height, width = image.shape[:2]
    new_height, new_width = resized_size((height, width), short_side, max_side)
    if (new_height, new_width) == (height, width):
        return image, boxes
    smaller = new_height < height
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    ratio = np.asarray([new_width / width, new_height / height] * 2, dtype=np.float64)
    return np.asarray(resized, dtype=np.uint8), (boxes * ratio).astype(np.float32)


def _masks(run_lengths: Sequence[Any], size: tuple[int, int], flipped: bool) -> torch.Tensor:
    import cv2

    from deformlab.data.coco import decoded_run_lengths

    height, width = size
    masks = np.zeros((len(run_lengths), height, width), dtype=np.uint8)
    for target, encoded in zip(masks, run_lengths, strict=True):
        mask = decoded_run_lengths(encoded).astype(np.uint8)
        resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        target[:] = resized[:, ::-1] if flipped else resized
    return torch.from_numpy(masks)
