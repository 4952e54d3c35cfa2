"""Measure deformable against dense convolution, and against torchvision's, and save the ratios.

    python scripts/bench_ops.py [--output FILE] [--device cpu|cuda] [--repeats 9] [--threads N] ...

A row is a shape, type, memory format and version (v1, or v2 with modulation). It has four parts:

- `dense`: forward, without gradients, and forward + backward with the gradients of all arguments (input and
  weight of the dense convolution; offset and, in v2, mask besides), no bias; deformable over dense. Calls
  alternate, two rounds of warm-up and then `--repeats` that count (on a GPU a call is as many as fill 5 ms,
  timed by CUDA events). Milliseconds are medians; a ratio is the median of the ratios of neighbouring calls.
- `torchvision`: torchvision's time over ours in the same way, where it can be imported and has the type; one
  round of warm-up and `--torchvision-repeats`. On the CPU it takes seconds per call at the largest shape.
- `scratch`: scratch memory at the Cityscapes shape, see scripts/scratch_memory.py.
- `threads`: one thread's time over two threads' at the Cityscapes shape on the CPU, again alternating.

Beside each is its limit from scripts/speed_targets.py, `most` or `least`, and whether it is met. `tf32` is
float32 whose products a GPU may round to TF32. Parts are saved one by one. A file of the same machine,
threads and build keeps what is not measured again, so that several calls with `--shapes`, `--dtypes` or
`--parts` make one table; `--resume` skips what it has. A file of another machine or build is started anew.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import torch
from measured_machine import machine
from ops_case import DTYPES, FORMATS, SHAPES, Case, Operator, make_operators, torchvision_ops
from ops_timing import alternate, ratio
from scratch_memory import scratch_mb
from speed_targets import AGAINST_DENSE, AGAINST_TORCHVISION, SCRATCH_MB, TWO_THREADS, judged

from deformlab import provenance

Operators = dict[str, Operator]

MEASURED_SHAPES = [name for name in SHAPES if name != "tiny"]
DEFAULT_DTYPES = {"cpu": ["float32", "bfloat16"], "cuda": ["bfloat16", "float16", "tf32"]}
VERSIONS = {"v1": False, "v2": True}
PARTS = ("dense", "torchvision", "scratch", "threads")
DIRECTIONS = ("forward", "forward_backward")
KEY = ("shape", "dtype", "memory_format", "modulated")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--device", default="cpu", choices=list(DEFAULT_DTYPES))
    parser.add_argument("--repeats", type=int, default=9, help="calls that count, default 9")
    parser.add_argument("--torchvision-repeats", type=int, default=3, help="the same, default 3")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shapes", nargs="+", choices=MEASURED_SHAPES, default=MEASURED_SHAPES)
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), help="default: those with limits")
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--versions", nargs="+", choices=list(VERSIONS), default=list(VERSIONS))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--resume", action="store_true", help="skip what the output has")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch finds no CUDA device")
    torch.set_num_threads(options.threads)

    result: dict[str, Any] = {
        "machine": machine(options.device),
        "revision": provenance.git_revision(),
        "rows": [],
    }
    if options.output:
        result["rows"] = kept_rows(options.output, result["machine"])
    dtypes = options.dtypes or DEFAULT_DTYPES[options.device]
    if "torchvision" in options.parts and torchvision_ops() is None:
        print("torchvision cannot be imported: not compared with it")
    for case in cases(options.shapes, dtypes, options.formats, options.versions, options.device):
        row = next((row for row in result["rows"] if is_row_of(row, case)), None)
        if row is None:
            row = {name: getattr(case, name) for name in KEY} | {"size": list(SHAPES[case.shape])}
            result["rows"].append(row)
        print(title(row))
        operators = make_operators(case)
        for part in options.parts:
            if not (options.resume and has_part(row, part)):
                measured = MEASURE[part](case, operators, options)
                row.update(measured)
                for line in describe(measured):
                    print(line, flush=True)
                if options.output:
                    save(options.output, result)


def cases(
    shapes: list[str], dtypes: list[str], formats: list[str], versions: list[str], device: str
) -> list[Case]:
    return [
        Case(shape, dtype, memory_format, VERSIONS[version], device)
        for shape, dtype, memory_format, version in product(shapes, dtypes, formats, versions)
    ]


def is_row_of(row: dict[str, Any], case: Case) -> bool:
    return all(row[name] == getattr(case, name) for name in KEY)


def has_part(row: dict[str, Any], part: str) -> bool:
    return {"dense": "forward", "scratch": "scratch_mb", "threads": "two_threads"}.get(part, part) in row


def against_dense(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """Deformable over dense, by direction."""
    limits = AGAINST_DENSE.get((case.device, case.dtype), {})
    measured = {}
    for direction in DIRECTIONS:
        calls = {name: call_of(operators[name], direction) for name in ("dense", "deformable")}
        times = alternate(calls, options.repeats, case.device)
        measured[direction] = judged(
            {
                "dense_ms": statistics.median(times["dense"]),
                "deformable_ms": statistics.median(times["deformable"]),
                "ratio": ratio(times["deformable"], times["dense"]),
            },
            "ratio",
            most=limits.get(direction),
        )
    return measured


def against_torchvision(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """How many times as long torchvision takes."""
    if "torchvision" not in operators:
        return {}
    limits = AGAINST_TORCHVISION.get((case.device, case.dtype), {})
    measured = {}
    for direction in DIRECTIONS:
        calls = {name: call_of(operators[name], direction) for name in ("deformable", "torchvision")}
        times = alternate(calls, options.torchvision_repeats, case.device, warm_up=1)
        measured[direction] = judged(
            {
                "torchvision_ms": statistics.median(times["torchvision"]),
                "times_faster": ratio(times["torchvision"], times["deformable"]),
            },
            "times_faster",
            least=limits.get(direction),
        )
    return {"torchvision": measured}


def scratch(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """MB besides arguments and results, of every operator."""
    if case.shape != "cityscapes":
        return {}
    found = {name: scratch_mb(case, name) for name in operators}
    limits = SCRATCH_MB.get(case.device, {})
    return {
        "scratch_mb": {
            direction: judged(
                {name: found[name][direction] for name in found}, "deformable", most=limits.get(direction)
            )
            for direction in ("forward", "backward")
        }
    }


def two_threads(case: Case, operators: Operators, options: argparse.Namespace) -> dict[str, Any]:
    """One thread's time over two threads', of our operator and, to know the machine, of the dense one."""
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
        measured[direction] = judged(
            {name: ratio(times[f"{name} 1"], times[f"{name} 2"]) for name in ("deformable", "dense")},
            "deformable",
            least=TWO_THREADS,
        )
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


def describe(row: dict[str, Any]) -> list[str]:
    """What was measured as lines of a table: what, values, limit, verdict."""
    lines: list[str] = []

    def add(what: str, value: str, judgement: dict[str, Any]) -> None:
        limit = f"<= {judgement['most']:g}" if "most" in judgement else ""
        limit = f">= {judgement['least']:g}" if "least" in judgement else limit
        lines.append(f"  {what:32} {value:42} {limit:8} {judgement.get('verdict', '')}".rstrip())

    for direction in (name for name in DIRECTIONS if name in row):
        found = row[direction]
        times = f"{found['dense_ms']:.1f} -> {found['deformable_ms']:.1f} ms"
        add(f"{direction} / dense", f"{found['ratio']:5.2f}x  {times}", found)
    for direction, found in row.get("torchvision", {}).items():
        value = f"{found['times_faster']:5.2f}x faster  torchvision {found['torchvision_ms']:.1f} ms"
        add(f"{direction}, torchvision", value, found)
    for direction, found in row.get("scratch_mb", {}).items():
        if found["deformable"] is not None:
            others = ", ".join(f"{n} {found[n]:.0f}" for n in ("dense", "torchvision") if n in found)
            add(f"{direction}, scratch memory", f"{found['deformable']:5.1f} MB  {others}", found)
    for direction, found in row.get("two_threads", {}).items():
        value = f"{found['deformable']:5.2f}x  dense {found['dense']:.2f}x"
        add(f"{direction}, two threads", value, found)
    return lines


def kept_rows(path: Path, machine: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an earlier call that can stand in one table with those of this one."""
    if not path.exists():
        return []
    earlier = json.loads(path.read_text())
    if earlier["machine"] != machine:
        print(f"{path} is of another machine or build: it is started anew")
        return []
    rows: list[dict[str, Any]] = earlier["rows"]
    return rows


def save(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    main()
