"""The loss of an epoch: one number, computed once, for the logger, the table and the terminal."""

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["EpochLoss"]


class EpochLoss:
    """Mean of the batches' losses over an epoch and over all processes.

    Every batch counts the same: training batches have equal size in every process, and the loss of each is
    the mean over its labelled pixels. Sums in float64 where the device has it.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._count = 0

    def reset(self) -> None:
        """Begins an epoch."""
        self._sum, self._count = None, 0

    def add(self, loss: Tensor) -> None:
        """Adds the loss of a batch, a scalar; starts work on the device and reads nothing back."""
        dtype = torch.float32 if loss.device.type == "mps" else torch.float64
        term = loss.detach().to(dtype)
        self._sum = term if self._sum is None else self._sum + term
        self._count += 1

    def mean(self) -> float:
        """The mean so far, nan before the first batch.

        Waits for the device and, with several processes, for all of them to call it.
        """
        if self._sum is None:
            return float("nan")
        total = torch.stack([self._sum, torch.full_like(self._sum, self._count)])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total)
        both = total.tolist()
        return float(both[0] / both[1])
