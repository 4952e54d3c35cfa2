"""Kill trainings at random moments, continue them, and compare them with uninterrupted ones.

    python scripts/kill_and_resume.py [--kills 10] [--seed 0] [--workers 0 2] [--devices 1 2]
        [--precisions 32-true bf16] [--epochs 8] [--folder FOLDER] [--output FILE.json]

Each case is a tiny deterministic training on the CPU with random scale, crop and colour. It is first trained
without interruption. Then it is trained in other run folders: in each, it is repeatedly stopped by a signal
and started again with the same command, until it is finished. This ends when `--kills` signals were sent in
all. The signals are SIGKILL or SIGTERM to the process group or only to the main process, and SIGINT to the
group, like Ctrl-C in a terminal. The moments are: during start-up, the first epoch after a start, a later
epoch, a validation, the writing of the tables, of best.ckpt or of last.ckpt, and any time. Both are drawn in
random order, each equally often. After two starts without a new checkpoint, the next signal is only sent when
a checkpoint has been written.

At the end, the run folders must contain the same files:
- checkpoints: all tensors equal bit for bit, all other values equal (optimizer, schedule, loops);
- tables and figures: equal, except for columns of speed;
- result.json: equal, except for time, speed, memory, machine and revision.

After each stop, these count as faults: a wrong exit code, a wrong status in result.json, a traceback after
SIGINT or SIGTERM, an unreadable file, and processes that still run after 15 seconds.

`bf16` is another name of Lightning's for `bf16-mixed`. Under this name, deformlab does not replace it by
float32 on processors that are slow in bfloat16. The table shows the actual precision of each case.

The exit code is 1 if a case has a difference or a fault. Linux only, because it observes trainings through
files in /proc and in the run folder.
"""

import argparse
import contextlib
import csv
import itertools
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmark import measured_on
from compare_runs import differences, files_of

from deformlab import provenance
from deformlab.errors import RunFolderError
from deformlab.run_folder import read_result

# Data loader workers check every five seconds whether their parent runs, as Lightning does for other ranks.
PATIENCE = 15.0
HUNG = 60.0
POLL = 0.002
MOST_WITHOUT_PROGRESS = 2
MARK = "DEFORMLAB_KILL_AND_RESUME"
SIGNALS = (
    *[(signal.SIGKILL, "group")] * 5,
    (signal.SIGKILL, "process"),
    (signal.SIGTERM, "group"),
    (signal.SIGTERM, "process"),
    *[(signal.SIGINT, "group")] * 2,
)
EXIT_CODES = {signal.SIGKILL: 137, signal.SIGTERM: 143, signal.SIGINT: 130}
MOMENTS = (
    "start-up",
    "first epoch",
    "later epoch",
    "validation",
    "tables",
    "best.ckpt",
    "last.ckpt",
    "anywhere",
)


class Case(NamedTuple):
    """The options of a training."""

    workers: int
    precision: str = "32-true"
    devices: int = 1
    epochs: int = 8

    def __str__(self) -> str:
        return f"workers {self.workers}, {self.precision}, processes {self.devices}"

    def command(self, run_dir: Path) -> list[str]:
        """The command line that starts this training, or continues it."""
        options = {
            "data.dataset": "shapes",
            "data.options": '{"size": 48, "train_images": 48, "val_images": 6, "radius": [8, 18]}',
            "data.batch_size": 2,
            "data.num_workers": self.workers,
            "data.train_transform.scale": "[0.8, 1.25]",
            "data.train_transform.crop": "[48, 48]",
            "data.train_transform.color": 0.3,
            "model.backbone": "resnet10",
            "model.width": 0.25,
            "model.head_channels": 32,
            "model.dilation": 2,
            "model.optimization.learning_rate": 0.05,
            "model.optimization.schedule": "poly",
            "model.optimization.warmup_steps": 20,
            "model.evaluation.object_sizes": "[100, 400]",
            "trainer.max_epochs": self.epochs,
            "trainer.deterministic": "true",
            "trainer.accelerator": "cpu",
            "trainer.precision": self.precision,
            "trainer.devices": self.devices,
            "trainer.strategy": "ddp" if self.devices > 1 else "auto",
            "wandb": "off",
            "run_dir": run_dir,
        }
        words = [[f"--{name}", str(value)] for name, value in options.items()]
        return [sys.executable, "-m", "deformlab", "fit", *itertools.chain(*words)]


