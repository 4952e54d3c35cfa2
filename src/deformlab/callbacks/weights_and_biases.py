"""Weights & Biases that never stops a training: online where it can be, offline otherwise.

A run folder is complete without it; what is logged here is for watching and for comparing runs.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import requests
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import DummyExperiment
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from deformlab.callbacks.predictions import PANELS
from deformlab.metrics import EffectiveDilationRow
from deformlab.wandb_account import base_url, has_api_key

__all__ = ["LogTablesAndPictures", "ResilientWandbLogger"]

SECONDS_TO_CONNECT = 20
SECONDS_TO_UPLOAD = 300


def _on_another_rank() -> bool:
    return bool(getattr(rank_zero_only, "rank", 0))


def _cannot_connect() -> str | None:
    """Why an online run cannot start, or None when it can."""
    if not has_api_key():
        return "no API key (`wandb login` stores one)"
    try:
        requests.head(base_url(), timeout=SECONDS_TO_CONNECT)
    except requests.RequestException as error:
        return f"{base_url()} cannot be reached ({type(error).__name__})"
    return None


class ResilientWandbLogger(WandbLogger):
    """Lightning's logger, offline where there is no key or no network, and silent about failing uploads.

    Args:
        mode: `auto` (online where possible), `online` (the same, but says what is missing as a warning) or
            `offline`.
        run_dir: The run folder; offline files are kept in its `wandb` folder.
        name: The run's name.
        group: The sweep's name, or None.
        config: The resolved configuration.
    """

    def __init__(
        self,
        mode: Literal["auto", "online", "offline"],
        run_dir: Path,
        name: str,
        group: str | None,
        config: dict[str, Any],
    ) -> None:
        if os.environ.get("WANDB_MODE") in ("offline", "dryrun"):
            mode = "offline"
        reason = "asked for" if mode == "offline" else _cannot_connect()
        import wandb

        super().__init__(
            name=name,
            save_dir=run_dir,
            project=os.environ.get("WANDB_PROJECT", "deformlab"),
            offline=reason is not None,
            group=group,
            config=config,
            settings=wandb.Settings(
                mode="online" if reason is None else "offline",
                init_timeout=SECONDS_TO_CONNECT,
                finish_timeout=SECONDS_TO_UPLOAD,
                silent=True,
                disable_git=True,
                console="off",
            ),
        )
        # Lightning passes this option on even when unset, and wandb warns about it.
        self._wandb_init.pop("anonymous", None)
        self.offline_reason = reason
        self._broken = False
        if mode == "online" and reason is not None:
            logging.getLogger(__name__).warning("Weights & Biases: logging offline, %s", reason)

    @property
    def experiment(self) -> Any:
        """The wandb run; a dummy on other ranks and after a failure."""
        if _on_another_rank() or self._broken:
            return DummyExperiment()
        try:
            return super().experiment
        except Exception as error:
            self._give_up(error)
            return DummyExperiment()

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """As Lightning's; a failure is reported once and then ignored."""
        self._attempt(lambda: super(ResilientWandbLogger, self).log_metrics(metrics, step))

    def log_hyperparams(self, params: Any) -> None:
        """As Lightning's; a failure is reported once and then ignored."""
        self._attempt(lambda: super(ResilientWandbLogger, self).log_hyperparams(params))

    def finalize(self, status: str) -> None:
        """Ends the run and says how to upload what was logged offline."""
        if self._experiment is None:
            return
        run: Any = self._experiment
        run_dir = Path(run.dir).parent

        def finish() -> None:
            super(ResilientWandbLogger, self).finalize(status)
            run.finish(exit_code=0 if status == "success" else 1)

        self._attempt(finish)
        self._experiment = None
        self._broken = True
        if self.offline_reason is not None:
            rank_zero_info(
                f"Weights & Biases: logged offline, {self.offline_reason}. "
                f"Upload later with: wandb sync {run_dir}"
            )

    def _attempt(self, log: Callable[[], None]) -> None:
        if _on_another_rank() or self._broken:
            return
        try:
            log()
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        logging.getLogger(__name__).warning(
            "Weights & Biases stopped logging, the training goes on: %s", str(error).splitlines()[0]
        )


class LogTablesAndPictures(pl.Callback):
    """Sends the effective-dilation table and the prediction pictures of the run folder at the end.

    Args:
        logger: Where to.
        run_dir: The run folder with its `predictions`.
        rows: Gives the effective-dilation table's rows.
    """

    def __init__(
        self, logger: ResilientWandbLogger, run_dir: Path, rows: Callable[[], list[EffectiveDilationRow]]
    ) -> None:
        self.logger = logger
        self.run_dir = run_dir
        self.rows = rows

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs both."""
        import wandb

        table = [list(row) for row in self.rows()]
        logged: dict[str, Any] = {}
        if table:
            logged["effective_dilation"] = wandb.Table(columns=list(EffectiveDilationRow._fields), data=table)
        for path in sorted((self.run_dir / "predictions").glob("*.png")):
            # Each under a name of its own: wandb wants the pictures of one name to have one size.
            picture = wandb.Image(str(path), caption=f"{path.stem}: {', '.join(PANELS)}")
            logged[f"predictions/{path.stem}"] = picture
        if logged:
            self.logger.log_metrics(logged, trainer.global_step)
