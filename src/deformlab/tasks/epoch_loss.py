"""The mean training loss of an epoch, as the logger, metrics.csv and the terminal report it."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["EpochLoss"]


class EpochLoss:
    """Mean of the batch losses over an epoch and all processes.

    All batches have equal weight: they have the same number of images in every process, and the loss of each
    is the mean over its labelled pixels. Losses are summed in float64 if the device supports it.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def reset(self) -> None:
        """Starts a new epoch."""
        self._sum, self._count = None, 0

    def add(self, loss: Tensor) -> None:
        """Adds the loss of a batch, a scalar, without waiting for the device."""
        dtype = torch.float32 if loss.device.type == "mps" else torch.float64
        term = loss.detach().to(dtype)
        self._sum = term if self._sum is None else self._sum + term
        self._count += 1

    def mean(self) -> float:
        """The mean so far; nan before the first batch.

        Waits for the device. All processes must call this together.
        """
        if self._sum is None:
            return float("nan")
        total = torch.stack([self._sum, torch.full_like(self._sum, self._count)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
        both = total.tolist()
        return float(both[0] / both[1])