class Training:
    """One start of a training, in its own session, with its output in a file beside the run folder.

    Use it in a `with` block, which kills all of its processes at the end.
    """

    _number = itertools.count()

    def __init__(self, case: Case, run_dir: Path) -> None:
        self.run_dir = run_dir
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        number = next(self._number)
        self.log = run_dir.parent / f"start-{number:03d}.txt"
        # All processes of this training inherit the mark, even if they leave the session.
        self._mark = f"{MARK}={os.getpid()}-{number}"
        environment = {"OMP_NUM_THREADS": "1", **os.environ, MARK: self._mark.partition("=")[2]}
        self.changed = Changes(run_dir)
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                case.command(run_dir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def __enter__(self) -> "Training":
        return self

    def __exit__(self, *exception: object) -> None:
        for process, _ in self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Waits for a condition or the end of the training; returns whether the condition was met first."""
        while self.process.poll() is None:
            if condition():
                return True
            time.sleep(POLL)
        return False

    def send(self, number: signal.Signals, target: str) -> bool:
        """Sends a signal to the process or to its group; returns whether the process still ran."""
        if self.process.poll() is not None:
            return False
        (os.killpg if target == "group" else os.kill)(self.process.pid, number)
        return True

    def end(self, timeout: float | None = None) -> int | None:
        """Waits for the main process; returns its exit code as in a shell, or None after the timeout."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        return 128 - code if code < 0 else code

    def orphans(self) -> list[str]:
        """The processes that still run `PATIENCE` seconds after the main one, as ids and command lines."""
        give_up = time.monotonic() + PATIENCE
        while (alive := list(self._alive())) and time.monotonic() < give_up:
            time.sleep(0.1)
        return [f"{process} {command}" for process, command in alive]

    def _alive(self) -> Iterator[tuple[int, str]]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # After the name, which may contain any character: state, parent, group, session.
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                marked = self._mark.encode() in (folder / "environ").read_bytes().split(b"\0")
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # The process has just ended, or belongs to another user.
            if state not in "ZX" and (marked or int(session) == self.process.pid):
                yield int(folder.name), command.strip()[:200]


class Changes:
    """Finds files of a run folder that were written since this object was created."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._before = self._times("**/*")

    def __call__(self, pattern: str) -> bool:
        """Whether a file that matches the pattern is new or newer."""
        return any(self._before.get(path) != when for path, when in self._times(pattern).items())

    def _times(self, pattern: str) -> dict[Path, int]:
        times = {}
        for path in self._run_dir.glob(pattern):
            with contextlib.suppress(OSError):  # The file was replaced in the meantime.
                times[path] = path.stat().st_mtime_ns
        return times


class Pace(NamedTuple):
    """Durations of the uninterrupted training in seconds: to its first row, of an epoch, and in total."""

    first_row: float
    epoch: float
    total: float


def wait_for_moment(training: Training, moment: str, pace: Pace, rng: random.Random, patient: bool) -> None:
    """Waits for a moment of a training, or for its end.

    Args:
        training: The training, which has just been started.
        moment: One of `MOMENTS`.
        pace: The durations of the uninterrupted training.
        rng: Draws the random delay.
        patient: Whether to wait for a new checkpoint first.
    """
    changed = training.changed
    if patient:
        training.wait_for(lambda: changed("checkpoints/last.ckpt"))
        changed = Changes(training.run_dir)
    pattern, longest = {
        "start-up": (None, pace.first_row),
        "first epoch": (None if patient else "result.json", pace.epoch),
        "later epoch": ("metrics.csv", 2 * pace.epoch),
        # A validation first writes the figure of the first image.
        "validation": ("predictions/00-*.png", 0.1 * pace.epoch),
        "tables": ("metrics.csv", 0.03),
        "best.ckpt": ("checkpoints/.best.ckpt.part", 0.03),
        "last.ckpt": ("checkpoints/.last.ckpt.part", 0.03),
        "anywhere": (None, pace.total),
    }[moment]
    training.wait_for(lambda: pattern is None or changed(pattern))
    until = time.monotonic() + rng.uniform(0, longest)
    training.wait_for(lambda: time.monotonic() >= until)


def train_once(case: Case, run_dir: Path) -> Pace:
    """Trains without interruption.

    Raises:
        RuntimeError: The training failed.
    """
    with Training(case, run_dir) as training:
        training.wait_for(lambda: training.changed("metrics.csv"))
        first_row = time.monotonic() - training.started
        code = training.end()
        total = time.monotonic() - training.started
        orphans = training.orphans()
    if code != 0:
        raise RuntimeError(f"an uninterrupted training ended with {code}: {last_line(training.log)}")
    if orphans:
        raise RuntimeError(f"these processes outlived an uninterrupted training: {', '.join(orphans)}")
    return Pace(first_row, (total - first_row) / (case.epochs - 1), total)


def deal(cards: tuple[Any, ...], rng: random.Random) -> Iterator[Any]:
    """Yields the cards in random order, again and again, so that all occur equally often."""
    while True:
        yield from rng.sample(cards, len(cards))


def train_with_kills(
    case: Case,
    run_dir: Path,
    kills: int,
    pace: Pace,
    signals: Iterator[Any],
    moments: Iterator[str],
    rng: random.Random,
) -> list[dict[str, Any]]:
    """Trains with at most `kills` stops; returns a description of each start."""
    starts: list[dict[str, Any]] = []
    without_progress = 0
    stopped = 0
    while True:
        with Training(case, run_dir) as training:
            start: dict[str, Any] = {"log": str(training.log), "stopped": False}
            starts.append(start)
            if stopped < kills:
                moment, (number, target) = next(moments), next(signals)
                patient = without_progress >= MOST_WITHOUT_PROGRESS
                wait_for_moment(training, moment, pace, rng, patient)
                start["after"] = round(time.monotonic() - training.started, 2)
                if training.send(number, target):
                    stopped += 1
                    start |= {"stopped": True, "moment": moment, "signal": number.name, "target": target}
            start["had_checkpoint"] = (run_dir / "checkpoints" / "last.ckpt").is_file()
            start["exit_code"] = training.end(timeout=HUNG if start["stopped"] else None)
            start["took"] = round(time.monotonic() - training.started, 2)
            start["orphans"] = [] if start["exit_code"] is None else training.orphans()
        start["status"], start["epochs"] = status_of(run_dir)
        start["last_line"] = last_line(training.log)
        start["faults"] = faults_of(start, training) + unreadable(run_dir)
        without_progress = 0 if training.changed("checkpoints/last.ckpt") else without_progress + 1
        if start["exit_code"] == 0 or not start["stopped"]:
            return starts


def status_of(run_dir: Path) -> tuple[str | None, int]:
    """The status and the number of epochs in result.json."""
    try:
        result = read_result(run_dir)
        return result.status, result.epochs
    except RunFolderError:
        return None, 0


def faults_of(start: dict[str, Any], training: Training) -> list[str]:
    """The faults in how a start of a training ended."""
    faults = [f"orphan: {orphan}" for orphan in start["orphans"]]
    code, status = start["exit_code"], start["status"]
    if not start["stopped"]:
        if code != 0:
            faults.append(f"exit code {code} without a signal: {last_line(training.log)}")
        elif status != "finished":
            faults.append(f"status {status!r} of a finished training")
        return faults
    number = signal.Signals[start["signal"]]
    if code is None:
        faults.append(f"still running {HUNG:g} s after the signal")
    # A signal to a training that has just finished may come too late.
    elif code != EXIT_CODES[number] and not (code == 0 and status == "finished"):
        faults.append(f"exit code {code}, expected {EXIT_CODES[number]}: {last_line(training.log)}")
    if number is signal.SIGKILL:
        return faults
    if training.changed("result.json") and status not in ("interrupted", "finished"):
        faults.append(f"status {status!r}, expected 'interrupted'")
    if "Traceback" in training.log.read_text(errors="replace"):
        faults.append("traceback")
    return faults


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


def unreadable(run_dir: Path) -> list[str]:
    """A fault for each file of a run folder that cannot be read, which must not happen at any time."""
    faults = []
    for path in files_of(run_dir):
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".ckpt":
                torch.load(path, weights_only=True)
            elif path.suffix == ".csv":
                header, *rows = csv.reader(path.open(newline=""))
                if any(len(row) != len(header) for row in rows):
                    raise ValueError("rows differ in length")
        except Exception as error:  # A damaged file may raise any error.
            faults.append(f"{path.name} cannot be read: {str(error).splitlines()[0][:120]}")
    return faults


def examine(case: Case, folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """Trains a case without and with kills, and compares the run folders."""
    rng = random.Random(f"{seed} {case}")
    signals, moments = deal(SIGNALS, rng), deal(MOMENTS, rng)
    # All run folders have the same name, because result.json contains it.
    reference = folder / "reference" / "run"
    pace = train_once(case, reference)
    rounds: list[dict[str, Any]] = []
    missing = kills
    while missing > 0:
        run_dir = folder / f"round-{len(rounds)}" / "run"
        starts = train_with_kills(case, run_dir, missing, pace, signals, moments, rng)
        missing -= sum(start["stopped"] for start in starts)
        rounds.append({"starts": starts, "differences": differences(reference, run_dir)})
        if starts[-1]["exit_code"] != 0:
            break
    starts = [start for one in rounds for start in one["starts"]]
    return {
        "case": case._asdict(),
        "trained_in": read_result(reference).precision,
        "kills": kills - missing,
        "starts": len(starts),
        "killed_before_first_checkpoint": sum(
            start["stopped"] and not start["had_checkpoint"] for start in starts
        ),
        "different_rounds": sum(bool(one["differences"]) for one in rounds),
        "faults": sum(len(start["faults"]) for start in starts),
        "pace": pace._asdict(),
        "command": shlex.join(case.command(Path("RUN"))),
        "rounds": rounds,
    }


def describe(found: dict[str, Any]) -> str:
    """The lines of the table for one case."""
    case = Case(**found["case"])
    verdict = "identical"
    if found["different_rounds"]:
        verdict = f"DIFFERENT in {found['different_rounds']} of {len(found['rounds'])} trainings"
    name = f"{case.workers:7}  {found['trained_in']:10}  {case.devices:9}"
    counts = f"{found['kills']:5}  {found['starts']:6}  {found['killed_before_first_checkpoint']:17}"
    lines = [f"{name}  {counts}  {found['faults']:6}  {verdict}"]
    for number, one in enumerate(found["rounds"]):
        lines += [f"    training {number}: {difference}" for difference in one["differences"]]
        for start in one["starts"]:
            when = f"{start['signal']} to {start['target']}, {start['moment']}" if start["stopped"] else "end"
            lines += [f"    {Path(start['log']).name} ({when}): {fault}" for fault in start["faults"]]
    return "\n".join(lines)


TITLE = "workers  precision   processes  kills  starts  before checkpoint  faults  result"


def main() -> None:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10, help="signals per case, at least 1 (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and signals (default: 0)")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 2], help="numbers of data loader workers"
    )
    parser.add_argument(
        "--precisions", nargs="+", default=["32-true", "bf16"], help="Lightning's names of precisions"
    )
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each training (default: 8)")
    parser.add_argument("--folder", type=Path, help="empty folder in which run folders are kept")
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        parser.error("needs Linux's /proc to find processes that still run")
    if options.kills < 1 or options.epochs < 2:
        parser.error("--kills must be at least 1 and --epochs at least 2")
    if options.folder is not None and options.folder.is_dir() and any(options.folder.iterdir()):
        parser.error(f"{options.folder}: not empty; trainings in it would be continued")
    # SIGTERM raises SystemExit, so that the trainings end with the script.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(EXIT_CODES[signal.SIGTERM]))
    try:
        with tempfile.TemporaryDirectory() as temporary:
            sys.exit(run(options, options.folder or Path(temporary)))
    except RuntimeError as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(EXIT_CODES[signal.SIGINT], f"{parser.prog}: interrupted\n")


def run(options: argparse.Namespace, folder: Path) -> int:
    """Examines every case, prints the table and saves it; returns the exit code."""
    cases = []
    print(TITLE)
    for numbers in itertools.product(options.workers, options.precisions, options.devices):
        case = Case(*numbers, epochs=options.epochs)
        name = str(case).replace(", ", "-").replace(" ", "")
        cases.append(examine(case, folder.resolve() / name, options.kills, options.seed))
        print(describe(cases[-1]), flush=True)
        if options.output is not None:
            result = {
                "machine": measured_on("cpu")["machine"],
                "revision": provenance.git_revision(),
                "versions": provenance.versions(),
                "seed": options.seed,
                "cases": cases,
            }
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(result, indent=1) + "\n")
    with_workers = sum(found["kills"] for found in cases if found["case"]["workers"])
    print(f"{sum(found['kills'] for found in cases)} kills, {with_workers} of them with data loader workers")
    return int(any(found["different_rounds"] or found["faults"] for found in cases))


if __name__ == "__main__":
    main()
