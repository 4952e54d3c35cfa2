"""Logging to Weights & Biases that never stops a training: online if possible, offline otherwise.

The log is for watching and comparing runs; a run folder is complete without it. The training hands its values
to a thread and continues. The thread passes them to a process (wandb_process.py), and only that process
communicates with the server. A server that hangs therefore blocks only that process, which can be killed.
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
SECONDS_BEFORE_MESSAGE = 5.0
PROCESS = Path(__file__).with_name("wandb_process.py")


class ResilientWandbLogger(Logger):
    """Logs to Weights & Biases online if the server starts the run in time, and to files otherwise.

    Only `finalize` waits for the server, and its wait is limited.

    Args:
        mode: `auto` (online if possible), `online` (the same, but warns if it must log offline) or `offline`.
        run_dir: The run folder; wandb's files are in its subfolder `wandb`.
        name: The run's name.
        group: The sweep's name, or None.
        config: The resolved configuration.
        seconds_to_connect: Time limit for the start of the run, in seconds, > 0.
        seconds_to_upload: Time limit for uploading the remaining data in `finalize`, also after Ctrl-C, in
            seconds, > 0.
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
            self.offline_reason = "as requested"
        elif not has_api_key():
            self._log_offline("no API key (`wandb login` stores one)")
        # A separate id, because wandb cannot start a second run with the id of a run that failed to start.
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
        # An event instead of the thread's join, which would mark a running thread as ended if interrupted.
        self._done = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._ended = False
        self._finalized = False
        self._message_shown = False
        self._complete = False

    @property
    def name(self) -> str:
        """The project's name."""
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
        """Logs numbers by name."""
        self._send({"metrics": dict(metrics), "step": step})

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Adds options to the logged configuration."""
        self._send({"config": params if isinstance(params, dict) else vars(params)})

    def log_tables_and_pictures(
        self, tables: dict[str, dict[str, Any]], pictures: dict[str, dict[str, str]], step: int
    ) -> None:
        """Logs tables and images.

        Args:
            tables: The `columns` and `rows` of each table, by name.
            pictures: The `file` and `caption` of each image, by name.
            step: The step of the training.
        """
        if tables:
            self._send({"tables": tables, "step": step})
        if pictures:
            self._send({"pictures": pictures, "step": step})

    def finalize(self, status: str) -> None:
        """Ends the run, waits a limited time for its upload, and says how to upload the rest later.

        Args:
            status: Lightning's status: `success`, or another text if the training failed or was interrupted.
        """
        if self._thread is None or self._finalized:
            return
        self._send({"exit_code": 0 if status == "success" else 1})
        self._ended = True
        while status != "success" and self._is_connecting():
            self._kill()  # Stop waiting for the server; the thread then starts the run offline.
            self._done.wait(0.05)
        # The process stops uploading before its limit and then writes the rest to disk. Ctrl-C ends this
        # wait; Lightning then calls this method again, for a failed training.
        limit = self.seconds_to_upload + SECONDS_TO_WRITE
        self._wait(limit)
        in_time = self._done.is_set()
        self._kill()
        self._finalized = True
        if self.folder is None:
            return
        if self.offline_reason is not None:
            warned = self.mode == "online"
            what = "logged offline" if warned else f"logged offline, {self.offline_reason}"
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
        """Waits until the thread has ended; prints a message if that takes long."""
        ended = self._done.wait(min(seconds, SECONDS_BEFORE_MESSAGE))
        if not ended and seconds > SECONDS_BEFORE_MESSAGE:
            if not self._message_shown:
                self._message_shown = True
                rank_zero_info(f"Weights & Biases: finishing the run, for at most {seconds:.0f} s")
            self._done.wait(seconds - SECONDS_BEFORE_MESSAGE)

    def _run(self) -> None:
        """Starts the process and passes messages on to it; runs in the thread."""
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
                "Weights & Biases stopped logging, the training continues: %s, see %s", error, self.messages
            )
        finally:
            if self.offline_reason is not None:
                for not_started in self.messages.parent.glob(f"run-*-{self._online_id}"):
                    shutil.rmtree(not_started, ignore_errors=True)
            self._done.set()

    def _start(self) -> "subprocess.Popen[str]":
        """Starts the process and its run, online if the server answers in time.

        Raises:
            OSError: The process ended before the run started.
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
        """The process's answer: the run's folder, an error, or nothing if the process had to be killed."""
        try:
            process = self._start_process(base_url())
            _read(process)  # wandb is imported; from here on, the process waits for the server.
            # wandb.init has the same limit and reports its reason. The timer is for waits it does not cover.
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
        """Starts the process, which begins with importing wandb."""
        self.messages.parent.mkdir(parents=True, exist_ok=True)
        with open(self.messages, "a") as messages:
            self._process = process = subprocess.Popen(
                [sys.executable, str(PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                start_new_session=True,  # Ctrl-C must only reach the training.
            )
        settings = {
            # In case the training dies and cannot end the process.
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
        """The reason why the server did not start the run, as one line without the server's own text."""
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
    """The process's next answer; empty if the process has ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    return json.loads(line) if line else {}


class LogTablesAndPictures(pl.Callback):
    """Logs the table of effective dilation and the run folder's prediction figures after the training.

    Args:
        logger: The logger.
        run_dir: The run folder with its subfolder `predictions`.
        rows: Returns the rows of the table of effective dilation.
    """

    def __init__(
        self, logger: ResilientWandbLogger, run_dir: Path, rows: Callable[[], list[SizeRow]]
    ) -> None:
        self.logger = logger
        self.run_dir = run_dir
        self.rows = rows

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs the table and the figures."""
        rows = [list(row) for row in self.rows()]
        tables = {"effective_dilation": {"columns": list(SizeRow._fields), "rows": rows}} if rows else {}
        # Each image has its own name, because wandb requires images of one name to have the same size.
        pictures = {
            f"predictions/{path.stem}": {"file": str(path), "caption": f"{path.stem}: {', '.join(PANELS)}"}
            for path in sorted((self.run_dir / "predictions").glob("*.png"))
        }
        self.logger.log_tables_and_pictures(tables, pictures, trainer.global_step)
