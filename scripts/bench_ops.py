"""Measure deformable convolution against dense convolution and torchvision's operator; save the ratios.

    python scripts/bench_ops.py [--output FILE] [--device cpu|cuda] [--repeats 9] [--threads N] ...

A row is a shape, type, memory format and version (v1, or v2 with modulation). It has four parts:

- `dense`: deformable over dense convolution, for forward without gradients, and for forward + backward with
  the gradients of all arguments (input and weight; for the deformable one also offset and, in v2, mask). No
  bias. Calls alternate: two rounds of warm-up, then `--repeats` measured rounds. On a GPU, a sample is as
  many calls as fill 5 ms, timed by CUDA events, after cuDNN has chosen its algorithms. Milliseconds are
  medians; a ratio is the median of the ratios of neighbouring calls.
- `torchvision`: torchvision's time over ours, measured in the same way, if torchvision can be imported and
  supports the type; one round of warm-up and `--torchvision-repeats` rounds. On the CPU it takes seconds per
  call at the largest shape.
- `scratch`: scratch memory, on the CPU only at the Cityscapes shape; see scripts/scratch_memory.py.
- `threads`: one thread's time over two threads' at the Cityscapes shape on the CPU, also alternating.

Limits and verdicts from scripts/speed_targets.py are printed, but not saved. Each part is saved when it is
measured. Other results in an output file are kept if it is from the same machine, build and number of
threads, so that several calls with `--shapes`, `--dtypes` or `--parts` give one table; otherwise the file is
replaced. `--resume` skips parts that the file has. If a case fails, it is reported, the other cases are
measured, and the exit code is 1.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import speed_targets
import torch
from benchmark import DEVICES, alternate, prepare, ratio, save, start_result
from ops_case import DTYPES, FORMATS, SHAPES, Case, Operator, make_operators, torchvision_ops
from scratch_memory import scratch_mb
from speed_targets import DIRECTIONS, LIMITED_SHAPES, Limit

Operators = dict[str, Operator]

DEFAULT_DTYPES = {"cpu": ["float32", "bfloat16"], "cuda": ["bfloat16", "float16", "tf32", "autocast"]}
VERSIONS = {"v1": False, "v2": True}
PARTS = ("dense", "torchvision", "scratch", "threads")
KEY = ("shape", "dtype", "memory_format", "modulated")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--device", default="cpu", choices=DEVICES)
    parser.add_argument("--repeats", type=int, default=9, help="measured rounds, default 9")
    parser.add_argument(
        "--torchvision-repeats", type=int, default=3, help="measured rounds against torchvision, default 3"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(LIMITED_SHAPES))
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), help=f"default: {DEFAULT_DTYPES}")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--versions", nargs="+", choices=list(VERSIONS), default=list(VERSIONS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--resume", action="store_true", help="skip parts that the output file has")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    prepare(options.device)
    if "torchvision" in options.parts and torchvision_ops() is None:
        print("torchvision cannot be imported: no comparison with it")

    result = start_result(options.device, options.output)
    dtypes = options.dtypes or DEFAULT_DTYPES[options.device]
    failures = 0
    for case in cases(options.shapes, dtypes, options.formats, options.versions, options.device):
        row = row_of(case, result["rows"])
        print(title(row))
        parts = [part for part in options.parts if not (options.resume and has_part(row, part))]
        try:
            operators = make_operators(case)
            for part in parts:
                measured = MEASURE[part](case, operators, options)
                row.update(measured)
                for line in describe(options.device, row, measured):
                    print(line, flush=True)
                save(options.output, result)
        except RuntimeError as error:
            failures += 1
            print(f"  FAILED: {error}", flush=True)
    return 1 if failures else 0


def cases(
    shapes: list[str], dtypes: list[str], formats: list[str], versions: list[str], device: str
) -> list[Case]:
    return [
        Case(shape, dtype, memory_format, VERSIONS[version], device)
        for shape, dtype, memory_format, version in product(shapes, dtypes, formats, versions)
    ]


def row_of(case: Case, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The case's row, which is added if it is missing."""
    for row in rows:
        if all(row[name] == getattr(case, name) for name in KEY):
            return row
    rows.append({name: getattr(case, name) for name in KEY} | {"size": list(SHAPES[case.shape])})
    return rows[-1]


def has_part(row: dict[str, Any], part: str) -> bool:
    return {"dense": "forward", "scratch": "scratch_mb", "threads": "two_threads"}.get(part, part) in row


