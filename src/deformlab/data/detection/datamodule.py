"""The LightningDataModule of detection data sets."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_info
from torch.nn import functional as F

from deformlab.data.datamodule import ImageDataModule
from deformlab.data.detection.dataset import DetectionDataset
from deformlab.data.detection.registry import DETECTION_DATASETS
from deformlab.data.detection.transforms import DetectionEvalTransform, DetectionTrainTransform
from deformlab.data.sampler import SeededSampler
from deformlab.errors import DatasetError

__all__ = ["DetectionDataModule", "GroupedSampler", "collate_detection"]


class DetectionDataModule(ImageDataModule):
    """Loaders for training, validation, test and prediction of detectors.

    Batches are dictionaries of `image` (N, 3, H, W) float32, padded with zeros on the right and at the
    bottom; `size`, a list of the height and width of each image without padding; `boxes` and `labels`, lists
    of tensors; `masks`, a list of tensors, run lengths or None; and `name`, a list. Evaluation batches also
    have `original_size`, `difficult`, `crowd`, `area`, `ids` and `image_id`, and their boxes are in pixels of
    the original image.

    Images of a training batch have the same orientation, landscape or portrait.

    Args:
        dataset: One of `DETECTION_DATASETS`.
        train_transform: Random transform of training samples; None scales the shorter side to 600, flips and
            normalises.
        eval_transform: Transform of evaluation samples; None scales the shorter side to 600 and normalises.
        masks: Whether the masks of objects are loaded, for Mask R-CNN.
        skip_empty: Whether training images without objects are left out, as in the authors' code.
        loading: The options of `ImageDataModule`.

    Raises:
        ConfigError: As in `ImageDataModule`.
        DatasetError: As in `ImageDataModule`, or a split to train on has no object.
    """

    datasets = DETECTION_DATASETS

    def __init__(
        self,
        dataset: str = "shapes",
        train_transform: DetectionTrainTransform | None = None,
        eval_transform: DetectionEvalTransform | None = None,
        masks: bool = False,
        skip_empty: bool = True,
        **loading: Any,
    ) -> None:
        super().__init__(
            dataset,
            train_transform or DetectionTrainTransform(),
            eval_transform or DetectionEvalTransform(),
            **loading,
        )
        self.skip_empty = skip_empty
        self.masks = masks
        if masks:
            self.options["masks"] = True

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Pads and stacks images, and lists all other values; see `collate_detection`."""
        return collate_detection(samples)

    def check_labelled(self, dataset: Any, training: bool) -> None:
        """Refuse a training split without an object, and leave out its images without objects.

        Raises:
            DatasetError: There is no object.
        """
        if not isinstance(dataset, DetectionDataset):
            return
        counts = dataset.object_counts()
        if training and not any(counts):
            raise DatasetError(
                f"{dataset.images[0].source}: the images of {dataset.split} have no object to train on; "
                "annotate some"
            )
        if training and self.skip_empty:
            dataset.keep([index for index, count in enumerate(counts) if count])

    def train_sampler(self, num_replicas: int, rank: int) -> SeededSampler:
        """The order of the training samples, grouped by orientation if batches have several images."""
        sizes = self.train_dataset.sizes()
        portrait = [size is not None and size[0] > size[1] for size in sizes]
        if self.batch_size == 1 or len(set(portrait)) == 1:
            return super().train_sampler(num_replicas, rank)
        for count, what in ((portrait.count(True), "portrait"), (portrait.count(False), "landscape")):
            if count < self.batch_size * num_replicas:
                rank_zero_info(
                    f"data.batch_size={self.batch_size}: the {count} {what} images to train on fill no batch "
                    "of one orientation and are left out; lower it"
                )
        options = {"num_replicas": num_replicas, "rank": rank, "seed": self.seed}
        return GroupedSampler(self.train_dataset, portrait, self.batch_size, **options)


class GroupedSampler(SeededSampler):
    """A `SeededSampler` whose consecutive samples form batches of one group.

    Batches are drawn from all samples of a group; the last incomplete ones of an epoch are left out. The
    order of samples and of batches depends only on seed and epoch.

    Args:
        dataset: The data set of the samples.
        groups: The group of each sample, for example whether it is a portrait.
        batch_size: Samples per batch.
        options: `num_replicas`, `rank` and `seed` of the base class.
    """

    def __init__(self, dataset: Any, groups: Sequence[Any], batch_size: int, **options: Any) -> None:
        super().__init__(dataset, shuffle=True, drop_last=True, **options)
        self.groups = list(groups)
        self.batch_size = batch_size
        whole = batch_size * self.num_replicas
        counts = [self.groups.count(group) for group in set(self.groups)]
        self.num_samples = sum(count // whole * batch_size for count in counts)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.groups), generator=generator).tolist()
        whole = self.batch_size * self.num_replicas
        parts: list[list[int]] = []
        for group in sorted(set(self.groups)):
            members = [index for index in order if self.groups[index] == group]
            parts += [members[start : start + whole] for start in range(0, len(members) - whole + 1, whole)]
        shuffled = [parts[i] for i in torch.randperm(len(parts), generator=generator).tolist()]
        mine = (part[self.rank :: self.num_replicas] for part in shuffled)
        return self.seeded(itertools.chain.from_iterable(mine))


def collate_detection(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Pads images with zeros on the right and at the bottom, and lists all other values."""
    images = [sample["image"] for sample in samples]
    height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
    batch: dict[str, Any] = {key: [sample[key] for sample in samples] for key in samples[0] if key != "image"}
    batch["image"] = torch.stack(
        [F.pad(image, (0, width - image.shape[-1], 0, height - image.shape[-2])) for image in images]
    )
    if "original_size" not in batch and "boxes" not in batch:  # images to predict have their original size
        batch["original_size"] = batch["size"]
        batch["size"] = [(image.shape[-2], image.shape[-1]) for image in images]
    return batch
