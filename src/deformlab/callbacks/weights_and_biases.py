"""Weights & Biases that never stops a training: online where it can be, offline otherwise.

A run folder is complete without it; what is logged here is for watching and for comparing runs. The training
hands what it logs to a thread and goes on. The thread passes it to a process (wandb_process.py) that alone
talks to the server, so that a server that hangs holds up that process only, and ending the process ends the
wait.
"""

import json
import logging
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_info, rank_zero_only

from deformlab.callbacks.predictions import PANELS
from deformlab.records import SizeRow
from deformlab.wandb_account import base_url, has_api_key

__all__ = ["LogTablesAndPictures", "ResilientWandbLogger"]

SECONDS_TO_CONNECT = 20.0
SECONDS_TO_UPLOAD = 30.0
SECONDS_TO_WRITE = 10.0
SECONDS_UNTIL_SAYING_SO = 5.0
PROCESS = Path(__file__).with_name("wandb_process.py")


class ResilientWandbLogger(Logger):
    """Logs to Weights & Biases online if the server starts the run in time, to files otherwise.

    No method waits for the server except `finalize`, whose wait has a limit.

    Args:
        mode: `auto` (online where possible), `online` (the same, but says what is missing as a warning) or
            `offline`.
        run_dir: The run folder; wandb's files are kept in its `wandb` folder.
        name: The run's name.
        group: The sweep's name, or None.
        config: The resolved configuration.
        seconds_to_connect: How long the server may take until the run has started; positive.
        seconds_to_upload: How long `finalize` lets the server take the rest, after a Ctrl-C, too; positive.
    """

    def __init__(
        self,
        mode: Literal["auto", "online", "offline"],
        run_dir: Path,
        name: str,
        group: str | None,
        config: dict[str, Any],
        seconds_to_connect: float = SECONDS_TO_CONNECT,
        seconds_to_upload: float = SECONDS_TO_UPLOAD,
    ) -> None:
        super().__init__()
        self.mode = "offline" if os.environ.get("WANDB_MODE") in ("offline", "dryrun") else mode
        self.run_dir = run_dir
        self.seconds_to_connect = seconds_to_connect
        self.seconds_to_upload = seconds_to_upload
        self.messages = run_dir / "wandb" / "messages.log"
        self.folder: Path | None = None
        self.offline_reason: str | None = None
        if self.mode == "offline":
            self.offline_reason = "asked for"
        elif not has_api_key():
            self._log_offline("no API key (`wandb login` stores one)")
        # Its own, because wandb does not start a second run with the id of one that failed to start.
        self._online_id = secrets.token_hex(4)
        self._init = {
            "name": name,
            "group": group,
            "dir": str(run_dir),
            "project": os.environ.get("WANDB_PROJECT", "deformlab"),
            "resume": "allow",
            "config": config,
        }
        self._queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Not the thread's join: an interrupted join takes a thread that goes on for one that has ended.
        self._done = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self._finalized = False
        self._said_so = False
        self._complete = False

    @property
    def name(self) -> str:
        """The project."""
        return str(self._init["project"])

    @property
    def version(self) -> str | None:
        """The id of the run, once it has started."""
        return None if self.folder is None else self.folder.name.rpartition("-")[2]

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.run_dir)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs numbers, by name."""
        self._send({"metrics": dict(metrics), "step": step})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Adds to the configuration."""
        self._send({"config": params if isinstance(params, dict) else vars(params)})

    def log_tables_and_pictures(
        self, tables: dict[str, dict[str, Any]], pictures: dict[str, dict[str, str]], step: int
    ) -> None:
        """Logs tables (`columns` and `rows`) and pictures (`file` and `caption`), by name."""
        if tables:
            self._send({"tables": tables, "step": step})
        if pictures:
            self._send({"pictures": pictures, "step": step})

    def finalize(self, status: str) -> None:
        """Ends the run, waits for its upload within a limit, and says how to upload what is only on disk.

        Args:
            status: Lightning's: `success`, or else the training was interrupted or failed.
        """
        if self._thread is None or self._finalized:
            return
        self._send({"exit_code": 0 if status == "success" else 1})
        self._ended = True
        while status != "success" and self._is_connecting():
            self._kill()  # Nobody waits for the server now; the thread starts the run offline.
            self._done.wait(0.05)
        # The process stops uploading first, and then writes what is left to disk. Ctrl-C ends this wait;
        # Lightning then calls this method again, for a failed training.
        limit = self.seconds_to_upload + SECONDS_TO_WRITE
        self._wait(limit)
        in_time = self._done.is_set()
        self._kill()
        self._finalized = True
        if self.folder is None:
            return
        if self.offline_reason is not None:
            said = self.mode == "online"
            what = "logged offline" if said else f"logged offline, {self.offline_reason}"
        elif not in_time:
            what = f"not everything was uploaded within {limit:.0f} s"
        elif not self._complete:
            what = f"not everything was uploaded, see {self.messages}"
        else:
            return
        rank_zero_info(f"Weights & Biases: {what}. Upload later with: wandb sync {self.folder}")

    def _send(self, message: dict[str, Any]) -> None:
        if self._ended or getattr(rank_zero_only, "rank", None):
            return
        self._queue.put(message)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wandb", daemon=True)
            self._thread.start()

    def _wait(self, seconds: float) -> None:
        """Waits until the thread has ended; says so if that takes long."""
        ended = self._done.wait(min(seconds, SECONDS_UNTIL_SAYING_SO))
        if not ended and seconds > SECONDS_UNTIL_SAYING_SO:
            if not self._said_so:
                self._said_so = True
                rank_zero_info(f"Weights & Biases: finishing the run, for at most {seconds:.0f} s")
            self._done.wait(seconds - SECONDS_UNTIL_SAYING_SO)

    def _run(self) -> None:
        """Starts the process and passes the messages on; in the thread."""
        try:
            process = self._start()
            message: dict[str, Any] = {}
            while "exit_code" not in message:
                message = self._queue.get()
                _write(process, message)
            self._complete = _read(process).get("complete", False)
            process.wait()
        except OSError as error:
            self._ended = True
            logging.getLogger(__name__).warning(
                "Weights & Biases stopped logging, the training goes on: %s, see %s", error, self.messages
            )
        finally:
            if self.offline_reason is not None:
                for not_started in self.messages.parent.glob(f"run-*-{self._online_id}"):
                    shutil.rmtree(not_started, ignore_errors=True)
            self._done.set()

    def _start(self) -> "subprocess.Popen[str]":
        """The process with its run started, online if the server answers in time.

        Raises:
            OSError: The process ended before that.
        """
        if self.offline_reason is None:
            answer = self._start_online()
            if "folder" not in answer:
                self._log_offline(self._why(answer))
        else:
            answer = {}
        if not answer:
            _read(self._start_process(None))  # wandb is imported.
        assert self._process is not None
        if "folder" not in answer:
            answer = _read(self._process)
        if "folder" not in answer:
            raise OSError("wandb cannot write its files")
        self.folder = Path(answer["folder"])
        return self._process

    def _start_online(self) -> dict[str, Any]:
        """The process's answer: the run's folder, an error, or nothing if the process had to be ended."""
        try:
            process = self._start_process(base_url())
            _read(process)  # wandb is imported: from here the server is waited for.
            # wandb.init has the same limit and says why it failed; this is for what it does not cover.
            timer = threading.Timer(1.25 * self.seconds_to_connect, process.kill)
            timer.start()
            answer = _read(process)
            timer.cancel()
            return answer
        except BrokenPipeError:
            return {}

    def _is_connecting(self) -> bool:
        return not self._done.is_set() and self.folder is None and self.offline_reason is None

    def _start_process(self, server: str | None) -> "subprocess.Popen[str]":
        """The process, about to import wandb."""
        self.messages.parent.mkdir(parents=True, exist_ok=True)
        with open(self.messages, "a") as messages:
            self._process = process = subprocess.Popen(
                [sys.executable, str(PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                start_new_session=True,  # Ctrl-C is for the training.
            )
        settings = {
            # For the case that the training has died and cannot end the process.
            "finish_timeout": self.seconds_to_upload,
            "finish_timeout_raises": True,
            "disable_git": True,
            "console": "off",
            "x_stats_pid": os.getpid(),
        }
        options = {
            "server": server,
            "seconds_to_connect": self.seconds_to_connect,
            "online_id": self._online_id,
            "init": self._init,
            "settings": settings,
        }
        _write(process, options)
        return process

    def _why(self, answer: dict[str, Any]) -> str:
        """Why the server did not start the run, in one line and without the server's own text."""
        error, kind = answer.get("error", "deadline exceeded"), answer.get("kind", "")
        if kind == "ConnectionError":
            return f"{base_url()} cannot be reached"
        status = re.search(r"\b(?:error|HTTP) (\d{3})\b", error)
        if status is not None and status[1] in ("401", "403"):
            return f"{base_url()} refused the API key (HTTP {status[1]})"
        if status is not None:
            return f"{base_url()} answered with HTTP {status[1]}"
        if "deadline exceeded" in error or "Timeout" in kind:
            return f"{base_url()} did not start the run within {self.seconds_to_connect:.0f} s"
        return f"{base_url()} did not start the run, see {self.messages}"

    def _log_offline(self, reason: str) -> None:
        self.offline_reason = reason
        if self.mode == "online":
            logging.getLogger(__name__).warning("Weights & Biases: logging offline, %s", reason)

    def _kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()


def _write(process: "subprocess.Popen[str]", message: dict[str, Any]) -> None:
    assert process.stdin is not None
    line = json.dumps(message, default=lambda value: value.item() if hasattr(value, "item") else str(value))
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _read(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """The next answer; empty after the process's end."""
    assert process.stdout is not None
    line = process.stdout.readline()
    return json.loads(line) if line else {}


class LogTablesAndPictures(pl.Callback):
    """Sends the effective-dilation table and the prediction pictures of the run folder at the end.

    Args:
        logger: Where to.
        run_dir: The run folder with its `predictions`.
        rows: Gives the rows of the effective-dilation table, named tuples.
    """

    def __init__(
        self, logger: ResilientWandbLogger, run_dir: Path, rows: Callable[[], list[SizeRow]]
    ) -> None:
        self.logger = logger
        self.run_dir = run_dir
        self.rows = rows

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs both."""
        rows = [list(row) for row in self.rows()]
        tables = {"effective_dilation": {"columns": list(SizeRow._fields), "rows": rows}} if rows else {}
        # Each under a name of its own: wandb wants the pictures of one name to have one size.
        pictures = {
            f"predictions/{path.stem}": {"file": str(path), "caption": f"{path.stem}: {', '.join(PANELS)}"}
            for path in sorted((self.run_dir / "predictions").glob("*.png"))
        }
        self.logger.log_tables_and_pictures(tables, pictures, trainer.global_step)
