"""One LightningDataModule for every data set, so that a configuration changes the data by its name alone."""

import inspect
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.overrides.distributed import UnrepeatedDistributedSampler
from pytorch_lightning.utilities import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from deformlab.data.dataset import SegmentationDataset
from deformlab.data.files import FileDataset
from deformlab.data.folder import ImageFolder
from deformlab.data.registry import DATASETS
from deformlab.data.sampler import AugmentedDataset, SeededSampler
from deformlab.data.transforms import EvalTransform, TrainTransform
from deformlab.errors import ConfigError, DatasetError
from deformlab.labels import IGNORED

_OWN_ARGUMENTS = ("self", "root", "split", "transform")


class SegmentationDataModule(pl.LightningDataModule):
    """Loaders for training, validation, test and prediction.

    Batches are dicts of `image` (N, 3, H, W) float, `label` and `instance` (N, H, W) long, and `name`, a
    list; in evaluation `label` and `instance` have the original size, `image` that of `eval_transform`.
    Prediction gives `image`, `name` and `size`, a list of the originals' (H, W).

    Order and augmentation of training depend on `seed`, epoch and sample alone: not on the number of workers,
    nor on whether a run was interrupted.

    Args:
        dataset: one of `DATASETS`.
        root: folder of the data set; none is needed for shapes.
        batch_size: training images per process; a step sees batch_size x processes x
            accumulate_grad_batches.
        val_batch_size: evaluation images per process; above 1 only where all images have one size.
        num_workers: processes that load and transform; 0 does it in the training process.
        train_transform: random transform of training samples; None flips and normalises.
        eval_transform: transform of evaluation samples; None normalises.
        seed: seed of order and augmentation.
        options: the data set's own arguments by name, for instance `{"size": 128}` for shapes.
        predict_root: folder of images to predict.

    Raises:
        ConfigError: an unknown data set, an unknown or illegal option, or a number outside its range.
        DatasetError: the data set's classes stand in a file that is missing or wrong; on `setup`: all labels
            of a split are ignored.
    """

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
        super().__init__()
        if dataset not in DATASETS:
            raise ConfigError(
                f"data.dataset={dataset!r}: unknown data set; choose one of {', '.join(DATASETS)}"
            )
        self.dataset_class = DATASETS[dataset].for_root(root)
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
        self.train_transform = train_transform or TrainTransform()
        self.eval_transform = eval_transform or EvalTransform()
        self.seed = seed
        self.options = dict(options or {})
        self.predict_root = predict_root
        self._position = (0, 0)
        self._fingerprints: dict[str, dict[str, Any]] = {}

    def resume(self, loops: Mapping[str, Any]) -> None:
        """Makes the next training loader begin where a checkpoint ended.

        Lightning makes and iterates that loader before it restores its loops, and where a training is resumed
        it does not iterate it anew, so the loader has to know its place by itself.

        Args:
            loops: The entry `loops` of a checkpoint of Lightning.
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
        """Number of classes, background included where the data set has one."""
        return len(self.dataset_class.classes)

    @property
    def things(self) -> tuple[str, ...]:
        """The classes that come as countable objects."""
        return self.dataset_class.things

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """One RGB colour per class, shape (C, 3)."""
        return self.dataset_class.palette

    def fingerprints(self) -> dict[str, dict[str, Any]]:
        """What the open splits hold: by split the data set's name, its fingerprint and number of images."""
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
        """Open the splits that `stage` (fit, validate, test or predict) needs."""
        if stage == "fit":
            self.train_dataset = self._open(self.dataset_class.train_split)
            if len(self.train_dataset) < self.batch_size:
                raise ConfigError(
                    f"data.batch_size={self.batch_size}: larger than the training split, "
                    f"which has {len(self.train_dataset)} images"
                )
            _check_labelled(self.train_dataset)
        if stage in ("fit", "validate"):
            self.val_dataset = self._open("val", self.eval_transform)
            _check_labelled(self.val_dataset)
        if stage == "fit":
            _compare_splits(self.train_dataset, self.val_dataset)
        elif stage == "test":
            split = "test" if "test" in self.dataset_class.splits else "val"
            self.test_dataset = self._open(split, self.eval_transform)
            _check_labelled(self.test_dataset)
        elif stage == "predict":
            if self.predict_root is None:
                raise ConfigError("data.predict_root: set it to the folder of images to predict")
            self.predict_dataset = ImageFolder(self.predict_root, self.eval_transform)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of equal size; what is left over at the end of an epoch is dropped."""
        world, rank = self._processes()
        sampler = SeededSampler(
            self.train_dataset, num_replicas=world, rank=rank, shuffle=True, seed=self.seed, drop_last=True
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

    def val_dataloader(self) -> DataLoader[Any]:
        """Split val in order."""
        return self._evaluation(self.val_dataset, self.val_batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        """Split test where the data set has one with labels, else val."""
        return self._evaluation(self.test_dataset, self.val_batch_size)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Images of `predict_root` one by one, because their sizes may differ."""
        return self._evaluation(self.predict_dataset, 1)

    def _open(self, split: str, transform: EvalTransform | None = None) -> SegmentationDataset:
        try:
            return self.dataset_class(self.root, split, transform=transform, **self.options)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"data.options: {error}") from None

    def _evaluation(self, dataset: Dataset[Any], batch_size: int) -> DataLoader[Any]:
        world, rank = self._processes()
        # Lightning's own choice repeats samples to even out the processes, which would change the mIoU.
        sampler = UnrepeatedDistributedSampler(dataset, num_replicas=world, rank=rank, shuffle=False)
        return DataLoader(dataset, batch_size=batch_size, sampler=sampler, **self._loading())

    def _loading(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "worker_init_fn": _prepare_worker,
            "collate_fn": collate,
            "pin_memory": torch.cuda.is_available(),
        }

    def _processes(self) -> tuple[int, int]:
        if self.trainer is None:
            return 1, 0
        return self.trainer.world_size, self.trainer.global_rank


