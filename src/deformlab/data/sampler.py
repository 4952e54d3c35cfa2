"""Order and random seeds of training samples, the same for any number of workers and after a restart."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from deformlab.data.dataset import SegmentationDataset
from deformlab.data.transforms import TrainTransform


class SeededSampler(DistributedSampler[Any]):
    """A DistributedSampler that yields pairs (index, seed of the sample's augmentation).

    The augmentation seed depends on the sampler's seed, the epoch and the index, so that augmentations differ
    between epochs. For a single process, use `num_replicas=1, rank=0`.
    """

    _resumed_epoch = -1
    _seen = 0

    def resume(self, epoch: int, seen: int) -> None:
        """Starts with `epoch` and skips its first `seen` samples of this process.

        Call this before any iteration. Data workers fetch ahead as soon as a loader's iterator is created,
        before the training loop calls `set_epoch`.
        """
        self.set_epoch(epoch)
        self._resumed_epoch, self._seen = epoch, seen

    def __iter__(self) -> Iterator[Any]:
        return self.seeded(super().__iter__())

    def seeded(self, order: Iterator[int]) -> Iterator[Any]:
        """The pairs of an epoch's order, without the samples that were seen before an interruption."""
        seen = self._seen if self.epoch == self._resumed_epoch else 0
        for index in itertools.islice(order, seen, None):
            state = np.random.SeedSequence((self.seed, self.epoch, index)).generate_state(1)
            yield index, int(state[0])


class AugmentedDataset(Dataset[Any]):
    """A data set with a random transform, indexed by the pairs of `SeededSampler`.

    Args:
        dataset: The data set of the samples.
        transform: The transform, which is called with the seed of the pair.
    """

    def __init__(self, dataset: SegmentationDataset, transform: TrainTransform) -> None:
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, seed = key
        return self.transform(self.dataset.raw(index), seed)