def against_dense(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """Times of deformable and dense convolution and their ratio, by direction."""
    measured = {}
    for direction in DIRECTIONS:
        calls = {name: call_of(operators[name], direction) for name in ("dense", "deformable")}
        times = alternate(calls, options.repeats, case.device)
        measured[direction] = {
            "dense_ms": statistics.median(times["dense"]),
            "deformable_ms": statistics.median(times["deformable"]),
            "ratio": ratio(times["deformable"], times["dense"]),
        }
    return measured


def against_torchvision(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """Torchvision's time over ours, by direction."""
    if "torchvision" not in operators:
        return {}
    measured = {}
    for direction in DIRECTIONS:
        calls = {name: call_of(operators[name], direction) for name in ("deformable", "torchvision")}
        times = alternate(calls, options.torchvision_repeats, case.device, warm_up=1)
        measured[direction] = {
            "torchvision_ms": statistics.median(times["torchvision"]),
            "times_faster": ratio(times["torchvision"], times["deformable"]),
        }
    return {"torchvision": measured}


def scratch(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """Scratch memory of each operator in MB, without arguments and results."""
    if case.device == "cpu" and case.shape != "cityscapes":
        return {}
    found = {name: scratch_mb(case, name, operator) for name, operator in operators.items()}
    return {
        "scratch_mb": {
            direction: {name: found[name][direction] for name in found}
            for direction in ("forward", "backward")
        }
    }


def two_threads(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """One thread's time over two threads', for our operator and, as a reference, dense convolution."""
    if case.shape != "cityscapes" or case.device != "cpu" or os.cpu_count() == 1:
        return {}

    def on(number: int, call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            torch.set_num_threads(number)
            call()

        return run

    measured = {}
    for direction in DIRECTIONS:
        calls = {
            f"{name} {number}": on(number, call_of(operators[name], direction))
            for name in ("deformable", "dense")
            for number in (1, 2)
        }
        times = alternate(calls, min(5, options.repeats), "cpu", warm_up=1)
        measured[direction] = {
            name: ratio(times[f"{name} 1"], times[f"{name} 2"]) for name in ("deformable", "dense")
        }
    torch.set_num_threads(options.threads)
    return {"two_threads": measured}


MEASURE = {
    "dense": against_dense,
    "torchvision": against_torchvision,
    "scratch": scratch,
    "threads": two_threads,
}


def call_of(operator: Operator, direction: str) -> Callable[[], None]:
    return operator.inference if direction == "forward" else operator.training


def title(row: dict[str, Any]) -> str:
    version = "v2" if row["modulated"] else "v1"
    return f"{row['shape']} {tuple(row['size'])} {row['dtype']} {row['memory_format']} {version}"


def describe(device: str, row: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    """The measured parts of a row as lines of a table: part, values, limit, verdict."""
    lines: list[str] = []

    def add(what: str, value: float, text: str, limit: Limit | None) -> None:
        verdict = f"{limit}  {'met' if limit.is_met(value) else 'not met'}" if limit else ""
        lines.append(f"  {what:32} {text:42} {verdict}".rstrip())

    for direction in (name for name in DIRECTIONS if name in measured):
        found = measured[direction]
        text = f"{found['ratio']:5.2f}x  {found['dense_ms']:.3g} -> {found['deformable_ms']:.3g} ms"
        add(f"{direction} / dense", found["ratio"], text, speed_targets.against_dense(device, row, direction))
    for direction, found in measured.get("torchvision", {}).items():
        text = f"{found['times_faster']:5.2f}x faster  torchvision {found['torchvision_ms']:.3g} ms"
        limit = speed_targets.against_torchvision(device, row, direction)
        add(f"{direction}, torchvision", found["times_faster"], text, limit)
    for direction, found in measured.get("scratch_mb", {}).items():
        if found["deformable"] is not None:
            others = ", ".join(f"{n} {found[n]:.0f}" for n in ("dense", "torchvision") if n in found)
            limit = speed_targets.scratch_mb(device, direction)
            text = f"{found['deformable']:5.1f} MB  {others}"
            add(f"{direction}, scratch memory", found["deformable"], text, limit)
    for direction, found in measured.get("two_threads", {}).items():
        text = f"{found['deformable']:5.2f}x  dense {found['dense']:.2f}x"
        add(f"{direction}, two threads", found["deformable"], text, speed_targets.two_threads())
    return lines


if __name__ == "__main__":
    sys.exit(main())
