"""The LightningDataModules; a configuration selects a data set by its name."""

import inspect
import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from deformlab.data.dataset import ImageDataset, SegmentationDataset
from deformlab.data.files import FileDataset
from deformlab.data.folder import ImageFolder
from deformlab.data.registry import DATASETS
from deformlab.data.sampler import AugmentedDataset, SeededSampler
from deformlab.data.transforms import EvalTransform, TrainTransform
from deformlab.errors import ConfigError, DatasetError
from deformlab.labels import IGNORED

_OWN_ARGUMENTS = ("self", "root", "split", "transform")


class ImageDataModule(pl.LightningDataModule):
    """Base class of data modules: opens the splits of a data set and loads their images.

    The order and augmentation of training samples depend only on `seed`, epoch and sample. They are the same
    for any number of workers, and after an interruption.

    Subclasses set `datasets` and define `collate` and `check_labelled`.

    Args:
        dataset: One of `datasets`.
        train_transform: Random transform of training samples, called with a sample and a seed.
        eval_transform: Transform of evaluation samples.
        root: Folder of the data set; not needed for shapes.
        batch_size: Training images per process, at least 1. An optimizer step uses batch_size x processes x
            accumulate_grad_batches images.
        val_batch_size: Evaluation images per process, at least 1; more than 1 only if all images have the
            same size.
        num_workers: Number of processes that load and transform images; 0 uses the training process.
        seed: Seed of order and augmentation, 0 to `2**32 - 1`.
        options: The data set's own arguments by name, for instance `{"size": 128}` for shapes.
        predict_root: Folder of the images to predict.

    Raises:
        ConfigError: The data set is unknown, an option is unknown or illegal, or a number is out of range; on
            `setup`: `batch_size` is larger than the training split.
        DatasetError: The file that lists the classes is missing or illegal; on `setup`: the data set is
            incomplete or broken, or nothing in a split is labelled.
    """

    datasets: ClassVar[Mapping[str, type[ImageDataset]]]

    def __init__(
        self,
        dataset: str,
        train_transform: Any,
        eval_transform: Any,
        root: str | None = None,
        batch_size: int = 8,
        val_batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
        options: dict[str, Any] | None = None,
        predict_root: str | None = None,
    ) -> None:
        super().__init__()
        if dataset not in self.datasets:
            raise ConfigError(
                f"data.dataset={dataset!r}: unknown data set; choose one of {', '.join(self.datasets)}"
            )
        self.dataset_class = self.datasets[dataset].for_root(root)
        for argument, value, least in (
            ("batch_size", batch_size, 1),
            ("val_batch_size", val_batch_size, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < least:
                raise ConfigError(f"data.{argument}={value}: must be at least {least}")
        if not 0 <= seed < 2**32:
            raise ConfigError(f"data.seed={seed}: must be in 0 to {2**32 - 1}")
        _check_options(self.dataset_class, options or {})
        self.root = root
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size
        self.num_workers = num_workers
        self.train_transform = train_transform
        self.eval_transform = eval_transform
        self.seed = seed
        self.options = dict(options or {})
        self.predict_root = predict_root
        self._position = (0, 0)
        self._fingerprints: dict[str, dict[str, Any]] = {}

    @staticmethod
    @abstractmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Makes a batch of transformed samples."""

    @abstractmethod
    def check_labelled(self, dataset: Any, training: bool) -> None:
        """Refuses a split in which nothing is labelled.

        Args:
            dataset: The open split.
            training: Whether it is trained on.

        Raises:
            DatasetError: Nothing is labelled, or a sample cannot be read.
        """

    def resume(self, loops: Mapping[str, Any]) -> None:
        """Makes the next training loader start where a checkpoint ended.

        Lightning creates and iterates the loader before it restores its loops, and does not iterate it again
        in a resumed training. The data module therefore has to position the loader itself.

        Args:
            loops: The entry `loops` of a Lightning checkpoint.
        """
        fit = loops["fit_loop"]
        epochs, batches = fit["epoch_progress"]["current"], fit["epoch_loop.batch_progress"]
        epoch, seen = epochs["processed"], 0
        if epochs["started"] > epoch:  # saved within an epoch
            if batches["is_last_batch"]:
                epoch += 1
            else:
                seen = batches["current"]["processed"]
        self._position = epoch, seen

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of their label values."""
        return self.dataset_class.classes

    @property
    def num_classes(self) -> int:
        """Number of classes, including the background if it is one of them."""
        return len(self.dataset_class.classes)

    @property
    def things(self) -> tuple[str, ...]:
        """Names of the classes whose objects can be counted."""
        return self.dataset_class.things

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """One RGB colour per class, shape (C, 3)."""
        return self.dataset_class.palette

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """For each open split, the data set's name, its fingerprint and its number of images."""
        for split in ("train", "val", "test"):
            dataset = getattr(self, f"{split}_dataset", None)
            if dataset is not None and split not in self._fingerprints:
                self._fingerprints[split] = {
                    "dataset": dataset.name,
                    "fingerprint": dataset.fingerprint(),
                    "images": len(dataset),
                }
        return dict(self._fingerprints)

    def setup(self, stage: str) -> None:
        """Opens the splits of a stage.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.

        Raises:
            ConfigError: `batch_size` is larger than the training split, an option is illegal, or
                `predict_root` is not set.
            DatasetError: The data set is incomplete or broken, or all labels of a split are ignored.
        """
        if stage == "fit":
            self.train_dataset = self._open(self.dataset_class.train_split)
            if len(self.train_dataset) < self.batch_size:
                raise ConfigError(
                    f"data.batch_size={self.batch_size}: larger than the training split, "
                    f"which has {len(self.train_dataset)} images"
                )
            self.check_labelled(self.train_dataset, training=True)
        if stage in ("fit", "validate"):
            self.val_dataset = self._open("val", self.eval_transform)
            self.check_labelled(self.val_dataset, training=False)
        if stage == "fit":
            _compare_splits(self.train_dataset, self.val_dataset)
        elif stage == "test":
            split = "test" if "test" in self.dataset_class.splits else "val"
            self.test_dataset = self._open(split, self.eval_transform)
            self.check_labelled(self.test_dataset, training=False)
        elif stage == "predict":
            if self.predict_root is None:
                raise ConfigError("data.predict_root: set it to the folder of images to predict")
            self.predict_dataset = ImageFolder(self.predict_root, self.eval_transform)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of equal size; the last incomplete batch of an epoch is dropped.

        Raises:
            ConfigError: Not even one batch can be filled.
        """
        world, rank = self._processes()
        sampler = self.train_sampler(num_replicas=world, rank=rank)
        if len(sampler) < self.batch_size:
            raise ConfigError(
                f"data.batch_size={self.batch_size}: no batch can be filled from the "
                f"{len(self.train_dataset)} images to train on (processes: {world}); lower it"
            )
        epoch, batches = max(self._position, (self.trainer.current_epoch if self.trainer else 0, 0))
        sampler.resume(epoch, batches * self.batch_size)
        return DataLoader(
            AugmentedDataset(self.train_dataset, self.train_transform),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=True,
            **self._loading(),
        )

    def train_sampler(self, num_replicas: int, rank: int) -> SeededSampler:
        """The order of the training samples of one process."""
        return SeededSampler(
            self.train_dataset,
            num_replicas=num_replicas,
            rank=rank,
            shuffle=True,
            seed=self.seed,
            drop_last=True,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """The val split, in order."""
        return self._evaluation(self.val_dataset, self.val_batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test split, in order, or the val split if the data set has no labelled test split."""
        return self._evaluation(self.test_dataset, self.val_batch_size)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The images of `predict_root`, one per batch, because their sizes may differ."""
        return self._evaluation(self.predict_dataset, 1)

    def _open(self, split: str, transform: Any = None) -> Any:
        try:
            return self.dataset_class(self.root, split, transform=transform, **self.options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"data.options: {error}") from None

    def _evaluation(self, dataset: Dataset[Any], batch_size: int) -> DataLoader[Any]:
        world, rank = self._processes()
        # Lightning's default sampler repeats samples so that processes have equally many: wrong for mIoU.
        sampler = UnrepeatedDistributedSampler(dataset, num_replicas=world, rank=rank, shuffle=False)
        return DataLoader(dataset, batch_size=batch_size, sampler=sampler, **self._loading())

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": _prepare_worker,
            "collate_fn": self.collate,
            "pin_memory": torch.cuda.is_available(),
        }

    def _processes(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank


class SegmentationDataModule(ImageDataModule):
    """Loaders for training, validation, test and prediction of segmentation networks.

    Batches are dictionaries of `image` (N, 3, H, W) float32, `label` and `instance` (N, H, W) int64, and
    `name`, a list. In evaluation, `label` and `instance` have the original size and `image` the size that
    `eval_transform` gives it. In prediction, a batch has `image`, `name` and `size`, a list of the original
    (H, W).

    Args:
        dataset: One of `DATASETS`.
        root: Folder of the data set; not needed for shapes.
        batch_size: Training images per process, at least 1. An optimizer step uses batch_size x processes x
            accumulate_grad_batches images.
        val_batch_size: Evaluation images per process, at least 1; more than 1 only if all images have the
            same size.
        num_workers: Number of processes that load and transform images; 0 uses the training process.
        train_transform: Random transform of training samples; None flips and normalises.
        eval_transform: Transform of evaluation samples; None normalises.
        seed: Seed of order and augmentation, 0 to `2**32 - 1`.
        options: The data set's own arguments by name, for instance `{"size": 128}` for shapes.
        predict_root: Folder of the images to predict.

    Raises:
        ConfigError: As in `ImageDataModule`.
        DatasetError: As in `ImageDataModule`, or all labels of a split are ignored.
    """

    datasets = DATASETS

    def __init__(
        self,
        dataset: str = "shapes",
        root: str | None = None,
        batch_size: int = 8,
        val_batch_size: int = 1,
        num_workers: int = 0,
        train_transform: TrainTransform | None = None,
        eval_transform: EvalTransform | None = None,
        seed: int = 0,
        options: dict[str, Any] | None = None,
        predict_root: str | None = None,
    ) -> None:
        super().__init__(
            dataset,
            train_transform or TrainTransform(),
            eval_transform or EvalTransform(),
            root,
            batch_size,
            val_batch_size,
            num_workers,
            seed,
            options,
            predict_root,
        )

    @staticmethod
    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Stacks tensors and lists all other values; see `collate`."""
        return collate(samples)

    def check_labelled(self, dataset: SegmentationDataset, training: bool) -> None:
        """Refuses a split without a labelled pixel; see `ImageDataModule`."""
        _check_labelled(dataset)


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stacks tensors and lists all other values.

    Raises:
        ConfigError: The maps of a batch differ in size.
    """
    batch: dict[str, Any] = {}
    for key, first in samples[0].items():
        values = [sample[key] for sample in samples]
        if isinstance(first, torch.Tensor):
            sizes = {tuple(value.shape[-2:]) for value in values}
            if len(sizes) > 1:
                some = " and ".join(f"{width}x{height}" for height, width in sorted(sizes)[:2])
                raise ConfigError(
                    f"{key} maps of one batch differ in size ({some}): set data.train_transform.crop "
                    "for training, data.val_batch_size to 1 for evaluation"
                )
            batch[key] = torch.stack(values)
        else:
            batch[key] = values
    return batch


def _check_options(dataset_class: type[ImageDataset], options: Mapping[str, Any]) -> None:
    legal = [name for name in inspect.signature(dataset_class).parameters if name not in _OWN_ARGUMENTS]
    unknown = [name for name in options if name not in legal]
    if unknown:
        raise ConfigError(
            f"data.options: {dataset_class.name!r} has no option {unknown[0]!r}; it has {', '.join(legal)}"
        )


def _check_labelled(dataset: SegmentationDataset) -> None:
    """Refuses a split without a labelled pixel; reads samples until it finds one, usually in the first.

    Raises:
        DatasetError: Every pixel of every label map is ignored, or a sample cannot be read.
    """
    for index in range(len(dataset)):
        if (dataset.raw(index)["label"] != IGNORED).any():
            return
    raise DatasetError(
        f"{dataset.root}: every pixel of the label maps of {dataset.split} is ignored ({IGNORED}); write "
        "class numbers into them"
    )


def _compare_splits(train: Any, val: Any) -> None:
    """Warns if all validation images are training images, judging by file names and sizes."""
    if not isinstance(train, FileDataset) or not isinstance(val, FileDataset):
        return
    trained = {tuple(entry) for entry in train.contents()}
    if all(tuple(entry) in trained for entry in val.contents()):
        rank_zero_info(
            f"{val.root}: all images of val are also in {train.split}, judging by name and size; the score "
            "says nothing about other images"
        )


def _prepare_worker(worker: int) -> None:
    # Workers get a process group of their own, so that Ctrl-C reaches the training only, which needs them
    # to finish its batch. They exit on their own when the training ends.
    os.setpgid(0, 0)
    # Loading is parallel over workers; OpenCV's threads in each of them would only compete.
    import cv2

    cv2.setNumThreads(1)
