"""CPU time from the start of each verb to its answer, beside the bare import of what it cannot do without.

    python scripts/import_floors.py
    python scripts/import_floors.py --rounds 9

The command line switches Python's garbage collection off while it imports Lightning, so `fit --help` can
take less than the plain imports; the last line says what they take without collection.

Every round runs each command once, so that other work on the machine slows all of them alike. Times are
medians of user and system time over the rounds, after one round that is not counted. Run it in the
repository: --dry-run reads experiments/sweeps/dilation.yaml.
"""

import argparse
import os
import statistics
import subprocess
import sys

from deformlab.provenance import machine, versions

NOTHING = ""
# fit and its like take their options from signatures of the trainer, the task and the data module.
PARSER = "import torch, pytorch_lightning, jsonargparse"
OPERATORS = "import torch"

# Arguments of deformlab, and what they cannot do without.
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
    parser = argparse.ArgumentParser(description="CPU time of the start of each verb.")
    parser.add_argument("--rounds", type=int, default=5, help="times that each command is run (default: 5)")
    options = parser.parse_args()

    floors = {code: [sys.executable, "-c", code] for code in dict.fromkeys(COMMANDS.values())}
    uncollected = f"import gc; gc.disable(); {PARSER}"
    floors[uncollected] = [sys.executable, "-c", uncollected]
    verbs = {words: [sys.executable, "-m", "deformlab", *words.split()] for words in COMMANDS}
    seconds: dict[str, list[float]] = {name: [] for name in (*floors, *verbs)}
    for number in range(options.rounds + 1):
        for name, command in {**floors, **verbs}.items():
            spent = cpu_seconds(command)
            if number:
                seconds[name].append(spent)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"CPU seconds, median of {options.rounds} rounds, {machine()}, torch {versions()['torch']}\n")
    print("| deformlab | cannot do without | bare import | verb | above it |")
    print("|---|---|---:|---:|---:|")
    for words, floor in COMMANDS.items():
        above = median[words] - median[floor]
        needs = floor.removeprefix("import ") or "Python"
        print(f"| `{words}` | {needs} | {median[floor]:.2f} | {median[words]:.2f} | {above:+.2f} |")
    print(f"\n`{PARSER}` without garbage collection: {median[uncollected]:.2f}")


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a command and the processes that it waited for.

    Raises:
        SystemExit: It failed.
    """
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
