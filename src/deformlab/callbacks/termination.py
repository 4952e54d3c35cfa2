"""Ends a training in order on SIGINT, SIGTERM or SIGHUP: one line, a marked run folder, no orphan processes.

No checkpoint is written within an epoch, because a training could not continue exactly from it: it would lack
the image order and the random numbers for the rest of the epoch. An interrupted training continues after its
last complete epoch.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments import LightningEnvironment

from deformlab.errors import Interrupted

__all__ = ["Termination"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Termination(pl.Callback):
    """Raises `Interrupted` in the main thread on the first signal, and ignores further ones.

    Of several processes that Lightning started, the first one handles the signal: it marks the run folder and
    then kills the others, which lose nothing. The others ignore the signals, so that a signal to the whole
    process group has the same result as one to the first process.

    Attributes:
        requested: The first signal; None before it.
    """

    def __init__(self) -> None:
        self.requested: Interrupted | None = None
        self._process = os.getpid()
        self._launcher: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handles signals during a `with` block; does nothing outside the main thread."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self._listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Checks whether another process of this training handles the signals."""
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, LightningEnvironment) and trainer.local_rank != 0:
            self._launcher = os.getppid()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replaces Lightning's signal handlers, which wait for the other processes."""
        self._listen()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As for training."""
        self._listen()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As for training."""
        self._listen()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As for training."""
        self._listen()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Raises again if Python could not propagate the first exception, as from a destructor."""
        if self.requested is not None:
            raise self.requested

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Kills the other processes that this one has started."""
        if not isinstance(exception, KeyboardInterrupt):
            return
        processes = getattr(trainer.strategy.launcher, "procs", [])
        others = list(processes)
        # Lightning watches this list and would kill this process too when one of them is killed.
        processes.clear()
        for process in others:
            process.kill()
        for process in others:
            process.wait()

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            # An ignored SIGHUP stays ignored, as nohup requires.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process or self.requested is not None:
            return  # A data loader's worker, which ends with its parent; or the training is already ending.
        if self._launcher is not None and os.getppid() == self._launcher:
            return
        self.requested = Interrupted(number)
        raise self.requested
