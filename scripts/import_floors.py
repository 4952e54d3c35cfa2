"""Measure the CPU time of each command, compared with importing the packages that it needs.

    python scripts/import_floors.py
    python scripts/import_floors.py --rounds 9

The command line switches Python's garbage collection off while it imports Lightning, so `fit --help` can
take less time than the plain imports; the last line gives their time without garbage collection.

Each round runs every command once, so that other load on the machine slows all equally. Times are medians of
user plus system time over the rounds, after one round of warm-up. Run the script in the repository, because
--dry-run reads experiments/sweeps/dilation.yaml.
"""

import argparse
import os
import statistics
import subprocess
import sys

from deformlab.provenance import machine, versions

NOTHING = ""
# fit, validate and others take their options from the signatures of trainer, task and data module.
PARSER = "import torch, pytorch_lightning, jsonargparse"
OPERATORS = "import torch"

# Arguments of deformlab, and the imports that they need.
COMMANDS: dict[str, str] = {
    "--help": NOTHING,
    "sweep --help": NOTHING,
    "report --help": NOTHING,
    "show --help": NOTHING,
    "data check --help": NOTHING,
    "doctor": OPERATORS,
    "fit --help": PARSER,
    "validate --help": PARSER,
    "sweep experiments/sweeps/dilation.yaml --dry-run": PARSER,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the CPU time of each command.")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (default: 5)")
    options = parser.parse_args()

    floors = {code: [sys.executable, "-c", code] for code in dict.fromkeys(COMMANDS.values())}
    uncollected = f"import gc; gc.disable(); {PARSER}"
    floors[uncollected] = [sys.executable, "-c", uncollected]
    commands = {words: [sys.executable, "-m", "deformlab", *words.split()] for words in COMMANDS}
    seconds: dict[str, list[float]] = {name: [] for name in (*floors, *commands)}
    for number in range(options.rounds + 1):
        for name, command in {**floors, **commands}.items():
            spent = cpu_seconds(command)
            if number:
                seconds[name].append(spent)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"CPU seconds, median of {options.rounds} rounds, {machine()}, torch {versions()['torch']}\n")
    print("| deformlab | needs | import | command | difference |")
    print("|---|---|---:|---:|---:|")
    for words, floor in COMMANDS.items():
        above = median[words] - median[floor]
        needs = floor.removeprefix("import ") or "Python"
        print(f"| `{words}` | {needs} | {median[floor]:.2f} | {median[words]:.2f} | {above:+.2f} |")
    print(f"\n`{PARSER}` without garbage collection: {median[uncollected]:.2f}")


def cpu_seconds(command: list[str]) -> float:
    """User plus system time of a command and its child processes.

    Raises:
        SystemExit: The command failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