def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack tensors, list everything else.

    Raises:
        ConfigError: the images differ in size.
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


def _check_options(dataset_class: type[SegmentationDataset], options: Mapping[str, Any]) -> None:
    legal = [name for name in inspect.signature(dataset_class).parameters if name not in _OWN_ARGUMENTS]
    unknown = [name for name in options if name not in legal]
    if unknown:
        raise ConfigError(
            f"data.options: {dataset_class.name!r} has no option {unknown[0]!r}; it has {', '.join(legal)}"
        )


def _check_labelled(dataset: SegmentationDataset) -> None:
    """Refuses a split without a labelled pixel; it mostly reads one sample to find one.

    Raises:
        DatasetError: every pixel of every label map is ignored, or a sample cannot be read.
    """
    for index in range(len(dataset)):
        if (dataset.raw(index)["label"] != IGNORED).any():
            return
    raise DatasetError(
        f"{dataset.root}: every pixel of {dataset.split}'s label maps is ignored ({IGNORED}); write the "
        "numbers of the classes into them"
    )


def _compare_splits(train: SegmentationDataset, val: SegmentationDataset) -> None:
    """Says that a network is validated on what it is trained on, where names and sizes of all files agree."""
    if not isinstance(train, FileDataset) or not isinstance(val, FileDataset):
        return
    known = {tuple(entry) for entry in train.contents()}
    if all(tuple(entry) in known for entry in val.contents()):
        rank_zero_info(
            f"{val.root}: the images of val are all in {train.split} too, by name and size; the score says "
            "nothing about other images"
        )


def _prepare_worker(worker: int) -> None:
    # A signal to the process group of the training, as from Ctrl-C, is not for its workers: it needs them to
    # end in order. They see by themselves when it has gone.
    os.setpgid(0, 0)
    # Workers are the parallelism; OpenCV's own threads in each of them would only compete.
    import cv2

    cv2.setNumThreads(1)
