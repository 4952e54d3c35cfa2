"""Stops a training whose loss, gradients or weights are not finite, before anything is saved.

Observing a step does not make the CPU wait for the device: observed values stay on the device until a check
reads them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from deformlab.errors import TrainingError

__all__ = ["DivergenceWatch", "training_state"]

# Events are numbered 2 * step for a loss and 2 * step + 1 for a gradient: the smallest number came first.
NO_EVENT = torch.iinfo(torch.int64).max
WHAT = ("loss", "gradient")
NAMES_SHOWN = 16


@dataclass
class Step:
    """One step of the optimizer, for the error's text.

    Attributes:
        epoch: 0-based.
        learning_rate: The learning rate of the base group.
        names: The images of its batches in this process.
    """

    epoch: int
    learning_rate: float
    names: list[str] = field(default_factory=list)


class DivergenceWatch:
    """Remembers the first step at which the loss or a gradient was not finite.

    `begin`, `observe_loss` and `observe_gradients` may be called at every step: they start work on the device
    and read nothing back. `check` and `check_state` wait for the device; call them before anything is saved,
    and otherwise when the CPU waits anyway. Of several processes, all must call `check` and `check_state` at
    the same points, and all raise if the training has diverged in one of them.
    """

    def __init__(self) -> None:
        self._event: Tensor | None = None
        self._steps: dict[int, Step] = {}

    def begin(self, step: int, epoch: int, learning_rate: float, names: Sequence[str]) -> None:
        """Remembers the images of a batch; a step that accumulates gradients has several batches.

        Args:
            step: The optimizer's step, >= 0.
            epoch: The epoch, 0-based.
            learning_rate: The learning rate of the step.
            names: The names of the batch's images.
        """
        self._steps.setdefault(step, Step(epoch, learning_rate)).names.extend(names)

    def observe_loss(self, loss: Tensor, step: int) -> None:
        """Observes the loss of one batch, a scalar."""
        self._observe(loss.detach(), 2 * step)

    def observe_gradients(self, gradients: Sequence[Tensor], step: int) -> None:
        """Observes the gradients before an optimizer step."""
        if gradients:
            self._observe(get_total_norm(gradients, float("inf")), 2 * step + 1)

    def check(self) -> None:
        """Raises if a loss or a gradient so far was not finite.

        Raises:
            TrainingError: A value was not finite; names the first such step and its images.
        """
        if self._event is None:
            return
        first = self._event.clone()
        if _distributed():
            dist.all_reduce(first, dist.ReduceOp.MIN)
        event = int(first)
        if event == NO_EVENT:
            # The latest step may not be over: more of its batches or its gradients may follow.
            for step in list(self._steps)[:-1]:
                del self._steps[step]
            return
        # Gradients are averaged over the processes; a loss belongs to one process.
        mine = int(self._event) == event
        self._fail(f"the {WHAT[event % 2]} became infinite or nan", event // 2, mine)

    def check_state(self, state: Iterable[tuple[str, Tensor]]) -> None:
        """Raises if the training's state is not finite, as after a step with a far too large learning rate.

        Args:
            state: Named tensors, see `training_state`.

        Raises:
            TrainingError: A tensor is not finite; names the first such tensor and the latest step.
        """
        named = [(name, tensor) for name, tensor in state if tensor.is_floating_point()]
        if not named:
            return
        finite = torch.stack([torch.isfinite(tensor).all().to(named[0][1].device) for _, tensor in named])
        worst = finite.all().to(torch.int64)
        if _distributed():
            dist.all_reduce(worst, dist.ReduceOp.MIN)
        if not int(worst):
            name = next(
                (name for (name, _), good in zip(named, finite.tolist(), strict=True) if not good), ""
            )
            what = name or "the state of another process"
            self._fail(f"{what} became infinite or nan", max(self._steps, default=None), True)

    def _observe(self, value: Tensor, event: int) -> None:
        if self._event is None or self._event.device != value.device:
            self._event = torch.full((), NO_EVENT, dtype=torch.int64, device=value.device)
        self._event = torch.where(torch.isfinite(value), self._event, self._event.clamp(max=event))

    def _fail(self, what: str, step: int | None, mine: bool) -> None:
        noted = self._steps.get(step) if step is not None else None
        names = list(noted.names) if noted is not None and mine else []
        if _distributed():
            gathered: list[list[str]] = [[] for _ in range(dist.get_world_size())]
            dist.all_gather_object(gathered, names)
            names = [name for part in gathered for name in part]
        self._event, self._steps = None, {}  # The same module may be trained again.
        where = f" at step {step}" if step is not None else ""
        if noted is not None:
            where += f" of epoch {noted.epoch + 1}, at learning rate {noted.learning_rate:g}"
        if names:
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            where += f", on {', '.join(names[:NAMES_SHOWN])}{more}"
        raise TrainingError(
            f"{what}{where}; train again in another --run_dir, with a lower "
            "--model.optimization.learning_rate, more warmup_steps or --trainer.gradient_clip_val"
        )


def training_state(model: nn.Module, optimizers: Iterable[Optimizer]) -> Iterator[tuple[str, Tensor]]:
    """Yields weights, buffers and the optimizers' own tensors (momentum), each with its name."""
    yield from model.named_parameters()
    yield from model.named_buffers()
    names: dict[Any, str] = {parameter: name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield f"{key} of {names.get(parameter, 'a parameter')}", value


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
