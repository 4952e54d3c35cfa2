"""Transforms from a data set's sample to tensors: scale, crop with padding, flip, colour, normalise.

Label and instance maps are resized by nearest neighbour, never interpolated. This is the only module that
imports albumentations, and it does so when a transform is first used: the import takes a fifth of a second,
which --help would pay for nothing.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from deformlab.data.dataset import Sample
from deformlab.errors import ConfigError
from deformlab.labels import IGNORED

if TYPE_CHECKING:
    import albumentations

# Keeps albumentations from looking online for a newer version when it is imported.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's RGB values in [0, 1], as torchvision's checkpoints expect it."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of ImageNet's RGB values in [0, 1], as torchvision's checkpoints expect it."""


@dataclass(frozen=True)
class TrainTransform:
    """Random scale, crop, flip and colour change of one training sample.

    Image, label map and instance map have the same size afterwards. Padding has the mean colour, label 255
    (ignored) and instance 0 (no object).

    Args:
        scale: Smallest and largest random factor on the image's size, above 0; drawn uniformly.
        short_side: Length in pixels, at least 1, to which the shorter side is scaled before the random
            factor is applied; None keeps the image's size.
        crop: Height and width of the random crop in pixels, at least 1; None keeps the whole image.
        flip: Probability of a horizontal flip, 0 to 1.
        color: Strength of the change of brightness, contrast and saturation, 0 (off) to 1.
        mean: Mean per channel, in [0, 1].
        std: Standard deviation per channel, in [0, 1].

    Raises:
        ConfigError: An argument is outside its range.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    short_side: int | None = None
    crop: tuple[int, int] | None = None
    flip: float = 0.5
    color: float = 0.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(
                f"scale={list(self.scale)}: must be [smallest, largest] with 0 < smallest <= largest"
            )
        if self.crop is not None and min(self.crop) < 1:
            raise ConfigError(f"crop={list(self.crop)}: must be [height, width] of at least 1 pixel, or null")
        if not 0 <= self.flip <= 1:
            raise ConfigError(f"flip={self.flip}: must be a probability from 0 to 1")
        if not 0 <= self.color <= 1:
            raise ConfigError(f"color={self.color}: must be from 0 (off) to 1")
        check_normalization(self.short_side, self.mean, self.std)
        object.__setattr__(self, "_pipeline", self._build())

    def _build(self) -> "albumentations.Compose":
        import albumentations as A

        resize = _resize()
        steps: list[Any] = []
        if self.short_side is not None:
            # One resize to a random short side, because two in a row would resample twice.
            sides = range(round(self.short_side * self.scale[0]), round(self.short_side * self.scale[1]) + 1)
            steps.append(A.SmallestMaxSize(max_size=list(sides), p=1, **resize))
        elif tuple(self.scale) != (1.0, 1.0):
            limits = (self.scale[0] - 1, self.scale[1] - 1)
            steps.append(A.RandomScale(scale_limit=limits, p=1, **resize))
        if self.crop is not None:
            fill = tuple(round(255 * value) for value in self.mean)
            steps.append(
                A.RandomCrop(
                    *self.crop, pad_if_needed=True, pad_position="random", fill=fill, fill_mask=0, p=1
                )
            )
        if self.flip > 0:
            steps.append(A.HorizontalFlip(p=self.flip))
        if self.color > 0:
            steps.append(_colour_jitter(self.color))
        return A.Compose(steps, additional_targets={"instance": "mask"})

    def __call__(self, sample: Sample, seed: int | None = None) -> dict[str, Any]:
        """Transforms one sample.

        Args:
            sample: One sample of a data set.
            seed: Seed of all random choices; None draws it from PyTorch's generator, which `seed_everything`
                and the DataLoader's workers seed.

        Returns:
            A dictionary of `image` (3, H, W) float32, `label` (H, W) int64, `instance` (H, W) int64 and
            `name`.
        """
        if seed is None:
            seed = int(torch.randint(2**31, ()))
        pipeline: albumentations.Compose = self._pipeline  # type: ignore[attr-defined]
        # albumentations has its own generator, whose numbers would repeat in each worker and epoch.
        pipeline.set_random_seed(seed)
        # Padding is 0 in every mask. Labels are shifted so that 0 means ignored; uint8 wraps around.
        shifted = sample["label"] - np.uint8(IGNORED)
        result = pipeline(image=sample["image"], mask=shifted, instance=sample["instance"])
        return {
            "image": to_tensor(result["image"], self.mean, self.std),
            "label": torch.from_numpy((result["mask"] + np.uint8(IGNORED)).astype(np.int64)),
            "instance": torch.from_numpy(result["instance"].astype(np.int64)),
            "name": sample["name"],
        }


@dataclass(frozen=True)
class EvalTransform:
    """Resizes and normalises the image; label map and instance map keep the original resolution.

    Args:
        short_side: Length in pixels, at least 1, to which the shorter side is scaled; None keeps the image's
            size.
        mean: Mean per channel, in [0, 1].
        std: Standard deviation per channel, in [0, 1].

    Raises:
        ConfigError: An argument is outside its range.
    """

    short_side: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        check_normalization(self.short_side, self.mean, self.std)

    def image(self, image: npt.NDArray[np.uint8]) -> torch.Tensor:
        """The network's input (3, H', W') for an RGB image (H, W, 3)."""
        if self.short_side is not None:
            import albumentations as A

            image = A.SmallestMaxSize(max_size=self.short_side, p=1, **_resize())(image=image)["image"]
        return to_tensor(image, self.mean, self.std)

    def __call__(self, sample: Sample) -> dict[str, Any]:
        """Transforms one sample.

        Returns:
            A dictionary of `image` (3, H', W') float32, `label` (H, W) int64, `instance` (H, W) int64 and
            `name`.
        """
        return {
            "image": self.image(sample["image"]),
            "label": torch.from_numpy(sample["label"].astype(np.int64)),
            "instance": torch.from_numpy(sample["instance"].astype(np.int64)),
            "name": sample["name"],
        }


