"""Notices a loss that is not a finite number, without making the processor wait for the device."""

import torch
from torch import Tensor

from deformlab.errors import TrainingError

__all__ = ["LossWatch"]

NONE = -1


class LossWatch:
    """Remembers on the device at which step the loss stopped being a finite number.

    `observe` may be called at every step: it starts work on the device and reads nothing back. `check` reads,
    which waits for the device, so it belongs where something waits anyway, and before anything is saved.
    """

    def __init__(self) -> None:
        self._step: Tensor | None = None

    def observe(self, loss: Tensor, step: int) -> None:
        """Looks at the loss of one batch.

        Args:
            loss: A scalar.
            step: The optimizer's step, >= 0, by which an error names it.
        """
        if self._step is None or self._step.device != loss.device:
            self._step = torch.full((), NONE, device=loss.device)
        first = (self._step == NONE) & ~torch.isfinite(loss.detach())
        self._step = torch.where(first, step, self._step)

    def check(self) -> None:
        """Raises if a loss so far was not a finite number.

        Raises:
            TrainingError: It names the first such step.
        """
        step = NONE if self._step is None else int(self._step)
        if step != NONE:
            self._step = None  # another training may follow with the same module
            raise TrainingError(
                f"the loss became infinite or nan at step {step}: "
                "lower --model.optimization.learning_rate or lengthen its warmup_steps"
            )
