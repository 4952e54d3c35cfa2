"""Ctrl-C, a termination or a lost terminal ends a training in order: one line, a marked folder, no orphans.

No checkpoint is written within an epoch, because none could continue it exactly: the order of the images and
the random numbers of the epoch's rest are not part of it. A training continues after its last complete epoch.
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
    """Raises `Interrupted` in the main thread on the first signal that asks to stop; ignores further ones.

    Of several processes that Lightning has started, the first one decides: it marks the run folder and then
    kills the others, which are in the middle of a step and have nothing to lose. They ignore the signals, so
    that one to the whole group ends in the same way.

    Attributes:
        requested: The first signal, None before it.
    """

    def __init__(self) -> None:
        self.requested: Interrupted | None = None
        self._process = os.getpid()
        self._launcher: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears signals while a `with` block runs; only the main thread can."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self._listen()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():
                    signal.signal(number, handler)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Notes whether another process of this training decides."""
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, LightningEnvironment) and trainer.local_rank != 0:
            self._launcher = os.getppid()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes the signals back from Lightning, whose handler waits for the other processes."""
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
        """Raises again where Python could not pass on the first exception, as from a destructor."""
        if self.requested is not None:
            raise self.requested

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Ends the other processes that this one has started."""
        if not isinstance(exception, KeyboardInterrupt):
            return
        processes = getattr(trainer.strategy.launcher, "procs", [])
        others = list(processes)
        # Lightning watches the list and kills this process, too, when one in it has been killed.
        processes.clear()
        for process in others:
            process.kill()
        for process in others:
            process.wait()

    def _listen(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            # A hang-up that is ignored stays ignored: that is what nohup asks for.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process or self.requested is not None:
            return  # a data loader's worker, which ends with its parent; or the training is ending already
        if self._launcher is not None and os.getppid() == self._launcher:
            return
        self.requested = Interrupted(number)
        raise self.requested