def _resize() -> dict[str, Any]:
    """Options of albumentations' resizing transforms.

    INTER_NEAREST_EXACT samples at pixel centres, as the image's interpolation does. INTER_NEAREST would shift
    the label map by half a pixel.
    """
    import cv2

    return {
        "interpolation": cv2.INTER_LINEAR,
        "mask_interpolation": cv2.INTER_NEAREST_EXACT,
        "area_for_downscale": "image",
    }


def colour_jitter(image: npt.NDArray[np.uint8], strength: float, seed: int) -> npt.NDArray[np.uint8]:
    """An image with randomly changed brightness, contrast and saturation, shape (H, W, 3).

    Args:
        image: RGB, shape (H, W, 3).
        strength: 0 (off) to 1.
        seed: Seed of the random choice.
    """
    import albumentations as A

    pipeline = A.Compose([_colour_jitter(strength)])
    pipeline.set_random_seed(seed)
    return pipeline(image=image)["image"]


def _colour_jitter(strength: float) -> Any:
    import albumentations as A

    limits = (max(0.0, 1 - strength), 1 + strength)
    return A.ColorJitter(brightness=limits, contrast=limits, saturation=limits, hue=0, p=1)


def to_tensor(image: npt.NDArray[np.uint8], mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The normalised image (3, H, W) float32 of an RGB image (H, W, 3)."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    shift = torch.tensor(mean)[:, None, None] * 255
    return tensor.sub_(shift).div_(torch.tensor(std)[:, None, None] * 255)


def check_normalization(short_side: int | None, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Refuse illegal options of a transform.

    Raises:
        ConfigError: An option is out of its range.
    """
    if short_side is not None and short_side < 1:
        raise ConfigError(f"short_side={short_side}: must be at least 1 pixel, or null")
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ConfigError(f"mean={list(mean)}, std={list(std)}: must be three values each, std above 0")
